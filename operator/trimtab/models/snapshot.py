"""Everything that one decision may see. Nothing else reaches the planner."""

from dataclasses import dataclass, field

from trimtab.api.fleetbudget import FleetBudgetSpec
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.api.performanceprofile import PerformanceProfileSpec
from trimtab.models.capacity import Pool
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.policy import EffectivePolicy


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Key:
    """Names one deployment."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Return `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantState:
    """One child Deployment as it is in the cluster."""

    pool: str
    parallelism: Parallelism
    replicas: int
    """`spec.replicas` of the child."""
    ready: int
    """Ready replicas."""
    pods: int
    """Pods that hold or want devices, terminating ones too."""
    unplaced: int = 0
    """Those of them that have no node yet."""
    unschedulable: int = 0
    """Pods that the scheduler cannot place, less those that an ending one makes room for."""
    unschedulable_s: float = 0.0
    """How long the oldest of them has waited."""
    refusal: str | None = None
    """What a node autoscaler says of them by which no node comes; None while it does not."""
    noticed: int = 0
    """Pods on nodes that are about to be taken back, terminating ones too."""
    going: int = 0
    """Those of them that do not end yet: they serve until they are drained, or are gone."""
    youngest_ready_s: float | None = None
    """How long the youngest Ready replica has been Ready; None without one."""
    placed_s: float | None = None
    """How long that replica had waited for a node; None when unknown."""
    image_s: float | None = None
    """How long it took from there until its containers ran: the image; None when unknown."""
    loaded_s: float | None = None
    """How long it took from its node to Ready: image, weights, engine; None when unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentState:
    """One LLMDeployment, its policy, its children and its signals."""

    key: Key
    uid: str
    generation: int
    created: float
    """Unix seconds."""
    spec: LLMDeploymentSpec
    policy: EffectivePolicy | None
    """None when the spec contradicts itself; `error` says how."""
    error: str | None
    paused: bool
    namespace_labels: tuple[tuple[str, str], ...]
    variants: tuple[VariantState, ...]
    load: ObservedLoad


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """One FleetBudget."""

    name: str
    spec: FleetBudgetSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One PerformanceProfile."""

    name: str
    spec: PerformanceProfileSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The world at `now`. Tuples are sorted by name, so equal worlds are equal snapshots."""

    now: float
    """Unix seconds."""
    deployments: tuple[DeploymentState, ...]
    pools: tuple[Pool, ...]
    profiles: tuple[Profile, ...] = ()
    budgets: tuple[Budget, ...] = ()
    memory: PlannerMemory = field(default_factory=PlannerMemory)
    """What the last plan left for this one; empty after a restart."""
