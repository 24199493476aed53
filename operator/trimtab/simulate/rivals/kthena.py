"""Kthena's heterogeneous target: one count by a ratio, spread over backends by cost alone.

Source: volcano-sh/kthena 3cc05728, as research/peers.md (1.11) states it. Replicas of each backend
lie in blocks that grow by costExpansionRatePercent 200; blocks are filled in order of their cost,
each backend's capacity taken as equal. Tolerance 10 %, panic at 200 % for 60 s, limits per period,
stabilisation, unready and missing pods treated as the HPA does. No zero.

Assumed, where the page gives no figure: blocks of 1, 2, 4 ... replicas up to the backend's maximum,
a block's cost is its replicas times the backend's, and equal ones keep the backends' order; limits
of max(1 pod, 100 %) per 15 s both ways, no window upwards and 300 s downwards; in panic the limits
of the way up do not hold and nothing is removed. Of the two sources of its metrics, pods and
Prometheus, it has the pods, which answer through an outage of the other. A backend's maximum is its
pool's capacity, and its minimum 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Pool, Scrape
from trimtab.simulate.rivals.hpa import (
    DOWN_WINDOW_S,
    SYNC_S,
    Behavior,
    HpaMemory,
    Limits,
    Policy,
    ScalingRules,
    normalize,
)
from trimtab.simulate.rivals.hpa_metrics import PodsReading, pods_replicas, read_pods

TOLERANCE = 0.1
PANIC_RATIO = 2.0
PANIC_HOLD_S = 60.0
EXPANSION = 2.0
_POLICIES = (
    Policy(kind="Pods", value=1, period_s=15.0),
    Policy(kind="Percent", value=100, period_s=15.0),
)
BEHAVIOR = Behavior(
    up=ScalingRules(window_s=0.0, policies=_POLICIES),
    down=ScalingRules(window_s=DOWN_WINDOW_S, policies=_POLICIES),
)


def spread(pools: Sequence[Pool], replicas: int) -> dict[str, int]:
    """Return `replicas` over `pools`, or as many as there is room for."""
    blocks = []
    for order, pool in enumerate(pools):
        left, size = pool.capacity, 1.0
        while left > 0:
            block = min(left, int(size))
            blocks.append((block * pool.price, order, block))
            left -= block
            size *= EXPANSION
    counts = {pool.name: 0 for pool in pools}
    for _, order, block in sorted(blocks):
        taken = min(block, replicas)
        counts[pools[order].name] += taken
        replicas -= taken
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class KthenaMemory:
    """What the controller remembers."""

    hpa: HpaMemory
    panic_at: float | None = None
    """When the panic threshold was last exceeded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kthena:
    """One policy over all pools of the deployment; metric and target are the user's."""

    read: Callable[[Scrape], float]
    target: float
    name: str = "kthena"
    interval_s: float = SYNC_S

    def start(self, observation: Observation, now: float) -> KthenaMemory:
        """Return the memory of a new controller."""
        existing = sum(pool.desired for pool in observation.pools)
        return KthenaMemory(hpa=HpaMemory(recommendations=((now, existing),)))

    def decide(
        self, observation: Observation, memory: KthenaMemory, now: float
    ) -> Decision[KthenaMemory]:
        """Return the next replicas of all pools."""
        current = sum(pool.desired for pool in observation.pools)
        readings = [read_pods(pool, self.read) for pool in observation.pools]
        reading = PodsReading(
            values=tuple(value for one in readings for value in one.values),
            missing=sum(one.missing for one in readings),
            pending=sum(one.pending for one in readings),
        )
        wanted = pods_replicas(reading, current, self.target, TOLERANCE)
        if wanted is None:
            return Decision(replicas={}, memory=memory, reason="no pod reports the metric")
        lowest = max(1, observation.minimum)
        limits = Limits(minimum=lowest, maximum=observation.maximum, behavior=BEHAVIOR)
        desired, hpa = normalize(wanted, current, limits, memory.hpa, now)
        panic_at = now if wanted >= PANIC_RATIO * current else memory.panic_at
        panic = panic_at is not None and now - panic_at < PANIC_HOLD_S
        if panic:
            desired = max(desired, current, min(wanted, observation.maximum))
        return Decision(
            replicas=spread(observation.pools, desired),
            memory=replace(memory, hpa=hpa, panic_at=panic_at),
            reason=f"the metric asks for {wanted}" + (", panic" if panic else ""),
        )
