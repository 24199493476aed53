"""Quantiles and shares under a target from cumulative histogram buckets. Pure arithmetic."""

import math
from collections.abc import Iterable, Mapping, Sequence

Buckets = Mapping[float, float]
"""Rate of observations at or below each upper bound; the last bound is infinity."""


def merge(parts: Sequence[Buckets]) -> dict[float, float]:
    """Return the histogram of several together, over the bounds that all of them have.

    Engine versions differ in their bounds; a bound that one lacks would read as a dip.
    """
    if not parts:
        return {}
    bounds = set(parts[0]).intersection(*parts[1:])
    return {bound: sum(part[bound] for part in parts) for bound in sorted(bounds)}


def problem(buckets: Buckets) -> str | None:
    """Return why `buckets` are no histogram, or None."""
    if math.inf not in buckets or len(buckets) < 2:
        return "the histogram lacks its buckets"
    if min(buckets) < 0:
        return "a bucket of the histogram ends below zero"
    if any(not math.isfinite(rate) or rate < 0 for rate in buckets.values()):
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


def _steps(buckets: Buckets) -> Iterable[tuple[float, float, float, float]]:
    """Yield lower bound, rate up to it, upper bound, rate up to it; the rates never fall.

    Buckets scraped in a race may fall a little, which no cumulative count can.
    """
    lower = below = 0.0
    for upper in sorted(buckets):
        upto = max(below, buckets[upper])
        yield lower, below, upper, upto
        lower, below = upper, upto
