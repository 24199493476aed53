"""A scenario file: the cluster's own manifests, the traffic, and what the world does to them."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import yaml
from pydantic import (
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from trimtab.errors import InvalidInput
from trimtab.models.snapshot import Key
from trimtab.planner.offline import Manifests
from trimtab.planner.written import documents_in, manifests_of
from trimtab.simulate.inputs.read import History, requests_of
from trimtab.simulate.inputs.spec import Lognormal, Seconds, Source, Spec
from trimtab.simulate.traffic import Traffic, merge


class RouterKind(StrEnum):
    """How a request finds its replica."""

    ROUND_ROBIN = "round-robin"
    LEAST_OUTSTANDING = "least-outstanding"
    WEIGHTED = "weighted"
    PREFIX_AWARE = "prefix-aware"


class FaultKind(StrEnum):
    """What the metrics server does while it is at fault."""

    METRICS_DOWN = "metrics-down"
    """It does not answer."""
    METRICS_EMPTY = "metrics-empty"
    """It answers every query with nothing."""


class SpotTrace(StrEnum):
    """A recorded course of spot nodes that comes with Trimtab."""

    AWS_P3 = "aws-p3"
    AWS_G4DN = "aws-g4dn"
    GCP_V100 = "gcp-v100"
    GCP_A100 = "gcp-a100"


def _key(value: object) -> object:
    if isinstance(value, str):
        namespace, slash, name = value.rpartition("/")
        return Key(namespace=namespace if slash else "default", name=name)
    return value


DeploymentKey = Annotated[Key, BeforeValidator(_key)]
"""A deployment, written `namespace/name`; `name` alone is in the namespace `default`."""


class TrafficEntry(Spec):
    """Requests for one deployment."""

    deployment: DeploymentKey
    """Who gets them."""
    source: Source
    """Where they come from."""
    scale: float = Field(default=1.0, gt=0)
    """How many times as many requests in the same time."""
    start_at_s: Seconds = Field(default=0.0, alias="startAt")
    """When the source begins."""


class CapacityStep(Spec):
    """What a pool can hold from a time on."""

    at_s: Seconds = Field(alias="at")
    """From when."""
    devices: int = Field(ge=0)
    """Devices that can be had; what runs already stays."""


class PriceStep(Spec):
    """What a device of a pool costs from a time on."""

    at_s: Seconds = Field(alias="at")
    """From when."""
    per_device_hour: float = Field(ge=0)
    """Dollars."""


class Reclaims(Spec):
    """How a provider takes spot nodes back: at a rate, or as once recorded."""

    per_hour: float | None = Field(default=None, gt=0)
    """Reclaims an hour of each node, at times of a Poisson process."""
    trace: SpotTrace | None = None
    """The share of nodes that stay, as recorded: counts are scaled to the pool's maximum."""
    skip_s: Seconds = Field(default=0.0, alias="skip")
    """Time left out at the beginning of the trace."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.per_hour is None) == (self.trace is None):
            raise ValueError("give either perHour or trace")
        return self


class PoolWorld(Spec):
    """What a pool does beyond its manifest."""

    provisioning: Seconds | Lognormal | None = None
    """Time to a new node. Default: the manifest's provisioningTime, else 5m."""
    load: Seconds | Lognormal | None = None
    """Time from a node to a Ready replica. Default: the weights' bytes at a usual disk's speed."""
    capacity: tuple[CapacityStep, ...] = ()
    """Stock-outs and returns. Default: the manifest's maximum throughout."""
    prices: tuple[PriceStep, ...] = ()
    """A history of its price, as spot markets have one. Default: the manifest's throughout."""
    reclaims: Reclaims | None = None
    """How nodes are taken back. Default: never."""
    failures_per_hour: float = Field(default=0.0, ge=0)
    """Failures an hour of each replica, at times of a Poisson process."""
    nodes: int | None = Field(default=None, ge=0)
    """Nodes that are there at the start. Default: none, all are provisioned when wanted."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        for name, steps in (("capacity", self.capacity), ("prices", self.prices)):
            times = [step.at_s for step in steps]
            if sorted(set(times)) != times:
                raise ValueError(f"{name} goes back in time: write its steps by rising `at`")
        return self


class Clients(Spec):
    """How clients wait and come back."""

    timeout_s: Seconds = Field(default=60.0, alias="timeout", gt=0)
    """A client that has no first token after this time gives up."""
    retries: int = Field(default=0, ge=0, le=10)
    """How often it tries again after a refusal, a loss or giving up."""
    backoff_s: Seconds = Field(default=1.0, alias="backoff")
    """How long it waits before it tries again; doubled each time."""


class Fault(Spec):
    """The metrics server is at fault for a while."""

    kind: FaultKind
    from_s: Seconds = Field(alias="from")
    to_s: Seconds = Field(alias="to")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.to_s <= self.from_s:
            raise ValueError("to must be later than from")
        return self


def _manifests(value: object, info: ValidationInfo) -> Manifests:
    if isinstance(value, Manifests):
        return value
    if not isinstance(value, list):
        raise ValueError("must be a list of paths and of objects")
    folder = (info.context or {}).get("folder", Path())
    documents: list[tuple[str, dict[str, Any]]] = []
    for item in value:
        if isinstance(item, str):
            path = folder / item
            documents += documents_in([(str(path), _read(path))])
        elif isinstance(item, dict):
            documents.append(("manifests", item))
        else:
            raise ValueError(f"{item!r} is neither a path nor an object")
    return manifests_of(documents)[0]


class Scenario(Spec):
    """One experiment, complete but for the policy and the seed."""

    name: str = Field(pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    """Short name, as in a report."""
    about: str = Field(min_length=1)
    """What it tests, in a sentence."""
    duration_s: Seconds = Field(alias="duration", gt=0)
    """Simulated time."""
    warmup_s: Seconds = Field(default=0.0, alias="warmup")
    """Time at the beginning that is not scored."""
    seeds: int = Field(default=3, ge=1, le=100)
    """How many seeds it is run with."""
    manifests: Annotated[Manifests, PlainValidator(_manifests)]
    """Objects as on the cluster, or paths of files with them, relative to the scenario."""
    traffic: tuple[TrafficEntry, ...] = Field(min_length=1)
    """The requests."""
    pools: Mapping[str, PoolWorld] = Field(default_factory=dict)
    """What pools do beyond their manifests, by name."""
    clients: Clients = Clients()
    """How clients behave."""
    router: RouterKind = RouterKind.LEAST_OUTSTANDING
    """How a request finds its replica."""
    faults: tuple[Fault, ...] = ()
    """When the metrics server is at fault."""
    folder: Path = Field(default=Path(), exclude=True)
    """Where paths in it start; `load_scenario` sets it."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.warmup_s >= self.duration_s:
            raise ValueError("warmup takes the whole duration: shorten it")
        known = self.deployments
        for entry in self.traffic:
            if entry.deployment not in known:
                names = ", ".join(map(str, known)) or "none"
                raise ValueError(
                    f"traffic is for {entry.deployment}, and manifests hold {names}: "
                    "name one of them or add its LLMDeployment"
                )
        pools = {pool.metadata.name for pool in self.manifests.pools}
        if not pools:
            raise ValueError("manifests hold no AcceleratorPool: add where replicas can land")
        for name in self.pools:
            if name not in pools:
                raise ValueError(
                    f"pools names {name}, and manifests hold {', '.join(sorted(pools))}: "
                    "name one of them or add its AcceleratorPool"
                )
        return self

    @property
    def deployments(self) -> tuple[Key, ...]:
        """The deployments in its manifests, sorted."""
        return tuple(
            sorted(
                Key(namespace=d.metadata.namespace or "default", name=d.metadata.name)
                for d in self.manifests.deployments
            )
        )


