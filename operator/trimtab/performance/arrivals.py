"""How evenly requests reach one replica: at random, or in turn with those of n replicas.

A router that sends a request anywhere leaves arrivals that come at random as random at every
replica. One that deals them out in turn, or to the least busy, sends a replica every n-th: the gaps
are Erlang variables of n phases, whose squared variation is 1/n (Kleinrock 1975, 4.3). Lumps of
prompts, and the queues behind them, are smaller by that. Least busy is better still than in turn,
which is not counted on.
"""

import math

import numpy as np

from trimtab.performance.arithmetic import Array, Number

MOST_PHASES = 16
"""Beyond so many replicas more make arrivals no more even, to a few percent of a rate."""


def spread_of_count(mean: Array, variation: float) -> Array:
    """Return the variance of the number of arrivals in a time in which `mean` come on average.

    Gaps of the squared `variation` leave that part of the mean; what is left of it with equal gaps
    is chance between the whole numbers below and above.
    """
    part = mean - np.floor(mean)
    variance: Array = variation * mean + (1.0 - variation) * part * (1.0 - part)
    return variance


def spread_of_sum(mean: Array, size: Number, square: Number, variation: float) -> Array:
    """Return the variance of what comes together in a time in which `mean` arrive on average.

    Each brings `size` on average and `square` in the mean square: a random number of random sizes.
    """
    variance: Array = mean * (square - size**2) + spread_of_count(mean, variation) * size**2
    return variance


def queueing_square(size: Number, square: Number, variation: float) -> Number:
    """Return the mean square of a size as the wait behind it feels it.

    Pollaczek and Khinchine's wait grows with the mean square of what is asked for; Kingman's bound
    takes off what arrivals that are more even than chance leave out.
    """
    return square - (1.0 - variation) * size**2


def chance_of_none(mean: Array, variation: float) -> Array:
    """Return the chance that none follows an arrival within a time in which `mean` come.

    Between whole numbers of phases, gaps of either are mixed so that their variation is right.
    """
    phases = max(1.0 / variation, 1.0)
    fewer = math.floor(phases)
    more = _erlang_none(mean, fewer + 1) if phases > fewer else 0.0
    share = (1.0 / fewer - variation) * fewer * (fewer + 1) if phases > fewer else 0.0
    none: Array = (1.0 - share) * _erlang_none(mean, fewer) + share * more
    return none


def _erlang_none(mean: Array, phases: int) -> Array:
    """Return the same for gaps of so many phases."""
    scaled = phases * mean
    term = total = np.ones_like(scaled)
    for j in range(1, phases):
        term = term * scaled / j
        total = total + term
    none: Array = np.exp(-scaled) * total
    return none


def following(mean: Array, variation: float) -> Array:
    """Return how many follow an arrival on average within a time in which `mean` come.

    The renewal function, of which the line that it tends to is (1 - variation) / 2 lower than the
    mean (Cox 1962, 4.2), and which is no less than the chance of one.
    """
    some = 1.0 - chance_of_none(mean, variation)
    count: Array = np.maximum(some, mean - 0.5 * (1.0 - variation))
    return np.minimum(count, mean)


def company(mean: Array, variation: float) -> Array:
    """Return how many others come on average within the time of an arrival in which `mean` come.

    The time is seen from an arrival at a random moment of it. Equal gaps leave those at whole gaps
    before and after.
    """
    whole = np.floor(mean)
    equal = 2.0 * whole - whole * (whole + 1.0) / np.maximum(mean, 1e-12)
    others: Array = variation * mean + (1.0 - variation) * equal
    return others


def alone(mean: Array, variation: float) -> Array:
    """Return the chance that no other comes within the time of an arrival, as in `company`."""
    equal = np.clip(2.0 / np.maximum(mean, 1e-12) - 1.0, 0.0, 1.0)
    chance: Array = variation * np.exp(-mean) + (1.0 - variation) * equal
    return chance


def any_in(mean: Array, variation: float) -> Array:
    """Return the chance that any arrive in a time in which `mean` come."""
    chance: Array = variation * -np.expm1(-mean) + (1.0 - variation) * np.minimum(mean, 1.0)
    return chance
