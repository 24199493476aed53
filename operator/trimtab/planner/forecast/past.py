"""From measured rates to what is remembered of them."""

import math
from collections.abc import Sequence
from dataclasses import replace

from trimtab.models.forecast import ForecastState

MINUTE_S = 60.0
"""Length of a bin: rates are measured over the last minute."""
MINUTES = 240
"""Minutes that are remembered one by one."""
MAX_RPS = 1e12
"""Rates above it are no measurement of anything."""


def observe(state: ForecastState, *, now: float, rps: float) -> ForecastState:
    """Return `state` with the rate that was measured over the minute before `now`.

    Of several rates within one minute the last one stands. A clock that went back, a rate that
    is no number or below 0: nothing is learnt.

    Args:
        state: What was remembered.
        now: Unix seconds.
        rps: Requests/s, over the last minute.
    """
    if not (math.isfinite(now) and 0.0 <= rps <= MAX_RPS):
        return state
    rate = _short(rps)
    if state.at is None:
        # The first rate stands in the middle of its minute, so that ticks that come a little
        # early or late fall into minutes of their own.
        return ForecastState(
            at=now, rps=rate, phase=(now + MINUTE_S / 2) % MINUTE_S, minutes=(rate,)
        )
    if now < state.at:
        return state
    past = _minute(now, state.phase) - _minute(state.at, state.phase)
    if past == 0:
        minutes = (*state.minutes[:-1], rate)
    elif past > MINUTES:
        minutes = (rate,)
    else:
        minutes = (*state.minutes, *(None,) * (past - 1), rate)[-MINUTES:]
    return replace(state, at=now, rps=rate, minutes=minutes)


def warmed(points: Sequence[tuple[float, float]]) -> ForecastState:
    """Return what would be remembered had `points` been observed.

    Args:
        points: Unix seconds and requests/s, a minute or five apart; in any order.
    """
    state = ForecastState()
    points = sorted(points)
    if not points:
        return state
    for now, rps in points:
        if now > points[-1][0] - MINUTES * MINUTE_S:
            state = observe(state, now=now, rps=rps)
    return state


def _minute(at: float, phase: float) -> int:
    return math.floor((at - phase) / MINUTE_S)


def _short(rps: float) -> float:
    """Return `rps` to four digits: what is kept from plan to plan shall be small."""
    return float(f"{rps:.4g}")
