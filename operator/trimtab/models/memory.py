"""What one plan leaves for the next. An empty memory means hold, never free."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedSample:
    """What fresh evidence asked for at one time."""

    at: float
    """Unix seconds."""
    rps: float
    """Demand, requests/s, queue included."""
    replicas: int
    """Replicas that this demand needed on the fleet of that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentMemory:
    """What is remembered of one deployment."""

    namespace: str
    name: str
    uid: str
    """A recreated deployment is a new one."""
    samples: tuple[WantedSample, ...] = ()
    """Fresh evidence without a gap, oldest first; a doubtful signal empties it."""
    fresh_since: float | None = None
    """Since when evidence has been fresh without a gap; None while it is not."""
    idle_since: float | None = None
    """Since when fresh evidence has shown no request at all."""
    last_down_at: float | None = None
    last_up_at: float | None = None
    move_since: float | None = None
    """Since when one and the same move to other pools has paid off."""
    move_to: str | None = None
    """Which move that is."""
    peak_rps: float = 0.0
    """Largest demand seen, for the saving against a fixed fleet."""


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
class PlannerMemory:
    """What one plan leaves for the next, sorted by name."""

    deployments: tuple[DeploymentMemory, ...] = ()
    pools: tuple[PoolMemory, ...] = ()
