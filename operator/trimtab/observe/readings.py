"""One pass of queries, indexed by the pods and stems that our replicas have."""

import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trimtab.errors import Unavailable
from trimtab.observe.prometheus import MetricsSource, Refused, Sample
from trimtab.observe.queries import COUNT, GAUGES, PART_LABEL, STEM_LABEL, SUM
from trimtab.observe.world import pod_stem

Place = tuple[str, str]
"""Namespace, and a pod's name or stem."""

SEEN_PARTS = ("seen", "covered", "samples", "served", "finished")
"""When a pod was last scraped, for how long, how often, and what it has served since it began."""
GAUGE_PARTS = ("running", "waiting", "kv_utilization", "batch", "steps", "preempted")
"""As they are now, the mean batch of the window, and its steps and preemptions per second."""
_PARTS = {"seen": SEEN_PARTS, GAUGES: GAUGE_PARTS}
_BY_BUCKET = frozenset({"ttft", "itl", "e2e", "input_tokens", "output_tokens", "prefix_hit"})
"""Histograms, and means as the sum and the count of one, with its buckets or without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the source said. A query that was refused has its reason instead of values."""

    values: Mapping[str, Mapping[Place, float]]
    """By value, then by pod: SEEN_PARTS and GAUGE_PARTS."""
    arrivals: Mapping[Place, Mapping[Place, float]]
    """By stem, then by pod."""
    buckets: Mapping[str, Mapping[Place, Mapping[float, float]]]
    """By query, then by stem: rate by upper bound."""
    sums: Mapping[str, Mapping[Place, float]]
    """By query of a histogram or a mean, then by stem: what the values add up to, per second."""
    counts: Mapping[str, Mapping[Place, float]]
    """Likewise how many they are."""
    refused: Mapping[str, str] = field(default_factory=dict)
    failures: Mapping[Place, str] | None = None
    """By pod: why its page could not be read; None where Prometheus reads the pages."""


def take(metrics: MetricsSource, queries: Mapping[str, str], budget_s: float) -> Readings:
    """Ask all `queries`, one after the other, and return the answers.

    A source that fails once is not asked again in this pass, so that a silent one costs one
    deadline and not nine.

    Raises:
        Unavailable: The source does not answer, or all together took longer than `budget_s`.
    """
    started = time.monotonic()
    values: dict[str, Mapping[Place, float]] = {}
    arrivals: Mapping[Place, Mapping[Place, float]] = {}
    buckets: dict[str, Mapping[Place, Mapping[float, float]]] = {}
    sums: dict[str, Mapping[Place, float]] = {}
    counts: dict[str, Mapping[Place, float]] = {}
    refused = {}
    for name, expr in queries.items():
        if time.monotonic() - started > budget_s:
            raise Unavailable(f"the metrics source took more than {budget_s:g} s for one pass")
        try:
            samples = metrics.query(expr)
        except Refused as error:
            refused[name] = str(error)
            continue
        if name == "arrivals":
            arrivals = _by_stem_and_pod(samples)
        elif name in _BY_BUCKET:
            buckets[name], sums[name], counts[name] = _by_bucket(samples)
        else:
            for part, those in _by_part(samples, *_PARTS[name]).items():
                values[part] = _by_place(those, "pod")
    return Readings(
        values=values,
        arrivals=arrivals,
        buckets=buckets,
        sums=sums,
        counts=counts,
        refused=refused,
    )


def _by_place(samples: tuple[Sample, ...], label: str) -> dict[Place, float]:
    place = _placed(label)
    return {at: sample.value for sample in samples if (at := place(sample)) is not None}


def _by_part(samples: tuple[Sample, ...], *parts: str) -> dict[str, tuple[Sample, ...]]:
    return {
        part: tuple(each for each in samples if each.labels.get(PART_LABEL) == part)
        for part in parts
    }


def _by_stem_and_pod(samples: tuple[Sample, ...]) -> dict[Place, dict[Place, float]]:
    result: dict[Place, dict[Place, float]] = defaultdict(dict)
    for (namespace, pod), value in _by_place(samples, "pod").items():
        result[namespace, pod_stem(pod)][namespace, pod] = value
    return dict(result)


def _by_bucket(
    samples: tuple[Sample, ...],
) -> tuple[dict[Place, dict[float, float]], dict[Place, float], dict[Place, float]]:
    """Return the buckets of each stem, and what is marked as its sum and its count."""
    place = _placed(STEM_LABEL)
    buckets: dict[Place, dict[float, float]] = defaultdict(dict)
    marked: dict[str, dict[Place, float]] = {SUM: {}, COUNT: {}}
    bounds: dict[str, float] = {}
    for sample in samples:
        at, le = place(sample), sample.labels.get("le", "")
        if at is None:
            continue
        if le in marked:
            marked[le][at] = sample.value
            continue
        bound = bounds.get(le)
        if bound is None:
            bound = bounds[le] = _bound(le)
        if not math.isnan(bound):
            buckets[at][bound] = sample.value
    return dict(buckets), marked[SUM], marked[COUNT]


def _placed(label: str) -> Callable[[Sample], Place | None]:
    def place(sample: Sample) -> Place | None:
        namespace, name = sample.labels.get("namespace"), sample.labels.get(label)
        return (namespace, name) if namespace and name else None

    return place


def _bound(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
