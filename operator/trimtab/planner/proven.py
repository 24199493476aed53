"""Where requests of now were served in time, whatever is believed of the longest of them.

How many requests hardware is too slow for follows from how lengths were counted, between bounds
that are far apart, and from the performance model. Replicas that serve show it.
"""

from collections.abc import Iterable
from dataclasses import replace

from trimtab.models.load import LatencyTargets
from trimtab.models.memory import DeploymentMemory, Served
from trimtab.models.snapshot import DeploymentState
from trimtab.planner.ability import SURELY
from trimtab.planner.choice import order
from trimtab.planner.demand import ASSUMED_REQUESTS, SPREAD_REQUESTS
from trimtab.planner.evidence import Evidence, believed, is_settling
from trimtab.planner.place import PlaceKey


def served(
    memory: DeploymentMemory,
    state: DeploymentState,
    evidence: Evidence,
    targets: LatencyTargets,
    since_s: float,
) -> DeploymentMemory:
    """Return the memory with how the replicas served in the last `since_s`, where that is sure."""
    ready = [((v.pool, v.parallelism), v.ready) for v in state.variants]
    serving = {key for key, n in ready if n}
    if any((one.pool, one.parallelism) not in serving for one in memory.served):
        # What was late may have been late there.
        memory = replace(memory, served=())
    attained = believed(state.load.slo_attainment)
    if not evidence.fresh or not evidence.arrivals or not targets.any or attained is None:
        return memory
    if is_settling(state):
        return memory
    requests = evidence.arrivals * min(max(since_s, 0.0), state.load.window_s)
    return watched(memory, ready, (1.0 - min(attained, 1.0)) * requests, requests)


def watched(
    memory: DeploymentMemory, ready: Iterable[tuple[PlaceKey, int]], late: float, requests: float
) -> DeploymentMemory:
    """Return the memory with `requests` more, of which `late` missed a target.

    `ready` are the replicas that serve at each place; each gets the same share of the requests.
    Whose requests were late is not known, so that every place is charged with all of them.
    """
    counts = sorted(
        ((key, n) for key, n in ready if n), key=lambda one: (one[0][0], order(one[0][1]))
    )
    total = sum(n for _, n in counts)
    before = {(one.pool, one.parallelism): one for one in memory.served}
    if not total or requests <= 0.0:
        return memory
    found = []
    for (pool, parallelism), n in counts:
        known = before.get((pool, parallelism)) or Served(pool=pool, parallelism=parallelism)
        more = requests * n / total
        keep = min(1.0, SPREAD_REQUESTS / (known.requests + more))
        found.append(
            Served(
                pool=pool,
                parallelism=parallelism,
                requests=(known.requests + more) * keep,
                late=(known.late + min(late, more)) * keep,
            )
        )
    return replace(memory, served=tuple(found))


def proven(memory: DeploymentMemory, percentile: float) -> frozenset[PlaceKey]:
    """Return the places that serve in time as many as they have to, as far as was seen.

    What is believed of a place that is too slow for SURELY times as many as may be late counts as
    ASSUMED_REQUESTS do.
    """
    allowed = 1.0 - percentile
    return frozenset(
        (one.pool, one.parallelism)
        for one in memory.served
        if SURELY * allowed * ASSUMED_REQUESTS + one.late
        <= allowed * (ASSUMED_REQUESTS + one.requests)
    )
