"""What was before this process: demand over days, and the last minutes as if they were seen again.

All of it is what Prometheus holds, asked for with a deadline. Nothing is made up: a time for which
there is no usable sample is not in the answer.
"""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

from trimtab.api.engine import EngineType
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.naming import variant_name
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.memory import PlannerMemory
from trimtab.models.snapshot import Key, Snapshot
from trimtab.observe import custom, engines, gateways
from trimtab.observe.collect import collect, engine_of
from trimtab.observe.gateways import Asked
from trimtab.observe.prometheus import RangeSource, Refused, Sample, Span, Track
from trimtab.observe.promql import Labels, series
from trimtab.observe.queries import STEM_LABEL, TARGET_LABELS
from trimtab.observe.reader import MAX_REQUESTS
from trimtab.observe.world import WorldView

DAYS_S = 8 * 86_400.0
"""A week, and the day that it is compared with."""
COARSE_S = 300.0
RECENT_S, FINE_S = 3600.0, 60.0
SLICE_S = 86_400.0
"""Longest time of one question: 288 points of a series, where Prometheus takes 11,000."""
SHORTEST_SLICE_S = 3600.0
"""What is too much for one answer is asked for in halves, down to this."""
BUDGET_S = 60.0
REPLAYED_S = 1200.0
"""Ten times what a calibration needs before plans rest on it (performance.calibration.ENOUGH_S)."""
REPLAY_SLICE_S = 300.0

_STEM_CHARS = 58
"""Kubernetes cuts the stem of a pod's name here; see world.pod_stem."""

Points = list[tuple[float, float]]
"""Unix seconds and requests/s over the step before, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One deployment whose past is wanted."""

    key: Key
    engine: EngineType
    variants: frozenset[str]
    """Names of child Deployments that it has, or may have had."""
    gateway: Asked | None = None
    """What its gateway calls it."""
    metrics: EngineMetrics | None = None
    """PromQL of a custom engine."""


def known(view: WorldView) -> tuple[Known, ...]:
    """Return the deployments of the mirror, with every name that a variant on a pool can have."""
    pools = [pool.metadata.name for pool in view.pools]
    children: dict[Key, set[str]] = defaultdict(set)
    shapes = {(1, 1)}
    for child in view.children:
        children[Key(namespace=child.namespace, name=child.deployment)].add(child.name)
        shapes.add((child.shape.parallelism.tensor, child.shape.parallelism.pipeline))
    found = []
    for each in view.deployments:
        key = Key(namespace=each.metadata.namespace, name=each.metadata.name)
        possible = {
            variant_name(key.name, pool, tensor=tensor, pipeline=pipeline)
            for pool in pools
            for tensor, pipeline in shapes
        }
        variants = frozenset(possible | children[key])
        engine = each.spec.engine
        found.append(
            Known(
                key=key,
                engine=engine_of(each),
                variants=variants,
                gateway=gateways.asked(key, each.spec),
                metrics=engine.metrics if engine else None,
            )
        )
    return tuple(found)


def demand_history(
    source: RangeSource,
    deployments: Sequence[Known],
    now: float,
    *,
    labels: Labels = (),
    budget_s: float = BUDGET_S,
) -> dict[Key, Points]:
    """Return the requests that came, by deployment, over the last eight days.

    From where the demand of now comes from too: what the engines served, or the PromQL of a custom
    engine gives, and where a gateway counted more, that. What was asked for while nothing served is
    known to a gateway only. Five minutes apart, and one minute apart in the last hour; newest times
    are asked for first, and what `budget_s` does not suffice for is left out.

    Args:
        source: Prometheus.
        deployments: Whose past is wanted.
        now: Unix seconds.
        labels: What all series have that are of this cluster.
        budget_s: Time for all questions together, in seconds.

    Raises:
        Unavailable: Not even the last hour could be had.
    """
    questions = _questions(deployments, labels)
    deadline = time.monotonic() + budget_s
    waiting = [(each, span) for span in _spans(now) for each in questions]
    answered = False
    while waiting and (time.monotonic() < deadline or not answered):
        question, span = waiting.pop()
        try:
            for expr in question.exprs(span.step_s):
                question.take(source.query_range(expr, span))
        except Unavailable as error:
            if question.by_user and isinstance(error, Refused):
                waiting = [each for each in waiting if each[0] is not question]
                continue
            halves = _halves(span)
            if not answered and not halves:
                raise
            waiting += [(question, half) for half in halves]
            continue
        answered = True
    found: dict[Key, dict[float, float]] = defaultdict(dict)
    for question in questions:
        for key, points in question.found.items():
            for at, rps in points.items():
                # Both count requests that came, so the truth is not below the larger one.
                found[key][at] = max(rps, found[key].get(at, 0.0))
    return {key: sorted(points.items()) for key, points in found.items() if points}


