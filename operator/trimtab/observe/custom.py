"""The signals of engines that nobody here knows, by the PromQL in their LLMDeployments.

Whoever writes an LLMDeployment writes these expressions, so what they return counts for its own
replicas alone, and a query that fails spoils nobody else's. Deployments with the same expressions
share a query; only so many different ones are asked in one pass.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trimtab.api.enginemetrics import EngineMetrics
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Invalid, Missing, Signal
from trimtab.observe.coverage import Clock, Coverage, Sightings, unusable
from trimtab.observe.prometheus import MetricsSource, Sample
from trimtab.observe.promql import labelled
from trimtab.observe.queries import PART_LABEL, either
from trimtab.observe.reader import MAX_REQUESTS, MAX_SECONDS, MAX_TOKENS, Subject, same
from trimtab.observe.readings import Place

MAX_DIFFERENT = 2
"""Different `spec.engine.metrics` of one pass: with the other queries they are MAX_QUERIES."""
FIELD = "spec.engine.metrics"
UNASKED = f"{FIELD} is not set, so only the workload counts"
TOO_MANY = f"more than {MAX_DIFFERENT} different {FIELD} are in use: share one, or drop this"

_SEEN = "seen"

Parts = Mapping[str, Mapping[Place, float]]
"""By field of EngineMetrics, then by pod."""


def ask(
    metrics: MetricsSource, subjects: Sequence[Subject]
) -> Mapping[EngineMetrics, Parts | Exception]:
    """Return what the expressions of these deployments give; no failure raises."""
    found: dict[EngineMetrics, Parts | Exception] = {}
    for each in sorted(subjects, key=lambda subject: subject.key):
        wanted = each.metrics
        if wanted is None or wanted in found or len(found) == MAX_DIFFERENT:
            continue
        try:
            found[wanted] = _parts(metrics.query(query(wanted)))
        except Unavailable as error:
            found[wanted] = error
    return found


def query(wanted: EngineMetrics) -> str:
    """Return one query for all expressions, each on lines of its own, as it may have a comment."""
    parts = [_part(_SEEN, f"timestamp(({wanted.waiting_requests}\n))")]
    for name in EngineMetrics.model_fields:
        expr = getattr(wanted, name)
        if expr is not None:
            parts.append(_part(name, f"({expr}\n)"))
    return either(parts)


def _part(name: str, expr: str) -> str:
    return labelled(f"max by (namespace, pod) ({expr})", {PART_LABEL: name})


def _parts(samples: Sequence[Sample]) -> Parts:
    found: dict[str, dict[Place, float]] = {}
    for each in samples:
        labels = each.labels
        place = (labels.get("namespace", ""), labels.get("pod", ""))
        found.setdefault(labels.get(PART_LABEL, ""), {})[place] = each.value
    return found


def load(
    subject: Subject,
    found: Mapping[EngineMetrics, Parts | Exception],
    now: float,
    config: OperatorConfig,
) -> ObservedLoad:
    """Return the signals of one deployment with a custom engine."""
    if subject.metrics is None:
        return same(Missing(why=UNASKED))
    parts = found.get(subject.metrics)
    if parts is None:
        return same(Missing(why=TOO_MANY))
    if isinstance(parts, Exception):
        return same(Invalid(why=f"{FIELD}: {parts}"))
    coverage = Coverage.of(
        [pod for pod in subject.pods if not pod.terminating and not pod.finished],
        Sightings(at=parts.get(_SEEN, {}), metric=f"{FIELD}.waitingRequests"),
        Clock(now=now, scrape_s=config.scrape_interval_s),
    )
    nothing = Missing(why="a custom engine has no histogram")
    signals: dict[str, Any] = {
        signal: _signal(coverage, name, parts.get(name, {}), combine, most)
        for signal, (name, combine, most) in _SIGNALS.items()
    }
    return replace(same(nothing), **signals, window_s=config.rate_window_s)


def _mean(values: Collection[float]) -> float:
    return sum(values) / len(values)


_SIGNALS: Mapping[str, tuple[str, Callable[[Collection[float]], float], float]] = {
    # The percentile of the slowest replica: that of all together is not above it.
    "arrival_rps": ("requests_per_second", sum, MAX_REQUESTS),
    "waiting": ("waiting_requests", sum, MAX_REQUESTS),
    "running": ("running_requests", sum, MAX_REQUESTS),
    "kv_utilization": ("kv_utilization", max, 1.0),
    "input_tokens": ("input_tokens", _mean, MAX_TOKENS),
    "output_tokens": ("output_tokens", _mean, MAX_TOKENS),
    "ttft_s": ("time_to_first_token", max, MAX_SECONDS),
    "itl_s": ("inter_token_latency", max, MAX_SECONDS),
    "e2e_s": ("end_to_end", max, MAX_SECONDS),
}
"""By signal: the field, how the replicas make one value, and what no value is above."""


def _signal(
    coverage: Coverage,
    name: str,
    values: Mapping[Place, float],
    combine: Callable[[Collection[float]], float],
    most: float,
) -> Signal:
    if coverage.silence is not None:
        return coverage.silence
    spelt = f"{FIELD}.{EngineMetrics.model_fields[name].alias}"
    found = {place: values[place] for place in coverage.reporting if place in values}
    if not found:
        return Missing(why=f"{spelt} gives nothing with the namespace and pod of a replica")
    problem = unusable(found.values(), most)
    if problem:
        return Invalid(why=f"{spelt} is {problem}")
    return coverage.qualified(combine(found.values()), found)
