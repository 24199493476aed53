"""What a policy of a simulated fleet sees, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.models.capacity import Pool
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.snapshot import Key
from trimtab.simulate.rivals.base import Latency, Phase, Scrape, Source
from trimtab.simulate.traffic import Traffic


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One kind of replica of one deployment: one child Deployment on the cluster."""

    deployment: Key
    pool: str
    parallelism: Parallelism

    @property
    def label(self) -> str:
        """Return the name within its deployment, such as `h100/tp1`."""
        shape = self.parallelism
        pipeline = f"pp{shape.pipeline}" if shape.pipeline > 1 else ""
        expert = f"ep{shape.expert}" if shape.expert > 1 else ""
        return f"{self.pool}/tp{shape.tensor}{pipeline}{expert}"

    @property
    def order(self) -> tuple[Key, str, int, int, int]:
        """Return what variants are sorted by."""
        shape = self.parallelism
        return self.deployment, self.pool, shape.tensor, shape.pipeline, shape.expert


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One pod."""

    id: str
    variant: Variant
    phase: Phase
    age_s: float
    """Since the pod was made."""
    unschedulable: bool
    """Whether the scheduler has no node for it."""
    placed_s: float | None
    """How long it has had a node; None while it has none."""
    ready_s: float | None
    """How long it has been Ready; None while it is not."""
    terminating: bool
    """Whether it finishes its requests and gets no more; its devices are still held."""
    scrape: Scrape | None
    """Its metrics page at the last scrape; None before the first.

    The pod answers through an outage of the metrics server: who reads that one asks `metrics`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentView:
    """One deployment as a policy may see it."""

    key: Key
    wanted: Mapping[Variant, int]
    """What was last asked for; a variant without replicas and pods is left out."""
    replicas: tuple[ReplicaView, ...]
    """All its pods, oldest first."""
    lost: Mapping[Variant, int]
    """Replicas that failed or were reclaimed since the last decision."""
    load: Callable[[], ObservedLoad]
    """Says what a metrics server has of the last minute, and how far each number can be trusted.

    To be asked during the decision. Most policies do not, and the answer takes longer than they do.
    """
    arrivals: Traffic
    """Requests since the last decision, as the gateway counts them, metrics server or not.

    Times are from the start of the run.
    """
    ongoing: float
    """Requests sent and not answered, held ones included: mean since the last decision."""
    in_flight: int
    """The same, now."""
    held: int
    """Requests that the gateway holds back now, because no replica takes them."""
    latency: Latency | None
    """90th percentiles of the last minute as a metrics server has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetView:
    """The world at one decision."""

    now: float
    """Seconds from the start of the run."""
    metrics: Source
    deployments: tuple[DeploymentView, ...]
    """Sorted by key."""
    pools: tuple[Pool, ...]
    """As AcceleratorPools and nodes say; a stock-out is not announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one deployment gets what it gets."""

    why: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a policy asks for."""

    replicas: Mapping[Variant, int]
    """Of the whole fleet: what is not named shall have none."""
    reasons: Mapping[Key, Reason] = field(default_factory=dict)


class Policy(Protocol):
    """Decides for the whole fleet. One object serves one run: it may remember."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    @property
    def interval_s(self) -> float:
        """Seconds between two decisions, the first at the start of the run.

        What the first one asks for is Ready at once: the fleet had run before.
        """
        ...

    @property
    def debounce_s(self) -> float | None:
        """Seconds from something new of a pod or a node to a decision; None for fixed times.

        With it the interval counts from the decision before.
        """
        ...

    def decide(self, view: FleetView) -> Choice:
        """Return what the fleet shall have from now on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedPolicy:
    """The same fleet at all times."""

    replicas: Mapping[Variant, int]
    name: str = "fixed"
    interval_s: float = 3600.0
    debounce_s: float | None = None

    def decide(self, view: FleetView) -> Choice:
        """Return the fixed fleet."""
        return Choice(replicas=self.replicas)
