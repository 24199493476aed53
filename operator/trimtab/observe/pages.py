"""What stored metrics pages say: the same values as the queries of a pass would. Pure.

A series that is not on an earlier page of the window counted nothing until then: an engine shows a
series when it first has something to count. Behind Prometheus that first count is lost.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from trimtab.config import OperatorConfig
from trimtab.observe.engines import Engine, Gauge, Mean, Metric, Series
from trimtab.observe.readings import Place, Readings
from trimtab.observe.world import pod_stem

Labels = frozenset[tuple[str, str]]
_PARTS = ("_bucket", "_sum", "_count")
_LE = "le"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one page said of the metrics that are wanted."""

    at: float
    """When it was read, Unix seconds."""
    samples: Mapping[str, Mapping[Labels, float]]
    """By name, then by labels."""

    def of(self, wanted: Series) -> Mapping[Labels, float]:
        """Return the samples of `wanted`, by their labels."""
        found = self.samples.get(wanted.name, {})
        need = set(wanted.where)
        return {labels: value for labels, value in found.items() if need <= labels}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The pages of one pod within a window, oldest first, at least one."""

    engine: Engine
    pages: tuple[Page, ...]


def parse(text: str, names: frozenset[str], at: float) -> Page:
    """Return the samples of the metrics called `names` on a page.

    Raises:
        ValueError: One of them is malformed.
    """
    starts = tuple(names)
    lines = [line for line in text.splitlines() if line.startswith(starts)]
    samples: dict[str, dict[Labels, float]] = defaultdict(dict)
    try:
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                if sample.name in names:
                    samples[sample.name][frozenset(sample.labels.items())] = float(sample.value)
    except (LookupError, TypeError) as error:  # the parser is not strict about what it raises
        raise ValueError(f"a line is malformed: {error}") from error
    return Page(at=at, samples=dict(samples))


def names_of(engine: Engine) -> frozenset[str]:
    """Return the names of all samples that are wanted of the engine's page."""
    arrivals = engine.arrivals
    found = [engine.running.series, engine.waiting.series, engine.kv_utilization.series]
    found += [arrivals.counted.series, arrivals.aborted, arrivals.refused]
    found += [engine.begun.served.series, engine.begun.finished.series]
    found += [engine.preempted.series]
    names = {one.name for each in found for one in each}
    for mean in (engine.input_tokens, engine.output_tokens, engine.prefix_hit):
        names |= {one.name for ratio in mean.ratios for one in (ratio.above, ratio.below)}
    for histogram in (engine.ttft, engine.itl, engine.pace, engine.e2e):
        names |= {one.name + part for one in histogram.series for part in _PARTS}
    names |= {one.name + "_count" for one in engine.steps.series}
    for lengths in (engine.inputs, engine.outputs):
        names |= {one.name + "_bucket" for one in lengths.series}
    return frozenset(names)


