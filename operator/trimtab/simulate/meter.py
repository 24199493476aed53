"""What a Prometheus would know of a deployment: its pods' pages every scrape, and their rates.

Scrapes come every 15 s and rates are over 60 s, as the operator asks for them. Each signal is as
sure as the operator's own reading makes it: a Ready replica that was not scraped yet leaves the sum
partial, a rate needs two scrapes, and a mean without a request is missing.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Missing, Partial, Signal
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, FinishReason, FirstToken, Steps
from trimtab.simulate.ledger import Digest
from trimtab.simulate.rivals.base import Latency, Scrape, Source

SCRAPE_S = 15.0
WINDOW_S = 60.0
RIVALS_PERCENTILE = 0.9
"""Of the latencies that llm-d's rule reads."""
_CUTS = round(WINDOW_S / SCRAPE_S)


@dataclass(slots=True, kw_only=True)
class Cut:
    """What happened between two scrapes on all pods of one deployment."""

    first_tokens: int = 0
    growth: int = 0
    """Of the queues."""
    finished: int = 0
    prompts: int = 0
    """Tokens of prompts of finished requests."""
    answers: int = 0
    computed: int = 0
    """Tokens of prompts that got their first token."""
    cached: int = 0
    """Those of them that the prefix cache had."""
    within_ttft: int = 0
    gaps: int = 0
    within_itl: int = 0
    ttft_s: Digest = field(default_factory=Digest)
    itl_s: Digest = field(default_factory=Digest)
    e2e_s: Digest = field(default_factory=Digest)
    sent_ttft_s: Digest = field(default_factory=Digest)
    """First tokens as clients see them: from the sending, not from reaching an engine."""


@dataclass(slots=True, kw_only=True)
class PodMeter:
    """The counters of one pod."""

    engine: Engine
    prompt_tokens: int = 0
    answer_tokens: int = 0
    ttft_sum: float = 0.0
    first_tokens: int = 0
    gap_sum: float = 0.0
    gaps: int = 0
    waiting: int = 0
    """At the last scrape."""
    scrapes: int = 0
    page: Scrape | None = None
    tokens: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=_CUTS + 1))
    """Scrape times with the counters of prompt and answer tokens."""