def _spans(now: float) -> list[Span]:
    """Return the times to ask for, the newest at the end, from where they are taken."""
    end = math.floor(now)
    spans = [Span(start=end - RECENT_S, end=end, step_s=FINE_S)]
    start = end - RECENT_S - COARSE_S
    while start > end - DAYS_S:
        first = max(start - SLICE_S, end - DAYS_S)
        spans.append(Span(start=first, end=start, step_s=COARSE_S))
        start = first - COARSE_S
    return spans[::-1]


def _halves(span: Span) -> list[Span]:
    """Return the older and the newer half of a span, or nothing where it is short already."""
    if span.end - span.start <= SHORTEST_SLICE_S:
        return []
    steps = round((span.end - span.start) / span.step_s)
    middle = span.start + steps // 2 * span.step_s
    return [
        Span(start=span.start, end=middle, step_s=span.step_s),
        Span(start=middle + span.step_s, end=span.end, step_s=span.step_s),
    ]


@dataclass(kw_only=True)
class _Question:
    """What is asked of every span, and what was found so far."""

    exprs: Callable[[float], Sequence[str]]
    """PromQL by the step, in seconds."""
    read: Callable[[Sequence[Track]], Mapping[Key, Mapping[float, float]]]
    """Makes requests/s by deployment and time of the answer."""
    by_user: bool = False
    """Whether a user wrote it: then its refusal is nobody else's loss."""
    found: dict[Key, dict[float, float]] = field(default_factory=lambda: defaultdict(dict))

    def take(self, tracks: Sequence[Track]) -> None:
        """Keep what an answer says."""
        for key, points in self.read(tracks).items():
            self.found[key].update(points)


def _questions(deployments: Sequence[Known], labels: Labels) -> list[_Question]:
    """Return what is asked: of the engines, of the gateways, and of each custom engine."""
    found = []
    owners = _Owners(deployments)
    used = sorted({each.engine for each in deployments} - {EngineType.CUSTOM})
    if any(engines.get(each).arrivals.counted.series for each in used):
        found.append(
            _Question(exprs=lambda step_s: [_served(used, step_s, labels)], read=owners.rates)
        )
    wanted = {each.key: each.gateway for each in deployments if each.gateway is not None}
    if wanted:
        found.append(
            _Question(
                exprs=lambda step_s: gateways.queries(wanted.values(), step_s, labels),
                read=partial(_at_gateways, wanted),
            )
        )
    by_metrics: dict[EngineMetrics, list[Known]] = defaultdict(list)
    for each in sorted(deployments, key=lambda known: known.key):
        if each.engine is EngineType.CUSTOM and each.metrics is not None:
            by_metrics[each.metrics].append(each)
    for metrics, those in islice(by_metrics.items(), custom.MAX_DIFFERENT):
        expr = _by_stem(f"max by (namespace, pod) (({metrics.requests_per_second}\n))")
        found.append(_Question(exprs=partial(_only, expr), read=_Owners(those).rates, by_user=True))
    return found


def _only(expr: str, step_s: float) -> Sequence[str]:
    return [expr]  # its window is the user's


def _at_gateways(
    wanted: Mapping[Key, gateways.Asked], tracks: Sequence[Track]
) -> Mapping[Key, Mapping[float, float]]:
    rates = gateways.rates(tracks, set(wanted.values()))
    return {key: rates[asked] for key, asked in wanted.items()}


