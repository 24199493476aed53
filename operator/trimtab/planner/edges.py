"""Where one answer becomes another: the search for the input at which a question turns."""

import math
from collections.abc import Callable

from trimtab.units import format_money

MOST_GROWTH = 256.0
"""Inputs up to so many times the first, and so many times less, are tried."""
EDGE = 0.01
"""Relative width to which an edge between two answers is narrowed."""


def first(start: float, factor: float, other: Callable[[float], bool]) -> float | None:
    """Return a rate near the first, on a grid of `factor` from `start`, at which `other` holds."""
    before, rate = start, start
    while 1.0 / MOST_GROWTH <= rate / start <= MOST_GROWTH:
        before, rate = rate, rate * factor
        if other(rate):
            return edge(before, rate, other)
    return None


def edge(false: float, true: float, holds: Callable[[float], bool]) -> float | None:
    """Return the value nearest to `false` at which `holds`, within EDGE; None if not at `true`.

    Both ends are above zero; the distance is halved on a logarithmic scale.
    """
    if not holds(true):
        return None
    while abs(math.log(true / false)) > EDGE:
        middle = math.sqrt(false * true)
        if holds(middle):
            true = middle
        else:
            false = middle
    return true


def round_up(seconds: float) -> float:
    """Return the duration with two digits, not less than it was, in whole milliseconds."""
    step = max(0.001, 10.0 ** (math.floor(math.log10(seconds)) - 1))
    return round(math.ceil(seconds / step - 1e-9) * step, 3)


def cents(usd: float, *, down: bool) -> float:
    """Return the price in whole cents; in tenths of them below ten cents."""
    step = 0.01 if usd >= 0.1 else 0.001
    count = usd / step
    return round((math.floor(count + 1e-9) if down else math.ceil(count - 1e-9)) * step, 3)


def usd_text(price: float) -> str:
    """Return US dollars as `cents` rounds them."""
    return format_money(price) if price >= 0.1 else f"{price:.3f}"
