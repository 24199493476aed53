"""The PromQL of one pass: a fixed number of queries, whatever the size of the fleet.

Every query first makes one value per pod: whatever labels split a replica's series (ranks, models,
adapters, reasons) they add up, and of a pod that is scraped twice (two jobs, a pair of Prometheus
servers) the larger value counts, once. Gauges stay by pod. Rates and histograms are then added up
by namespace and stem, the name of the pod without its random end: so their number is that of the
variants, and a pod that is already gone counts for the part of the window in which it served.

All engines of the fleet are asked for at once: a pod has the metrics of one of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from trimtab.config import OperatorConfig
from trimtab.observe.engines import Engine, Gauge, Mean, Metric, Series
from trimtab.observe.promql import labelled, series

STEM_LABEL = "trimtab_stem"
PART_LABEL = "trimtab_part"
"""Tells the values apart that one query brings."""
SUM, COUNT = "sum", "count"
"""Bucket bound under which the sum of a histogram's values is asked for."""
GAUGES = "gauges"
"""The query that brings every gauge, and what else is by pod."""
MAX_QUERIES = 15
"""Queries of one pass: 9 of engines, 2 of gateways, 2 of custom engines, 1 of prices, 1 of the
self-test."""
MAX_URL_CHARS = 7000
"""Where a query is longer with the names of the namespaces, it asks for all of them: its URL must
pass proxies, which take 8 KiB."""
TARGET_LABELS = ("namespace", "pod", "job", "instance", "prometheus_replica", "replica")
"""Labels that tell apart where and by whom a page was scraped; all others are the engine's own.

The last two name one of a pair of servers: the Prometheus operator's label, and the one of
Thanos', Mimir's and VictoriaMetrics' documentation.
"""

_STEM_PATTERN = "(.*)....."  # see world.pod_stem


def build(
    engines: Sequence[Engine], config: OperatorConfig, namespaces: Iterable[str]
) -> Mapping[str, str]:
    """Return the queries of one pass by name.

    Args:
        engines: The engines of the fleet.
        config: Window of rates and scrape interval.
        namespaces: Where replicas are; only their series are asked for.
    """
    every = _Builder(engines, config, ()).queries()
    few = _Builder(engines, config, tuple(namespaces)).queries()
    return {
        name: expr if quoted_length(expr) <= MAX_URL_CHARS else every[name]
        for name, expr in few.items()
    }