def _served(used: Iterable[EngineType], step_s: float, labels: Labels) -> str:
    """Return the query of what each stem served per second of a step; see queries.py."""
    names = (one for each in used for one in engines.get(each).arrivals.counted.series)
    rates = (f"rate({series(one.name, (), (*one.where, *labels))}[{step_s:g}s])" for one in names)
    target = ", ".join(TARGET_LABELS)
    pods = " or ".join(f"sum by ({target}) ({rate})" for rate in rates)
    return _by_stem(f"max by (namespace, pod) ({pods})")


def _by_stem(by_pod: str) -> str:
    stemmed = f'label_replace({by_pod}, "{STEM_LABEL}", "$1", "pod", "(.*).....")'
    return f"sum by (namespace, {STEM_LABEL}) ({stemmed})"


class _Owners:
    """Whose replicas the pods of a stem were: a stem is a variant's name and a template's hash."""

    def __init__(self, deployments: Iterable[Known]) -> None:
        self._keys: dict[tuple[str, str], Key] = {}
        for each in deployments:
            for variant in each.variants:
                self._keys[each.key.namespace, variant[:_STEM_CHARS]] = each.key

    def rates(self, tracks: Iterable[Track]) -> Mapping[Key, Mapping[float, float]]:
        """Return the rates of all stems that are a deployment's, added up."""
        found: dict[Key, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for track in tracks:
            key = self.of(track.labels)
            if key is not None:
                for at, rps in track.points:
                    if 0.0 <= rps <= MAX_REQUESTS:
                        found[key][at] += rps
        return found

    def of(self, labels: Mapping[str, str]) -> Key | None:
        namespace, stem = labels.get("namespace", ""), labels.get(STEM_LABEL, "")
        name = stem
        while name:
            key = self._keys.get((namespace, name))
            if key is not None:
                return key
            name = name.rpartition("-")[0]
        return None


def replay(
    source: RangeSource, view: WorldView, now: float, config: OperatorConfig
) -> Iterator[Snapshot]:
    """Yield what a plan would have seen a minute apart over the last twenty, oldest first.

    The world is that of now, so only what its present replicas reported is right in it, which is
    what engines teach. Nobody may decide on these.

    Args:
        source: Prometheus.
        view: The mirror.
        now: Unix seconds.
        config: Windows and intervals.

    Raises:
        Unavailable: Prometheus does not answer.
    """
    memory = PlannerMemory()
    asked = _Asked()
    collect(view, asked, now=now, memory=memory, config=config)
    end = math.floor(now)
    start = end - REPLAYED_S
    while asked.exprs and start <= end:
        until = min(end, start + REPLAY_SLICE_S - FINE_S)
        span = Span(start=start, end=until, step_s=FINE_S)
        past = _Past({expr: _by_time(source, expr, span) for expr in asked.exprs})
        for step in range(round((until - start) / FINE_S) + 1):
            past.at = start + step * FINE_S
            yield collect(view, past, now=past.at, memory=memory, config=config)
        start = until + FINE_S


def _by_time(
    source: RangeSource, expr: str, span: Span
) -> dict[float, tuple[Sample, ...]] | Refused:
    """Return the answers to an instant query at each step; a refusal counts for all of them."""
    found: dict[float, list[Sample]] = defaultdict(list)
    try:
        tracks = source.query_range(expr, span)
    except Refused as error:
        return error
    for track in tracks:
        for at, value in track.points:
            found[at].append(Sample(labels=track.labels, value=value, timestamp=at))
    return {at: tuple(samples) for at, samples in found.items()}


class _Asked:
    """A source that answers nothing and keeps what it was asked."""

    def __init__(self) -> None:
        self.exprs: list[str] = []

    def query(self, expr: str) -> tuple[Sample, ...]:
        self.exprs.append(expr)
        return ()


class _Past:
    """A source that answers what Prometheus would have answered at one time."""

    def __init__(self, answers: Mapping[str, dict[float, tuple[Sample, ...]] | Refused]) -> None:
        self._answers = answers
        self.at = 0.0

    def query(self, expr: str) -> tuple[Sample, ...]:
        answer = self._answers.get(expr, Refused("this was not asked"))
        if isinstance(answer, Refused):
            raise answer
        return answer.get(self.at, ())