def evaluate(
    stored: Mapping[Place, Stored],
    failures: Mapping[Place, str],
    now: float,
    config: OperatorConfig,
) -> Readings:
    """Return what the pages say together.

    Args:
        stored: The pages of each pod, also of pods that are gone.
        failures: Why the newest page of a pod could not be read.
        now: Unix seconds.
        config: Window and scrape interval.
    """
    pods = {place: _Pod(each, now, config) for place, each in stored.items()}

    def by_pod(read: Callable[[_Pod], float | None]) -> dict[Place, float]:
        return {place: value for place, pod in pods.items() if (value := read(pod)) is not None}

    values = {
        "seen": by_pod(lambda pod: pod.seen()),
        "covered": by_pod(lambda pod: pod.covered()),
        "served": by_pod(lambda pod: pod.total(pod.engine.begun.served)),
        "finished": by_pod(lambda pod: pod.total(pod.engine.begun.finished)),
        "running": by_pod(lambda pod: pod.gauge(pod.engine.running)),
        "waiting": by_pod(lambda pod: pod.gauge(pod.engine.waiting)),
        "kv_utilization": by_pod(lambda pod: pod.gauge(pod.engine.kv_utilization)),
        "batch": by_pod(lambda pod: pod.batch()),
        "steps": by_pod(lambda pod: pod.rate(_parts(pod.engine.steps, "_count"))),
        "preempted": by_pod(lambda pod: pod.rate(pod.engine.preempted.series)),
    }
    sums = {name: _totals(pods, choose, "_sum") for name, choose in _MEANT.items()}
    counts = {name: _totals(pods, choose, "_count") for name, choose in _MEANT.items()}
    for name, choose in _MEANS.items():
        both = {place: pod.mean(choose(pod.engine)) for place, pod in pods.items()}
        sums[name] = _by_stem((at, each[0]) for at, each in both.items() if each)
        counts[name] = _by_stem((at, each[1]) for at, each in both.items() if each)
    arrivals: dict[Place, dict[Place, float]] = defaultdict(dict)
    for place, rate in by_pod(lambda pod: pod.arrivals()).items():
        arrivals[_stem(place)][place] = rate
    return Readings(
        values=values,
        arrivals=dict(arrivals),
        buckets={name: _buckets(pods, choose) for name, choose in _HISTOGRAMS.items()},
        sums=sums,
        counts=counts,
        failures=failures,
    )


_MEANS: Mapping[str, Callable[[Engine], Mean]] = {
    "input_tokens": lambda engine: engine.input_tokens,
    "output_tokens": lambda engine: engine.output_tokens,
    "prefix_hit": lambda engine: engine.prefix_hit,
}
_HISTOGRAMS: Mapping[str, Callable[[Engine], Metric]] = {
    "ttft": lambda engine: engine.ttft,
    "itl": lambda engine: engine.pace,
    "e2e": lambda engine: engine.e2e,
    "input_tokens": lambda engine: engine.inputs,
    "output_tokens": lambda engine: engine.outputs,
}
_MEANT: Mapping[str, Callable[[Engine], Metric]] = {
    "ttft": lambda engine: engine.ttft,
    "itl": lambda engine: engine.itl,
}


def _totals(
    pods: Mapping[Place, "_Pod"], choose: Callable[[Engine], Metric], part: str
) -> Mapping[Place, float]:
    """Return by stem what a histogram's sum or count grew by, per second."""
    return _by_stem(
        (place, value)
        for place, pod in pods.items()
        if (value := pod.rate(_parts(choose(pod.engine), part))) is not None
    )


