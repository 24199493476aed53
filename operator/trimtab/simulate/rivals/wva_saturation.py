"""llm-d's Workload Variant Autoscaler by KV cache and queue: its saturation analyzer, version 1.

Source: llm-d-workload-variant-autoscaler b08b1c77, internal/saturation, as research/rival-rules.md
states it. A replica is saturated at KV >= 0.80 or queue >= 5 (maxima of 1 min). One replica more
on the cheapest variant when the mean spare of the others is below 0.1 of KV or 3 of queue; else
one less on the dearest when, with their load on one replica fewer, both spares would hold and at
least 2 are not saturated. Nothing while a variant's replicas are not those that were asked for or
do not all report. Every 60 s.

Assumed: pages are scraped every 15 s; a variant keeps at least one replica (as the vectors show)
and the cheapest is the one to grow only while none of its replicas is pending; the bounds of the
deployment hold; variants of one price are taken by name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from trimtab.simulate.rivals.base import Decision, Observation, Pool, Source

INTERVAL_S = 60.0
SCRAPE_S = 15.0
PEAK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The saturation ConfigMap, at its defaults."""

    kv: float = 0.80
    queue: float = 5.0
    spare_kv: float = 0.1
    spare_queue: float = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """The maxima that one replica reported."""

    kv_used: float
    waiting: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One kind of replica of the model."""

    name: str
    cost: float
    current: int
    desired: int
    """What was asked for before; 0 when nothing was."""
    pending: int
    peaks: tuple[Peak, ...]
    """Of the replicas that report."""

    @property
    def settled(self) -> bool:
        """Whether its replicas are those asked for, and all report."""
        return self.desired in (0, self.current) and len(self.peaks) == self.current


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """What the replicas of all variants together say."""

    unsaturated: int
    spare_kv: float
    spare_queue: float
    up: bool
    down_safe: bool


def analyze(peaks: Sequence[Peak], thresholds: Thresholds) -> Analysis:
    """Return whether one replica more is needed, or one less would do."""
    spares = [
        (thresholds.kv - peak.kv_used, thresholds.queue - peak.waiting)
        for peak in peaks
        if peak.kv_used < thresholds.kv and peak.waiting < thresholds.queue
    ]
    count = len(spares)
    spare_kv = fmean(kv for kv, _ in spares) if spares else 0.0
    spare_queue = fmean(queue for _, queue in spares) if spares else 0.0
    low = spare_kv < thresholds.spare_kv or spare_queue < thresholds.spare_queue
    down_safe = False
    if count >= 2:
        # The whole load first: six full queues of 2 are then exactly that, not a little more.
        kv = thresholds.kv - (thresholds.kv - spare_kv) * count / (count - 1)
        queue = thresholds.queue - (thresholds.queue - spare_queue) * count / (count - 1)
        down_safe = kv >= thresholds.spare_kv and queue >= thresholds.spare_queue
    return Analysis(
        unsaturated=count,
        spare_kv=spare_kv,
        spare_queue=spare_queue,
        up=bool(peaks) and low,
        down_safe=down_safe,
    )


def targets(variants: Sequence[Variant], analysis: Analysis) -> dict[str, int]:
    """Return the replicas of each variant."""
    wanted = {variant.name: variant.desired or variant.current for variant in variants}
    if not all(variant.settled for variant in variants):
        return wanted
    if analysis.up:
        able = [variant for variant in variants if variant.pending == 0]
        if able:
            wanted[min(able, key=lambda v: (v.cost, v.name)).name] += 1
    elif analysis.down_safe:
        able = [variant for variant in variants if wanted[variant.name] > 1]
        if able:
            wanted[max(able, key=lambda v: (v.cost, v.name)).name] -= 1
    return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaMemory:
    """What Prometheus remembers for it, and when it last decided."""

    peaks: Mapping[str, tuple[tuple[float, Peak], ...]]
    """The scrapes of the last minute, by replica."""
    decided_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WvaSaturation:
    """One model with the pools of the deployment as its variants."""

    thresholds: Thresholds = Thresholds()
    name: str = "wva-saturation"
    interval_s: float = SCRAPE_S

    def start(self, observation: Observation, now: float) -> WvaMemory:
        """Return the memory of a new controller."""
        return WvaMemory(peaks={}, decided_at=now - INTERVAL_S)

    def decide(
        self, observation: Observation, memory: WvaMemory, now: float
    ) -> Decision[WvaMemory]:
        """Return the next replicas of all pools; most calls only scrape."""
        memory = replace(memory, peaks=_scraped(observation, memory, now))
        if now - memory.decided_at < INTERVAL_S:
            return Decision(replicas={}, memory=memory, reason="scrape")
        memory = replace(memory, decided_at=now)
        variants = [_variant(pool, memory) for pool in observation.pools]
        peaks = [peak for variant in variants for peak in variant.peaks]
        analysis = analyze(peaks, self.thresholds)
        wanted = targets(variants, analysis)
        total = sum(wanted.values())
        if observation.clamp(total) != total:
            return Decision(replicas={}, memory=memory, reason="at a bound")
        spare = f"spare KV {analysis.spare_kv:.2f}, spare queue {analysis.spare_queue:.1f}"
        return Decision(replicas=wanted, memory=memory, reason=spare)


def _scraped(
    observation: Observation, memory: WvaMemory, now: float
) -> dict[str, tuple[tuple[float, Peak], ...]]:
    """Return the scrapes of the last minute with those of now."""
    scrapes = {
        name: tuple(item for item in items if now - item[0] < PEAK_S)
        for name, items in memory.peaks.items()
    }
    if observation.metrics is Source.ANSWERS:
        for pool in observation.pools:
            for one in pool.replicas:
                if one.scrape is not None:
                    peak = Peak(kv_used=one.scrape.kv_used, waiting=one.scrape.waiting)
                    scrapes[one.id] = (*scrapes.get(one.id, ()), (now, peak))
    return {name: items for name, items in scrapes.items() if items}


def _variant(pool: Pool, memory: WvaMemory) -> Variant:
    peaks = []
    for one in pool.replicas:
        seen = [peak for _, peak in memory.peaks.get(one.id, ())]
        if seen:
            kv_used = max(peak.kv_used for peak in seen)
            peaks.append(Peak(kv_used=kv_used, waiting=max(peak.waiting for peak in seen)))
    return Variant(
        name=pool.name,
        cost=pool.price,
        current=len(pool.replicas),
        desired=pool.desired,
        pending=len(pool.replicas) - pool.ready,
        peaks=tuple(peaks),
    )
