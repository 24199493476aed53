"""Turns the body of one object into facts, and never trusts a field to be there or well formed."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from trimtab.api.acceleratorpool import AcceleratorPool, TaintEffect
from trimtab.api.base import Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import (
    DEPLOYMENT_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    PIPELINE_LABEL,
    POOL_LABEL,
    REPLICAS_ANNOTATION,
    SERVING_PORT,
    SERVING_PORT_NAME,
    TENSOR_LABEL,
    VARIANT_LABEL,
)
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.catalog.nodes import Taint, identify
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Parallelism
from trimtab.observe.kinds import Kind
from trimtab.observe.notices import notice_of
from trimtab.observe.world import ChildFacts, NodeFacts, PodFacts, ReplicaShape
from trimtab.units import parse_quantity

MAX_PARALLELISM = 1024
MAX_DEVICES = 1_000_000

Body = Mapping[str, Any]
Facts = Resource | ChildFacts | PodFacts | NodeFacts | Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one body says."""

    facts: Facts
    """None for a kind of which only the body counts, and for a broken object."""
    matters: object
    """What a plan could depend on: two equal values, and nothing has to be planned anew."""
    error: str | None = None
    """Why the object cannot be understood."""


def parse(kind: Kind, body: Body) -> Parsed:
    """Return what `body` says; an object that cannot be understood has an error and no facts."""
    try:
        return _PARSERS[kind](body)
    except InvalidInput as error:
        return Parsed(facts=None, matters=_intent(body), error=str(error))


def text(value: object) -> str:
    """Return `value` if it is a string, else the empty string."""
    return value if isinstance(value, str) else ""


