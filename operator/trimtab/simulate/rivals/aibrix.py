"""AIBrix: a ratio with caps for one pool (APA), and Mélange's programme over several.

Source: vllm-project/aibrix e3e10f9e, as research/peers.md (1.3) and rival-rules.md state it.

APA: every 10 s the metric's mean over its target, ignored within 10 % of 1; at most twice and at
least half the pods at once; 0 s after the last move up, 300 s down. It reads the pods' own pages,
and no Prometheus; a metric that nobody reports changes nothing.

GPU optimizer: every 10 s the requests of the last 240 s, by cells of their prompt and answer
lengths, go through Mélange's programme with 4 slices and, where no benchmark met the target, a load
of a million: an unreachable target is answered with millions of GPUs. Each pool's PodAutoscaler
follows its count.

Assumed: a cool-down starts with each move; the PodAutoscalers are of strategy APA on the count at a
target of 1; every cell is a pattern (AIBrix clusters with DBSCAN and leaves some requests out) and
a request belongs to the cell nearest in powers of two; the minimum of the deployment, which the
optimizer does not know, is kept in its cheapest pool.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from trimtab.simulate.rivals.base import Arrival, Decision, Observation, Scrape
from trimtab.simulate.rivals.hpa_metrics import read_pods
from trimtab.simulate.rivals.melange import Gpu, Mix, cheapest_mix

INTERVAL_S = 10.0
TOLERANCE = 0.1
MOST_UP = 2.0
MOST_DOWN = 2.0
DOWN_COOLDOWN_S = 300.0
WINDOW_S = 240.0
SLICES = 4
UNSERVED_LOAD = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class ApaMemory:
    """When each pool last moved."""

    moved_at: Mapping[str, float] = field(default_factory=dict)


def apa_replicas(current: int, wanted: float) -> int:
    """Return the pods where current * metric / target is `wanted`; from none, as from one."""
    if abs(wanted - current) <= TOLERANCE * current:
        return current
    most = math.ceil(max(1, current) * MOST_UP)
    return max(math.floor(current / MOST_DOWN), min(most, math.ceil(wanted)))


def cooled(wanted: int, current: int, moved_at: float | None, now: float) -> int:
    """Return `wanted`, or what is when a move down comes too soon after the last move."""
    if wanted < current and moved_at is not None and now - moved_at < DOWN_COOLDOWN_S:
        return current
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Apa:
    """One PodAutoscaler of strategy APA on one pool; metric and target are the user's."""

    pool: str
    read: Callable[[Scrape], float]
    target: float
    name: str = "aibrix-apa"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> ApaMemory:
        """Return an empty memory."""
        return ApaMemory()

    def decide(
        self, observation: Observation, memory: ApaMemory, now: float
    ) -> Decision[ApaMemory]:
        """Return the next replicas of the pool."""
        pool = observation.pool(self.pool)
        values = read_pods(pool, self.read).values
        if not values:
            return Decision(replicas={}, memory=memory, reason="nobody reports the metric")
        ratio = math.fsum(values) / len(values) / self.target
        wanted = observation.clamp(apa_replicas(pool.desired, pool.desired * ratio))
        wanted = cooled(wanted, pool.desired, memory.moved_at.get(pool.name), now)
        return Decision(
            replicas={pool.name: wanted},
            memory=_moved(memory, {pool.name: (pool.desired, wanted)}, now),
            reason=f"{ratio:.2f} of the target",
        )


def _moved(memory: ApaMemory, moves: Mapping[str, tuple[int, int]], now: float) -> ApaMemory:
    new = {name: now for name, (before, after) in moves.items() if before != after}
    return replace(memory, moved_at={**memory.moved_at, **new})


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """Benchmarks of all GPU types on one grid of request sizes."""

    input_tokens: tuple[float, ...]
    """Rising."""
    output_tokens: tuple[float, ...]
    """Rising."""
    throughputs: Mapping[str, tuple[tuple[float, ...], ...]]
    """Requests/s of one replica by pool, output and input; 0 where no run met the targets."""

    def cell(self, input_tokens: float, output_tokens: float) -> int:
        """Return the cell of a request, row by row of the outputs."""
        row = _nearest(self.output_tokens, output_tokens)
        return row * len(self.input_tokens) + _nearest(self.input_tokens, input_tokens)

    def counts(self, arrivals: Iterable[Arrival]) -> tuple[float, ...]:
        """Return the requests of each cell."""
        counts = [0.0] * (len(self.input_tokens) * len(self.output_tokens))
        for arrival in arrivals:
            counts[self.cell(arrival.input_tokens, arrival.output_tokens)] += arrival.count
        return tuple(counts)

    def mix(self, costs: Mapping[str, float], rates: Sequence[float], *, whole: bool = True) -> Mix:
        """Return the cheapest replicas of the pools that have a profile; `whole` are slices."""
        gpus = [
            Gpu(
                name=name,
                cost=costs[name],
                loads=tuple(1.0 / t if t > 0 else UNSERVED_LOAD for row in grid for t in row),
            )
            for name, grid in self.throughputs.items()
        ]
        return cheapest_mix(gpus, rates, SLICES, whole=whole)


def _nearest(values: Sequence[float], value: float) -> int:
    """Return which of the rising `values` has the ratio to `value` that is closest to 1."""
    for i, (low, high) in enumerate(pairwise(values)):
        if value * value <= low * high:
            return i
    return len(values) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerMemory:
    """The requests of the last window, and what the PodAutoscalers remember."""

    since: float
    """When it began to watch."""
    counts: tuple[tuple[float, tuple[float, ...]], ...] = ()
    """When they were counted, and the requests of each cell."""
    apa: ApaMemory = ApaMemory()


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuOptimizer:
    """The optimizer with one PodAutoscaler for each pool that has a profile."""

    profiles: Profiles
    name: str = "aibrix-optimizer"
    interval_s: float = INTERVAL_S

    def start(self, observation: Observation, now: float) -> OptimizerMemory:
        """Return the memory of a new optimizer."""
        return OptimizerMemory(since=now)

    def decide(
        self, observation: Observation, memory: OptimizerMemory, now: float
    ) -> Decision[OptimizerMemory]:
        """Return the next replicas of all pools with a profile."""
        counted = (now, self.profiles.counts(observation.arrivals))
        window = tuple(item for item in (*memory.counts, counted) if now - item[0] < WINDOW_S)
        seconds = min(max(now - memory.since, self.interval_s), WINDOW_S)
        pools = {pool.name: pool for pool in observation.pools}
        costs = {name: pools[name].price for name in self.profiles.throughputs}
        totals = (math.fsum(cell) for cell in zip(*(cells for _, cells in window), strict=True))
        # One in thousands of these with whole slices never ends in HiGHS 1.16. Split ones are never
        # dearer, to the rule's advantage.
        mix = self.profiles.mix(costs, [total / seconds for total in totals], whole=False)
        counts = dict(mix.counts)
        cheapest = min(costs, key=lambda name: (costs[name], name))
        counts[cheapest] += max(0, observation.minimum - sum(counts.values()))
        wanted = {}
        for name, count in counts.items():
            current = pools[name].desired
            followed = min(apa_replicas(current, count), observation.maximum)
            wanted[name] = cooled(followed, current, memory.apa.moved_at.get(name), now)
        moves = {name: (pools[name].desired, count) for name, count in wanted.items()}
        return Decision(
            replicas=wanted,
            memory=replace(memory, counts=window, apa=_moved(memory.apa, moves, now)),
            reason=f"mix {mix.counts}",
        )