def load_scenario(path: Path) -> Scenario:
    """Return the scenario in a YAML file.

    Raises:
        InvalidInput: It cannot be read, or something in it is wrong; says which field.
    """
    try:
        document = yaml.safe_load(_read(path))
    except yaml.YAMLError as error:
        raise InvalidInput(str(path), f"it is no YAML: {error}", "Correct the file") from error
    if not isinstance(document, dict):
        raise InvalidInput(str(path), "it is no scenario", "Write name, about, duration, …")
    if "apiVersion" in document:
        raise InvalidInput(
            str(path),
            f"it is a manifest of kind {document.get('kind')} and no scenario",
            "Give manifests with -f, and a log of requests with --trace",
        )
    return scenario_of(document, where=str(path), folder=path.parent)


def scenario_of(document: Mapping[str, Any], *, where: str, folder: Path) -> Scenario:
    """Return the scenario in a parsed document; paths in it start at `folder`.

    Raises:
        InvalidInput: Something in it is wrong; says which field.
    """
    try:
        return Scenario.model_validate({**document, "folder": folder}, context={"folder": folder})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        problem, _, remedy = first["msg"].removeprefix("Value error, ").partition(": ")
        raise InvalidInput(
            f"{where}: {field}" if field else where,
            problem,
            remedy[:1].upper() + remedy[1:] or _REMEDIES.get(first["type"], "Correct the field"),
        ) from error


_REMEDIES = {
    "extra_forbidden": "Remove it, or correct its spelling",
    "missing": "Add it",
    "enum": "Write one of those",
}


def traffic_of(
    scenario: Scenario, rng: np.random.Generator, histories: Mapping[int, History] | None = None
) -> Mapping[Key, Traffic]:
    """Return the requests of every deployment of `scenario`; without an entry there are none.

    Args:
        scenario: The scenario.
        rng: Where chance comes from; each entry has a stream of its own.
        histories: What a Prometheus answered, by the number of the traffic entry.

    Raises:
        InvalidInput: A source cannot be read or holds nothing.
    """
    parts: dict[Key, list[Traffic]] = {key: [] for key in scenario.deployments}
    streams = rng.spawn(len(scenario.traffic))
    for number, (entry, stream) in enumerate(zip(scenario.traffic, streams, strict=True)):
        until = scenario.duration_s - entry.start_at_s
        if until <= 0:
            continue
        history = (histories or {}).get(number)
        requests = requests_of(entry.source, until, stream, folder=scenario.folder, history=history)
        scaled = requests.scaled(entry.scale, stream).slice(0.0, until)
        parts[entry.deployment].append(scaled.shifted(entry.start_at_s))
    return {key: merge(found) for key, found in parts.items()}


def history_entries(scenario: Scenario) -> Iterable[tuple[int, Source]]:
    """Yield number and source of the traffic entries whose history somebody must fetch."""
    for number, entry in enumerate(scenario.traffic):
        if entry.source.prometheus is not None:
            yield number, entry.source


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"cannot read it: {error}", "Name a file") from error
