"""How long a lasting change of the rate takes to be believed."""

import numpy as np

from bench.forecast.series import MINUTE_S
from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, observe

BEFORE_MIN, AFTER_MIN = 360, 40
SEEDS = 8
_EPOCH = 1_700_000_000.0


def absorbed_min(before: float, after: float) -> float:
    """Return the minutes after which nine tenths of a change stay in the forecast.

    Poisson arrivals of `before` requests/s for six hours, then of `after`. Compared is the median
    of the next minute, and the 0.9 quantile from below, in the mean over 8 draws, with those of a
    forecaster that has seen the new rate alone for six hours.
    """
    changed = np.mean([_course(before, after, seed) for seed in range(SEEDS)], axis=0)
    settled = np.mean([_course(after, after, seed) for seed in range(SEEDS)], axis=0)
    left = (changed - settled) / abs(after - before)
    off = (np.abs(left[:, 0]) > 0.1) | (left[:, 1] < -0.1)
    return float(np.flatnonzero(off)[-1] + 2) if off.any() else 1.0


def _course(before: float, after: float, seed: int) -> list[list[float]]:
    rng = np.random.default_rng(seed)
    counts = np.concatenate(
        (
            rng.poisson(before * MINUTE_S, BEFORE_MIN),
            np.random.default_rng(seed + 1000).poisson(after * MINUTE_S, AFTER_MIN),
        )
    )
    state, rows = ForecastState(), list[list[float]]()
    for at, count in enumerate(counts.tolist()):
        now = _EPOCH + MINUTE_S * at
        state = observe(state, now=now, rps=count / MINUTE_S)
        if at >= BEFORE_MIN:
            rows.append([ahead(state, now=now, horizon_s=MINUTE_S, q=q) or 0.0 for q in (0.5, 0.9)])
    return rows
