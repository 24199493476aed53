"""What a rate usually does at this time of day, believed as far as it has come true.

The mean of each twenty minutes is kept, for working days and for weekends (of UTC), recent days
counting most. How much of the usual change to the next twenty minutes really came is a regression
through the origin, drawn to 0 by its own noise: a rate without a daily course earns no trust, and
its forecasts are as if this were not here.
"""

import math
from dataclasses import replace

import numpy as np

from trimtab.models.forecast import DayState
from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import ANCHORS, MINUTE_S

BINS = 72
"""Bins of a day: long enough for a mean of slow services, short enough for the hour when work
begins. 48 and 96 do as well (docs/forecast.md)."""
BIN_S = 86_400.0 / BINS
DAYS = 7
"""Days of the week, from Monday; 1 January 1970 was a Thursday."""
WORKDAYS = 5
THURSDAY = 3
WAITING = 3
"""Bins that wait before they count as usual, so that no forecast that is scored, of up to half an
hour ago, had today's rates to read off: 30 min and one and a half bins, which a line is drawn
between."""
GAIN = 0.3
"""Weight of a bin's newest day: a half-life of two days, as of errors (research, models.md 4.2)."""
FADE = 0.5 ** (1.0 / (DAYS * BINS))
"""Half-life of trust: a week."""
SURE_STEPS = 4.0
"""Steps as large as the noise that trust is doubted for: before any was seen it is 0, give or take
one half."""
LEAST_TRUST = 0.05
"""Trust below which none is had: it would cost more time than it is worth."""
UNSEEN = -1.0
LEAST_SHARE = 0.1
"""Share of the day's mean below which rates are taken to be that: the quietest hour is no measure
of how many times as much the next one brings."""


def lived(day: DayState, at: float, rate: float) -> DayState:
    """Return `day` with `rate`, requests/s, measured at Unix second `at`."""
    number = math.floor(at / BIN_S)
    if number == day.number:
        return replace(day, last=max(day.last, at), total=day.total + rate, count=day.count + 1)
    if day.count and day.last - day.first >= 0.5 * BIN_S:
        day = _closed(day, float(f"{day.total / day.count:.3g}"))
    return replace(day, number=number, first=at, last=at, total=rate, count=1)


def trust(day: DayState) -> float:
    """Return the share of the usual changes that comes true, 0 to 1."""
    if day.steps <= 0.0 or day.square <= 0.0:
        return 0.0
    noise = day.left / day.steps
    return min(1.0, max(0.0, day.product / (day.square + SURE_STEPS * noise)))


def ahead(day: DayState, at: float) -> Floats | None:
    """Return by what to multiply a rate of `at` for its largest over each horizon, (6,).

    None: nothing is known, or trusted.
    """
    spans = ANCHORS.astype(np.int64)
    usual = _course(day, at, 0, int(spans[-1]))
    return None if usual is None else np.maximum.accumulate(usual[1:])[spans - 1] / usual[0]


def behind(day: DayState, at: float) -> Floats | None:
    """Return what `ahead` would have said one horizon before `at`, (6,)."""
    spans = ANCHORS.astype(np.int64)
    usual = _course(day, at, int(spans[-1]), 0)
    if usual is None:
        return None
    return np.maximum.accumulate(usual[::-1])[spans - 1] / usual[-1 - spans]


def _course(day: DayState, at: float, back: int, on: int) -> Floats | None:
    """Return the usual rate to the power of trust, for each minute from `back` ago to `on` ahead.

    Straight lines join the middles of bins.
    """
    trusted = trust(day)
    if trusted < LEAST_TRUST:
        return None
    where = (at + MINUTE_S * np.arange(-back, on + 1)) / BIN_S - 0.5
    near = range(math.floor(where[0]), math.floor(where[-1]) + 2)
    means = [_usual(day, number) for number in near]
    if min(means) < 0.0:
        return None
    usual = np.interp(where, np.array(near, np.float64), np.array(means))
    return np.asarray(np.maximum(usual, day.least) ** trusted)


def _closed(day: DayState, mean: float) -> DayState:
    """Return `day` with the mean of the bin that was open, and what it teaches of the usual."""
    if day.recent and day.recent[-1][0] == day.number - 1 and day.usual:
        before, then = _usual(day, day.number - 1), _usual(day, day.number)
        if before >= 0.0 and then >= 0.0:
            expected, found = (
                math.log(max(after, day.least) / max(first, day.least))
                for first, after in ((before, then), (day.recent[-1][1], mean))
            )
            day = _taught(day, expected, found)
    day = replace(day, recent=(*day.recent, (float(day.number), mean)))
    return _merged(day) if len(day.recent) > WAITING else day


def _taught(day: DayState, expected: float, found: float) -> DayState:
    """Return `day` with one more step: logarithms of what was expected of it, and what came."""
    off = found - trust(day) * expected
    return replace(
        day,
        product=_short(FADE * day.product + expected * found),
        square=_short(FADE * day.square + expected * expected),
        left=_short(FADE * day.left + off * off),
        steps=_short(FADE * day.steps + 1.0),
    )


def _merged(day: DayState) -> DayState:
    """Return `day` with the oldest of its recent bins among the usual ones."""
    number, mean = day.recent[0]
    usual = list(day.usual) or [UNSEEN] * (2 * BINS)
    slot = _slot(int(number))
    was = usual[slot]
    usual[slot] = mean if was < 0.0 else float(f"{was + GAIN * (mean - was):.3g}")
    seen = [each for each in usual if each >= 0.0]
    least = max(1.0 / MINUTE_S, LEAST_SHARE * math.fsum(seen) / len(seen))
    return replace(day, usual=tuple(usual), recent=day.recent[1:], least=_short(least))


def _usual(day: DayState, number: int) -> float:
    """Return the usual rate of a bin; before the first weekend was seen, that of working days."""
    slot = _slot(number)
    return day.usual[slot] if day.usual[slot] >= 0.0 else day.usual[(slot + BINS) % (2 * BINS)]


def _slot(number: int) -> int:
    days, slot = divmod(number, BINS)
    return slot + (BINS if (days + THURSDAY) % DAYS >= WORKDAYS else 0)


def _short(value: float) -> float:
    return float(f"{value:.5g}") if value else 0.0
