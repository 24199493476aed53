"""What was decided, and why: the record that status, events, logs and `explain` print from."""

from dataclasses import dataclass
from enum import StrEnum

from trimtab.models.capacity import Price
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import PlannerMemory
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.snapshot import Key


class DemandSource(StrEnum):
    """Where the demand figure comes from."""

    PROMETHEUS = "Prometheus"
    WORKLOAD = "Workload"
    UNKNOWN = "Unknown"


class Why(StrEnum):
    """What moved a decision, or held it."""

    INITIAL = "Initial"
    """First placement of a deployment."""
    STEADY = "Steady"
    """Nothing to change."""
    DEMAND_ROSE = "DemandRose"
    SCHEDULED = "Scheduled"
    """The schedule in the spec asks for more by the time that a replica is Ready."""
    DEMAND_FELL = "DemandFell"
    QUEUE_GREW = "QueueGrew"
    OVER_TARGET = "OverTarget"
    BOUNDS = "Bounds"
    """minReplicas or maxReplicas changed what demand alone would ask."""
    CHEAPER_POOL = "CheaperPool"
    POOL_SHORT = "PoolShort"
    POOL_GONE = "PoolGone"
    NODE_NOTICE = "NodeNotice"
    """Nodes in use are about to be taken back."""
    UNFIT = "Unfit"
    """The hardware in use cannot meet the targets, however many replicas there are."""
    CAPACITY_SHORT = "CapacityShort"
    BUDGET = "Budget"
    IDLE = "Idle"
    """Scaled to zero."""
    WAKE = "Wake"
    """Back from zero."""
    WINDOW = "Window"
    """A scale-down waits for fresh evidence over the whole window."""
    DOUBT = "Doubt"
    """A signal cannot be trusted: nothing falls."""
    MODE = "Mode"
    """The mode forbids the change."""
    PAUSED = "Paused"
    INVALID = "Invalid"
    """The spec cannot be followed."""
    NO_CANDIDATE = "NoCandidate"


class Verdict(StrEnum):
    """How a candidate fared."""

    CHOSEN = "Chosen"
    DEARER = "Dearer"
    DOES_NOT_FIT = "DoesNotFit"
    MISSES_TTFT = "MissesTTFT"
    MISSES_ITL = "MissesITL"
    MISSES_E2E = "MissesE2E"
    NOT_ALLOWED = "NotAllowed"
    NO_CAPACITY = "NoCapacity"
    NO_PRICE = "NoPrice"
    NO_POWER = "NoPower"
    NO_CARBON = "NoCarbon"
    POOL_SHORT = "PoolShort"
    OVER_BUDGET = "OverBudget"
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    UNKNOWN_MODEL = "UnknownModel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to place a replica, and how it fared."""

    pool: str
    accelerator: str
    parallelism: Parallelism
    verdict: Verdict
    message: str
    """One sentence with the figures."""
    capacity: ReplicaCapacity | None
    """None when it is infeasible."""
    usd_per_replica_hour: float | None
    """None when the pool has no price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantTarget:
    """The replicas that one variant shall have. Zero means: remove it once it is drained."""

    pool: str
    accelerator: str
    """Short name of the accelerator."""
    parallelism: Parallelism
    replicas: int
    usd_per_replica_hour: float | None
    price: Price | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The demand that a decision rests on."""

    source: DemandSource
    rps: float | None
    """Requests/s, with the queue's drain included; None when unknown."""
    observed_rps: float | None
    """Arrivals as measured; None when unknown."""
    input_tokens: float
    output_tokens: float
    foreseen_rps: float | None = None
    """What is expected at most until a replica asked for now serves; None: no opinion."""
    horizon_s: float | None = None
    """How long that is, in seconds."""
    margin: float = 0.0
    """Share on top of the demand that alarms have shown to be needed; it fades."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePart:
    """What one variant gets of the requests of a class."""

    pool: str
    parallelism: Parallelism
    share: float
    """Above 0; the parts of one class are 1 together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRoute:
    """Where a router that tells classes apart shall send one of them."""

    name: str
    """Name of the class."""
    input_tokens: float
    """Mean length of its prompts, as counted with."""
    output_tokens: float
    """Mean length of its answers, as counted with."""
    share: float
    """Of all requests."""
    parts: tuple[RoutePart, ...]
    """Sorted by pool and parallelism; empty while no replica serves every class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What the fleet is compared with."""

    baseline: str
    """Names the baseline, such as `static peak: 4 x pool-h100 (tp1)`."""
    baseline_usd_per_hour: float
    saved_share: float
    """1 - price / baseline; negative when dearer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A condition as the planner sees it: True, False or None for unknown."""

    type: str
    """A value of api.conditions.ConditionType."""
    status: bool | None
    reason: str
    """A value of api.conditions.Reason."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one deployment gets, and why."""

    key: Key
    uid: str
    generation: int
    targets: tuple[VariantTarget, ...]
    """Every variant that shall exist, sorted by pool and parallelism."""
    wanted_replicas: int | None
    """Replicas that demand alone asks for; None when unknown."""
    changed: bool
    """Whether the targets differ from what runs."""
    write: bool
    """Whether the children may be written: false in Recommend, when paused or invalid."""
    why: Why
    message: str
    """One or two sentences for a person."""
    demand: Demand
    candidates: tuple[Candidate, ...]
    """All of them, the chosen first, then by price."""
    usd_per_hour: float | None
    usd_per_million_tokens: float | None
    watts: float | None = None
    """What the targets draw; None when unknown, or where the objective does not ask."""
    grams_per_hour: float | None = None
    """What they emit, in gCO2/h; None likewise."""
    gap: float | None = None
    """How much dearer than the best its fleet may be, as a share; None: not proven at all."""
    saving: Saving | None
    routes: tuple[ClassRoute, ...] = ()
    """One for each class that the router tells apart; empty where it tells nothing apart."""
    facts: tuple[Fact, ...]
    """MetricsAvailable, CapacityAvailable, SLOMet, Optimized and, where it holds, Stalled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One decision per deployment, sorted by key, and what the next plan must remember."""

    decisions: tuple[Decision, ...]
    memory: PlannerMemory
