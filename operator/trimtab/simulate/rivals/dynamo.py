"""NVIDIA Dynamo's planner: a forecast sets the floor, what engines report moves one at a time.

Source: research/peers.md (1.6). Every 180 s the requests of the interval are divided by what one
engine serves within the targets (TTFT 500 ms, ITL 50 ms); every 5 s one engine more when all of
them are estimated to miss a target, one less, down to that floor, when all are below 80 % of both.
Estimates are linear in what an engine has at hand, fitted to the last 64 samples, from 5 on. The
GPU budget is 8 unless told otherwise. A Prometheus that fails reads as no request [inferred there];
the loop of 5 s reads the engines themselves.

Assumed: the constant predictor, which Dynamo offers beside ARIMA, Kalman and Prophet, so that the
next interval is as the last; TTFT is fitted to the prompt tokens that wait and ITL to the tokens in
the KV cache; both loops hold while engines start or leave (dynamo#14251, #12428); an aggregated
deployment, whose engine serves `capacity` requests/s. `dynamo_profile` holds what the planner reads
from a profile of prefill and decode engines.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from trimtab.simulate.rivals.base import Decision, Observation, Pool, Scrape, Source, Work

LOAD_INTERVAL_S = 5.0
THROUGHPUT_INTERVAL_S = 180.0
SAMPLES = 64
FEWEST_SAMPLES = 5
DOWN_SHARE = 0.8

Samples = tuple[tuple[float, float], ...]
_NONE = Work()


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamoMemory:
    """What the planner remembers."""

    forecast_at: float
    """When the floor was last set."""
    floor: int
    work: Work = _NONE
    """What came since then."""
    ttft: Samples = ()
    """Prompt tokens that waited on an engine, and its time to first token."""
    itl: Samples = ()
    """Tokens in an engine's KV cache, and its gap between tokens."""


def estimate(samples: Samples, at: float) -> float | None:
    """Return the least-squares line through `samples` at `at`, None with too few of them."""
    if len(samples) < FEWEST_SAMPLES:
        return None
    mean_x = math.fsum(x for x, _ in samples) / len(samples)
    mean_y = math.fsum(y for _, y in samples) / len(samples)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in samples)
    if spread == 0:
        return mean_y
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in samples) / spread
    return mean_y + slope * (at - mean_x)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamo:
    """One deployment of aggregated engines on one pool."""

    pool: str
    capacity: Callable[[float, float], float]
    """Requests/s that one engine serves within the targets, of (input, output) tokens."""
    gpus: int
    """Of one engine."""
    gpu_budget: int | None = 8
    """`max_gpu_budget`; None means none."""
    ttft_s: float = 0.5
    itl_s: float = 0.05
    name: str = "dynamo"
    interval_s: float = LOAD_INTERVAL_S

    def start(self, observation: Observation, now: float) -> DynamoMemory:
        """Return the memory of a new planner, which keeps what exists until its first forecast."""
        return DynamoMemory(forecast_at=now, floor=observation.pool(self.pool).desired)

    def decide(
        self, observation: Observation, memory: DynamoMemory, now: float
    ) -> Decision[DynamoMemory]:
        """Return the next replicas of the pool."""
        pool = observation.pool(self.pool)
        memory = self._seen(observation, pool, memory)
        if now - memory.forecast_at >= THROUGHPUT_INTERVAL_S:
            floor = self._bounded(observation, self._forecast(memory, now))
            memory = replace(memory, forecast_at=now, floor=floor, work=Work())
        if pool.ready != pool.desired or len(pool.replicas) != pool.desired:
            return Decision(replicas={}, memory=memory, reason="engines start or leave")
        step = self._step(pool, memory)
        wanted = max(memory.floor, pool.desired + step)
        return Decision(
            replicas={pool.name: self._bounded(observation, wanted)},
            memory=memory,
            reason=f"floor {memory.floor}, load {step:+d}",
        )

    def _seen(self, observation: Observation, pool: Pool, memory: DynamoMemory) -> DynamoMemory:
        answers = observation.metrics is Source.ANSWERS
        scrapes = _scrapes(pool)
        ttft = tuple((s.waiting_prompt_tokens, s.ttft_s) for s in scrapes if s.ttft_s is not None)
        itl = tuple((s.kv_used * pool.kv_tokens, s.itl_s) for s in scrapes if s.itl_s is not None)
        return replace(
            memory,
            work=memory.work.plus(observation.arrivals if answers else ()),
            ttft=(memory.ttft + ttft)[-SAMPLES:],
            itl=(memory.itl + itl)[-SAMPLES:],
        )

    def _forecast(self, memory: DynamoMemory, now: float) -> int:
        seen = memory.work
        if seen.requests <= 0:
            return 0
        rps = seen.requests / (now - memory.forecast_at)
        return math.ceil(rps / self.capacity(seen.mean_input, seen.mean_output))

    def _step(self, pool: Pool, memory: DynamoMemory) -> int:
        """Return +1 when all engines miss a target, -1 when all are well within both."""
        scrapes = _scrapes(pool)
        if not scrapes:
            return 0
        worst = []
        for scrape in scrapes:
            ttft = estimate(memory.ttft, scrape.waiting_prompt_tokens)
            itl = estimate(memory.itl, scrape.kv_used * pool.kv_tokens)
            if ttft is None or itl is None:
                return 0
            worst.append(max(ttft / self.ttft_s, itl / self.itl_s))
        if min(worst) > 1.0:
            return 1
        return -1 if max(worst) < DOWN_SHARE else 0

    def _bounded(self, observation: Observation, replicas: int) -> int:
        most = math.inf if self.gpu_budget is None else self.gpu_budget // self.gpus
        return max(1, int(min(observation.clamp(replicas), most)))


def _scrapes(pool: Pool) -> list[Scrape]:
    return [replica.scrape for replica in pool.replicas if replica.scrape is not None]
