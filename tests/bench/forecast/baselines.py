"""The rivals: what each says the largest rate will be, before its errors are counted.

All work on square roots, on which the chance of arrivals is the same at every rate: it is the
scale that suits them best of roots, logarithms and plain rates.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAY = 1440
LARGEST_ORDER = 8
"""Orders of the autoregression that AIC chooses from: 0 to this."""
VARIANCES = (
    (3.0, 1e-3),
    (1.0, 1e-1),
    (1.0, 1e-4),
    (0.3, 1e-4),
    (0.1, 1e-2),
    (0.1, 1e-4),
    (0.03, 1e-4),
    (0.01, 1e-5),
    (0.003, 1e-6),
)
"""Of level and slope, over that of a measurement, that the likelihood chooses from."""


def last_value(rates: Floats, horizons: Sequence[int]) -> Floats:
    """Say that the rate stays."""
    return np.tile(rates[:, None], len(horizons))


def seasonal_naive(rates: Floats, horizons: Sequence[int]) -> Floats:
    """Say what the same minutes of yesterday had; on the first day, that the rate stays."""
    said = last_value(rates, horizons)
    for at in range(DAY, len(rates)):
        first = at - DAY + 1
        said[at] = [rates[first : first + horizon].max() for horizon in horizons]
    return said


def arima(rates: Floats, horizons: Sequence[int]) -> Floats:
    """Say what an autoregression of differences, ARIMA(p, 1, 0), says.

    Order by AIC and coefficients by least squares over the last day, anew every hour and, in the
    first two hours, every ten minutes. (statsmodels is no dependency of ours.)
    """
    z = np.sqrt(rates)
    said = last_value(rates, horizons)
    weights = np.zeros(0)
    for at in range(len(z)):
        if at % 60 == 0 or (at < 120 and at % 10 == 0):
            weights = _autoregression(np.diff(z[max(0, at - DAY) : at + 1]))
        recent = np.diff(z[max(0, at - len(weights)) : at + 1])[::-1].tolist()
        if len(recent) < len(weights):
            continue
        level, path = float(z[at]), list[float]()
        for _ in range(max(horizons)):
            step = float(np.dot(weights, recent[: len(weights)]))
            recent.insert(0, step)
            level = max(0.0, level + step)
            path.append(level)
        said[at] = [max(path[:horizon]) ** 2 for horizon in horizons]
    return said


def _autoregression(steps: Floats) -> Floats:
    most = min(LARGEST_ORDER, len(steps) // 4)
    if most < 1:
        return np.zeros(0)
    target = steps[most:]
    lags = np.column_stack([steps[most - 1 - lag : len(steps) - 1 - lag] for lag in range(most)])
    best, chosen = np.inf, np.zeros(0, np.float64)
    for order in range(most + 1):
        weights = np.asarray(np.linalg.lstsq(lags[:, :order], target)[0], np.float64)
        left = target - lags[:, :order] @ weights
        score = len(target) * np.log(max(float(np.mean(left**2)), 1e-12)) + 2 * order
        if score < best:
            best, chosen = score, weights
    return chosen


def kalman(rates: Floats, horizons: Sequence[int]) -> Floats:
    """Say what a local linear trend says, its variances by likelihood over the last day.

    They are chosen anew after one hour, four hours and every day.
    """
    z = np.sqrt(rates)
    said = last_value(rates, horizons)
    cuts = [0, 60, 240, *range(DAY, len(z), DAY), len(z)]
    cuts = sorted({min(cut, len(z)) for cut in cuts})
    for start, end in pairwise(cuts):
        seen = z[max(0, start - DAY) : max(start, 10)]
        chosen = max(VARIANCES, key=lambda pair: _filtered(seen, *pair)[1])
        first = max(0, start - DAY)
        states = _filtered(z[first:end], *chosen)[0][start - first :]
        level, slope = states[:, :1], states[:, 1:]
        largest = np.maximum(level + slope, level + np.array(horizons) * slope)
        said[start:end] = np.maximum(largest, 0.0) ** 2
    return said


def _filtered(z: Floats, of_level: float, of_slope: float) -> tuple[Floats, float]:
    """Return levels and slopes, (n, 2), and the concentrated log likelihood."""
    level, slope = float(z[0]), 0.0
    a, b, c = 1.0, 0.0, 1.0  # covariances of level and slope
    states = np.empty((len(z), 2))
    logs, squares = 0.0, 1e-12
    for at, seen in enumerate(z.tolist()):
        if at:
            level += slope
            a, b, c = a + 2 * b + c + of_level, b + c, c + of_slope
        spread, off = a + 1.0, seen - level
        if at > 5:
            logs += float(np.log(spread))
            squares += off * off / spread
        gain, gain_slope = a / spread, b / spread
        level, slope = level + gain * off, slope + gain_slope * off
        a, b, c = a - gain * a, b - gain * b, c - gain_slope * b
        states[at] = level, slope
    return states, -len(z) * float(np.log(squares)) - logs


BASELINES = {
    "last value": last_value,
    "seasonal-naive": seasonal_naive,
    "ARIMA": arima,
    "Kalman": kalman,
}
