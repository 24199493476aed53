"""Quantiles, shares under a target and spreads from cumulative buckets. Pure arithmetic."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from trimtab.models.load import RUNGS, Spread

Buckets = Mapping[float, float]
"""Rate of observations at or below each upper bound; the last bound is infinity."""


def merge(parts: Sequence[Buckets]) -> dict[float, float]:
    """Return the histogram of several together, over the bounds that all of them have.

    Engine versions differ in their bounds; a bound that one lacks would read as a dip.
    """
    if len(parts) == 1:
        return dict(parts[0])
    bounds = set(parts[0]).intersection(*parts[1:]) if parts else set()
    return {bound: sum(part[bound] for part in parts) for bound in bounds}


def problem(buckets: Buckets) -> str | None:
    """Return why `buckets` are no histogram, or None."""
    if math.inf not in buckets or len(buckets) < 2:
        return "the histogram lacks its buckets"
    if min(buckets) < 0:
        return "a bucket of the histogram ends below zero"
    if not all(0 <= rate < math.inf for rate in buckets.values()):
        return "a bucket of the histogram is no usable number"
    return None


def quantile(buckets: Buckets, share: float) -> float | None:
    """Return the value that `share` of the observations are not above; None without any.

    Linear within a bucket, as Prometheus' histogram_quantile. Above the last finite bound the
    answer is that bound: the truth is not less.
    """
    total = buckets[math.inf]
    if total <= 0:
        return None
    rank = share * total
    for lower, below, upper, upto in _steps(buckets):
        if upto >= rank and upto > below:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * max(0.0, rank - below) / (upto - below)
    return max(bound for bound in buckets if math.isfinite(bound))


def share_within(buckets: Buckets, target: float) -> float | None:
    """Return the share of observations not above `target`; None without any, or if unjudgeable.

    Below the first bound nothing can be told; above the last finite one, only what is within it.
    """
    total = buckets[math.inf]
    if total <= 0 or target < min(buckets):
        return None
    for lower, below, upper, upto in _steps(buckets):
        if target <= upper:
            if math.isinf(upper):
                return below / total
            return (below + (upto - below) * (target - lower) / (upper - lower)) / total
    return None


def spread(parts: Sequence[Buckets]) -> Spread | None:
    """Return how token lengths spread over RUNGS, of several histograms together.

    Each is read with its own bounds, which follow the engine's longest context and need not be
    those of RUNGS. None where one of them is no histogram or has counted nothing.
    """
    rates = [0.0] * (len(RUNGS) + 1)
    for part in parts:
        if problem(part) is not None or max(part.values()) <= 0:
            return None
        for index, rate in _between_rungs(part):
            rates[index] += rate
    total = sum(rates)
    if not 0 < total < math.inf:
        return None
    return Spread(shares=tuple(rate / total for rate in rates))


def _between_rungs(buckets: Buckets) -> Iterable[tuple[int, float]]:
    """Yield rates of observations, and between which of RUNGS they are.

    Where rungs divide a bucket, equal ratios of lengths have equal shares of it: lengths spread
    over decades, and none is below one token. What is beyond the last finite bound is taken for as
    short as it may be: up to the next rung.
    """
    for lower, below, upper, upto in _steps(buckets):
        lower = max(1.0, lower)
        first, last = bisect_right(RUNGS, lower), bisect_left(RUNGS, upper)
        if math.isinf(upper):
            yield first, upto - below
        elif first >= last:
            yield last, upto - below
        else:
            ends = (lower, *RUNGS[first:last], upper)
            for index, (low, high) in enumerate(pairwise(ends), first):
                share = math.log(high / low) / math.log(upper / lower)
                yield index, (upto - below) * share


def _steps(buckets: Buckets) -> Iterable[tuple[float, float, float, float]]:
    """Yield lower bound, rate up to it, upper bound, rate up to it; the rates never fall.

    Buckets scraped in a race may fall a little, which no cumulative count can.
    """
    lower = below = 0.0
    for upper in sorted(buckets):
        upto = max(below, buckets[upper])
        yield lower, below, upper, upto
        lower, below = upper, upto
