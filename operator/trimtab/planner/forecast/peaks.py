"""From what is remembered of a rate to quantiles of its maximum."""

import math

import numpy as np

from trimtab.models.forecast import ForecastState

YOUNG_MINUTES = 10
"""Measured minutes below which there is no opinion."""
ANCHORS = (1, 2, 5, 10, 20, 30)
"""Horizons, in minutes, that are looked at; others lie between them."""


def ahead(state: ForecastState, *, now: float, horizon_s: float, q: float) -> float | None:
    """Return quantile `q` of the largest rate in (`now`, `now` + `horizon_s`], requests/s.

    A rate is one over a minute. Never falls with `q` nor with `horizon_s`. None: too little is
    known of the past for an opinion.
    """
    rates = np.array(state.minutes, dtype=float)
    known = np.flatnonzero(np.isfinite(rates))
    if state.at is None or len(known) < YOUNG_MINUTES:
        return None
    filled = np.interp(np.arange(len(rates)), known, rates[known])
    late = max(0.0, now - state.at)
    minutes = min(max((late + horizon_s) / 60.0, 1.0), float(ANCHORS[-1]))
    values: list[float] = []
    for anchor in ANCHORS:
        span = min(anchor, len(filled) // 2)
        windows = np.lib.stride_tricks.sliding_window_view(filled[1:], span)
        peaks = windows.max(axis=1)
        base = filled[: len(peaks)]
        # Differences of square roots: of the same size for a small Poisson rate as for a large.
        moves = np.sqrt(peaks) - np.sqrt(base)
        root = max(0.0, math.sqrt(state.rps) + float(np.quantile(moves, q)))
        values.append(max(root * root, values[-1] if values else 0.0))
    return float(np.interp(minutes, ANCHORS, values))
