"""What is believed of three factors on step times, and how a measurement moves the belief.

The factors are on reading memory, on computing and on the engine's own time; their logarithms are
taken to be normal. Pure algebra: what to measure is decided elsewhere.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from trimtab.models.performance import StepScales
from trimtab.performance.arithmetic import Array
from trimtab.performance.steptime import StepModel

ERROR = 0.03
"""Standard error of a measured time that no number of tokens lowers (research/models.md 1.3)."""
HUBER = 1.5
"""Standard errors beyond which a measurement counts less (Huber's estimator, 1964: 1.345 gives 95 %
of the efficiency under normal errors; a little more because the errors here have floors)."""
FARTHEST = math.log(4.0)
"""Farthest that a logarithm may be: no data sheet is off by more."""

_NUDGE = 1e-3
_ITERATIONS = 4

Vector: TypeAlias = tuple[float, float, float]
Predict: TypeAlias = Callable[[StepScales], float]


def prior() -> StepScales:
    """Return what is believed of an engine that nobody has measured: as the model says, or not.

    Each factor has a standard deviation of 25 % (research/models.md 1.2), of which 20 % are common
    to all three: the error of the model's TPOT on deployments that it was not fitted to.
    """
    shared, own = 0.20**2, 0.15**2
    return StepScales(
        read=0.0,
        compute=0.0,
        host=0.0,
        covariance=(shared + own, shared, shared, shared + own, shared, shared + own),
    )


def stretched(step: StepModel, scales: StepScales) -> StepModel:
    """Return `step` with its times as `scales` believe them to be."""
    return step.stretched(
        read=math.exp(scales.read), compute=math.exp(scales.compute), host=math.exp(scales.host)
    )


def carried(scales: StepScales, error: float) -> StepScales:
    """Return `scales` where the times of another place are off by a factor with this error, too."""
    return scales_of(mean_of(scales), covariance_of(scales) + error**2)


def spread(scales: StepScales, slope: Vector) -> float:
    """Return the standard deviation of a logarithm that grows by `slope` with the three."""
    h = np.array(slope)
    return math.sqrt(max(float(h @ covariance_of(scales) @ h), 0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One figure, and what the model says of it."""

    predict: Predict
    """The positive figure that the model gives for a belief."""
    measured: float


def fitted(measurements: Sequence[Measurement]) -> StepScales:
    """Return the belief after a few measurements of one replica that were taken together.

    The most likely three factors (Gauss-Newton), with Huber's weights against an odd one.
    """
    start = np.linalg.inv(covariance_of(prior()))
    scales = prior()
    for _ in range(_ITERATIONS):
        precision, pull = start.copy(), np.zeros(3)
        for one in measurements:
            ratio, slope = compare(scales, one.predict, one.measured)
            weight = min(1.0, HUBER * ERROR / max(abs(ratio), 1e-9)) / ERROR**2
            h = np.array(slope)
            precision += weight * np.outer(h, h)
            pull += weight * h * (ratio + h @ mean_of(scales))
        covariance = np.linalg.inv(precision)
        scales = scales_of(np.clip(covariance @ pull, -FARTHEST, FARTHEST), covariance)
    return scales


def compare(scales: StepScales, predict: Predict, measured: float) -> tuple[float, Vector]:
    """Return the logarithm of measured over predicted, and how the predicted one grows."""
    here = math.log(predict(scales))
    nudged = (
        replace(scales, read=scales.read + _NUDGE),
        replace(scales, compute=scales.compute + _NUDGE),
        replace(scales, host=scales.host + _NUDGE),
    )
    read, compute, host = ((math.log(predict(one)) - here) / _NUDGE for one in nudged)
    return math.log(measured) - here, (read, compute, host)


def moved(scales: StepScales, ratio: float, slope: Vector, variance: float) -> StepScales:
    """Return the belief after one measurement, by a step of an extended Kalman filter.

    Args:
        scales: What is believed.
        ratio: Logarithm of measured over predicted.
        slope: How the logarithm of the predicted figure grows with the three.
        variance: Of the ratio.
    """
    h, p = np.array(slope), covariance_of(scales)
    gain = p @ h / float(h @ p @ h + variance)
    kept = np.eye(3) - np.outer(gain, h)
    # Joseph's form stays positive however numbers are rounded.
    return scales_of(
        mean_of(scales) + gain * ratio, kept @ p @ kept.T + variance * np.outer(gain, gain)
    )


def mean_of(scales: StepScales) -> Array:
    """Return the three logarithms."""
    return np.array([scales.read, scales.compute, scales.host])


def covariance_of(scales: StepScales) -> Array:
    """Return their covariance, 3 x 3."""
    rr, rc, rh, cc, ch, hh = scales.covariance
    return np.array([[rr, rc, rh], [rc, cc, ch], [rh, ch, hh]])


def scales_of(mean: Array, covariance: Array) -> StepScales:
    """Return the belief with this mean and covariance, 3 and 3 x 3."""
    both = 0.5 * (covariance + covariance.T)
    upper = both[np.triu_indices(3)]
    return StepScales(
        read=float(mean[0]),
        compute=float(mean[1]),
        host=float(mean[2]),
        covariance=tuple(float(value) for value in upper),  # type: ignore[arg-type]
    )
