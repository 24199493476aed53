"""From measured rates to what is remembered of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

from trimtab.models.forecast import DayState, ForecastState
from trimtab.planner.forecast import day
from trimtab.planner.forecast.book import Book, ended, shape_of, short
from trimtab.planner.forecast.constants import MAX_RPS

_REPLAYED_S = 6 * 3600.0
"""How far back history is replayed minute by minute; what is older has faded from the levels, and
only tells what is usual at each time of day."""


def observe(state: ForecastState, *, now: float, rps: float) -> ForecastState:
    """Return `state` with the rate that was measured over the minute before `now`.

    To be called for each measurement, at any times; of several within a minute the last stands.
    What was not measured must not be observed, least of all as 0. A rate that is no number or
    below 0 teaches nothing. Where the clock went back by a minute or less the measurement is
    skipped; where it went back further, what is remembered is taken to have ended now.

    Args:
        state: What was remembered.
        now: Unix seconds.
        rps: Requests/s, over the last minute.
    """
    return observe_all([state], now=now, rates=[rps])[0]


def observe_all(
    states: Sequence[ForecastState], *, now: float, rates: Sequence[float | None]
) -> list[ForecastState]:
    """Return what `observe` makes of each of `states` with the rate in its place; None: unknown.

    Those whose minutes end alike are worked out together.
    """
    found = list(states)
    alike: dict[tuple[int | None, ...], list[tuple[int, float]]] = {}
    for i, (state, rps) in enumerate(zip(states, rates, strict=True)):
        if rps is None or not _measured(now, rps):
            continue
        at, phase = state.at, state.phase
        missing = ended(at, phase, state.closed_at, now)
        if at is not None and now > at and missing is None:
            found[i] = replace(state, at=now, rps=short(rps))  # the common case: no book is opened
        else:
            alike.setdefault((missing, *shape_of(state)), []).append((i, rps))
    for rows in alike.values():
        book = Book([states[i] for i, _ in rows])
        book.observe(now, [rps for _, rps in rows])
        for (i, _), state in zip(rows, book.written(), strict=True):
            found[i] = state
    return found


def warmed(points: Sequence[tuple[float, float]]) -> ForecastState:
    """Return what would be remembered had `points` been observed.

    Args:
        points: Unix seconds and requests/s, a minute or five apart, in any order.
    """
    ordered = sorted(point for point in points if _measured(*point))
    if not ordered:
        return ForecastState()
    since, days = ordered[-1][0] - _REPLAYED_S, DayState()
    for now, rps in ordered:
        if now <= since:
            days = day.lived(days, now, short(rps))
    book = Book([ForecastState(day=days)])
    for now, rps in ordered:
        if now > since:
            book.observe(now, [rps])
    return book.written()[0]


def _measured(now: float, rps: float) -> bool:
    return math.isfinite(now) and 0.0 <= rps <= MAX_RPS
