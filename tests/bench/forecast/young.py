"""The first forty minutes of many services, from nothing: what one trace of that length can say."""

import numpy as np

from bench.forecast.baselines import BASELINES
from bench.forecast.score import (
    HORIZONS,
    LEVELS,
    forecast,
    largest,
    minutes_of,
    pinball,
    residual_quantiles,
)
from bench.forecast.series import Floats

MINUTES = 40
"""Length of Azure's and Mooncake's traces."""
EVERY = 360
"""Minutes from the start of one piece to that of the next."""
LAST = "last value"


def young(rates: Floats) -> Floats:
    """Return losses of each piece of `rates` as shares of its mean, (n, 2, horizons, levels).

    Ours, then that of the last value. Pieces in which nothing is asked for are left out.
    """
    starts = range(0, len(rates) - MINUTES + 1, EVERY)
    pieces = [rates[start : start + MINUTES] for start in starts]
    return np.array([_losses(piece) / piece.mean() for piece in pieces if piece.any()])


def _losses(rates: Floats) -> Floats:
    scored = minutes_of(rates)
    truth = np.column_stack([largest(rates, horizon)[scored] for horizon in HORIZONS])
    said = BASELINES[LAST](rates, HORIZONS)
    last = [residual_quantiles(rates, said[:, i], h, scored) for i, h in enumerate(HORIZONS)]
    return np.stack(
        [pinball(truth, each, LEVELS) for each in (forecast(rates, scored), np.stack(last, axis=1))]
    )
