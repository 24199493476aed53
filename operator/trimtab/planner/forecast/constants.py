"""Numbers of the forecaster: times, ranges and prior beliefs, none of them fitted to a trace."""

import math
from statistics import NormalDist

import numpy as np

from trimtab.planner.forecast.arrays import Floats

MINUTE_S = 60.0
"""Length of a bin: rates are measured over the last minute."""
ANCHORS = np.array((1, 2, 5, 10, 20, 30))
"""Horizons that are learnt, in minutes: from the shortest that can be seen to the longest start-up
of a replica on a node still to be bought; others are read off between them."""
HALF_LIVES = np.array((0.01, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0))
"""Half-lives of levels, in minutes, a factor of 2 apart: the last value, to two hours."""
NEAREST = 1
"""Which level surprises are measured against: the last minutes, so that a shift surprises once."""
SHORT = 2
"""Which level shifts are seen by, and trends begin at."""
MOVE_HALF_LIVES = np.array((5.0, 30.0, 240.0))
"""Half-lives of mean surprises, in minutes: a burst, a start-up, a shift of work."""
MOVE_SHARES = np.array((0.4, 0.3, 0.3))
"""Weights of their logarithms in the scale: the most to the newest, for bursts come together."""
CHANCE_SHARE = 0.3
"""Least surprise, in deviations of Poisson arrivals: even clients on a clock are not exact."""
WIDTH_HALF_LIFE = 60.0
"""Half-life of the width of errors, minutes."""
FIRST_WIDTHS: Floats = np.asarray(ANCHORS**0.25, np.float64)
"""Widths of errors before any was seen, by horizon: half way, in the power of time, between a rate
that stays and one whose steps are independent of each other."""
ERROR_HALF_LIFE = 240.0
"""Half-life of what is thought of each expert, minutes."""
COUNT_HALF_LIFE = 2880.0
"""Half-life of the classes of errors, minutes: two days (research, models.md 4.2)."""
SHARPNESS = 12.0
"""Power of an expert's error by which its weight falls: a tenth worse counts a third."""
PRIOR_MINUTES = 120.0
"""What the prior belief about errors weighs against minutes seen."""
YOUNG_MINUTES = 8
"""Closed minutes below which there is no opinion."""
UNLEARNT_MINUTES = 5
"""First minutes, whose surprises tell of the start and not of the rate."""
BRIDGE_MINUTES = 5
"""Missing minutes that a straight line is drawn through: steps of five minutes, one missed."""
STALE_S = 1800.0
"""Age of the last measurement from which on there is no opinion: the longest horizon."""
SHIFT_MOVES = 4.0
"""Distance of the short level from a longer one, in long-run surprises, that is a level shift.

Chance moves the short level by 0.5 of them: it takes minutes to see one, and none is imagined.
"""
MAX_RPS = 1e12
"""No service has a higher rate; what reports one is broken."""

EDGES: Floats = np.sinh(np.linspace(np.arcsinh(-10.0), np.arcsinh(60.0), 41))
"""Limits of the classes of errors, in scales and widths: close in the middle, wide outside."""
JUMPS: Floats = (
    0.5 / np.sqrt(MINUTE_S) * np.sinh(np.linspace(-np.arcsinh(1e3), np.arcsinh(1e3), 41))
)
"""Limits of the classes of jumps: by how much the square root of a rate differs from that of the
largest to come. Chance alone makes the root of a minute's rate deviate by the unit they are in, at
every rate; the last are those from silence to 4,000 requests/s."""


def _chance() -> Floats:
    """Return the shares of jumps of at most `JUMPS` that are believed before any is seen, (6, 41).

    Those of chance alone: the roots of two rates differ by a normal deviate, the square root of two
    units large, and the largest of n minutes is taken as in `_prior`. A climb may stop: without
    this, ten minutes of one are enough to expect that it goes on.
    """
    one = [NormalDist(0.0, math.sqrt(0.5 / MINUTE_S)).cdf(jump) for jump in JUMPS.tolist()]
    return np.asarray(np.array(one)[None, :] ** (ANCHORS[:, None] ** 0.5))


JUMPS_PRIOR: Floats = _chance()
"""What weighs as much as PRIOR_MINUTES seen."""
LEVELS = (0.5, 0.9, 0.98)
"""Quantiles that opinions are compared at: the middle, what is planned for, and the rare burst."""
BORDERS = (0.7, 0.94, 1.0)
"""Up to where the comparison at each of LEVELS holds: half way to the next."""
OPINION_HALF_LIFE = 60.0
"""Half-life of what is thought of each opinion, minutes: that of the width of errors."""
OPINION_SHARPNESS = 8.0
"""Power of its loss by which an opinion counts less: one a tenth worse counts half as much."""


def _prior() -> Floats:
    """Return the shares of errors at most `EDGES` that are believed before any is seen, (6, 41).

    Surprises of one minute are taken to follow Student's t with four degrees of freedom, the
    usual choice for heavy tails, whose mean size is that of its scale; the largest of n minutes
    is the largest of the square root of n independent ones, for neighbours are much alike.
    """
    x = EDGES
    root = x / np.sqrt(1.0 + x * x / 4.0)
    one = 0.5 + 3.0 / 8.0 * root * (1.0 - root * root / 12.0)
    return np.asarray(one[None, :] ** (ANCHORS[:, None] ** 0.5))


PRIOR: Floats = _prior()
