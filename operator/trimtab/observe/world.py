"""What the mirror knows, as immutable values: the input of `collect` and of discovery."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import SERVING_PORT
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.catalog.nodes import NodeKind, Taint
from trimtab.models.capacity import Price
from trimtab.models.hardware import Parallelism
from trimtab.observe.kinds import Kind

Document = dict[str, Any]
"""A Kubernetes object as the API server spells it. Nobody may change one that the mirror gave."""

_EMPTY: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ObjectKey:
    """Names one object. The namespace of a cluster-scoped one is empty."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `Kind namespace/name`."""
        place = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {place}{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """An object that cannot be understood, and why. Nothing may be changed on its account."""

    key: ObjectKey
    uid: str
    generation: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaShape:
    """The pool and parallelism that the labels of a child or of its pods name."""

    pool: str
    parallelism: Parallelism


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFacts:
    """One child Deployment: the replicas of one variant."""

    namespace: str
    name: str
    deployment: str
    """Name of the LLMDeployment."""
    owner_uid: str | None
    """uid of the object that controls it, or None."""
    shape: ReplicaShape
    replicas: int
    deleting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod that holds or wants devices. Times are Unix seconds."""

    namespace: str
    name: str
    deployment: str | None
    """Name of the LLMDeployment, where the pod is one of its replicas, else None."""
    variant: str | None
    """Name of the child Deployment, likewise."""
    shape: ReplicaShape | None
    """What the labels say, likewise."""
    node: str | None
    """Where it is scheduled."""
    finished: bool
    """Succeeded or Failed: it holds nothing any more."""
    terminating: bool
    gone_by: float | None
    """When a terminating one has used up its grace period; None otherwise, or when not told."""
    created: float | None
    placed_since: float | None
    """Since when it has had a node; None while it has none."""
    started_since: float | None
    """Since when its containers run, their images there; None while one does not, or where one was
    restarted: its first start is not told then."""
    ready_since: float | None
    """Since when it has been Ready; None while it is not."""
    unschedulable_since: float | None
    """Since when the scheduler has found no place; None otherwise."""
    devices: tuple[tuple[str, int], ...]
    """Extended resources that it requests."""
    address: str | None = None
    """Its IP address, once it has one."""
    port: int = SERVING_PORT
    """Where the engine serves, and has its metrics page."""

    def requests(self, resource_name: str) -> int:
        """Return how many devices of `resource_name` the pod requests."""
        return sum(count for name, count in self.devices if name == resource_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """One node."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    devices: tuple[tuple[str, int], ...]
    """Allocatable extended resources."""
    ready: bool
    cordoned: bool
    kind: NodeKind | None
    """What the labels say of its accelerators; None for a node without any."""
    notice: str | None = None
    """What says that it is about to be taken back; None while nothing does."""

    def offers(self, resource_name: str) -> int:
        """Return how many devices of `resource_name` the node can hold."""
        return sum(count for name, count in self.devices if name == resource_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldView:
    """A copy of the mirror that no later event changes. Tuples are sorted by namespace, name."""

    deployments: tuple[LLMDeployment, ...] = ()
    policies: tuple[ServingPolicy, ...] = ()
    pools: tuple[AcceleratorPool, ...] = ()
    profiles: tuple[PerformanceProfile, ...] = ()
    budgets: tuple[FleetBudget, ...] = ()
    children: tuple[ChildFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    """Serving pods."""
    foreign_pods: tuple[PodFacts, ...] = ()
    """Pods of others on accelerator nodes that hold devices."""
    nodes: tuple[NodeFacts, ...] = ()
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _EMPTY)
    """Labels of each namespace."""
    bodies: Mapping[ObjectKey, Document] = field(default_factory=lambda: _EMPTY)
    """Custom resources, child Deployments, Services and PodDisruptionBudgets as they are live.

    `metadata.managedFields` is kept on AcceleratorPools only, where it tells what a user owns.
    """
    broken: tuple[Broken, ...] = ()
    departed: Mapping[tuple[str, str], str] = field(default_factory=lambda: _EMPTY)
    """LLMDeployments of pods that are gone, by namespace and name stem: for rates over a window."""
    prices: Mapping[str, Price] = field(default_factory=lambda: _EMPTY)
    """What feeds in the cluster say that a device costs, by AcceleratorPool."""
    refusals: Mapping[tuple[str, str], str] = field(default_factory=lambda: _EMPTY)
    """What node autoscalers say of pods for which no node comes, by namespace and name."""

    def live(self, kind: Kind) -> tuple[Document, ...]:
        """Return the bodies of all objects of `kind`, sorted by namespace and name."""
        return tuple(body for key, body in self.bodies.items() if key.kind is kind)


def pod_stem(name: str) -> str:
    """Return what the pods of one ReplicaSet have in common: the name without its random end.

    Kubernetes cuts the stem at 58 characters and appends five random ones
    (k8s.io/apiserver, pkg/storage/names), so no other rule holds for every pod.
    """
    return name[:-5]
