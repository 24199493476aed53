"""Quantiles of several distributions at once: one on each row, its values on the last axis."""

from collections.abc import Callable
from math import pi, sqrt

import numpy as np

from trimtab.performance.arithmetic import Array
from trimtab.performance.lengths import WEIGHTS

_ROUNDS = 20
_NEAR = 1e-4
"""Logarithm of what is above, relative to what was asked, at which a quantile is found."""


def solve(below: Callable[[Array], Array], percentile: float, low: Array, high: Array) -> Array:
    """Return where the share `below` a time reaches `percentile`, between `low` and `high`.

    Regula falsi with Illinois' halving, for all loads at once, on the logarithm of what is above:
    for tails, which fall exponentially, that is nearly straight.
    """
    wanted = np.log1p(-percentile)

    def excess(seconds: Array) -> Array:
        missed: Array = wanted - np.log(np.maximum(1.0 - below(seconds), 1e-5))
        return missed

    at_low, at_high = excess(low), np.maximum(excess(high), 1e-9)
    side = np.zeros_like(low)
    found, open_ = low, np.ones(low.shape, dtype=bool)
    for _ in range(_ROUNDS):
        # What is above at the lower end, is there.
        share = np.where(at_low < 0.0, at_low / np.minimum(at_low - at_high, -1e-300), 0.0)
        middle = low + (high - low) * share
        at = excess(middle)
        # Each load for itself, so that it makes no difference which others are asked for with it.
        found = np.where(open_, middle, found)
        open_ &= np.abs(at) >= _NEAR
        if not open_.any():
            return found
        right = at >= 0.0
        at_low = np.where(right, np.where(side > 0, 0.5 * at_low, at_low), at)
        at_high = np.where(right, at, np.where(side < 0, 0.5 * at_high, at_high))
        low, high = np.where(right, low, middle), np.where(right, middle, high)
        side = np.where(right, 1.0, -1.0)
    share = np.clip(at_low / np.minimum(at_low - at_high, -1e-300), 0.0, 1.0)
    last: Array = np.where(open_, low + (high - low) * np.where(at_low < 0.0, share, 0.0), found)
    return last


def normal_mixture(means: Array, spreads: Array, percentile: float) -> Array:
    """Quantile of normal distributions on the last axis, with WEIGHTS."""
    spreads = np.maximum(spreads, 1e-9)

    def below(seconds: Array) -> Array:
        return mean_of(cdf((seconds[:, None] - means) / spreads), WEIGHTS)

    low = (means - 4.0 * spreads).min(axis=1)
    high = (means + 4.0 * spreads).max(axis=1)
    return solve(below, percentile, low, high)


def weighted_quantile(values: Array, weights: Array, percentile: float) -> Array:
    """Quantile of weighted values on the last axis, each reached at the middle of its share.

    A value with a large share, such as a step without prompts, is not mixed with the next one.
    """
    order = np.argsort(values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    weights = np.take_along_axis(weights, order, axis=1)
    ends = np.cumsum(weights, axis=1)
    ends /= ends[:, -1:]
    rows = np.arange(len(values))
    upper = np.minimum((ends < percentile).sum(axis=1), values.shape[1] - 1)
    lower = np.maximum(upper - 1, 0)
    begin = np.where(upper > 0, ends[rows, lower], 0.0)
    half = np.maximum(0.5 * (ends[rows, upper] - begin), 1e-12)
    share = np.clip((percentile - begin) / half, 0.0, 1.0)
    quantile: Array = values[rows, lower] * (1.0 - share) + values[rows, upper] * share
    return quantile


def mean_of(values: Array, weights: Array) -> Array:
    """Weighted mean over the last axis."""
    if weights.ndim == 1:
        return np.asarray(values @ weights)
    mean: Array = np.einsum("ij,ij->i", values, weights)  # without the array of products
    return mean


def density(x: Array) -> Array:
    """Return the normal distribution's density."""
    density: Array = np.exp(-0.5 * x * x) / sqrt(2.0 * pi)
    return np.maximum(density, 1e-300)


def cdf(x: Array) -> Array:
    """Return the normal distribution's share below `x`, within 0.0003 (Page's approximation)."""
    cdf: Array = 0.5 * (1.0 + np.tanh(sqrt(2.0 / pi) * (x + 0.044715 * x**3)))
    return cdf
