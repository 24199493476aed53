"""What the replicas of one variant report together, as the operator reads it for calibration."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

from trimtab.models.load import VariantReading
from trimtab.models.signals import Fresh, Missing, Partial, Signal
from trimtab.simulate.policy import Variant
from trimtab.simulate.rivals.base import Scrape
from trimtab.simulate.routers import Served

SCRAPE_S = 15.0
WINDOW_S = 60.0
CUTS = round(WINDOW_S / SCRAPE_S)
"""Times between two scrapes that make a window."""
IDLE = Missing(why="no request in the window")
YOUNG = Missing(why="the replicas became ready less than 2 scrapes ago")
UNSETTLED = Missing(why="replicas came or went within the window")


@dataclass(slots=True, kw_only=True)
class Counts:
    """What one pod counted between two scrapes."""

    prompt_tokens: int = 0
    """Computed."""
    answer_tokens: int = 0
    first_tokens: int = 0
    ttft_s: float = 0.0
    """Sum."""
    gaps: int = 0
    gap_s: float = 0.0
    """Sum."""
    steps: int = 0
    """That gave a token; 0 where nobody counts them."""
    preempted: int = 0
    """Requests that lost their place, where steps are counted."""
    finished: int = 0
    inputs: int = 0
    """Prompt tokens of finished requests."""
    outputs: int = 0
    sought: int = 0
    """Prompt tokens of requests that got their first token."""
    found: int = 0
    """Those of them that the prefix cache had."""


_NAMES = tuple(each.name for each in fields(Counts))
_VALUES = attrgetter(*_NAMES)


@dataclass(slots=True, kw_only=True)
class PodMeter:
    """The counters of one pod."""

    variant: Variant
    engine: Served
    now: Counts = field(default_factory=Counts)
    """Since the last scrape."""
    window: deque[Counts] = field(default_factory=lambda: deque(maxlen=CUTS))
    waiting: int = 0
    """At the last scrape."""
    batches: deque[int] = field(default_factory=lambda: deque(maxlen=CUTS))
    """Requests in the batch at the scrapes of the last window."""
    scrapes: int = 0
    page: Scrape | None = None

    def total(self) -> Counts:
        """Return the sums over the last window."""
        return added(self.window)


def added(parts: Sequence[Counts] | deque[Counts]) -> Counts:
    """Return the sums of `parts`."""
    sums = map(sum, zip(*map(_VALUES, parts), strict=True))
    return Counts(**dict(zip(_NAMES, sums, strict=False)))  # of no parts there are no sums


def surely(age_s: float, expected: int) -> Callable[[float, int], Signal]:
    """Return what makes signals of values that so many of `expected` replicas contributed to."""

    def signal(value: float, reporting: int) -> Signal:
        if reporting < expected:
            return Partial(value=value, reporting=reporting, expected=expected)
        return Fresh(value=value, age_s=age_s)

    return signal


def reading_of(
    variant: Variant, pods: Sequence[PodMeter], age_s: float, *, settled: bool
) -> VariantReading:
    """Return what the Ready `pods` of one variant say.

    Args:
        variant: Their variant.
        pods: All that are Ready, read or not.
        age_s: Time since the last scrape.
        settled: Whether none of the variant went within the window: else what those counted that
            are gone is in the sum, and nothing is known of one replica.
    """
    seen = [pod for pod in pods if pod.page is not None]
    pages = [pod.page for pod in seen if pod.page is not None]
    total = added([pod.total() for pod in seen])
    batches = [sum(pod.batches) / len(pod.batches) for pod in seen]
    sure = surely(age_s, len(pods))

    def mean(value: float, count: int) -> Signal:
        return sure(value / count, len(seen)) if count else IDLE

    def each(count: int) -> Signal:
        if not settled or any(pod.scrapes < 2 for pod in pods):
            return UNSETTLED
        return sure(count / WINDOW_S / len(pods), len(seen))

    return VariantReading(
        pool=variant.pool,
        parallelism=variant.parallelism,
        revision=variant.label,
        itl_s=mean(total.gap_s, total.gaps),
        gaps_per_s=each(total.gaps),
        ttft_s=mean(total.ttft_s, total.first_tokens),
        first_tokens_per_s=each(total.first_tokens),
        steps_per_s=each(total.steps) if total.steps else IDLE,
        preempted_per_s=each(total.preempted) if total.steps else IDLE,
        input_tokens=mean(total.inputs, total.finished),
        output_tokens=mean(total.outputs, total.finished),
        prefix_hit=mean(total.found, total.sought),
        waiting=sure(sum(page.waiting for page in pages), len(seen)) if pages else YOUNG,
        running=sure(sum(batches) / len(batches), len(seen)) if batches else YOUNG,
        kv_utilization=sure(max(p.kv_used for p in pages), len(seen)) if pages else YOUNG,
    )
