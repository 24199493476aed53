"""The signals of some replicas of one deployment: all of them, or those of one pod template."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.config import OperatorConfig
from trimtab.models.load import LatencyTargets, ObservedLoad, Spread, VariantReading
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import Key
from trimtab.observe import engines, histogram
from trimtab.observe.coverage import (
    RATES_AFTER_SCRAPES,
    Clock,
    Coverage,
    Sightings,
    caught_up,
    unusable,
)
from trimtab.observe.gateways import Asked
from trimtab.observe.queries import GAUGES
from trimtab.observe.readings import Place, Readings
from trimtab.observe.world import PodFacts, ReplicaShape, pod_stem

NO_REQUEST = "no request in the window"
NONE_YET = "no request was served yet"
NONE_FINISHED = "no request is finished yet"
REMEDY = "`trimtab doctor` finds what they export instead"
JUST_SEEN = "the source has seen the replicas for less than two scrapes"
LATE = "a scrape is late, so the rate is short of what came since"

_OF_FINISHED = frozenset({"input_tokens", "output_tokens", "e2e"})
"""Queries of what engines count when a request is finished."""

_Read = TypeVar("_Read", float, Mapping[float, float])

MAX_REQUESTS = 1e7
"""More requests than this on one replica, in a second or at once, is no measurement."""
MAX_TOKENS = 1e8
MAX_SECONDS = 1e5


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One deployment whose signals are wanted."""

    key: Key
    targets: LatencyTargets
    pods: tuple[PodFacts, ...]
    """Its own pods."""
    stems: frozenset[str] = frozenset()
    """Stems of pods that are gone."""
    engine: EngineType = EngineType.VLLM
    """What its pods run."""
    gateway: Asked | None = None
    """What its gateway calls it."""
    metrics: EngineMetrics | None = None
    """PromQL of a custom engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The replicas of one variant that were made from one pod template."""

    shape: ReplicaShape
    stem: str
    subject: Subject
    """The deployment with these pods only."""


def same(signal: Signal) -> ObservedLoad:
    """Return a load of which every signal is `signal`."""
    signals: dict[str, Any] = {
        each.name: signal for each in fields(ObservedLoad) if each.type == Signal
    }
    return ObservedLoad(**signals)


