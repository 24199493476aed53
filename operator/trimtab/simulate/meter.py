"""What a Prometheus would know of a deployment: its pods' pages every scrape, and their rates.

Scrapes come every 15 s and rates are over 60 s, as the operator asks for them. Each signal is as
sure as the operator's own reading makes it: a Ready replica that was not scraped yet leaves the sum
partial, a rate needs two scrapes, and a mean without a request is missing.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

from trimtab.models.load import RUNGS, LatencyTargets, ObservedLoad, Spread, VariantReading
from trimtab.models.signals import Missing, Signal
from trimtab.simulate.events import Event, Finished, FinishReason, FirstToken, Preempted, Steps
from trimtab.simulate.ledger import Digest
from trimtab.simulate.policy import Variant
from trimtab.simulate.readings import (
    CUTS,
    IDLE,
    SCRAPE_S,
    WINDOW_S,
    Counts,
    PodMeter,
    added,
    reading_of,
    surely,
)
from trimtab.simulate.rivals.base import Latency, Scrape, Source
from trimtab.simulate.routers import Served

RIVALS_PERCENTILE = 0.9
"""Of the latencies that llm-d's rule reads."""


@dataclass(slots=True, kw_only=True)
class Latencies:
    """All latencies of some time, in seconds."""

    ttft_s: Digest = field(default_factory=Digest)
    itl_s: Digest = field(default_factory=Digest)
    """Mean gaps of answers that ended."""
    gap_s: Digest = field(default_factory=Digest)
    """All gaps."""
    e2e_s: Digest = field(default_factory=Digest)
    sent_ttft_s: Digest = field(default_factory=Digest)
    """First tokens as clients see them: from the sending, not from reaching an engine."""

    def merge(self, other: "Latencies") -> None:
        """Count what another one has counted."""
        for mine, theirs in zip(_DIGESTS(self), _DIGESTS(other), strict=True):
            mine.merge(theirs)

    def remove(self, other: "Latencies") -> None:
        """Forget what another one has counted, all of which was merged into this one."""
        for mine, theirs in zip(_DIGESTS(self), _DIGESTS(other), strict=True):
            mine.remove(theirs)


_DIGESTS: Callable[[Latencies], tuple[Digest, ...]] = attrgetter(
    *(each.name for each in fields(Latencies))
)


@dataclass(slots=True, kw_only=True)
class Cut(Latencies):
    """What happened between two scrapes on all pods of one deployment, those that went too."""

    counts: Counts = field(default_factory=Counts)
    growth: int = 0
    """Of the queues."""
    within_ttft: int = 0
    paced: int = 0
    """Answers of more than one token that ended."""
    within_itl: int = 0
    """Those of them whose mean gap was within the target."""
    inputs: list[int] = field(default_factory=lambda: [0] * (len(RUNGS) + 1))
    """Requests that ended, by the length of their prompts: between each two rungs."""
    outputs: list[int] = field(default_factory=lambda: [0] * (len(RUNGS) + 1))
    """The same by their answers."""