class _Pod:
    """One pod's pages. Rates are per second of the window, as Prometheus extrapolates them."""

    def __init__(self, stored: Stored, now: float, config: OperatorConfig) -> None:
        self.engine = stored.engine
        self._pages = stored.pages
        self._now = now
        first, last = self._pages[0].at, self._pages[-1].at
        covered = now - first + config.scrape_interval_s / 2
        share = min(1.0, covered / config.rate_window_s)
        self._per_s = share / (last - first) if last > first else None

    def seen(self) -> float | None:
        last = self._pages[-1]
        return last.at if any(last.of(one) for one in self.engine.running.series) else None

    def covered(self) -> float:
        return self._now - self._pages[0].at

    def gauge(self, gauge: Gauge) -> float | None:
        combine = max if gauge.over_ranks == "max" else sum
        return self._newest(gauge, combine)

    def batch(self) -> float | None:
        """Return the mean batch over the pages."""
        every = [self._on(page, self.engine.running) for page in self._pages]
        found = [value for value in every if value is not None]
        return sum(found) / len(found) if found else None

    def total(self, counter: Metric) -> float | None:
        return self._newest(counter, sum)

    def _newest(self, wanted: Metric, combine: Callable[[Iterable[float]], float]) -> float | None:
        """Return the first of `wanted` that is on the newest page, its series as one value."""
        found = (self._pages[-1].of(one) for one in wanted.series)
        return next((combine(each.values()) for each in found if each), None)

    def rate(self, wanted: Sequence[Series]) -> float | None:
        """Return the growth of the first of `wanted` that is on the newest page."""
        if self._per_s is None:
            return None
        for one in wanted:
            if self._pages[-1].of(one):
                return sum(self._growth(one)[0].values()) * self._per_s
        return None

    def buckets(self, wanted: Sequence[Series]) -> Mapping[float, float]:
        result: dict[float, float] = defaultdict(float)
        if self._per_s is None:
            return result
        for one in wanted:
            if not self._pages[-1].of(one):
                continue
            for labels, growth in self._growth(one)[0].items():
                bound = _bound(dict(labels).get(_LE, ""))
                if not math.isnan(bound):
                    result[bound] += growth * self._per_s
            break
        return result

    def mean(self, mean: Mean) -> tuple[float, float] | None:
        for ratio in mean.ratios:
            above, below = self.rate([ratio.above]), self.rate([ratio.below])
            if above is not None and below is not None:
                return above, below
        return None

    def arrivals(self) -> float | None:
        """See `queries`: first tokens, growth of the queue, rejections, and what gave up in it."""
        arrivals = self.engine.arrivals
        counted = self.rate(arrivals.counted.series)
        if self._per_s is None:
            return None
        if counted is None and self.total(self.engine.begun.served) == 0:
            counted = 0.0
        if counted is None or not arrivals.at_first_token:
            return counted
        queue = [self._on(page, self.engine.waiting) for page in self._pages]
        known = [length for length in queue if length is not None]
        if queue[0] is None or queue[-1] is None:
            return None
        restarted = any(self._growth(one)[1] for one in arrivals.counted.series)
        growth = 0.0 if restarted else (queue[-1] - queue[0]) * self._per_s
        refused = self.rate(arrivals.refused) or 0.0
        aborted = self.rate(arrivals.aborted) or 0.0
        return counted + growth + refused + (aborted if max(known) > 0 else 0.0)

    def _on(self, page: Page, wanted: Metric) -> float | None:
        """Return the first of `wanted` that is on `page`, its series added up."""
        found = (page.of(one) for one in wanted.series)
        return next((sum(each.values()) for each in found if each), None)

    def _growth(self, wanted: Series) -> tuple[dict[Labels, float], int]:
        """Return what each series grew by over the pages, and how often one began anew."""
        last = dict(self._pages[0].of(wanted))
        grown = dict.fromkeys(last, 0.0)
        resets = 0
        for page in self._pages[1:]:
            for labels, value in page.of(wanted).items():
                before = last.get(labels, 0.0)
                if value < before:
                    before, resets = 0.0, resets + 1
                grown[labels] = grown.get(labels, 0.0) + value - before
                last[labels] = value
        return grown, resets


def _buckets(
    pods: Mapping[Place, _Pod], choose: Callable[[Engine], Metric]
) -> dict[Place, dict[float, float]]:
    parts: dict[Place, list[Mapping[float, float]]] = defaultdict(list)
    for place, pod in pods.items():
        found = pod.buckets(_parts(choose(pod.engine), "_bucket"))
        if found:
            parts[_stem(place)].append(found)
    result: dict[Place, dict[float, float]] = {}
    for stem, those in parts.items():
        bounds = set(those[0]).union(*those[1:])
        result[stem] = {bound: sum(each.get(bound, 0.0) for each in those) for bound in bounds}
    return result


def _parts(metric: Metric, part: str) -> list[Series]:
    return [Series(name=one.name + part, where=one.where) for one in metric.series]


def _by_stem(values: Iterable[tuple[Place, float]]) -> dict[Place, float]:
    result: dict[Place, float] = defaultdict(float)
    for place, value in values:
        result[_stem(place)] += value
    return dict(result)


def _stem(place: Place) -> Place:
    return place[0], pod_stem(place[1])


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
