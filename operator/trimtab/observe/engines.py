"""What each engine's metrics page calls the things we need, read from the engines' data files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trimtab.api.engine import EngineType
from trimtab.catalog.engines import document, server

_TOTAL = "_total"
_HISTOGRAM_PARTS = ("_sum", "_count", "_bucket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The series of one metric name, or those of them with some labels."""

    name: str
    where: tuple[tuple[str, str], ...] = ()
    """Labels that they have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A metric over the engine's versions. The first name that a replica exports counts."""

    what: str
    """What it measures, in words, for an engine that has no such metric."""
    series: tuple[Series, ...]
    """Newest first; empty where the engine has none."""

    @property
    def newest(self) -> str:
        """The name to look for in a current release."""
        return self.series[0].name if self.series else f"a metric of {self.what}"

    def names(self) -> Iterator[str]:
        """Yield its names."""
        return (each.name for each in self.series)

    @property
    def title(self) -> str:
        """All names, for a person."""
        return " or ".join(each.name for each in self.series) or self.newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge(Metric):
    """A value of the moment."""

    over_ranks: str
    """How the ranks of one replica, and the replicas, make one value: sum or max."""
    until: str | None
    """Last release that had it, where newer ones have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Two counters, of which one over the other is a mean."""

    above: Series
    below: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over the engine's versions. The first ratio of which both series exist counts."""

    what: str
    ratios: tuple[Ratio, ...]

    @property
    def newest(self) -> str:
        """The name to look for in a current release."""
        if not self.ratios:
            return f"a metric of {self.what}"
        # A histogram is named as a whole.
        name = self.ratios[0].above.name
        return name.removesuffix("_sum") if name.endswith("_sum") else name

    def names(self) -> Iterator[str]:
        """Yield the names of its counters."""
        return (one.name for ratio in self.ratios for one in (ratio.above, ratio.below))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What tells how many requests came."""

    counted: Metric
    """Counters of requests that came, or that got as far as their first token."""
    at_first_token: bool
    """Whether a request counts at its first token, so that what waits has to be added."""
    aborted: tuple[Series, ...]
    """Counters of requests that their client gave up, waiting or served."""
    refused: tuple[Series, ...]
    """Counters of requests that a queue limit turned away; not every version has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What tells that an engine has counted nothing yet: then a series that it lacks is no gap."""

    served: Metric
    """Counters that are on the page from the start, and 0 until a request is served."""
    finished: Metric
    """Counters that are 0, or not there, until a request is finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Metric names of one engine. Histograms are named without `_bucket`, `_sum`, `_count`."""

    type: EngineType
    title: str
    running: Gauge
    waiting: Gauge
    kv_utilization: Gauge
    arrivals: Arrivals
    begun: Begun
    preempted: Metric
    """Requests that lost their place in the KV cache."""
    ttft: Metric
    itl: Metric
    """Each time between two tokens."""
    pace: Metric
    """The same as the mean of each answer, where the engine has that: what targets are about."""
    e2e: Metric
    steps: Metric
    """New tokens of each step: only how many steps there were."""
    inputs: Metric
    """Prompt lengths: only how they spread, for `input_tokens` has their mean."""
    outputs: Metric
    """The same of answers."""
    input_tokens: Mean
    output_tokens: Mean
    prefix_hit: Mean
    page: str
    """Path of the metrics page."""
    eager: bool
    """Whether every series is there from the start, and not from its first observation on."""

    def needed(self) -> Iterator[Metric | Mean]:
        """Yield what a plan reads; the first two it cannot do without."""
        yield from (self.arrivals.counted, self.waiting, self.running, self.kv_utilization)
        yield from (self.ttft, self.itl, self.pace, self.e2e)
        yield from (self.input_tokens, self.output_tokens, self.prefix_hit)


@cache
def get(engine: EngineType) -> Engine:
    """Return the metric names of `engine`."""
    data = document(engine)
    arrivals, begun, means = data["arrivals"], data["begun"], data["means"]
    return Engine(
        type=engine,
        title=data["title"],
        running=_gauge(data, "running", "requests in the batch"),
        waiting=_gauge(data, "waiting", "requests in the queue"),
        kv_utilization=_gauge(data, "kv_utilization", "KV cache use"),
        arrivals=Arrivals(
            counted=Metric(what="arriving requests", series=_counters(arrivals["counted"])),
            at_first_token=arrivals["counts"] == "first tokens",
            aborted=_counters(arrivals["aborted"]),
            refused=_counters(arrivals["refused"]),
        ),
        begun=Begun(
            served=Metric(what="tokens taken in", series=_counters(begun["served"])),
            finished=Metric(what="finished requests", series=_counters(begun["finished"])),
        ),
        preempted=Metric(what="preempted requests", series=_counters(data["preempted"])),
        ttft=_histogram(data, "ttft", "time to first token"),
        itl=_histogram(data, "itl", "time between tokens"),
        pace=_histogram(data, "pace", "time between tokens of an answer"),
        e2e=_histogram(data, "e2e", "end-to-end latency"),
        steps=_histogram(data, "steps", "tokens of engine steps"),
        inputs=_histogram(data, "inputs", "prompt lengths"),
        outputs=_histogram(data, "outputs", "answer lengths"),
        input_tokens=Mean(what="prompt lengths", ratios=_ratios(means["input_tokens"])),
        output_tokens=Mean(what="answer lengths", ratios=_ratios(means["output_tokens"])),
        prefix_hit=Mean(what="prefix cache hits", ratios=_ratios(means["prefix_hit"])),
        page=server(engine).page,
        eager=data["eager"],
    )


def parse_series(entry: str | Mapping[str, Any]) -> Series:
    """Return what a data file names: a metric, or those of its series with some labels."""
    if isinstance(entry, str):
        return Series(name=entry)
    return Series(name=entry["name"], where=tuple(sorted(entry.get("where", {}).items())))


def _gauge(data: Mapping[str, Any], name: str, what: str) -> Gauge:
    entry = data["gauges"][name]
    series = tuple(parse_series(each) for each in entry["names"])
    until = entry.get("until")
    return Gauge(what=what, series=series, over_ranks=entry["over_ranks"], until=until)


def _histogram(data: Mapping[str, Any], name: str, what: str) -> Metric:
    return Metric(what=what, series=tuple(map(parse_series, data["histograms"][name]["names"])))


def _counters(entries: list[Any]) -> tuple[Series, ...]:
    """Return counters as client libraries of either kind spell them: OpenMetrics adds `_total`."""
    return tuple(each for entry in entries for each in _spellings(parse_series(entry)))


def _spellings(series: Series) -> tuple[Series, ...]:
    if series.name.endswith(_HISTOGRAM_PARTS):
        return (series,)
    return (Series(name=series.name + _TOTAL, where=series.where), series)


def _ratios(entries: list[dict[str, Any]]) -> tuple[Ratio, ...]:
    return tuple(
        Ratio(above=above, below=below)
        for entry in entries
        for above, below in zip(
            _spellings(parse_series(entry["above"])),
            _spellings(parse_series(entry["below"])),
            strict=True,
        )
    )
