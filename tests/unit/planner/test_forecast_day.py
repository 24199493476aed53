"""What is usual at a time of day: foreseen where it comes every day, and believed no further."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from pydantic import TypeAdapter

from trimtab.models.forecast import DayState, ForecastState
from trimtab.planner.forecast import ahead, day, observe, warmed

MONDAY = 1_789_948_800.0
"""2026-09-21T00:00:00Z."""
DAY_S, HOUR_S = 86_400.0, 3600.0
STATE: TypeAdapter[ForecastState] = TypeAdapter(ForecastState)
Course = Callable[[float], float]


def ramp(at: float) -> float:
    """2 requests/s at night, 12 by day; in between an hour from 08:00, and one and a half."""
    hour = at % DAY_S / HOUR_S
    return 2.0 + 10.0 * min(1.0, max(0.0, hour - 8.0)) * min(1.0, max(0.0, (19.0 - hour) / 1.5))


def working_days(at: float) -> float:
    return ramp(at) if (at - MONDAY) % (7.0 * DAY_S) < 5.0 * DAY_S else 2.0


def flat(_: float) -> float:
    return 5.0


def history(course: Course, until: float, days: float, seed: int = 0) -> list[tuple[float, float]]:
    """Poisson arrivals of a course, counted over five minutes each."""
    rng = np.random.default_rng(seed)
    times = np.arange(until - days * DAY_S, until, 300.0).tolist()
    return [(at, float(rng.poisson(course(at) * 300.0)) / 300.0) for at in times]


def known(course: Course, until: float, days: float) -> ForecastState:
    return warmed(history(course, until, days))


def within(state: ForecastState, now: float, minutes: float, q: float = 0.5) -> float:
    found = ahead(state, now=now, horizon_s=60.0 * minutes, q=q)
    assert found is not None
    return found


def blank(state: ForecastState) -> ForecastState:
    """The same without any day before."""
    return replace(state, day=DayState())


@pytest.mark.parametrize("days", [3.0, 7.0])
def test_a_climb_that_comes_every_day_is_foreseen_before_it_begins(days: float) -> None:
    now = MONDAY + 10 * DAY_S + 8 * HOUR_S
    state = known(ramp, now, days)
    # In half an hour the rate is 7: a forecast that knows no day says that it stays.
    assert within(blank(state), now, 30.0) < 4.0
    assert 4.5 < within(state, now, 30.0) < 9.0
    assert within(state, now, 30.0) > within(state, now, 5.0)


def test_a_fall_that_comes_every_day_is_foreseen_too() -> None:
    now = MONDAY + 10 * DAY_S + 18.5 * HOUR_S
    state = known(ramp, now, 7.0)
    assert within(state, now, 1.0) < within(blank(state), now, 1.0)


def test_one_day_is_no_habit() -> None:
    now = MONDAY + DAY_S + 8 * HOUR_S
    assert within(known(ramp, now, 1.3), now, 30.0) < 3.5


@pytest.mark.parametrize("seed", range(4))
def test_chance_teaches_no_course(seed: int) -> None:
    now = MONDAY + 10 * DAY_S
    state = warmed(history(flat, now, 8.0, seed))
    assert day.trust(state.day) < 0.2
    for q in (0.5, 0.98):
        assert within(state, now, 30.0, q) == pytest.approx(
            within(blank(state), now, 30.0, q), rel=0.03
        )


def test_a_habit_that_ends_is_forgotten_within_days() -> None:
    end = MONDAY + 7 * DAY_S
    now = end + 7 * DAY_S + 8 * HOUR_S
    state = known(lambda at: ramp(at) if at < end else 2.0, now, 14.0)
    assert within(state, now, 30.0) < 3.0


def test_weekends_have_a_course_of_their_own() -> None:
    saturday, monday = (MONDAY + (14 + d) * DAY_S + 8 * HOUR_S for d in (5, 7))
    assert within(known(working_days, saturday, 12.0), saturday, 30.0) < 4.0
    assert within(known(working_days, monday, 14.0), monday, 30.0) > 4.5


def test_it_is_learnt_from_live_minutes_as_from_history() -> None:
    now = MONDAY + 10 * DAY_S + 6 * HOUR_S
    state = known(ramp, now - DAY_S, 7.0)
    rng = np.random.default_rng(1)
    for at in np.arange(now - DAY_S, now + 2 * HOUR_S, 60.0).tolist():
        state = observe(state, now=at, rps=float(rng.poisson(ramp(at) * 60.0)) / 60.0)
    assert day.trust(state.day) > 0.5
    assert within(state, now + 2 * HOUR_S, 30.0) > 5.0


def test_hours_of_which_nothing_is_known_teach_no_step() -> None:
    now = MONDAY + 10 * DAY_S
    whole = history(ramp, now, 7.0)
    holes = [(at, rps) for at, rps in whole if at % DAY_S // HOUR_S not in (7, 8, 9)]
    state = warmed(holes)
    noon = now + 8 * HOUR_S
    state = observe(state, now=noon, rps=2.0)
    assert within(state, noon, 30.0) == within(blank(state), noon, 30.0)


def test_silence_at_night_makes_no_wonder_of_one_request() -> None:
    now = MONDAY + 10 * DAY_S + 8 * HOUR_S
    state = known(lambda at: ramp(at) - 2.0, now, 7.0)
    state = observe(state, now=now + 60.0, rps=1.0 / 60.0)
    assert within(state, now + 60.0, 30.0, 0.98) < 12.0


def test_what_is_kept_of_weeks_is_small() -> None:
    now = MONDAY + 28 * DAY_S
    state = known(working_days, now, 28.0)
    assert min(state.day.usual) >= 0.0
    assert len(STATE.dump_json(state)) < 8_000
