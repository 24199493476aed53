"""One deployment served as a flow: for weeks of traffic and many models (see `fluid`).

What a page says of latencies is what was measured at such a load, the mean over the window weighed
by what was served. Shared prompts, retries and the order of a queue are not known.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from trimtab.models.load import LatencyTargets, ObservedLoad, VariantReading
from trimtab.models.signals import Missing, Signal
from trimtab.simulate.curve import Curve, Load, weighed
from trimtab.simulate.fluid import FluidReplicas, FluidService
from trimtab.simulate.fluidgroup import Counts, Group
from trimtab.simulate.gateway import GatewaySettings
from trimtab.simulate.kinds import Kind
from trimtab.simulate.ledger import Tally
from trimtab.simulate.meter import RIVALS_PERCENTILE
from trimtab.simulate.policy import Variant
from trimtab.simulate.readings import CUTS, IDLE, SCRAPE_S, UNSETTLED, WINDOW_S, YOUNG, surely
from trimtab.simulate.response import GRID
from trimtab.simulate.rivals.base import Latency, Scrape, Source
from trimtab.simulate.traffic import Traffic

Curves = Callable[[Variant, Kind], Mapping[int, Curve]]
_TTFT, _ITL, _GAP, _E2E = range(4)
_EVEN_S = 4.0
"""Time over which requests are taken to come evenly: what comes in bursts is seen as such."""
_NONE = 0.5
"""Requests below which a leaving replica is done."""


@dataclass(slots=True, kw_only=True)
class _Pod:
    """One replica."""

    variant: Variant
    kind: Kind
    leaving: Group | None = None
    """What it has to finish, once it gets no more."""
    scrapes: int = 0
    page: Scrape | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Mean tokens of all requests."""

    prompt: float
    answer: float


