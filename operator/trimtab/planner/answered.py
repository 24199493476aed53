"""What replicas answer while requests wait for them: all that they can, whatever is believed of it.

A queue that stands measures a fleet without any figure of its engines: more than leaves it then
cannot be served. Where a guess of lengths or of speed is off, nothing else tells as early.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from trimtab.models.memory import Answered, DeploymentMemory, Standing
from trimtab.models.performance import Provenance
from trimtab.models.snapshot import DeploymentState
from trimtab.planner.evidence import QUEUED_PER_REPLICA, Evidence, believed
from trimtab.planner.foresight import faded
from trimtab.planner.place import Place

APART_S = 5.0
"""Time between two looks at a queue that are both kept: plans may follow each other closely."""
LEAST = 30.0
"""Requests that must have left: of so many the rate is sure to a third."""
SURELY = 2.0
"""Standard deviations by which more than left are taken to be possible."""
MOST = 4.0
"""Replicas are taken to do no less than so much less than is believed of them."""
HALF_LIFE_S = 1800.0
"""Time in which what was seen halves, as the margin does that alarms leave."""

_UNSEEN = frozenset({Provenance.GUESSED, Provenance.ESTIMATED})
"""What no engine has borne out. Beside a speed that was measured a queue that stands says something
else: that one replica hangs, or gets more than its share."""


def watched(
    memory: DeploymentMemory, state: DeploymentState, evidence: Evidence, now: float
) -> DeploymentMemory:
    """Return the memory with what the replicas of one variant answered in the last window.

    That is what came in it, and what the system has fewer of than at its begin. It counts where
    requests waited for all of that time, and the same replicas served.
    """
    serving = [variant for variant in state.variants if variant.ready]
    running, rate = believed(state.load.running), believed(state.load.arrival_rps)
    if len(serving) != 1 or running is None or rate is None or not evidence.fresh:
        return memory if not memory.standing else replace(memory, standing=())
    ((ready, pool, parallelism),) = ((v.ready, v.pool, v.parallelism) for v in serving)
    known = memory.answered
    if known is not None and (known.pool, known.parallelism) != (pool, parallelism):
        known = None
    window_s = state.load.window_s
    if evidence.waiting <= QUEUED_PER_REPLICA * ready:
        if known is not None and rate / ready > known.rps:
            # What comes and does not wait is answered.
            known = replace(known, rps=rate / ready)
        if known is memory.answered and not memory.standing:
            return memory
        return replace(memory, standing=(), answered=known)
    kept = [s for s in memory.standing if s.ready == ready and 0 <= now - s.at <= 2 * window_s]
    there = Standing(at=now, requests=running + evidence.waiting, ready=ready)
    old = [s for s in kept if now - s.at >= window_s]
    if old:
        then = old[-1]
        left = rate * (now - then.at) + then.requests - there.requests
        if left >= LEAST:
            rps = (left + SURELY * math.sqrt(left)) / (now - then.at) / ready
            known = Answered(pool=pool, parallelism=parallelism, rps=rps, at=now)
    if not kept or now - kept[-1].at >= APART_S:
        kept = [*kept, there]
    return replace(memory, standing=tuple(kept), answered=known)


def times(memory: DeploymentMemory, running: Iterable[Place], now: float) -> float:
    """Return how many times as much as they do the replicas are guessed to do, at least 1."""
    known = memory.answered
    if known is None:
        return 1.0
    guessed = (
        capacity.max_rps
        for place in running
        if place.key == (known.pool, known.parallelism)
        and place.choice is not None
        and (capacity := place.choice.capacity) is not None
        and capacity.provenance in _UNSEEN
    )
    share = max(0.0, next(guessed, 0.0) / known.rps - 1.0)
    return min(MOST, 1.0 + faded(share, now - known.at, HALF_LIFE_S))