def mapping(body: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at `path`, or an empty one."""
    for step in path:
        body = body.get(step) if isinstance(body, Mapping) else None
    return body if isinstance(body, Mapping) else {}


def items(body: object, *path: str) -> Iterator[Mapping[str, Any]]:
    """Yield the mappings in the list at `path`."""
    found = mapping(body, *path[:-1]).get(path[-1])
    if isinstance(found, list | tuple):
        yield from (item for item in found if isinstance(item, Mapping))


def labels_of(body: Body, *path: str) -> dict[str, str]:
    """Return the string labels or annotations at `path`."""
    found = mapping(body, *path)
    return {k: v for k, v in found.items() if isinstance(k, str) and isinstance(v, str)}


def unix_seconds(value: object) -> float | None:
    """Return an RFC 3339 time in Unix seconds, or None when it is none."""
    try:
        moment = datetime.fromisoformat(text(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _intent(body: Body) -> object:
    """Return what an object's owner says, without its status and the server's bookkeeping."""
    metadata = mapping(body, "metadata")
    kept = ("uid", "generation", "labels", "annotations", "deletionTimestamp", "ownerReferences")
    intent = {key: metadata.get(key) for key in kept}
    rest = {key: value for key, value in body.items() if key not in ("metadata", "status")}
    return (intent, rest)


def _resource(model: type[Resource]) -> Callable[[Body], Parsed]:
    def parse_one(body: Body) -> Parsed:
        # The status is left out: one written by another version must not break the object.
        document = {"metadata": body.get("metadata"), "spec": body.get("spec")}
        try:
            facts = model.model_validate(document)
        except (ValidationError, RecursionError) as error:
            raise InvalidInput(_where(error), _what(error), "Correct the object") from error
        return Parsed(facts=facts, matters=_intent(body))

    return parse_one


def _where(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "spec"
    return ".".join(str(step) for step in error.errors()[0]["loc"]) or "spec"


def _what(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return error.errors()[0]["msg"][:256]


def _body_only(body: Body) -> Parsed:
    return Parsed(facts=None, matters=_intent(body))


def _namespace(body: Body) -> Parsed:
    labels = MappingProxyType(labels_of(body, "metadata", "labels"))
    return Parsed(facts=labels, matters=dict(labels))


def _child(body: Body) -> Parsed:
    """Return a child Deployment.

    The labels that its pods have count before its own, and the replicas that were decided before
    those that somebody has edited: what was decided stays the base of the next decision, and the
    edit is undone.
    """
    metadata = mapping(body, "metadata")
    template = labels_of(body, "spec", "template", "metadata", "labels")
    labels = labels_of(body, "metadata", "labels") | template
    shape = _shape(labels)
    deployment = labels.get(DEPLOYMENT_LABEL)
    if shape is None or not deployment:
        raise InvalidInput(
            "metadata.labels",
            f"a child needs {DEPLOYMENT_LABEL}, {POOL_LABEL} and {TENSOR_LABEL}",
            "Delete this Deployment, and Trimtab makes a new one",
        )
    decided = text(mapping(metadata, "annotations").get(REPLICAS_ANNOTATION))
    replicas = mapping(body, "spec").get("replicas", 1)
    if decided.isascii() and decided.isdigit() and len(decided) < 7:
        replicas = int(decided)
    facts = ChildFacts(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        deployment=deployment,
        owner_uid=next((text(owner.get("uid")) for owner in _controllers(body)), None),
        shape=shape,
        replicas=replicas if _is_count(replicas) else 0,
        deleting=bool(metadata.get("deletionTimestamp")),
    )
    return Parsed(facts=facts, matters=_intent(body))


def _shape(labels: Mapping[str, str]) -> ReplicaShape | None:
    pool = labels.get(POOL_LABEL, "")
    tensor = _positive(labels.get(TENSOR_LABEL, ""))
    pipeline = _positive(labels.get(PIPELINE_LABEL, "1"))
    if not pool or tensor is None or pipeline is None:
        return None
    return ReplicaShape(pool=pool, parallelism=Parallelism(tensor=tensor, pipeline=pipeline))


def _positive(value: str) -> int | None:
    if not (value.isascii() and value.isdigit() and len(value) <= 4):
        return None
    return int(value) if 1 <= int(value) <= MAX_PARALLELISM else None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_DEVICES


def _controllers(body: Body) -> Iterator[Mapping[str, Any]]:
    owners = items(body, "metadata", "ownerReferences")
    return (owner for owner in owners if owner.get("controller") is True)


def _pod(body: Body) -> Parsed:
    metadata = mapping(body, "metadata")
    labels = labels_of(body, "metadata", "labels")
    variant = _variant(body, labels)
    facts = PodFacts(
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
        deployment=labels.get(DEPLOYMENT_LABEL) if variant else None,
        variant=variant,
        shape=_shape(labels) if variant else None,
        node=text(mapping(body, "spec").get("nodeName")) or None,
        finished=mapping(body, "status").get("phase") in ("Succeeded", "Failed"),
        terminating=bool(metadata.get("deletionTimestamp")),
        gone_by=unix_seconds(metadata.get("deletionTimestamp")),
        created=unix_seconds(metadata.get("creationTimestamp")),
        placed_since=_condition_since(body, "PodScheduled", "True"),
        started_since=_started_since(body),
        ready_since=_condition_since(body, "Ready", "True"),
        unschedulable_since=_condition_since(body, "PodScheduled", "False", "Unschedulable"),
        devices=_requests(body),
        address=text(mapping(body, "status").get("podIP")) or None,
        port=_serving_port(body),
    )
    return Parsed(facts=facts, matters=(facts, metadata.get("uid")))


def _serving_port(body: Body) -> int:
    for container in items(body, "spec", "containers"):
        for each in items(container, "ports"):
            number = each.get("containerPort")
            if each.get("name") == SERVING_PORT_NAME and isinstance(number, int):
                return number
    return SERVING_PORT


def _variant(body: Body, labels: Mapping[str, str]) -> str | None:
    """Return the child Deployment that made this pod, or None when a label only claims so.

    The Deployment controller names a ReplicaSet after its Deployment and the template's hash, and
    the pod's controller is that ReplicaSet.
    """
    variant = labels.get(VARIANT_LABEL)
    if not variant or labels.get(MANAGED_BY_LABEL) != MANAGER or not labels.get(DEPLOYMENT_LABEL):
        return None
    replica_set = f"{variant}-{labels.get('pod-template-hash', '')}"
    owners = _controllers(body)
    ours = any(
        owner.get("kind") == "ReplicaSet" and owner.get("name") == replica_set for owner in owners
    )
    return variant if ours else None


def _condition_since(body: Body, kind: str, status: str, reason: str | None = None) -> float | None:
    """Return since when the condition holds: since the pod's creation when it does not say."""
    for condition in items(body, "status", "conditions"):
        if condition.get("type") == kind and condition.get("status") == status:
            if reason is not None and condition.get("reason") != reason:
                return None
            created = mapping(body, "metadata").get("creationTimestamp")
            since = unix_seconds(condition.get("lastTransitionTime"))
            return since or unix_seconds(created) or 0.0
    return None


def _started_since(body: Body) -> float | None:
    """Return when the last of the containers started that are not restarted, None without all."""
    starts: list[float] = []
    for container in items(body, "status", "containerStatuses"):
        at = unix_seconds(mapping(container, "state", "running").get("startedAt"))
        if at is None or container.get("restartCount") != 0:
            return None
        starts.append(at)
    return max(starts, default=None)


def _requests(body: Body) -> tuple[tuple[str, int], ...]:
    """Return the extended resources that the pod holds: the larger of init and main containers."""
    main: dict[str, int] = {}
    for container in items(body, "spec", "containers"):
        for name, count in _extended(mapping(container, "resources", "limits")):
            main[name] = main.get(name, 0) + count
    for container in items(body, "spec", "initContainers"):
        for name, count in _extended(mapping(container, "resources", "limits")):
            main[name] = max(main.get(name, 0), count)
    return tuple(sorted(main.items()))


def _extended(quantities: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the extended resources: a domain that is not Kubernetes' own, and a whole number."""
    for name, quantity in quantities.items():
        domain, slash, _ = text(name).partition("/")
        if not slash or domain.endswith("kubernetes.io"):
            continue
        try:
            count = parse_quantity(quantity, name) if isinstance(quantity, str | int) else 0.0
        except (InvalidInput, OverflowError, ValueError):
            continue
        if math.isfinite(count) and 1 <= count <= MAX_DEVICES:
            yield name, int(count)


def _node(body: Body) -> Parsed:
    labels = labels_of(body, "metadata", "labels")
    taints = tuple(sorted(_taints(body)))
    devices = tuple(sorted(_extended(mapping(body, "status", "allocatable"))))
    facts = NodeFacts(
        name=text(mapping(body, "metadata").get("name")),
        labels=MappingProxyType(labels),
        taints=taints,
        devices=devices,
        ready=_condition_since(body, "Ready", "True") is not None,
        cordoned=mapping(body, "spec").get("unschedulable") is True,
        kind=identify(labels, taints, dict(devices)),
        notice=notice_of(taints, items(body, "status", "conditions")),
    )
    return Parsed(facts=facts, matters=facts)


def _taints(body: Body) -> Iterator[Taint]:
    effects = {effect.value for effect in TaintEffect}
    for taint in items(body, "spec", "taints"):
        key, effect = text(taint.get("key")), text(taint.get("effect"))
        if key and effect in effects:
            yield Taint(key=key, value=text(taint.get("value")), effect=effect)


_PARSERS: Mapping[Kind, Callable[[Body], Parsed]] = {
    Kind.LLM_DEPLOYMENT: _resource(LLMDeployment),
    Kind.SERVING_POLICY: _resource(ServingPolicy),
    Kind.ACCELERATOR_POOL: _resource(AcceleratorPool),
    Kind.PERFORMANCE_PROFILE: _resource(PerformanceProfile),
    Kind.FLEET_BUDGET: _resource(FleetBudget),
    Kind.DEPLOYMENT: _child,
    Kind.SERVICE: _body_only,
    Kind.DISRUPTION_BUDGET: _body_only,
    Kind.POD: _pod,
    Kind.NODE: _node,
    Kind.NAMESPACE: _namespace,
    Kind.FOREIGN_POD: _pod,
}
