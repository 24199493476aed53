"""What was before this process: demand over days, and the last minutes as if they were seen again.

All of it is what Prometheus holds, asked for with a deadline. Nothing is made up: a time for which
there is no usable sample is not in the answer.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from trimtab.api.engine import EngineType
from trimtab.api.naming import variant_name
from trimtab.config import OperatorConfig
from trimtab.errors import Unavailable
from trimtab.models.memory import PlannerMemory
from trimtab.models.snapshot import Key, Snapshot
from trimtab.observe import engines
from trimtab.observe.collect import collect, engine_of
from trimtab.observe.prometheus import RangeSource, Refused, Sample, Span
from trimtab.observe.promql import series
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
        found.append(Known(key=key, engine=engine_of(each), variants=variants))
    return tuple(found)


def demand_history(
    source: RangeSource, deployments: Sequence[Known], now: float, *, budget_s: float = BUDGET_S
) -> dict[Key, Points]:
    """Return the requests that were served, by deployment, over the last eight days.

    Five minutes apart, and one minute apart in the last hour; newest times are asked for first, and
    what `budget_s` does not suffice for is left out. What was asked for while nothing served is not
    in it: only engines count, not gateways, and no custom engine, of which nobody knows how.

    Args:
        source: Prometheus.
        deployments: Whose past is wanted.
        now: Unix seconds.
        budget_s: Time for all questions together, in seconds.

    Raises:
        Unavailable: Not even the last hour could be had.
    """
    used = sorted({each.engine for each in deployments} - {EngineType.CUSTOM})
    if not used:
        return {}
    owners = _Owners(deployments)
    found: dict[Key, dict[float, float]] = defaultdict(lambda: defaultdict(float))
    deadline = time.monotonic() + budget_s
    end = math.floor(now)
    waiting = [Span(start=end - RECENT_S, end=end, step_s=FINE_S)]
    start = end - RECENT_S - COARSE_S
    while start > end - DAYS_S:
        first = max(start - SLICE_S, end - DAYS_S)
        waiting.append(Span(start=first, end=start, step_s=COARSE_S))
        start = first - COARSE_S
    waiting.reverse()  # the newest is at the end, and taken first
    while waiting and (time.monotonic() < deadline or not found):
        span = waiting.pop()
        try:
            tracks = source.query_range(_served(used, span.step_s), span)
        except Unavailable:
            halves = _halves(span)
            if not found and not halves:
                raise
            waiting += halves
            continue
        for track in tracks:
            key = owners.of(track.labels)
            if key is not None:
                for at, rps in track.points:
                    if 0.0 <= rps <= MAX_REQUESTS:
                        found[key][at] += rps
    return {key: sorted(points.items()) for key, points in found.items()}


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


def _served(used: Iterable[EngineType], step_s: float) -> str:
    """Return the query of what each stem served per second of a step; see queries.py."""
    names = (one for each in used for one in engines.get(each).arrivals.counted.series)
    rates = (f"rate({series(one.name, (), one.where)}[{step_s:g}s])" for one in names)
    target = ", ".join(TARGET_LABELS)
    pods = " or ".join(f"sum by ({target}) ({rate})" for rate in rates)
    return (
        f"sum by (namespace, {STEM_LABEL}) (label_replace("
        f'max by (namespace, pod) ({pods}), "{STEM_LABEL}", "$1", "pod", "(.*)....."))'
    )


class _Owners:
    """Whose replicas the pods of a stem were: a stem is a variant's name and a template's hash."""

    def __init__(self, deployments: Iterable[Known]) -> None:
        self._keys: dict[tuple[str, str], Key] = {}
        for each in deployments:
            for variant in each.variants:
                self._keys[each.key.namespace, variant[:_STEM_CHARS]] = each.key

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
