"""KEDA, which turns queries into a HorizontalPodAutoscaler and itself only goes to and from zero.

Source: KEDA v2.21.0 as research/rival-rules.md states it: polling 30 s, cool-down 300 s; an HPA on
External AverageValue; at zero and active: max(1, minimum); inactive for the cool-down with a
minimum of 0: zero. Its Prometheus scaler reads an empty answer as 0 unless told otherwise, and a
server that fails as an error, on which nothing changes.

`production_stack` is what the operator of the vLLM production stack configures, research/peers.md
(1.8): running requests 5, answer tokens/s 100 and prompt tokens/s 100 for each pod, up 1 pod/60 s
without a window, down 1 pod/60 s after 300 s, to zero after 1800 s, and the router's count of
incoming requests to wake up.

Assumed: the router's count is active when a request came within the last poll, and it does not ask
for replicas above zero.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Scrape, Source
from trimtab.simulate.rivals.hpa import (
    DOWN_WINDOW_S,
    SYNC_S,
    Behavior,
    Hpa,
    HpaMemory,
    Policy,
    ScalingRules,
)
from trimtab.simulate.rivals.hpa_metrics import ExternalMetric

POLL_S = 30.0
COOLDOWN_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """One Prometheus query: the sum of a figure over the pods of the pool."""

    read: Callable[[Scrape], float]
    threshold: float
    """For each pod."""
    ignore_null: bool = True
    """Whether an empty answer is 0; else it is an error."""

    def value(self, observation: Observation, pool: str) -> float | None:
        """Return the answer, None on an error."""
        if observation.metrics is Source.FAILS:
            return None
        scrapes = [
            replica.scrape
            for replica in observation.pool(pool).replicas
            if replica.scrape is not None
        ]
        if observation.metrics is Source.EMPTY or not scrapes:
            return 0.0 if self.ignore_null else None
        return math.fsum(self.read(scrape) for scrape in scrapes)


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaMemory:
    """What the operator and the HPA remember."""

    hpa: HpaMemory
    polled_at: float
    active_at: float
    """When a trigger was last active."""
    failing: bool = False
    """Whether a trigger gave an error and none was active at the last poll."""
    requests: float = 0.0
    """That reached the router since the last poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keda:
    """One ScaledObject on one pool."""

    pool: str
    triggers: tuple[Trigger, ...]
    behavior: Behavior | None = None
    cooldown_s: float = COOLDOWN_S
    wakes: bool = False
    """Whether requests at the router count as activity."""
    name: str = "keda"
    interval_s: float = SYNC_S

    def start(self, observation: Observation, now: float) -> KedaMemory:
        """Return the memory of a new operator, which polls at once and has seen what runs work."""
        hpa = self._hpa().start(observation, now)
        runs = observation.pool(self.pool).desired > 0
        return KedaMemory(hpa=hpa, polled_at=-math.inf, active_at=now if runs else -math.inf)

    def decide(
        self, observation: Observation, memory: KedaMemory, now: float
    ) -> Decision[KedaMemory]:
        """Return the next replicas of the pool."""
        memory = self._polled(observation, memory, now)
        pool = observation.pool(self.pool)
        lowest = max(1, observation.minimum)
        cold = now - memory.active_at >= self.cooldown_s
        if cold and observation.minimum == 0 and not memory.failing:
            return Decision(replicas={pool.name: 0}, memory=memory, reason="inactive")
        if pool.desired == 0:
            active = memory.active_at == now
            replicas = lowest if active else 0
            return Decision(replicas={pool.name: replicas}, memory=memory, reason="at zero")
        decision = self._hpa().decide(replace(observation, minimum=lowest), memory.hpa, now)
        return Decision(
            replicas=decision.replicas,
            memory=replace(memory, hpa=decision.memory),
            reason=decision.reason,
        )

    def _polled(self, observation: Observation, memory: KedaMemory, now: float) -> KedaMemory:
        requests = memory.requests + math.fsum(one.count for one in observation.arrivals)
        if now - memory.polled_at < POLL_S:
            return replace(memory, requests=requests)
        values = [trigger.value(observation, self.pool) for trigger in self.triggers]
        if self.wakes and observation.metrics is Source.ANSWERS:
            values.append(requests)
        active = any(value is not None and value > 0 for value in values)
        return replace(
            memory,
            polled_at=now,
            requests=0.0,
            active_at=now if active else memory.active_at,
            failing=not active and None in values,
        )

    def _hpa(self) -> Hpa:
        metrics = tuple(
            ExternalMetric(read=self._read(trigger), target=trigger.threshold)
            for trigger in self.triggers
        )
        return Hpa(pool=self.pool, metrics=metrics, behavior=self.behavior)

    def _read(self, trigger: Trigger) -> Callable[[Observation], float | None]:
        return lambda observation: trigger.value(observation, self.pool)


def production_stack(pool: str) -> Keda:
    """Return what the vLLM production stack makes of its defaults."""
    one_a_minute = (Policy(kind="Pods", value=1, period_s=60.0),)
    return Keda(
        pool=pool,
        triggers=(
            Trigger(read=lambda scrape: scrape.running, threshold=5.0),
            Trigger(read=lambda scrape: scrape.output_tokens_per_s, threshold=100.0),
            Trigger(read=lambda scrape: scrape.prompt_tokens_per_s, threshold=100.0),
        ),
        behavior=Behavior(
            up=ScalingRules(window_s=0.0, policies=one_a_minute),
            down=ScalingRules(window_s=DOWN_WINDOW_S, policies=one_a_minute),
        ),
        cooldown_s=1800.0,
        wakes=True,
        name="production-stack",
    )
