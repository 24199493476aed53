"""Made-up requests: a rate over time, arrivals around it, lengths."""

import numpy as np

from trimtab.simulate.inputs.spec import Arrivals, Lengths, Shape, Synthetic
from trimtab.simulate.traffic import Floats, Ints, Traffic

_GRID_S = 1.0
"""Distance of the points between which a rate is taken as straight."""


def synthetic(spec: Synthetic, until_s: float, rng: np.random.Generator) -> Traffic:
    """Return requests of `spec` in [0, until_s)."""
    times = np.arange(0.0, until_s + _GRID_S, _GRID_S)
    rates = _rates(spec, times, rng)
    if spec.arrivals is Arrivals.GAMMA:
        at = arrivals(times, rates, rng, cv=spec.cv)
    else:
        at = arrivals(times, rates, rng)
    at = at[at < until_s]
    return Traffic(
        at_s=at,
        input_tokens=lengths(spec.input_tokens, len(at), rng),
        output_tokens=lengths(spec.output_tokens, len(at), rng),
    )


def arrivals(
    times: Floats, rates: Floats, rng: np.random.Generator, cv: float | None = None
) -> Floats:
    """Return arrival times of a rate that goes through the points (s, requests/s).

    A unit process is drawn (exponential gaps, or gamma gaps of that `cv`) and laid along the
    integral of the rate, so that the number of requests follows the rate whatever its course;
    between two points they are spread evenly.
    """
    steps = np.diff(times) * (rates[1:] + rates[:-1]) / 2.0
    expected = np.concatenate(([0.0], np.cumsum(steps)))
    total = float(expected[-1])
    shape = 1.0 if cv is None else 1.0 / cv**2
    # Enough gaps of mean 1 to pass the end with certainty in practice: six deviations more.
    unit = np.empty(0)
    reached = 0.0
    while reached < total:
        count = int(total - reached + 6 * np.sqrt((total - reached) / shape) + 16)
        gaps = rng.gamma(shape, 1.0 / shape, count)
        unit = np.concatenate((unit, reached + np.cumsum(gaps)))
        reached = float(unit[-1])
    unit = unit[unit < total]
    # The last point that is not behind: after it the integral rises, so no step is zero.
    step = np.searchsorted(expected, unit, side="right") - 1
    share = (unit - expected[step]) / steps[step]
    return np.asarray(times[step] + share * np.diff(times)[step])


def lengths(spec: Lengths, count: int, rng: np.random.Generator) -> Ints:
    """Return `count` token counts with the mean and deviation of `spec`, each at least 1."""
    if spec.cv == 0:
        drawn = np.full(count, spec.mean)
    else:
        # A lognormal of this mean and cv: sigma^2 = ln(1 + cv^2), mu = ln(mean) - sigma^2 / 2.
        variance = np.log1p(spec.cv**2)
        drawn = rng.lognormal(np.log(spec.mean) - variance / 2.0, np.sqrt(variance), count)
    return np.asarray(np.clip(np.rint(drawn), 1, spec.most), dtype=np.int64)


def _rates(spec: Synthetic, times: Floats, rng: np.random.Generator) -> Floats:
    low = spec.rate
    high = low if spec.peak is None else spec.peak
    phase = np.mod(times, spec.period_s) / spec.period_s
    until = np.inf if spec.until_s is None else spec.until_s
    match spec.shape:
        case Shape.STEADY:
            return np.full(len(times), low)
        case Shape.RAMP:
            return np.interp(times, (spec.from_s, until), (low, high))
        case Shape.SPIKE:
            return np.where((times >= spec.from_s) & (times < until), high, low)
        case Shape.SQUARE:
            return np.where(phase < 0.5, low, high)
        case Shape.SAWTOOTH:
            return low + (high - low) * phase
        case Shape.DIURNAL:
            day = low + (high - low) * (1.0 - np.cos(2.0 * np.pi * phase)) / 2.0
            weekend = np.mod(np.floor(times / spec.period_s), 7) >= 5
            return np.where(weekend, spec.weekend * day, day)
        case Shape.NOISE:
            period = np.floor(times / spec.period_s).astype(np.int64)
            # A factor of mean 1.
            factors = rng.lognormal(-(spec.noise**2) / 2.0, spec.noise, int(period[-1]) + 1)
            return low * factors[period]
