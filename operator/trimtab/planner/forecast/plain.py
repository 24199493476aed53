"""The plain opinion: the rate stays, give or take what that was wrong by before.

It has no scale that could be wrong and little to learn, and is hard to beat where a rate stands
still and jumps. Its quantiles and those of the learner are mixed, for each horizon and about each
level, by the pinball loss of either of late: what is said is seldom much worse than the better of
the two.
"""

import numpy as np

from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import (
    ANCHORS,
    EDGES,
    JUMPS,
    JUMPS_PRIOR,
    LEVELS,
    OPINION_SHARPNESS,
    PRIOR_MINUTES,
)

OPINIONS = 2
"""The learner's and the plain one, in this order."""
_LEVELS = np.array(LEVELS)
_LEAST = 1e-3
"""Share of the larger loss that the smaller is taken to be at least: luck is no foresight."""


def within(levels: Floats, below: Floats, edges: Floats) -> Floats:
    """Return quantiles of what lies in classes, of the same shape as `below` but for the last axis.

    Args:
        levels: (q,).
        below: Shares of no more than each of `edges`, (..., edges); they do not fall.
        edges: Limits of classes, in rising order.
    """
    found = []
    for level in levels.tolist():
        place = (below <= level).sum(axis=-1)[..., None]
        high = np.clip(place, 1, len(edges) - 1)
        under, over = (np.take_along_axis(below, at, axis=-1)[..., 0] for at in (high - 1, high))
        low, up = edges[high[..., 0] - 1], edges[high[..., 0]]
        share = np.clip((level - under) / np.where(over > under, over - under, 1.0), 0.0, 1.0)
        found.append(low + share * (up - low))
    return np.stack(found, axis=-1)


def shares(jumps: Floats) -> Floats:
    """Return the chances of jumps that are no larger than each of JUMPS, (n, 6, edges)."""
    below = jumps.cumsum(axis=-1)[..., :-1] + PRIOR_MINUTES * JUMPS_PRIOR
    return np.asarray(below / (jumps.sum(axis=-1, keepdims=True) + PRIOR_MINUTES))


def losses(found: Floats, learnt: Floats, plain: Floats) -> Floats:
    """Return the pinball loss of both opinions, (n, horizons, 2 levels), requests/s.

    Args:
        found: Largest rates, (n, horizons).
        learnt: What the learner had said, (n, horizons, levels).
        plain: What the plain opinion was.
    """
    off = found[:, :, None] - np.concatenate((learnt, plain), axis=2)
    levels = np.tile(_LEVELS, OPINIONS)
    return np.maximum(levels * off, (levels - 1.0) * off)


def learnt_quantiles(location: Floats, scale: Floats, below: Floats) -> Floats:
    """Return what the learner says, (n, horizons, levels), requests/s."""
    said = location[..., None] + scale[..., None] * within(_LEVELS, below, EDGES)
    return np.maximum(said, 0.0)


def plain_quantiles(last: Floats, jumped: Floats) -> Floats:
    """Return what the plain opinion is of rates whose last was `last`, (n, horizons, levels).

    Args:
        last: (n, horizons), requests/s.
        jumped: Chances of jumps, as `shares` returns them.
    """
    root = np.sqrt(last)[..., None] + within(_LEVELS, jumped, JUMPS)
    return np.asarray(np.maximum(root, 0.0) ** 2)


def trusted(lost: Floats, jumps: Floats) -> Floats:
    """Return how much the learner counts beside the plain opinion, (n, horizons, levels), 0 to 1.

    Args:
        lost: Mean losses of both, as of `losses`.
        jumps: Jumps that were seen, by class: those of one horizon are worth one.
    """
    learnt, plain = lost[:, :, : len(_LEVELS)], lost[:, :, len(_LEVELS) :]
    least = _LEAST * np.maximum(learnt, plain) + 1e-9
    share = 1.0 / (1.0 + ((plain + least) / (learnt + least)) ** OPINION_SHARPNESS)
    seen = jumps.sum(axis=-1, keepdims=True)
    return np.asarray(1.0 - share * seen / (seen + ANCHORS[:, None]))
