"""What chance alone leaves: the loss of one who knows every client's rate, now and to come."""

from collections.abc import Callable

import numpy as np

from bench.forecast.score import HORIZONS, largest, minutes_of, pinball
from bench.forecast.series import Floats

DRAWS = 25
FLOOR_LEVELS = (0.5, 0.9)
"""Quantiles that a handful of draws can tell."""
JUDGED = 5
"""Draws that take the place of what happened; the others say what was to be expected."""


def floor_of(draw: Callable[[np.random.Generator], Floats]) -> Floats:
    """Return the least mean loss by horizon and level, requests/s.

    The same clients with the same rates, five minutes by five minutes, are drawn again and again;
    quantiles over the draws are the best forecast that there can be, but for what the state of a
    burst tells of the next minute.
    """
    rng = np.random.default_rng(11)
    draws = [draw(rng) for _ in range(DRAWS)]
    scored = minutes_of(draws[0])
    found = np.array(
        [np.column_stack([largest(one, h)[scored] for h in HORIZONS]) for one in draws]
    )
    losses = []
    for judged in range(JUDGED):
        others = np.delete(found, judged, axis=0)
        said = np.stack([np.quantile(others, q, axis=0) for q in FLOOR_LEVELS], axis=-1)
        losses.append(pinball(found[judged], said, FLOOR_LEVELS))
    return np.asarray(np.mean(losses, axis=0))