class Meter:
    """The pages of one deployment's pods."""

    def __init__(self, targets: LatencyTargets) -> None:
        """Start without a pod."""
        self._targets = targets
        self._pods: dict[str, PodMeter] = {}
        self._cut = Cut()
        self._cuts: deque[Cut] = deque(maxlen=_CUTS)
        self._since: float | None = None
        """Since when some pod has been scraped without a gap of a window."""
        self._seen = 0.0
        """When a pod was last scraped."""
        self.served_prompts = 0
        """Tokens of prompts that were served whole."""
        self.served_answers = 0

    @property
    def scraped_at(self) -> float:
        """When pages were last read; 0 before."""
        return self._seen

    def add(self, name: str, engine: Engine) -> Callable[[list[Event]], None]:
        """Read a new pod's page from now on; return who must be told of all its events."""
        pod = self._pods[name] = PodMeter(engine=engine)
        return lambda events: self._observe(pod, events)

    def remove(self, name: str) -> None:
        """Read a pod no more; what it counted stays in the rates."""
        self._pods.pop(name, None)

    def page(self, name: str) -> Scrape | None:
        """Return a pod's page as it was last read."""
        pod = self._pods.get(name)
        return None if pod is None else pod.page

    def pages(self) -> list[Scrape]:
        """Return all pages as they were last read."""
        return [pod.page for pod in self._pods.values() if pod.page is not None]

    def scrape(self, now: float) -> Cut:
        """Read all pages and begin a new cut; return the one that ends."""
        for pod in self._pods.values():
            self._read(pod, now)
        if self._pods:
            if self._since is None or now - self._seen > WINDOW_S:
                self._since = now
            self._seen = now
        ended, self._cut = self._cut, Cut()
        self._cuts.append(ended)
        return ended

    def quantiles(self, q: float) -> tuple[float | None, float | None, float | None]:
        """Return TTFT, ITL and end-to-end latency of the last window, in seconds."""
        return (
            _merged(cut.ttft_s for cut in self._cuts).quantile(q),
            _merged(cut.itl_s for cut in self._cuts).quantile(q),
            _merged(cut.e2e_s for cut in self._cuts).quantile(q),
        )

    def clients(self, q: float) -> tuple[float | None, float | None]:
        """Return TTFT and ITL of the last window as clients see them, in seconds."""
        return (
            _merged(cut.sent_ttft_s for cut in self._cuts).quantile(q),
            _merged(cut.itl_s for cut in self._cuts).quantile(q),
        )

    def latency(self, source: Source) -> Latency | None:
        """Return what llm-d's rule reads, or None."""
        if source is not Source.ANSWERS:
            return None
        ttft, itl, _ = self.quantiles(RIVALS_PERCENTILE)
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
        age = now - self._seen

        def sure(value: float, having: int) -> Signal:
            if having < len(pods):
                return Partial(value=value, reporting=having, expected=len(pods))
            return Fresh(value=value, age_s=age)

        rated = sum(pod.scrapes > 1 for pod in seen)
        finished = sum(cut.finished for cut in self._cuts)
        idle = Missing(why="no request in the window")

        def mean(total: int) -> Signal:
            return sure(total / finished, len(seen)) if finished else idle

        sought = sum(cut.computed for cut in self._cuts)
        found = sum(cut.cached for cut in self._cuts)
        ttft, itl, e2e = (
            idle if value is None else sure(value, len(seen))
            for value in self.quantiles(self._targets.percentile)
        )
        return ObservedLoad(
            arrival_rps=(
                sure(self._arrivals(now), rated)
                if rated
                else Missing(why="the replicas became ready less than 3 scrapes ago")
            ),
            input_tokens=mean(sum(cut.prompts for cut in self._cuts)),
            output_tokens=mean(sum(cut.answers for cut in self._cuts)),
            prefix_hit=sure(found / sought, len(seen)) if sought else idle,
            waiting=sure(sum(page.waiting for page in pages), len(seen)),
            running=sure(sum(page.running for page in pages), len(seen)),
            kv_utilization=sure(max(page.kv_used for page in pages), len(seen)),
            ttft_s=ttft,
            itl_s=itl,
            e2e_s=e2e,
            slo_attainment=self._attainment(len(seen), len(pods), age),
            window_s=WINDOW_S,
        )

    def _arrivals(self, now: float) -> float:
        """Return first tokens and growth of the queues, per second of the window that was seen.

        As the operator reads them: a deployment that was just seen is not taken for idle.
        """
        counted = sum(cut.first_tokens + cut.growth for cut in self._cuts)
        covered = now - (self._since if self._since is not None else now) + SCRAPE_S / 2.0
        return max(0.0, counted / WINDOW_S) / max(0.1, min(1.0, covered / WINDOW_S))

    def _attainment(self, having: int, expected: int, age: float) -> Signal:
        first = sum(cut.first_tokens for cut in self._cuts)
        gaps = sum(cut.gaps for cut in self._cuts)
        shares = []
        if self._targets.ttft_s is not None and first:
            shares.append(sum(cut.within_ttft for cut in self._cuts) / first)
        if self._targets.itl_s is not None and gaps:
            shares.append(sum(cut.within_itl for cut in self._cuts) / gaps)
        if not shares:
            return Missing(why="no request in the window")
        if having < expected:
            return Partial(value=min(shares), reporting=having, expected=expected)
        return Fresh(value=min(shares), age_s=age)

    def _read(self, pod: PodMeter, now: float) -> None:
        engine = pod.engine
        waiting = engine.waiting(now)
        if pod.scrapes:
            self._cut.growth += waiting - pod.waiting
        else:
            self._cut.growth += waiting
            pod.tokens.append((now - SCRAPE_S, 0, 0))
        pod.waiting = waiting
        pod.scrapes += 1
        pod.tokens.append((now, pod.prompt_tokens, pod.answer_tokens))
        then, prompts, answers = pod.tokens[0]
        queued = engine.unfinished()[engine.running :] if waiting else []
        pod.page = Scrape(
            waiting=waiting,
            running=engine.running,
            kv_used=engine.kv_blocks_used / engine.kv_blocks,
            prompt_tokens_per_s=(pod.prompt_tokens - prompts) / (now - then),
            output_tokens_per_s=(pod.answer_tokens - answers) / (now - then),
            waiting_prompt_tokens=sum(request.input_tokens for request in queued),
            ttft_s=pod.ttft_sum / pod.first_tokens if pod.first_tokens else None,
            itl_s=pod.gap_sum / pod.gaps if pod.gaps else None,
        )
        pod.ttft_sum, pod.first_tokens, pod.gap_sum, pod.gaps = 0.0, 0, 0.0, 0

    def _observe(self, pod: PodMeter, events: list[Event]) -> None:
        cut, targets = self._cut, self._targets
        for event in events:
            if isinstance(event, Steps):
                pod.prompt_tokens += event.prefill_tokens * event.count
                pod.answer_tokens += event.decoding * event.count + event.prompts_done
                if event.decoding:
                    gap = event.first_s + event.growth_s * (event.count - 1) / 2.0
                    many = event.count * event.decoding
                    cut.itl_s.add(gap, many)
                    cut.gaps += many
                    cut.within_itl += many if gap <= (targets.itl_s or gap) else 0
                    pod.gap_sum += gap * many
                    pod.gaps += many
            elif isinstance(event, FirstToken):
                ttft = event.at - event.reached_at
                cut.ttft_s.add(ttft)
                cut.sent_ttft_s.add(event.at - event.request.arrival)
                cut.first_tokens += 1
                cut.computed += event.request.input_tokens
                cut.cached += event.cached_tokens
                cut.within_ttft += ttft <= (targets.ttft_s or ttft)
                pod.ttft_sum += ttft
                pod.first_tokens += 1
            elif isinstance(event, Finished) and event.reason is not FinishReason.ABORT:
                cut.e2e_s.add(event.at - event.reached_at)
                cut.finished += 1
                cut.prompts += event.request.input_tokens
                cut.answers += event.generated
                self.served_prompts += event.request.input_tokens
                self.served_answers += event.generated


def _silence(pods: Sequence[PodMeter], seen: Sequence[PodMeter], source: Source) -> Missing | None:
    """Return why nothing can be said, or None."""
    if not pods:
        return Missing(why="no ready replica")
    if source is Source.EMPTY:
        return Missing(why=f"Prometheus has no metrics of {len(pods)} ready replicas")
    if not seen:
        return Missing(why="the replicas became ready less than 2 scrapes ago")
    return None


def _merged(digests: Iterable[Digest]) -> Digest:
    whole = Digest()
    for digest in digests:
        whole.merge(digest)
    return whole
