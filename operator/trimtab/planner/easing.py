"""How much less of the demand has to be covered than is believed, by what was carried in time.

What the performance model is unsure of, and what is kept free, costs replicas. Where replicas are
as full as they may be and few requests are late, that has proved too careful, and growth waits a
little longer. Any alarm takes it away at once, and nothing is removed because of it.
"""

from dataclasses import dataclass, replace

from trimtab.models.memory import DeploymentMemory
from trimtab.planner.foresight import faded

MOST = 0.15
"""Share of the demand that is let go of at most: the model's doubt, and half of what is kept free.
Beyond that a replica would be asked for more than it is believed to do."""
LEARNT_S = 300.0
"""Shortest time in which all of that is learnt: the window over which anything else is judged."""
LATE_REQUESTS = 10.0
"""Requests that may be late, in as many as it takes to learn all of that."""
KEPT_BACK = 0.5
"""Share of the requests that may be late up to which there is something to let go of."""
BEYOND = 1.1
"""Times the fullest that replicas were seen to be in time, up to which they are trusted."""
HALF_LIFE_S = 1800.0
"""Time without evidence in which what was learnt halves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What replicas did in the time since the plan before."""

    fullness: float
    """Requests that arrived, over those that the replicas are given."""
    late: float
    """Share of requests that missed a target."""
    allowed: float
    """Share that may."""
    requests: float
    """How many there were."""
    since_s: float
    """Seconds."""
    where: tuple[str, ...]
    """Names of the places with replicas."""


def eased(memory: DeploymentMemory, now: float, where: tuple[str, ...]) -> float:
    """Return the share of the demand that need not be covered with replicas at `where`."""
    if where != memory.eased_where:
        return 0.0
    return faded(memory.eased, now - memory.eased_at, HALF_LIFE_S)


def taught(memory: DeploymentMemory, carried: Carried, now: float) -> DeploymentMemory:
    """Return the memory with what `carried` shows: more to let go of, or less."""
    before = eased(memory, now, carried.where)
    share = min(carried.since_s / LEARNT_S, carried.requests * carried.allowed / LATE_REQUESTS)
    change = MOST * share * (1.0 - carried.late / (KEPT_BACK * carried.allowed))
    proven = 1.0 - 1.0 / max(1.0, BEYOND * carried.fullness)
    if change > 0.0 and before >= proven:
        return memory
    after = max(0.0, before + change)
    if change > 0.0:
        after = min(after, proven, MOST)
    return replace(memory, eased=after, eased_at=now, eased_where=carried.where)


def forgotten(memory: DeploymentMemory) -> DeploymentMemory:
    """Return the memory with nothing let go of."""
    return memory if not memory.eased else replace(memory, eased=0.0)
