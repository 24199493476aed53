"""What one plan leaves for the next. An empty memory means hold, never free."""

from dataclasses import dataclass, field

from trimtab.models.forecast import ForecastState
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import TokenShape
from trimtab.models.performance import StepScales


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSample:
    """What fresh evidence asked for at one time."""

    at: float
    """Unix seconds."""
    rps: float
    """Demand, requests/s, queue included."""
    shape: TokenShape
    """Requests of that time, so that their weight compares with that of later ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How replicas of one variant served of late; recent requests count more."""

    pool: str
    parallelism: Parallelism
    requests: float = 0.0
    """How many."""
    late: float = 0.0
    """How many of them missed a target, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentMemory:
    """What is remembered of one deployment."""

    namespace: str
    name: str
    uid: str
    """A recreated deployment is a new one."""
    samples: tuple[WantedSample, ...] = ()
    """Fresh evidence without a gap, oldest first, at most 64; a doubtful signal empties it."""
    fresh_since: float | None = None
    """Since when evidence has been fresh without a gap; None while it is not."""
    idle_since: float | None = None
    """Since when fresh evidence has shown no request at all."""
    unknown_since: float | None = None
    """Since when nothing has been known of demand, though it should be; None while it is."""
    measured: bool = False
    """Whether evidence has once been fresh for a whole window: the prior rate counts no more."""
    shape: TokenShape | None = None
    """Shape that was last counted with, on the planner's grid; doubt does not change it."""
    means: TokenShape | None = None
    """Means of the lengths that it stands for."""
    zero_refused: bool = False
    """At zero replicas nothing reported whether requests wait: do not go there again."""
    last_down_at: float | None = None
    last_up_at: float | None = None
    move_since: float | None = None
    """Since when one and the same move to other pools has paid off."""
    move_to: str | None = None
    """Which move that is."""
    move_fleet: tuple[tuple[str, int], ...] = ()
    """Replicas that it shall leave, by the names of their places, while it has some to add: one
    plan adds no more than a step. Empty where no move is under way that does."""
    peak_rps: float = 0.0
    """Largest demand seen, for the saving against a fixed fleet."""
    age_s: float = 0.0
    """How long ago the requests in flight came, in the mean, where replicas are full."""
    evened: tuple[float, float] | None = None
    """When arrivals were last evened out over that, in Unix seconds, and what they were then, in
    requests/s."""
    forecast: ForecastState = field(default_factory=ForecastState)
    """Arrival rates, for what is to come."""
    foreseen: tuple[tuple[float, float], ...] = ()
    """What was expected of late: when, in Unix seconds, and requests/s."""
    hinted: tuple[str, ...] = ()
    """Entries of the spec's schedule that are asked for, until their windows end."""
    margin: float = 0.0
    """Share of the demand that alarms last asked for on top."""
    margin_at: float = 0.0
    """When that was, in Unix seconds: it fades from then on."""
    eased: float = 0.0
    """Share of the demand that replicas were last shown not to need."""
    eased_at: float = 0.0
    """When that was, in Unix seconds: it fades from then on."""
    eased_where: tuple[str, ...] = ()
    """Names of the places with replicas that showed it."""
    served: tuple[Served, ...] = ()
    """Of the variants that serve now."""
    standing: tuple["Standing", ...] = ()
    """Looks at the queue for as long as it stands, oldest first."""
    answered: "Answered | None" = None
    """What replicas did while one stood; None where none has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A look at a queue that stands."""

    at: float
    """Unix seconds."""
    requests: float
    """All that are not answered."""
    ready: int
    """Ready replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What replicas of one variant did while requests waited for them."""

    pool: str
    parallelism: Parallelism
    rps: float
    """Requests/s that one answered at most."""
    at: float
    """When that was, in Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMemory:
    """What is remembered of a pool that ran short."""

    pool: str
    short_until: float
    """Unix seconds until which nothing new is put there."""
    backoff_s: float
    """How long the next rest will be."""
    held: int = 0
    """Devices that were scheduled there when it ran short, which stay usable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMemory:
    """What is remembered of how long replicas take to come: for one part of the way."""

    pool: str
    model: str | None
    """Whose replicas were watched from their node to Ready; None for the wait for a node."""
    image: bool = False
    """Whether it is the time until the image was there on nodes that were new; else, where that is
    known, it is the time from there on: weights and engine."""
    log_mean: float
    """Mean of the natural logarithm of the times in seconds, recent ones counting more."""
    log_var: float
    count: int
    """Replicas watched."""
    last: float
    """When the last of them got Ready, in Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReclaimMemory:
    """What is remembered of how often a domain of spot nodes is taken back."""

    domain: str
    taken: float
    """How often all of it was taken back, parts counting as parts, recent ones more."""
    watched_s: float
    """Time over which that was, recent time counting more, in seconds."""
    lost_at: float | None = None
    """When something was last taken back, in Unix seconds."""
    placed: int
    """Devices that our replicas held there at the last look."""
    last: float
    """When that was, in Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one variant has taught about its step times."""

    namespace: str
    name: str
    """Of the LLMDeployment."""
    pool: str
    parallelism: Parallelism
    accelerator: str
    """Catalogue name: another pool of the same devices is as fast."""
    model: str
    engine: EngineSettings
    revision: str
    """Of the pods that taught it; another one begins anew."""
    scales: StepScales
    """What is believed now."""
    used: StepScales | None = None
    """What plans rest on: follows `scales` only where it moved for good. None: not enough yet."""
    evidence_s: float = 0.0
    """Time over which observations were taken in, in seconds."""
    refused_s: float = 0.0
    """Time for which observations have contradicted what is believed, without a break."""
    updated: float
    """When an observation was last looked at, in Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannerMemory:
    """What one plan leaves for the next, sorted by name."""

    deployments: tuple[DeploymentMemory, ...] = ()
    pools: tuple[PoolMemory, ...] = ()
    calibrations: tuple[Calibration, ...] = ()
    """By namespace, name, pool and parallelism."""
    starts: tuple[StartMemory, ...] = ()
    """By pool and model."""
    reclaims: tuple[ReclaimMemory, ...] = ()
    """By domain."""