class _Builder:
    def __init__(
        self, engines: Sequence[Engine], config: OperatorConfig, namespaces: tuple[str, ...]
    ) -> None:
        self._engines = engines
        self._window_s = config.rate_window_s
        self._scrape_s = config.scrape_interval_s
        self._range = f"[{_ms(self._window_s)}]"
        self._labels = config.prometheus_labels
        self._namespaces = namespaces

    def queries(self) -> Mapping[str, str]:
        found = {
            "seen": _parts(
                seen=self._by_pod(self._stamped()),
                covered=self._by_pod(self._covered()),
                samples=self._by_pod(self._each(self._samples)),
                served=self._by_pod(self._each(lambda engine: self._now(engine.begun.served))),
                finished=self._by_pod(self._each(lambda engine: self._now(engine.begun.finished))),
            ),
            GAUGES: _parts(
                running=self._gauge(lambda engine: engine.running),
                waiting=self._gauge(lambda engine: engine.waiting),
                kv_utilization=self._gauge(lambda engine: engine.kv_utilization),
                batch=self._by_pod(self._each(self._batch)),
                steps=self._by_pod(self._each(self._steps)),
                preempted=self._by_pod(self._each(self._preempted)),
            ),
            "arrivals": self._by_pod(self._each(self._arrivals)),
            "prefix_hit": self._mean(lambda engine: engine.prefix_hit),
            "input_tokens": self._mean(
                lambda engine: engine.input_tokens, lambda engine: engine.inputs
            ),
            "output_tokens": self._mean(
                lambda engine: engine.output_tokens, lambda engine: engine.outputs
            ),
            "ttft": self._histogram(lambda engine: engine.ttft, lambda engine: engine.ttft),
            "itl": self._histogram(lambda engine: engine.pace, lambda engine: engine.itl),
            "e2e": self._histogram(lambda engine: engine.e2e),
        }
        return {name: expr for name, expr in found.items() if expr}

    def _stamped(self) -> str:
        """Return when each newest sample was scraped: of an expression, `timestamp` is now."""
        every = (one for engine in self._engines for one in engine.running.series)
        return either(f"timestamp({self._any([one])})" for one in every)

    def _each(self, expr: Callable[[Engine], str]) -> str:
        return either(expr(engine) for engine in self._engines)

    def _any(self, wanted: Iterable[Series]) -> str:
        return either(self._selector(one) for one in wanted)

    def _selector(self, wanted: Series, suffix: str = "") -> str:
        where = (*wanted.where, *self._labels)
        return series(wanted.name + suffix, self._namespaces, where)

    def _over(self, function: str, wanted: Series, suffix: str = "") -> str:
        return f"{function}({self._selector(wanted, suffix)}{self._range})"

    def _total(self, function: str, wanted: Iterable[Series], *more: str) -> str:
        """Return the first of `wanted` that a target has, as one value for each target."""
        return either(_target(self._over(function, one), *more) for one in wanted)

    def _now(self, wanted: Metric) -> str:
        """Return the first of `wanted` that a target has, added up, as it was last scraped."""
        return either(_target(self._any([one])) for one in wanted.series)

    def _gauge(self, choose: Callable[[Engine], Gauge]) -> str:
        def of(engine: Engine) -> str:
            gauge = choose(engine)
            return self._any(gauge.series) if gauge.over_ranks == "max" else self._now(gauge)

        return self._by_pod(self._each(of))

    def _by_pod(self, expr: str, *more: str) -> str:
        return f"max by ({', '.join(('namespace', 'pod', *more))}) ({expr})" if expr else ""

    def _by_stem(self, expr: str, *more: str) -> str:
        if not expr:
            return ""
        kept = ", ".join(("namespace", STEM_LABEL, *more))
        by_pod = self._by_pod(expr, *more)
        stemmed = f'label_replace({by_pod}, "{STEM_LABEL}", "$1", "pod", "{_STEM_PATTERN}")'
        return f"sum by ({kept}) ({stemmed})"

    def _histogram(
        self,
        choose: Callable[[Engine], Metric],
        meant: Callable[[Engine], Metric] | None = None,
    ) -> str:
        """Return the buckets of a histogram and, as two buckets more, sum and count of `meant`."""

        def of(engine: Engine) -> str:
            found = [self._buckets(choose(engine))]
            for mark, part in ((SUM, "_sum"), (COUNT, "_count")) if meant else ():
                series = meant(engine).series if meant else ()
                total = either(_target(self._over("rate", one, part)) for one in series)
                found += [labelled(total, {"le": mark})] if total else []
            return either(each for each in found if each)

        return self._by_stem(self._each(of), "le")

    def _buckets(self, metric: Metric) -> str:
        wanted = metric.series
        return either(_target(self._over("rate", one, "_bucket"), "le") for one in wanted)

    def _mean(
        self,
        choose: Callable[[Engine], Mean],
        spread: Callable[[Engine], Metric] | None = None,
    ) -> str:
        """Return both counters of a mean as the sum and the count of a histogram, and its buckets.

        Of two versions the pair counts that is whole. The buckets are those of `spread`, which not
        every engine has.
        """

        def of(engine: Engine) -> str:
            ratios = choose(engine).ratios
            found = [self._buckets(spread(engine))] if spread else []
            for mark, above in ((SUM, True), (COUNT, False)):
                pairs = (
                    (one.above, one.below) if above else (one.below, one.above) for one in ratios
                )
                total = either(self._beside(*pair) for pair in pairs)
                found += [labelled(total, {"le": mark})] if total else []
            return either(found)

        return self._by_stem(self._each(of), "le")

    def _beside(self, wanted: Series, other: Series) -> str:
        """Return the rate of `wanted` where `other` is there, too."""
        there = f"and on (namespace, pod) {self._selector(other)}"
        return f"({_target(self._over('rate', wanted))} {there})"

    def _covered(self) -> str:
        """Return how long ago the first sample of the window is, in seconds."""
        steps = f"[{_ms(self._window_s)}:{_ms(self._scrape_s / 2)}]"
        stamped = self._stamped()
        return f"time() - min_over_time(({stamped}){steps})" if stamped else ""

    def _samples(self, engine: Engine) -> str:
        """Return how often a page was scraped in the window; of each rank it is the same."""
        return either(self._over("count_over_time", one) for one in engine.running.series)

    def _batch(self, engine: Engine) -> str:
        """Return the mean batch of the window: rates of tokens are of all of it (Little's law)."""
        return self._total("avg_over_time", engine.running.series)

    def _steps(self, engine: Engine) -> str:
        """Return the engine's steps per second, of all its ranks."""
        series = engine.steps.series
        return either(_target(self._over("rate", one, "_count")) for one in series)

    def _preempted(self, engine: Engine) -> str:
        return self._total("rate", engine.preempted.series)

    def _arrivals(self, engine: Engine) -> str:
        """Return what arrived per second of the window, for each target.

        Completions lag by a whole answer, and in a growing queue never catch up. A request that
        arrived is in the queue, or has its first token, or was refused, or was given up. A restart
        empties the queue, and those requests did not leave it served: then its growth is 0. Given
        up before its first token was only what waited, so aborts count while there was a queue.
        """
        arrivals, waiting = engine.arrivals, engine.waiting.series
        counted = either((self._total("rate", arrivals.counted.series), *self._uncounted(engine)))
        if not counted or not arrivals.at_first_token:
            return counted
        restarted = f"({self._total('resets', arrivals.counted.series)}) > 0"
        queue = self._total("delta", waiting)
        growth = f"((({queue}) unless ({restarted})) or 0 * ({restarted}))"
        expr = f"({counted}) + {growth} / {self._window_s:g}"
        queued = f"({self._total('max_over_time', waiting)}) > 0"
        lost = [self._total("rate", arrivals.refused)]
        aborted = self._total("rate", arrivals.aborted)
        lost.append(aborted and f"({aborted}) and ({queued})")
        for each in filter(None, lost):  # not every version counts them
            expr += f" + (({each}) or 0 * ({self._now(engine.waiting)}))"
        return f"({expr})"

    def _uncounted(self, engine: Engine) -> tuple[str, ...]:
        """Return the rates where a counter is there only from its first count on.

        Of one sample rate() makes nothing; but where nothing was served at some time of the window,
        all of the count is from within it. Where nothing was served at all, it is 0.
        """
        begun = engine.begun.served
        if not begun.series:
            return ()
        none = self._total("min_over_time", begun.series)
        count = self._now(engine.arrivals.counted)
        first = f"(({count}) and ({none}) == 0) / {self._window_s:g}"
        return first, f"0 * (({self._now(begun)}) == 0)"


_TARGET = ", ".join(TARGET_LABELS)


def _target(expr: str, *more: str) -> str:
    """Return `expr` as one value for each page that is scraped, and for each value of `more`."""
    return f"sum by ({', '.join((_TARGET, *more))}) ({expr})"


def quoted_length(expr: str) -> int:
    """Return how long `expr` is in a URL."""
    return len(quote(expr))


def either(exprs: Iterable[str]) -> str:
    """Return the union of those that are not empty; of two equal series the first counts."""
    return " or ".join(each for each in exprs if each)


def _parts(**parts: str) -> str:
    return either(labelled(expr, {PART_LABEL: name}) for name, expr in parts.items() if expr)


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
