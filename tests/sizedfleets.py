"""Fleets behind a router that tells two classes apart, and what they carry, found by hand."""

import random
from collections.abc import Sequence

from trimtab.planner.split import Rates


def kind(dice: random.Random) -> Rates:
    """Rates of one replica for either class alone; one in four serves only one of them."""
    small, large = dice.uniform(2.0, 10.0), dice.uniform(0.5, 4.0)
    if dice.random() < 0.25:
        return (small, 0.0, 0.0) if dice.random() < 0.7 else (0.0, large, 0.0)
    return small, large, 0.0


def carried(share: float, kinds: Sequence[tuple[Rates, int]]) -> float:
    """What the kinds carry of two classes, `share` of the first: no solver, but bisection.

    The first class goes first to those who are best at it beside the other: comparative advantage.
    """
    order = sorted(kinds, key=lambda one: -one[0][0] / one[0][1] if one[0][1] else -1e18)
    low, high = (
        0.0,
        1.0 + sum(n * (rates[0] + rates[1]) for rates, n in kinds) / min(share, 1.0 - share),
    )
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _fits(share, order, middle) else (low, middle)
    return low


def _fits(share: float, order: Sequence[tuple[Rates, int]], rps: float) -> bool:
    first, second = share * rps, (1.0 - share) * rps
    for rates, count in order:
        time = float(count)
        if rates[0] > 0:
            used = min(time, first / rates[0])
            first -= used * rates[0]
            time -= used
        second -= time * rates[1]
    return first <= 1e-12 and second <= 1e-12