class Meter:
    """The pages of one deployment's pods."""

    def __init__(self, targets: LatencyTargets) -> None:
        """Start without a pod."""
        self._targets = targets
        self._pods: dict[str, PodMeter] = {}
        self.cut = Cut()
        """Since the last scrape."""
        self._cuts: deque[Cut] = deque()
        self._window = Latencies()
        """Of all cuts."""
        self._since: float | None = None
        """Since when some pod has been scraped without a gap of a window."""
        self._seen = 0.0
        """When a pod was last scraped."""
        self._went: dict[Variant, float] = {}
        """When a pod of the variant last went."""
        self.served_prompts = 0
        """Tokens of prompts that were served whole."""
        self.served_answers = 0

    def add(self, name: str, variant: Variant, engine: Served) -> Callable[[list[Event]], None]:
        """Read a new pod's page from now on; return who must be told of all its events."""
        pod = self._pods[name] = PodMeter(variant=variant, engine=engine)
        return lambda events: self._observe(pod, events)

    def count(self, name: str, counts: Counts) -> None:
        """Take what a pod has counted since the last scrape, where no events tell it."""
        self._pods[name].now = counts

    def remove(self, name: str, now: float) -> None:
        """Read a pod no more; what it counted stays in the rates."""
        pod = self._pods.pop(name)
        self._went[pod.variant] = now

    def page(self, name: str) -> Scrape | None:
        """Return a pod's page as it was last read."""
        pod = self._pods.get(name)
        return None if pod is None else pod.page

    def pages(self) -> list[Scrape]:
        """Return all pages as they were last read."""
        return [pod.page for pod in self._pods.values() if pod.page is not None]

    def scrape(self, now: float) -> None:
        """Read all pages and begin a new cut."""
        for pod in self._pods.values():
            self._read(pod, now)
        if self._pods:
            if self._since is None or now - self._seen > WINDOW_S:
                self._since = now
            self._seen = now
        self._cuts.append(self.cut)
        self._window.merge(self.cut)
        if len(self._cuts) > CUTS:
            self._window.remove(self._cuts.popleft())
        self.cut = Cut()

    def clients(self, q: float) -> tuple[float | None, float | None]:
        """Return TTFT and ITL of the last window as clients see them, in seconds.

        ITL is the mean gap of an answer that ended, which is what its target is about.
        """
        return (
            self._window.sent_ttft_s.quantile(q),
            self._window.itl_s.quantile(q),
        )

    def latency(self, source: Source) -> Latency | None:
        """Return what llm-d's rule reads, or None."""
        if source is not Source.ANSWERS:
            return None
        ttft = self._window.ttft_s.quantile(RIVALS_PERCENTILE)
        itl = self._window.gap_s.quantile(RIVALS_PERCENTILE)
        return None if ttft is None or itl is None else Latency(ttft_s=ttft, itl_s=itl)

    def load(self, ready: Sequence[str], source: Source, now: float) -> ObservedLoad:
        """Return what the operator would read; `ready` names the Ready pods that serve."""
        if source is Source.FAILS:
            down = Missing(why="Prometheus does not answer")
            return ObservedLoad(arrival_rps=down, waiting=down, source_error=down.why)
        pods = [self._pods[name] for name in ready]
        seen = [pod for pod in pods if pod.page is not None]
        silence = _silence(pods, seen, source)
        if silence is not None:
            return ObservedLoad(arrival_rps=silence, waiting=silence, running=silence)
        pages = [pod.page for pod in seen if pod.page is not None]
        sure = surely(now - self._seen, len(pods))
        rated = sum(pod.scrapes > 1 for pod in seen)
        total = added([cut.counts for cut in self._cuts])

        def mean(value: float, count: int) -> Signal:
            return sure(value / count, len(seen)) if count else IDLE

        ttft, itl, e2e = (
            IDLE if value is None else sure(value, len(seen))
            for value in self._quantiles(self._targets.percentile)
        )
        young = Missing(why="the replicas became ready less than 3 scrapes ago")
        within = self._within(total)
        return ObservedLoad(
            arrival_rps=sure(self._arrivals(total, now), rated) if rated else young,
            input_tokens=mean(total.inputs, total.finished),
            output_tokens=mean(total.outputs, total.finished),
            inputs=_spread(cut.inputs for cut in self._cuts),
            outputs=_spread(cut.outputs for cut in self._cuts),
            prefix_hit=mean(total.found, total.sought),
            waiting=sure(sum(page.waiting for page in pages), len(seen)),
            running=sure(sum(page.running for page in pages), len(seen)),
            kv_utilization=sure(max(page.kv_used for page in pages), len(seen)),
            ttft_s=ttft,
            itl_s=itl,
            e2e_s=e2e,
            slo_attainment=IDLE if within is None else sure(within, len(seen)),
            window_s=WINDOW_S,
            variants=self._variants(pods, now),
        )

    def _variants(self, pods: Sequence[PodMeter], now: float) -> tuple[VariantReading, ...]:
        grouped: dict[Variant, list[PodMeter]] = {}
        for pod in pods:
            grouped.setdefault(pod.variant, []).append(pod)
        return tuple(
            reading_of(
                variant,
                grouped[variant],
                now - self._seen,
                settled=now - self._went.get(variant, -WINDOW_S) >= WINDOW_S,
            )
            for variant in sorted(grouped, key=lambda variant: variant.order)
        )

    def _quantiles(self, q: float) -> tuple[float | None, float | None, float | None]:
        """Return TTFT, ITL and end-to-end latency of the last window, in seconds."""
        return (
            self._window.ttft_s.quantile(q),
            self._window.itl_s.quantile(q),
            self._window.e2e_s.quantile(q),
        )

    def _arrivals(self, total: Counts, now: float) -> float:
        """Return first tokens and growth of the queues, per second of the window that was seen.

        As the operator reads them: a deployment that was just seen is not taken for idle.
        """
        counted = total.first_tokens + sum(cut.growth for cut in self._cuts)
        covered = now - (self._since if self._since is not None else now) + SCRAPE_S / 2.0
        return max(0.0, counted / WINDOW_S) / max(0.1, min(1.0, covered / WINDOW_S))

    def _within(self, total: Counts) -> float | None:
        """Return the least share within a target, over the targets; None without a request."""
        shares = []
        if self._targets.ttft_s is not None and total.first_tokens:
            shares.append(sum(cut.within_ttft for cut in self._cuts) / total.first_tokens)
        paced = sum(cut.paced for cut in self._cuts)
        if self._targets.itl_s is not None and paced:
            shares.append(sum(cut.within_itl for cut in self._cuts) / paced)
        return min(shares, default=None)

    def _read(self, pod: PodMeter, now: float) -> None:
        engine = pod.engine
        waiting = engine.waiting(now)
        self.cut.growth += waiting - pod.waiting
        pod.waiting = waiting
        pod.scrapes += 1
        ended, pod.now = pod.now, Counts()
        pod.window.append(ended)
        pod.batches.append(engine.running)
        total = pod.total()
        span_s = SCRAPE_S * len(pod.window)
        queued = engine.unfinished()[engine.running :] if waiting else []
        pod.page = Scrape(
            waiting=waiting,
            running=engine.running,
            kv_used=engine.kv_blocks_used / engine.kv_blocks,
            prompt_tokens_per_s=total.prompt_tokens / span_s,
            output_tokens_per_s=total.answer_tokens / span_s,
            waiting_prompt_tokens=sum(request.input_tokens for request in queued),
            ttft_s=ended.ttft_s / ended.first_tokens if ended.first_tokens else None,
            itl_s=ended.gap_s / ended.gaps if ended.gaps else None,
        )

    def _observe(self, pod: PodMeter, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Steps):
                self._steps(pod, event)
            elif isinstance(event, Preempted):
                pod.now.preempted += 1
            elif isinstance(event, FirstToken):
                self._first_token(pod, event)
            elif isinstance(event, Finished) and event.reason is not FinishReason.ABORT:
                self.cut.e2e_s.add(event.at - event.reached_at)
                self.cut.inputs[bisect_left(RUNGS, event.request.input_tokens)] += 1
                self.cut.outputs[bisect_left(RUNGS, event.generated)] += 1
                self._pace(event.mean_itl_s)
                for counts in (pod.now, self.cut.counts):
                    counts.finished += 1
                    counts.inputs += event.request.input_tokens
                    counts.outputs += event.generated
                self.served_prompts += event.request.input_tokens
                self.served_answers += event.generated

    def _steps(self, pod: PodMeter, event: Steps) -> None:
        pod.now.prompt_tokens += event.prefill_tokens * event.count
        pod.now.answer_tokens += event.decoding * event.count + event.prompts_done
        if event.decoding or event.prompts_done:
            pod.now.steps += event.count
        if event.decoding:
            cut = self.cut
            gap = event.first_s + event.growth_s * (event.count - 1) / 2.0
            many = event.count * event.decoding
            cut.gap_s.add(gap, many)
            cut.counts.gaps += many
            pod.now.gaps += many
            pod.now.gap_s += gap * many

    def _pace(self, itl_s: float | None) -> None:
        if itl_s is not None:
            self.cut.paced += 1
            self.cut.itl_s.add(itl_s)
            self.cut.within_itl += itl_s <= (self._targets.itl_s or itl_s)

    def _first_token(self, pod: PodMeter, event: FirstToken) -> None:
        cut = self.cut
        ttft = event.at - event.reached_at
        cut.ttft_s.add(ttft)
        cut.sent_ttft_s.add(event.at - event.request.arrival)
        cut.within_ttft += ttft <= (self._targets.ttft_s or ttft)
        pod.now.ttft_s += ttft
        for counts in (pod.now, cut.counts):
            counts.first_tokens += 1
            counts.sought += event.request.input_tokens
            counts.found += event.cached_tokens


def _silence(pods: Sequence[PodMeter], seen: Sequence[PodMeter], source: Source) -> Missing | None:
    """Return why nothing can be said, or None."""
    if not pods:
        return Missing(why="no ready replica")
    if source is Source.EMPTY:
        return Missing(why=f"Prometheus has no metrics of {len(pods)} ready replicas")
    if not seen:
        return Missing(why="the replicas became ready less than 2 scrapes ago")
    return None


def _spread(counts: Iterable[Sequence[int]]) -> Spread | None:
    together = [sum(rung) for rung in zip(*counts, strict=True)]
    total = sum(together)
    return Spread(shares=tuple(n / total for n in together)) if total else None