class FluidSite:
    """Requests as a flow. See `sites.Site`."""

    def __init__(
        self,
        traffic: Traffic,
        targets: LatencyTargets,
        settings: GatewaySettings,
        curves: Curves,
        rng: np.random.Generator,
    ) -> None:
        """Start without a replica; `curves` tells what a kind of replica does at each load."""
        self._at = traffic.at_s
        self._lengths = Lengths(
            prompt=float(traffic.input_tokens.mean()) if len(traffic) else 0.0,
            answer=float(traffic.output_tokens.mean()) if len(traffic) else 0.0,
        )
        self._targets, self._settings, self._curves, self._rng = targets, settings, curves, rng
        self._flows: dict[Variant, FluidReplicas] = {}
        self._listed: list[FluidReplicas] = []
        self._service = FluidService(
            self._listed,
            router=settings.router,
            queue=float(settings.queue),
            client_timeout_s=settings.client_timeout_s,
        )
        self._pods: dict[str, _Pod] = {}
        self._now = 0.0
        self._counts = Counts()
        """Since the score began."""
        self._cut = Counts()
        """Since the last scrape."""
        self._cuts: deque[Counts] = deque(maxlen=CUTS)
        self._latencies: deque[dict[Variant, Load]] = deque(maxlen=CUTS)
        """At each scrape."""
        self._went: dict[Variant, float] = {}
        """When a replica of the variant last went."""
        self._scraped = 0.0
        self._since: float | None = None
        self.sent = 0

    @property
    def total(self) -> Tally:
        """What became of requests since the score began, to whole requests."""
        counts = self._counts
        return Tally(
            arrived=round(counts.arrived),
            served=round(counts.served),
            lost=round(counts.lost),
            rejected=round(counts.rejected),
            timed_out=round(counts.timed_out),
            met=round(counts.met),
            met_ttft=round(counts.met_ttft),
            met_itl=round(counts.met_itl),
            met_e2e=round(counts.met_e2e),
        )

    @property
    def served_tokens(self) -> tuple[int, int]:
        """Prompt and answer tokens of requests that were served whole since then."""
        served, lengths = self._counts.served, self._lengths
        return round(served * lengths.prompt), round(served * lengths.answer)

    @property
    def in_flight(self) -> int:
        """Requests whose fate is open."""
        return round(self._service.in_flight)

    @property
    def held(self) -> int:
        """Those of them that no replica takes."""
        return round(self._service.held)

    @property
    def waiting(self) -> float:
        """Requests in the queues of all replicas, as their pages say."""
        return sum(pod.page.waiting for pod in self._pods.values() if pod.page is not None)

    def advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        if now <= self._now:
            return
        parts = ceil((now - self._now) / _EVEN_S)
        for until in np.linspace(self._now, now, parts + 1)[1:].tolist():
            sent = int(np.searchsorted(self._at, until, side="left"))
            counts = self._service.advance(until, float(sent - self.sent))
            self.sent = sent
            self._counts.add(counts)
            self._cut.add(counts)
        self._now = now

    def begin_score(self) -> None:
        """Forget what was counted."""
        self._counts = Counts()

    def open(self, name: str, variant: Variant, kind: Kind, now: float) -> None:
        """Send requests to a new replica."""
        self.advance(now)
        self._pods[name] = _Pod(variant=variant, kind=kind)
        if variant not in self._flows:
            flow = FluidReplicas(
                self._curves(variant, kind),
                self._rng,
                router=self._settings.router,
                client_timeout_s=self._settings.client_timeout_s,
            )
            if self._now > 0.0:
                flow.advance(self._now, 0.0)
            self._flows[variant] = flow
            self._listed.append(flow)
        self._flows[variant].resize(self._accepting(variant))

    def leave(self, name: str, now: float) -> None:
        """Send a replica no more of them."""
        self.advance(now)
        pod = self._pods[name]
        pod.leaving = self._flows[pod.variant].leave()

    def close(self, name: str, now: float) -> None:
        """Take a replica away; what it has is lost, unless it was leaving and nearly done."""
        self.advance(now)
        pod = self._pods.pop(name)
        self._went[pod.variant] = now
        flow = self._flows[pod.variant]
        if pod.leaving is None:
            flow.lose(1)
        elif pod.leaving.held >= _NONE:
            flow.kill(pod.leaving)

    def busy(self, name: str) -> bool:
        """Tell whether a replica that leaves has requests."""
        leaving = self._pods[name].leaving
        return leaving is not None and leaving.held >= _NONE

    def page(self, name: str) -> Scrape | None:
        """Return a replica's metrics page as it was last read."""
        pod = self._pods.get(name)
        return None if pod is None else pod.page

    def scrape(self, now: float) -> None:
        """Read all pages."""
        self.advance(now)
        self._cuts.append(self._cut)
        self._cut = Counts()
        self._latencies.append({variant: flow.latencies() for variant, flow in self._flows.items()})
        whole = self._window()
        rps = whole.served / WINDOW_S / max(1, self._serving())
        for pod in self._pods.values():
            pod.scrapes += 1
            pod.page = self._read(pod, rps)
        if self._pods:
            if self._since is None or now - self._scraped > WINDOW_S:
                self._since = now
            self._scraped = now

    def clients(self, q: float) -> tuple[float | None, float | None]:
        """Return TTFT and ITL of the last minute as clients see them, in seconds."""
        found = self._quantiles(q)
        return (None, None) if found is None else (found[_TTFT], found[_GAP])

    def latency(self, source: Source) -> Latency | None:
        """Return what llm-d's rule reads, or None."""
        found = self._quantiles(RIVALS_PERCENTILE)
        if source is not Source.ANSWERS or found is None:
            return None
        return Latency(ttft_s=found[_TTFT], itl_s=found[_GAP])

    def _quantiles(self, q: float) -> list[float] | None:
        """Return TTFT, mean gaps, single gaps and E2E of the last minute; None without a request.

        Those beyond the outermost quantiles that are known are taken for these.
        """
        rps, latencies = weighed(one for cut in self._latencies for one in cut.values())
        if rps <= 0.0:
            return None
        return [float(np.interp(q, GRID, row[:-1])) for row in latencies]

    def load(self, ready: Sequence[str], source: Source, now: float) -> ObservedLoad:
        """Return what the operator would read; `ready` names the Ready replicas that serve."""
        if source is Source.FAILS:
            down = Missing(why="Prometheus does not answer")
            return ObservedLoad(arrival_rps=down, waiting=down, source_error=down.why)
        pages = [page for name in ready if (page := self._pods[name].page) is not None]
        if not pages or source is Source.EMPTY:
            silence = Missing(why="no ready replica has been read" if ready else "no ready replica")
            return ObservedLoad(arrival_rps=silence, waiting=silence, running=silence)
        sure = surely(now - self._scraped, len(ready))
        rated = sum(self._pods[name].scrapes > 1 for name in ready)
        whole = self._window()
        percentile = self._targets.percentile

        def seen(value: float | None) -> Signal:
            return IDLE if value is None else sure(value, len(pages))

        found = self._quantiles(percentile)
        shares = [whole.met_ttft, whole.met_itl]
        return ObservedLoad(
            arrival_rps=(
                sure(self._arrivals(whole, now), rated)
                if rated
                else Missing(why="the replicas became ready less than 3 scrapes ago")
            ),
            input_tokens=seen(self._lengths.prompt if whole.served else None),
            output_tokens=seen(self._lengths.answer if whole.served else None),
            waiting=sure(sum(page.waiting for page in pages), len(pages)),
            running=sure(sum(page.running for page in pages), len(pages)),
            kv_utilization=sure(max(page.kv_used for page in pages), len(pages)),
            ttft_s=seen(None if found is None else found[_TTFT]),
            itl_s=seen(None if found is None else found[_ITL]),
            e2e_s=seen(None if found is None else found[_E2E]),
            slo_attainment=seen(min(shares) / whole.served if whole.served else None),
            window_s=WINDOW_S,
            variants=self._readings(ready, now),
        )

    def _readings(self, ready: Sequence[str], now: float) -> tuple[VariantReading, ...]:
        grouped: dict[Variant, list[_Pod]] = {}
        for name in ready:
            grouped.setdefault(self._pods[name].variant, []).append(self._pods[name])
        return tuple(
            self._reading(variant, grouped[variant], now)
            for variant in sorted(grouped, key=lambda variant: variant.order)
        )

    def _reading(self, variant: Variant, pods: Sequence[_Pod], now: float) -> VariantReading:
        """Return what the Ready `pods` of one variant say. See `readings.reading_of`."""
        pages = [pod.page for pod in pods if pod.page is not None]
        sure = surely(now - self._scraped, len(pods))
        rps, latencies = weighed(cut[variant] for cut in self._latencies if variant in cut)
        each_rps = rps / CUTS / len(pods)
        settled = now - self._went.get(variant, -WINDOW_S) >= WINDOW_S
        steady = settled and all(pod.scrapes > 1 for pod in pods)

        def mean(value: float) -> Signal:
            return sure(value, len(pages)) if rps > 0.0 else IDLE

        def each(value: float) -> Signal:
            return sure(value, len(pages)) if steady else UNSETTLED

        return VariantReading(
            pool=variant.pool,
            parallelism=variant.parallelism,
            revision=variant.label,
            itl_s=mean(float(latencies[_GAP, -1])),
            gaps_per_s=each(each_rps * max(0.0, self._lengths.answer - 1.0)),
            ttft_s=mean(float(latencies[_TTFT, -1])),
            first_tokens_per_s=each(each_rps),
            input_tokens=mean(self._lengths.prompt),
            output_tokens=mean(self._lengths.answer),
            prefix_hit=mean(0.0),
            waiting=sure(sum(page.waiting for page in pages), len(pages)) if pages else YOUNG,
            kv_utilization=sure(max(p.kv_used for p in pages), len(pages)) if pages else YOUNG,
        )

    def _arrivals(self, whole: Counts, now: float) -> float:
        """Return requests/s of the window that was seen, as the operator reads them."""
        covered = now - (self._since if self._since is not None else now) + SCRAPE_S / 2.0
        return whole.arrived / WINDOW_S / max(0.1, min(1.0, covered / WINDOW_S))

    def _window(self) -> Counts:
        whole = Counts()
        for cut in self._cuts:
            whole.add(cut)
        return whole

    def _accepting(self, variant: Variant) -> int:
        return sum(p.variant == variant and p.leaving is None for p in self._pods.values())

    def _serving(self) -> int:
        return sum(pod.leaving is None for pod in self._pods.values())

    def _read(self, pod: _Pod, rps: float) -> Scrape:
        """Return the page of one replica that serves about `rps`, like all of its variant."""
        flow, lengths = self._flows[pod.variant], self._lengths
        count = max(1, flow.replicas)
        waiting = flow.waiting / count
        running = max(0.0, (flow.in_flight - flow.finishing) / count - waiting)
        ttft_s = flow.ttft_s
        stay_s = running / rps if rps > 0.0 else 0.0
        tokens = running * (lengths.prompt + lengths.answer / 2.0)
        return Scrape(
            waiting=waiting,
            running=running,
            kv_used=min(1.0, tokens / pod.kind.pace.kv_tokens),
            prompt_tokens_per_s=rps * lengths.prompt,
            output_tokens_per_s=rps * lengths.answer,
            waiting_prompt_tokens=waiting * lengths.prompt,
            ttft_s=ttft_s if rps > 0.0 else None,
            itl_s=max(0.0, stay_s - ttft_s) / lengths.answer if rps > 0.0 else None,
        )
