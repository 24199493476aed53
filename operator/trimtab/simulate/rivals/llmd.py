"""llm-d's SLO-aware path: predicted latency over its target, through KEDA and an HPA.

Source: llm-d guides/workload-autoscaling, as research/peers.md (1.2) states it. With
s = max(P90 TTFT / target, P90 TPOT / target), at most 2.0, averaged over 45 s: more above 0.55,
fewer below 0.40; s is credited r/n, with r replicas ready of n, so that warming replicas are not
asked for twice; the HPA adds max(100 %, 4 pods) per 60 s and removes 1 pod per 120 s. A missing
signal is 0, so that a broken scrape drains the pool to its minimum; the guide says so. The guide's
targets are 3 s and 0.1 s.

Assumed: s moves replicas in proportion, to n s / 0.55 above the band and n s / 0.40 below it; the
downscale window is Kubernetes' 300 s; every sync of the HPA (15 s) is a sample of the average;
latencies are measured, where the guide can also predict them.
"""

import math
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Source
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

CLAMP = 2.0
AVERAGE_S = 45.0
UP_ABOVE = 0.55
DOWN_BELOW = 0.40
BEHAVIOR = Behavior(
    up=ScalingRules(
        window_s=0.0,
        policies=(
            Policy(kind="Percent", value=100, period_s=60.0),
            Policy(kind="Pods", value=4, period_s=60.0),
        ),
    ),
    down=ScalingRules(
        window_s=DOWN_WINDOW_S, policies=(Policy(kind="Pods", value=1, period_s=120.0),)
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmdMemory:
    """What the recording rule and the HPA remember."""

    hpa: HpaMemory
    samples: tuple[tuple[float, float], ...] = ()
    """When, and the larger latency over its target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Llmd:
    """One pool of one model with one pair of targets."""

    pool: str
    ttft_s: float = 3.0
    """Of the 90th percentile."""
    tpot_s: float = 0.1
    name: str = "llm-d-slo"
    interval_s: float = SYNC_S

    def start(self, observation: Observation, now: float) -> LlmdMemory:
        """Return the memory of a new HPA."""
        existing = observation.pool(self.pool).desired
        return LlmdMemory(hpa=HpaMemory(recommendations=((now, existing),)))

    def decide(
        self, observation: Observation, memory: LlmdMemory, now: float
    ) -> Decision[LlmdMemory]:
        """Return the next replicas of the pool."""
        pool = observation.pool(self.pool)
        samples = (*memory.samples, (now, self._strain(observation)))
        samples = tuple(sample for sample in samples if now - sample[0] < AVERAGE_S)
        strain = math.fsum(value for _, value in samples) / len(samples)
        credited = strain * pool.ready / max(1, len(pool.replicas))
        wanted = pool.desired
        if credited > UP_ABOVE:
            wanted = math.ceil(pool.desired * credited / UP_ABOVE)
        elif strain < DOWN_BELOW:
            wanted = math.ceil(pool.desired * strain / DOWN_BELOW)
        limits = Limits(
            minimum=max(1, observation.minimum), maximum=observation.maximum, behavior=BEHAVIOR
        )
        desired, hpa = normalize(wanted, pool.desired, limits, memory.hpa, now)
        return Decision(
            replicas={pool.name: desired},
            memory=replace(memory, hpa=hpa, samples=samples),
            reason=f"latency at {strain:.2f} of its target",
        )

    def _strain(self, observation: Observation) -> float:
        latency = observation.latency
        if observation.metrics is not Source.ANSWERS or latency is None:
            return 0.0
        return min(CLAMP, max(latency.ttft_s / self.ttft_s, latency.itl_s / self.tpot_s))
