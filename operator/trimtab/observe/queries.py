"""The PromQL of one pass: a fixed number of queries, whatever the size of the fleet.

Every query first makes one value per pod: ranks and models of a replica add up, and of a pod that
is scraped twice (two jobs, a pair of Prometheus servers) the larger value counts, once. Gauges
stay by pod. Rates and histograms are then added up by namespace and stem, the name of the pod
without its random end: so their number is that of the variants, and a pod that is already gone
counts for the part of the window in which it served.
"""

from collections.abc import Callable, Iterable, Mapping

from trimtab.config import OperatorConfig
from trimtab.observe.engines import Engine, Gauge
from trimtab.observe.promql import series

STEM_LABEL = "trimtab_stem"
SUM = "sum"
"""Bucket bound under which the sum of a histogram's values is asked for."""
MAX_NAMESPACE_CHARS = 512
"""Where the names of the namespaces are longer together, a query asks for all of them: its URL
must pass proxies, which take 8 KiB."""

_STEM_PATTERN = "(.*)....."  # see world.pod_stem


def build(engine: Engine, config: OperatorConfig, namespaces: Iterable[str]) -> Mapping[str, str]:
    """Return the queries of one pass by name.

    Args:
        engine: The metric names.
        config: Window of rates and scrape interval.
        namespaces: Where replicas are; only their series are asked for.
    """
    return _Builder(engine, config, tuple(namespaces)).queries()


class _Builder:
    def __init__(self, engine: Engine, config: OperatorConfig, namespaces: tuple[str, ...]) -> None:
        self._engine = engine
        self._window_s = config.rate_window_s
        self._scrape_s = config.scrape_interval_s
        self._range = f"[{_ms(self._window_s)}]"
        few = sum(len(namespace) + 1 for namespace in namespaces) <= MAX_NAMESPACE_CHARS
        self._namespaces = namespaces if few else ()
        self._split = ", ".join(engine.labels)

    def queries(self) -> Mapping[str, str]:
        engine = self._engine
        return {
            "seen": f"max by (namespace, pod) (timestamp({self._any(engine.running.names)}))",
            "running": self._gauge(engine.running),
            "waiting": self._gauge(engine.waiting),
            "kv_utilization": self._gauge(engine.kv_utilization),
            "covered": f"max by (namespace, pod) ({self._covered()})",
            "arrivals": f"max by (namespace, pod) ({self._arrivals()})",
            "cache_found": self._by_stem(self._cache(lambda pair: (pair.found, pair.sought))),
            "cache_sought": self._by_stem(self._cache(lambda pair: (pair.sought, pair.found))),
            "input_tokens_sum": self._by_stem(self._rate(engine.input_tokens, "_sum")),
            "input_tokens_count": self._by_stem(self._rate(engine.input_tokens, "_count")),
            "output_tokens_sum": self._by_stem(self._rate(engine.output_tokens, "_sum")),
            "output_tokens_count": self._by_stem(self._rate(engine.output_tokens, "_count")),
            "ttft": self._by_stem(self._with_sum(engine.ttft), "le"),
            "itl": self._by_stem(self._with_sum(engine.itl), "le"),
            "e2e": self._by_stem(self._rate(engine.e2e, "_bucket"), "le"),
        }

    def _any(self, names: Iterable[str]) -> str:
        return " or ".join(series(name, self._namespaces) for name in names)

    def _gauge(self, gauge: Gauge) -> str:
        if gauge.over_ranks == "max":
            return f"max by (namespace, pod) ({self._any(gauge.names)})"
        return f"max by (namespace, pod) ({self._whole(self._any(gauge.names))})"

    def _over(self, function: str, name: str) -> str:
        return f"{function}({series(name, self._namespaces)}{self._range})"

    def _rate(self, names: Iterable[str], suffix: str = "") -> str:
        return " or ".join(self._over("rate", name + suffix) for name in names)

    def _with_sum(self, names: Iterable[str]) -> str:
        """Return the buckets of a histogram and, as one bucket more, its sum: for its mean."""
        names = tuple(names)
        total = self._rate(names, "_sum")
        return f'{self._rate(names, "_bucket")} or label_replace({total}, "le", "{SUM}", "", "")'

    def _covered(self) -> str:
        """Return how long ago the first sample of the window is, in seconds."""
        steps = f"[{_ms(self._window_s)}:{_ms(self._scrape_s / 2)}]"
        return f"time() - min_over_time(timestamp({self._any(self._engine.running.names)}){steps})"

    def _arrivals(self) -> str:
        """Return first tokens, growth of the queue and rejections, per second of the window.

        Completions lag by a whole answer, and in a growing queue never catch up. A request that
        arrived is in the queue, or has its first token, or was refused. A restart empties the
        queue, and those requests did not leave it served: then its growth is 0.
        """
        served = self._whole(self._rate(self._engine.ttft, "_count"))
        resets = " or ".join(self._over("resets", f"{name}_count") for name in self._engine.ttft)
        queue = " or ".join(self._over("delta", name) for name in self._engine.waiting.names)
        restarted = f"(({resets}) > 0)"
        growth = self._whole(f"(({queue}) unless {restarted}) or 0 * {restarted}")
        refused = self._whole(self._rate(self._engine.rejected))
        # Not every version counts rejections.
        return f"{served} + {growth} / {self._window_s:g} + ({refused} or 0 * {served})"

    def _cache(self, order: Callable[..., tuple[str, str]]) -> str:
        pairs = (order(pair) for pair in self._engine.prefix_cache)
        return " or ".join(
            f"({self._over('rate', wanted)} and {self._over('rate', other)})"
            for wanted, other in pairs
        )

    def _whole(self, expr: str) -> str:
        """Return `expr` added up over what splits one replica's series."""
        return f"sum without ({self._split}) ({expr})"

    def _by_stem(self, expr: str, *more: str) -> str:
        kept = "".join(f", {label}" for label in more)
        by_pod = f"max by (namespace, pod{kept}) ({self._whole(expr)})"
        return (
            f"sum by (namespace, {STEM_LABEL}{kept}) (label_replace("
            f'{by_pod}, "{STEM_LABEL}", "$1", "pod", "{_STEM_PATTERN}"))'
        )


def _ms(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
