"""Ray Serve: ongoing requests of 30 s by a target, once they have asked for it long enough.

Source: docs.ray.io as research/peers.md (1.10) states it: target_ongoing_requests 2,
metrics_interval_s 10, look_back_period_s 30, upscale_delay_s 30, downscale_delay_s 600.

Assumed: replicas = ceil(mean of the look-back / target) (smoothing factors of 1); a move is made,
to the latest answer, once every answer of its delay has asked for that direction; from zero a
request brings replicas at once; the last step to zero has the delay of the others. Ray's control
loop runs more often than its metrics change; this one runs when they do.
"""

import math
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation

INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RayServeMemory:
    """What the controller remembers."""

    samples: tuple[tuple[float, float], ...] = ()
    """When, and how many requests were ongoing."""
    more_since: float | None = None
    """Since when every answer has asked for more replicas."""
    fewer_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RayServe:
    """One deployment on one pool."""

    pool: str
    target_ongoing: float = 2.0
    look_back_s: float = 30.0
    up_delay_s: float = 30.0
    down_delay_s: float = 600.0
    name: str = "ray-serve"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> RayServeMemory:
        """Return an empty memory."""
        return RayServeMemory()

    def decide(
        self, observation: Observation, memory: RayServeMemory, now: float
    ) -> Decision[RayServeMemory]:
        """Return the next replicas of the pool."""
        current = observation.pool(self.pool).desired
        samples = tuple(
            sample
            for sample in (*memory.samples, (now, observation.ongoing))
            if now - sample[0] < self.look_back_s
        )
        mean = math.fsum(ongoing for _, ongoing in samples) / len(samples)
        wanted = observation.clamp(math.ceil(mean / self.target_ongoing))
        more = _since(memory.more_since, wanted > current, now)
        fewer = _since(memory.fewer_since, wanted < current, now)
        due = (more is not None and (current == 0 or now - more >= self.up_delay_s)) or (
            fewer is not None and now - fewer >= self.down_delay_s
        )
        if due:
            more = fewer = None
        return Decision(
            replicas={self.pool: wanted if due else current},
            memory=replace(memory, samples=samples, more_since=more, fewer_since=fewer),
            reason=f"mean {mean:.1f}",
        )


def _since(since: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if since is None else since
