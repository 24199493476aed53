"""KubeAI: the mean of requests in flight over ten minutes, by a number, patient downwards.

Source: kubeai-project/kubeai 2f32ef49, as research/peers.md (1.12) states it: requests in flight at
its proxy, sampled every 10 s, their mean over 10 min by targetRequests 100; down after
scaleDownDelaySeconds 30. The proxy holds requests at zero. No Prometheus is asked.

Assumed: replicas = ceil(mean / target); a move down needs a lower answer at each sample of the
delay, and goes to the last of them; a held request brings one replica at once; the samples outlive
a restart (its state is in a ConfigMap) and at first explain the replicas that exist.
"""

import math
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation

INTERVAL_S = 10.0
WINDOW_S = 600.0
SAMPLES = round(WINDOW_S / INTERVAL_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeAiMemory:
    """What the controller remembers."""

    samples: tuple[float, ...]
    """Requests in flight, oldest first."""
    lower: int = 0
    """Samples in a row that asked for fewer replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeAi:
    """One Model on one pool."""

    pool: str
    target_requests: float = 100.0
    down_delay_s: float = 30.0
    name: str = "kubeai"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> KubeAiMemory:
        """Return a memory whose mean explains the replicas that exist."""
        mean = observation.pool(self.pool).desired * self.target_requests
        return KubeAiMemory(samples=(mean,) * SAMPLES)

    def decide(
        self, observation: Observation, memory: KubeAiMemory, now: float
    ) -> Decision[KubeAiMemory]:
        """Return the next replicas of the pool."""
        pool = observation.pool(self.pool)
        samples = (*memory.samples, observation.ongoing)[-SAMPLES:]
        mean = math.fsum(samples) / SAMPLES
        wanted = observation.clamp(math.ceil(mean / self.target_requests))
        if observation.held > 0:
            wanted = max(wanted, 1)
        lower = memory.lower + 1 if wanted < pool.desired else 0
        if 0 < lower < math.ceil(self.down_delay_s / self.interval_s):
            wanted = pool.desired
        elif lower:
            lower = 0
        return Decision(
            replicas={pool.name: wanted},
            memory=replace(memory, samples=samples, lower=lower),
            reason=f"mean {mean:.1f}",
        )
