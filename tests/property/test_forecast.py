"""What holds of forecasts whatever was measured, at whatever times."""

import math
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, observe, warmed

START = 1_700_000_000.0
STATE: TypeAdapter[ForecastState] = TypeAdapter(ForecastState)
BYTES = 12_000

RATES = st.one_of(
    st.floats(0.0, 100.0), st.sampled_from([0.0, 1.0 / 60.0, 5.0, 1e9]), st.floats(0.0, 1e9)
)
STEPS = st.one_of(st.sampled_from([15.0, 60.0, 300.0]), st.floats(-7200.0, 20_000.0))
COURSES = st.lists(st.tuples(STEPS, RATES), max_size=60)
STEADY_COURSES = st.lists(RATES, min_size=12, max_size=80)
HORIZONS = st.floats(15.0, 1800.0)
LEVELS = st.floats(0.0005, 0.9995)


def followed(course: Sequence[tuple[float, float]]) -> tuple[ForecastState, float]:
    state, now = ForecastState(), START
    for step, rate in course:
        now += step
        state = observe(state, now=now, rps=rate)
    return state, now


@settings(max_examples=150, deadline=None)
@given(COURSES, st.floats(0.0, 3600.0), HORIZONS, LEVELS)
def test_an_opinion_is_a_rate(
    course: list[tuple[float, float]], late: float, horizon: float, q: float
) -> None:
    state, now = followed(course)
    value = ahead(state, now=now + late, horizon_s=horizon, q=q)
    assert value is None or (math.isfinite(value) and value >= 0.0)


@settings(max_examples=150, deadline=None)
@given(STEADY_COURSES, HORIZONS, HORIZONS, LEVELS, LEVELS)
def test_more_is_asked_of_longer_and_of_safer(
    rates: list[float], one: float, other: float, low: float, high: float
) -> None:
    state, now = followed([(60.0, rate) for rate in rates])
    horizons, levels = sorted((one, other)), sorted((low, high))

    def value(horizon: float, q: float) -> float:
        found = ahead(state, now=now, horizon_s=horizon, q=q)
        assert found is not None
        return found

    least = value(horizons[0], levels[0])
    slack = 1e-9 * max(1.0, least)
    assert value(horizons[1], levels[0]) >= least - slack
    assert value(horizons[0], levels[1]) >= least - slack


@settings(max_examples=100, deadline=None)
@given(COURSES)
def test_what_is_remembered_survives_json_and_stays_small(
    course: list[tuple[float, float]],
) -> None:
    state, now = followed([*[(15.0, rate) for _, rate in course], *course])
    document = STATE.dump_json(state)
    again = STATE.validate_json(document)
    assert again == state
    assert len(document) < BYTES
    assert observe(again, now=now + 60.0, rps=3.0) == observe(state, now=now + 60.0, rps=3.0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_history_may_come_in_any_order(data: st.DataObject) -> None:
    rates = data.draw(st.lists(RATES, min_size=1, max_size=60))
    points = [(START + 60.0 * index, rate) for index, rate in enumerate(rates)]
    mixed = data.draw(st.permutations(points))
    assert warmed(mixed) == warmed(points)


@settings(max_examples=60, deadline=None)
@given(STEADY_COURSES, st.floats(61.0, 1e6))
def test_a_clock_that_goes_back_loses_nothing(rates: list[float], back: float) -> None:
    state, now = followed([(60.0, rate) for rate in rates])
    turned = observe(state, now=now - back, rps=rates[-1])
    for minute in range(3):
        at = now - back + 60.0 * (minute + 1)
        turned = observe(turned, now=at, rps=rates[-1])
    assert turned.closed >= state.closed + 3
    assert ahead(turned, now=at, horizon_s=300.0, q=0.9) is not None