class Reader:
    """The signals of one deployment, or of some of its replicas."""

    def __init__(
        self,
        subject: Subject,
        readings: Readings,
        engine: engines.Engine,
        now: float,
        config: OperatorConfig,
    ) -> None:
        self._subject = subject
        self._readings = readings
        self._engine = engine
        self._now = now
        self._window_s = config.rate_window_s
        self._half_scrape_s = config.scrape_interval_s / 2
        stems = subject.stems | {pod_stem(pod.name) for pod in subject.pods}
        self._stems = {stem: (subject.key.namespace, stem) for stem in sorted(stems)}
        self._coverage = Coverage.of(
            [pod for pod in subject.pods if not pod.terminating and not pod.finished],
            Sightings(
                at=readings.values.get("seen", {}),
                metric=engine.running.newest,
                failures=readings.failures,
            ),
            Clock(now=now, scrape_s=config.scrape_interval_s),
        )

    def load(self) -> ObservedLoad:
        """Return what they report together; `variants` is left empty."""
        prompt = self._mean("input_tokens", self._engine.input_tokens)
        answer = self._mean("output_tokens", self._engine.output_tokens)
        return ObservedLoad(
            arrival_rps=self._arrivals(),
            input_tokens=prompt,
            output_tokens=answer,
            inputs=self._spread("input_tokens") if isinstance(prompt, Fresh) else None,
            outputs=self._spread("output_tokens") if isinstance(answer, Fresh) else None,
            prefix_hit=self._mean("prefix_hit", self._engine.prefix_hit, 1.0),
            waiting=self._gauge("waiting", self._engine.waiting, MAX_REQUESTS),
            running=self._gauge("running", self._engine.running, MAX_REQUESTS),
            kv_utilization=self._gauge("kv_utilization", self._engine.kv_utilization, 1.0),
            ttft_s=self._latency("ttft", self._engine.ttft),
            itl_s=self._latency("itl", self._engine.pace),
            e2e_s=self._latency("e2e", self._engine.e2e),
            slo_attainment=self._attainment(),
            window_s=self._window_s,
        )

    def variant(self, template: Template) -> VariantReading:
        """Return the means over the replicas of one pod template, which the subject's pods are."""
        engine = self._engine
        return VariantReading(
            pool=template.shape.pool,
            parallelism=template.shape.parallelism,
            revision=template.stem,
            itl_s=self._histogram_mean("itl", engine.itl),
            gaps_per_s=self._per_replica("itl", engine.itl, template.stem),
            ttft_s=self._histogram_mean("ttft", engine.ttft),
            first_tokens_per_s=self._per_replica("ttft", engine.ttft, template.stem),
            steps_per_s=self._each("steps", engine.steps),
            preempted_per_s=self._each("preempted", engine.preempted),
            input_tokens=self._mean("input_tokens", engine.input_tokens),
            output_tokens=self._mean("output_tokens", engine.output_tokens),
            prefix_hit=self._mean("prefix_hit", self._engine.prefix_hit, 1.0),
            waiting=self._gauge("waiting", engine.waiting, MAX_REQUESTS),
            running=self._each("batch", engine.running),
            kv_utilization=self._gauge("kv_utilization", engine.kv_utilization, 1.0),
        )

    def _each(self, query: str, metric: engines.Metric) -> Signal:
        """Return the mean over the replicas of a value of the window."""
        total = self._of_pods(query, metric, sum, MAX_REQUESTS)
        if not isinstance(total, Fresh):
            return total
        return replace(total, value=total.value / len(self._coverage.reporting))

    def _histogram_mean(self, query: str, metric: engines.Metric) -> Signal:
        found = self._counted(query, metric)
        if not isinstance(found, dict):
            return found
        total = self._mine(self._readings.sums, query)
        if not found.keys() <= total.keys():
            return _absent(f"{metric.newest}_sum")
        return self._ratio(total, found, list(found), MAX_SECONDS)

    def _counted(self, query: str, metric: engines.Metric) -> dict[str, float] | Signal:
        """Return by stem how many values a histogram counted in a second."""
        merged = self._merged(query, metric)
        if not isinstance(merged, dict):
            return merged
        stems, counts = self._buckets(query), self._mine(self._readings.counts, query)
        if not stems.keys() <= counts.keys():
            return _absent(f"{metric.newest}_count")
        return {stem: counts[stem] for stem in stems}

    def _per_replica(self, query: str, metric: engines.Metric, stem: str) -> Signal:
        """Return the observations of a histogram per second and replica.

        Missing while replicas come and go: what those counted that are gone is in the sum.
        """
        found = self._counted(query, metric)
        if not isinstance(found, dict):
            return found
        here = self._readings.arrivals.get((self._subject.key.namespace, stem), {})
        reporting = self._coverage.reporting
        if set(here) != set(reporting):
            return Missing(why="replicas came or went within the window")
        if any(self._caught_up(place) > 1.0 for place in reporting):
            return Missing(why=LATE)
        rate = math.fsum(found.values()) / len(reporting)
        return self._coverage.qualified_by_stem(rate, [stem])

    def _gauge(self, query: str, gauge: engines.Gauge, most: float) -> Signal:
        combine = max if gauge.over_ranks == "max" else sum
        return self._of_pods(query, gauge, combine, most)

    def _of_pods(
        self,
        query: str,
        metric: engines.Metric,
        combine: Callable[[Iterable[float]], float],
        most: float,
    ) -> Signal:
        """Return what a value of each replica makes of all of them, each up to `most`."""
        for name in ("seen", GAUGES):
            if name in self._readings.refused:
                return Invalid(why=self._readings.refused[name])
        coverage = self._coverage
        values = self._readings.values.get(query, {})
        if coverage.silence is not None:
            old = [values[place] for place in coverage.stale if place in values]
            if not old or unusable(old, most):
                return coverage.silence
            return Stale(value=float(combine(old)), age_s=min(coverage.stale.values()))
        found = {place: values[place] for place in coverage.reporting if place in values}
        if not found and isinstance(metric, engines.Gauge) and metric.until is not None:
            last = f"{self._engine.title} {metric.until}"
            return Missing(
                why=f"no replica exports {metric.title}, which {last} was the last to have"
            )
        if not found:
            return self._lacking((), metric.title, known=bool(metric.series))
        problem = unusable(found.values(), most)
        if problem:
            return Invalid(why=f"{metric.newest} is {problem}")
        signal = coverage.qualified(float(combine(found.values())), found)
        return self._explained(signal, found, query, metric.newest)

    def _mine(
        self, readings: Mapping[str, Mapping[Place, _Read]], query: str
    ) -> Mapping[str, _Read]:
        """Return what was read for `query` by stem, of the stems that are ours and have it."""
        found = readings.get(query, {})
        return {stem: found[place] for stem, place in self._stems.items() if place in found}

    def _gap(
        self, asked: Iterable[str], metric: str, found: Collection[object], *, known: bool = True
    ) -> Signal | None:
        """Return why a rate says nothing, of which this was found, or None.

        Args:
            asked: The queries that it takes.
            metric: What to look for on a page.
            found: What came of it.
            known: Whether the engine has such a metric at all.
        """
        for query in ("seen", *asked):
            if query in self._readings.refused:
                return Invalid(why=self._readings.refused[query])
        if self._coverage.silence is not None:
            return self._coverage.silence
        if found:
            return None
        if self._coverage.young:
            return Missing(why=self._coverage.young)
        if self._covered_s(self._coverage.reporting) < 4 * self._half_scrape_s:
            return Missing(why=JUST_SEEN)
        return self._lacking(asked, metric, known=known)

    def _lacking(self, asked: Iterable[str], metric: str, *, known: bool) -> Missing:
        """Return why there is no `metric`, which the queries `asked` for; none for a gauge."""
        if not known:
            return Missing(why=f"{self._engine.title} does not export {metric}")
        asked, begun = set(asked), self._engine.begun
        if asked and begun.served.series and not self._counted_any("served", absent=math.nan):
            return Missing(why=NONE_YET)
        of_finished = asked & _OF_FINISHED and begun.finished.series
        if of_finished and not self._counted_any("finished", absent=0.0):
            return Missing(why=NONE_FINISHED)
        if self._engine.eager:
            return _absent(metric)
        return Missing(why=f"no replica exports {metric}, or none has served a request yet")

    def _explained(
        self, signal: Signal, having: Iterable[Place], query: str, metric: str
    ) -> Signal:
        """Return `signal` with the `metric` that replicas lack which report and are not `having`.

        None that is too young for a rate, or has counted nothing yet that `query` is about.
        """
        if not isinstance(signal, Partial) or not self._engine.eager:
            return signal
        counted = ("served", math.nan) if self._engine.begun.served.series else ("", 1.0)
        if query in _OF_FINISHED and self._engine.begun.finished.series:
            counted = ("finished", 0.0)
        values = self._readings.values.get(counted[0], {})
        old = 2 * RATES_AFTER_SCRAPES * self._half_scrape_s
        for at in set(self._coverage.reporting) - set(having):
            if self._covered_s([at]) >= old and values.get(at, counted[1]) != 0:
                return replace(signal, why=f"and others export no {metric}: {REMEDY}")
        return signal

    def _of(self, stems: Collection[str]) -> Iterable[Place]:
        """Return the replicas of these stems."""
        return [at for at in self._coverage.reporting if pod_stem(at[1]) in stems]

    def _counted_any(self, name: str, *, absent: float) -> bool:
        """Return whether any replica has counted, or may have: what is `absent` reads as that."""
        counted = self._readings.values.get(name, {})
        return any(counted.get(place, absent) != 0 for place in self._coverage.reporting)

    def _arrivals(self) -> Signal:
        """Return the arrivals at the replicas, and at pods that are gone from the same stems."""
        found = {
            place: rate
            for stem in self._stems.values()
            for place, rate in self._readings.arrivals.get(stem, {}).items()
        }
        needed = f"{self._engine.arrivals.counted.newest} and {self._engine.waiting.newest}"
        known = bool(self._engine.arrivals.counted.series)
        gap = self._gap(("arrivals",), needed, found, known=known)
        if gap is not None:
            return gap
        here = set(self._coverage.reporting)  # what is gone will not catch up
        arrivals = sum(
            rate * (self._caught_up(place) if place in here else 1.0)
            for place, rate in found.items()
        ) / self._covered_share(found)
        if not abs(arrivals) <= MAX_REQUESTS:
            return Invalid(why=f"the arrival rate is {arrivals:g} requests/s")
        # A queue may shrink a little faster than it is seen to be served.
        signal = self._coverage.qualified(max(0.0, arrivals), found)
        return self._explained(signal, found, "arrivals", needed)

    def _caught_up(self, place: Place) -> float:
        """Return how many times more than its rate says came to a replica."""
        seen, covered, samples = (
            self._readings.values.get(part, {}).get(place, math.nan)
            for part in ("seen", "covered", "samples")
        )
        return caught_up(self._now - seen, covered, samples, self._window_s)

    def _covered_share(self, places: Iterable[Place]) -> float:
        """Return the share of the window in which the deployment was seen at all.

        A rate is over the whole window, and takes a series to reach half a scrape before its first
        sample (Prometheus, extrapolatedRate). Added up over replicas that come and go, this is
        right; but after a start from nothing the deployment would seem idle for a window.
        """
        longest = self._covered_s(places)
        return max(0.1, min(1.0, (longest + self._half_scrape_s) / self._window_s))

    def _covered_s(self, places: Iterable[Place]) -> float:
        """Return how long ago the first sample of the window is that one of `places` has."""
        covered = self._readings.values.get("covered", {})
        return max((covered[at] for at in places if at in covered), default=math.inf)

    def _mean(self, query: str, mean: engines.Mean, most: float = MAX_TOKENS) -> Signal:
        above, below = self._pair(query)
        stems = above.keys() & below.keys()
        gap = self._gap((query,), mean.newest, stems, known=bool(mean.ratios))
        signal = gap or self._ratio(above, below, stems, most)
        return self._explained(signal, self._of(stems), query, mean.newest)

    def _pair(self, query: str) -> tuple[Mapping[str, float], Mapping[str, float]]:
        return self._mine(self._readings.sums, query), self._mine(self._readings.counts, query)

    def _spread(self, query: str) -> Spread | None:
        """Return how the lengths spread of which `query` has a fresh mean: of the same requests."""
        above, below = self._pair(query)
        buckets = self._buckets(query)
        served = [stem for stem in above.keys() & below.keys() if below[stem] > 0]
        return histogram.spread([buckets.get(stem, {}) for stem in sorted(served)])

    def _ratio(
        self,
        above: Mapping[str, float],
        below: Mapping[str, float],
        stems: Iterable[str],
        most: float,
    ) -> Signal:
        over, under = sum(above[stem] for stem in stems), sum(below[stem] for stem in stems)
        problem = unusable((over, under), math.inf)
        if problem:
            return Invalid(why=f"a rate is {problem}")
        if under == 0:
            return Missing(why=NO_REQUEST)
        if over / under > most * (1 + 1e-6):
            return Invalid(why=f"{over / under:g} is more than {most:g}")
        return self._coverage.qualified_by_stem(min(most, over / under), stems)

    def _buckets(self, query: str) -> Mapping[str, Mapping[float, float]]:
        return self._mine(self._readings.buckets, query)

    def _merged(self, query: str, metric: engines.Metric) -> Signal | dict[float, float]:
        parts = self._buckets(query)
        gap = self._gap((query,), metric.newest, parts, known=bool(metric.series))
        if gap is not None:
            return gap
        merged = histogram.merge(list(parts.values()))
        problem = histogram.problem(merged)
        if problem is not None:
            return Invalid(why=f"{metric.newest}: {problem}")
        return merged if merged[math.inf] > 0 else Missing(why=NO_REQUEST)

    def _latency(self, query: str, metric: engines.Metric) -> Signal:
        merged = self._merged(query, metric)
        if not isinstance(merged, dict):
            return merged
        value = histogram.quantile(merged, self._subject.targets.percentile)
        if value is None:
            return Missing(why=NO_REQUEST)
        stems = self._buckets(query)
        signal = self._coverage.qualified_by_stem(value, stems)
        return self._explained(signal, self._of(stems), query, metric.newest)

    def _attainment(self) -> Signal:
        """Return the least share of requests within a target, over the targets."""
        targets, engine = self._subject.targets, self._engine
        least: Signal | None = None
        for query, metric, target in (
            ("ttft", engine.ttft, targets.ttft_s),
            ("itl", engine.pace, targets.itl_s),
            ("e2e", engine.e2e, targets.e2e_s),
        ):
            if target is None:
                continue
            merged = self._merged(query, metric)
            if not isinstance(merged, dict):
                return merged
            share = histogram.share_within(merged, target)
            if share is None:
                bound = min(merged)
                return Missing(
                    why=f"the target of {target:g} s is below the first bucket of {metric.newest}, "
                    f"which is {bound:g} s"
                )
            signal = self._coverage.qualified_by_stem(share, self._buckets(query))
            if least is None or _value(signal) < _value(least):
                least = signal
        return least or Missing(why="the policy has no latency target")


def _absent(metric: str) -> Missing:
    return Missing(why=f"no replica exports {metric}: {REMEDY}", absent=True)


def _value(signal: Signal) -> float:
    return signal.value if isinstance(signal, Fresh | Partial) else math.inf
