"""Kubernetes' HorizontalPodAutoscaler on metrics of one's own, which most autoscalers end in.

Source: kubernetes v1.34.4, pkg/controller/podautoscaler, as research/rival-rules.md states it. The
sync period is 15 s, the tolerance 0.1 both ways, the downscale window 300 s.
"""

import math
from dataclasses import dataclass
from typing import Literal

from trimtab.simulate.rivals.base import Decision, Observation, Pool
from trimtab.simulate.rivals.hpa_metrics import (
    TOLERANCE,
    Metric,
    PodsMetric,
    combine,
    external_average_replicas,
    external_value_replicas,
    pods_replicas,
    read_pods,
)

SYNC_S = 15.0
DOWN_WINDOW_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How far replicas may move within a period."""

    kind: Literal["Pods", "Percent"]
    value: float
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingRules:
    """One direction of `behavior`."""

    window_s: float
    policies: tuple[Policy, ...]
    select: Literal["Max", "Min", "Disabled"] = "Max"


DEFAULT_UP = ScalingRules(
    window_s=0.0,
    policies=(
        Policy(kind="Pods", value=4, period_s=15.0),
        Policy(kind="Percent", value=100, period_s=15.0),
    ),
)
DEFAULT_DOWN = ScalingRules(
    window_s=DOWN_WINDOW_S, policies=(Policy(kind="Percent", value=100, period_s=15.0),)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behavior:
    """`spec.behavior`; even an empty one changes how fast replicas are added."""

    up: ScalingRules = DEFAULT_UP
    down: ScalingRules = DEFAULT_DOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What holds a recommendation back."""

    minimum: int
    maximum: int
    behavior: Behavior | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaMemory:
    """What the controller remembers, oldest first. It does not survive a restart."""

    recommendations: tuple[tuple[float, int], ...]
    """When, and what the metrics asked for before any limit; at first, what there was."""
    changes: tuple[tuple[float, int], ...] = ()
    """When, and how many replicas were added (or removed, below zero)."""


def normalize(
    wanted: int, current: int, limits: Limits, memory: HpaMemory, now: float
) -> tuple[int, HpaMemory]:
    """Return the replicas that windows, policies and bounds let through, and the new memory."""
    lowest, highest, behavior = limits.minimum, limits.maximum, limits.behavior
    if behavior is None:
        stable = max([wanted, *_younger(memory.recommendations, now, DOWN_WINDOW_S)])
        limit = min(highest, max(2 * current, 4))
        desired = max(lowest, min(limit, stable))
        keep_s, period_s = DOWN_WINDOW_S, 0.0
    else:
        up, down = behavior.up, behavior.down
        least = min([wanted, *_younger(memory.recommendations, now, up.window_s)])
        most = max([wanted, *_younger(memory.recommendations, now, down.window_s)])
        desired = min(max(current, least), most)
        if desired > current:
            limit = min(highest, max(current, _up_limit(current, up, memory, now)))
            desired = min(desired, limit)
        elif desired < current:
            limit = max(lowest, min(current, _down_limit(current, down, memory, now)))
            desired = max(desired, limit)
        keep_s = max(up.window_s, down.window_s)
        period_s = max(policy.period_s for policy in (*up.policies, *down.policies))
    changes = memory.changes if desired == current else (*memory.changes, (now, desired - current))
    return desired, HpaMemory(
        recommendations=_kept((*memory.recommendations, (now, wanted)), now, keep_s),
        changes=_kept(changes, now, period_s),
    )


def _kept(
    records: tuple[tuple[float, int], ...], now: float, window_s: float
) -> tuple[tuple[float, int], ...]:
    return tuple(record for record in records if now - record[0] < window_s)


def _younger(records: tuple[tuple[float, int], ...], now: float, window_s: float) -> list[int]:
    return [value for _, value in _kept(records, now, window_s)]


def _up_limit(current: int, rules: ScalingRules, memory: HpaMemory, now: float) -> int:
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = current - sum(_younger(memory.changes, now, policy.period_s))
        if policy.kind == "Pods":
            limits.append(start + int(policy.value))
        else:
            limits.append(math.ceil(start * (1.0 + policy.value / 100.0)))
    return max(limits) if rules.select == "Max" else min(limits)


def _down_limit(current: int, rules: ScalingRules, memory: HpaMemory, now: float) -> int:
    if rules.select == "Disabled":
        return current
    limits = []
    for policy in rules.policies:
        start = current - sum(_younger(memory.changes, now, policy.period_s))
        if policy.kind == "Pods":
            limits.append(start - int(policy.value))
        else:
            limits.append(int(start * (1.0 - policy.value / 100.0)))
    return min(limits) if rules.select == "Max" else max(limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hpa:
    """One HorizontalPodAutoscaler on one pool.

    The metrics and their targets are the user's: Kubernetes has no default for them.
    """

    pool: str
    metrics: tuple[Metric, ...]
    behavior: Behavior | None = None
    tolerance: float = TOLERANCE
    name: str = "hpa"
    interval_s: float = SYNC_S

    def start(self, observation: Observation, now: float) -> HpaMemory:
        """Return a memory in which what exists was recommended just now."""
        return HpaMemory(recommendations=((now, observation.pool(self.pool).desired),))

    def decide(
        self, observation: Observation, memory: HpaMemory, now: float
    ) -> Decision[HpaMemory]:
        """Return the next replicas of the pool."""
        pool = observation.pool(self.pool)
        current = pool.desired
        if current == 0 and observation.minimum > 0:
            return self._keep(pool, memory, "disabled: scaled to zero by hand")
        bounded = observation.clamp(current)
        if current != bounded:
            return Decision(replicas={pool.name: bounded}, memory=memory, reason="out of bounds")
        proposals = [self._proposal(metric, observation, pool) for metric in self.metrics]
        wanted = combine(proposals, current)
        if wanted is None:
            return self._keep(pool, memory, "a metric could not be read")
        limits = Limits(
            minimum=observation.minimum, maximum=observation.maximum, behavior=self.behavior
        )
        desired, after = normalize(wanted, current, limits, memory, now)
        return Decision(
            replicas={pool.name: desired}, memory=after, reason=f"the metrics ask for {wanted}"
        )

    def _keep(self, pool: Pool, memory: HpaMemory, reason: str) -> Decision[HpaMemory]:
        return Decision(replicas={pool.name: pool.desired}, memory=memory, reason=reason)

    def _proposal(self, metric: Metric, observation: Observation, pool: Pool) -> int | None:
        if isinstance(metric, PodsMetric):
            reading = read_pods(pool, metric.read, observation.metrics)
            return pods_replicas(reading, pool.desired, metric.target, self.tolerance)
        total = metric.read(observation)
        if total is None:
            return None
        if metric.average:
            status = len(pool.replicas)
            return external_average_replicas(total, status, metric.target, self.tolerance)
        counts = (pool.desired, pool.ready)
        return external_value_replicas(total, counts, metric.target, self.tolerance)
