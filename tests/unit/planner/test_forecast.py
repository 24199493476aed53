"""Forecasts of an arrival rate, by what a caller sees of them."""

import math

import numpy as np
import pytest

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, observe, warmed

START = 1_700_000_000.0


def after(
    rates: list[float], step: float = 60.0, state: ForecastState | None = None
) -> tuple[ForecastState, float]:
    """Return what is remembered of `rates`, and when the last was measured."""
    state = state or ForecastState()
    now = START if state.at is None else state.at + step
    for index, rate in enumerate(rates):
        state = observe(state, now=now + step * index, rps=rate)
    return state, now + step * (len(rates) - 1)


def poisson(rate: float, minutes: int, seed: int = 0) -> list[float]:
    counts = np.random.default_rng(seed).poisson(rate * 60.0, minutes)
    return [float(count) / 60.0 for count in counts]


def opinion(state: ForecastState, now: float, minutes: float = 5.0, q: float = 0.9) -> float:
    value = ahead(state, now=now, horizon_s=60.0 * minutes, q=q)
    assert value is not None
    return value


def test_nothing_seen_is_no_opinion() -> None:
    assert ahead(ForecastState(), now=START, horizon_s=300, q=0.9) is None
    assert warmed([]) == ForecastState()
    state, now = after([5.0] * 3)
    assert ahead(state, now=now, horizon_s=300, q=0.9) is None


def test_what_was_measured_long_ago_is_no_opinion() -> None:
    state, now = after([5.0] * 60)
    assert ahead(state, now=now + 1700.0, horizon_s=60, q=0.9) is not None
    assert ahead(state, now=now + 1900.0, horizon_s=60, q=0.9) is None


def test_a_steady_rate_stays() -> None:
    state, now = after([5.0] * 60)
    assert opinion(state, now, q=0.5) == pytest.approx(5.0, rel=0.1)
    assert opinion(state, now, q=0.98) < 6.5


@pytest.mark.parametrize("rate", [1.0, 10.0, 200.0])
def test_quantiles_of_chance_are_as_often_exceeded_as_they_say(rate: float) -> None:
    rates = poisson(rate, 1200)
    cells = [(horizon, q) for horizon in (1, 5, 10) for q in (0.5, 0.9, 0.98)]
    hits: dict[tuple[int, float], list[bool]] = {cell: [] for cell in cells}
    state = ForecastState()
    for index, value in enumerate(rates[:-10]):
        now = START + 60.0 * index
        state = observe(state, now=now, rps=value)
        if index > 240 and index % 3 == 0:
            for horizon, q in cells:
                largest = max(rates[index + 1 : index + 1 + horizon])
                hits[horizon, q].append(largest <= opinion(state, now, minutes=horizon, q=q))
    for (horizon, q), found in hits.items():
        # Maxima of overlapping minutes hang together: n of them are worth 3 n / horizon.
        worth = len(found) * min(1.0, 3.0 / horizon)
        chance = 3.0 * math.sqrt(q * (1.0 - q) / worth)
        assert np.mean(found) == pytest.approx(q, abs=chance + 0.01), (horizon, q)


def test_before_errors_were_seen_what_comes_later_is_less_sure() -> None:
    state, now = after([5.0] * 12)
    soon, later = (
        opinion(state, now, minutes=ahead_min, q=0.98)
        - opinion(state, now, minutes=ahead_min, q=0.5)
        for ahead_min in (1.0, 30.0)
    )
    assert later > 1.8 * soon


def test_chance_is_not_taken_for_a_change() -> None:
    last = poisson(1.0, 600)
    state, now = after([*last, 1.4])
    # 84 arrivals where 60 are usual happen three times in a thousand minutes.
    assert opinion(state, now, minutes=1, q=0.5) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(("old", "new"), [(2.0, 4.0), (20.0, 5.0), (50.0, 75.0), (0.0, 5.0)])
def test_a_lasting_change_is_believed_within_ten_minutes(old: float, new: float) -> None:
    state, _ = after(poisson(old, 360))
    state, now = after(poisson(new, 10, seed=1), state=state)
    known, at = after(poisson(new, 360, seed=2))
    settled = opinion(known, at, minutes=1, q=0.5)
    assert opinion(state, now, minutes=1, q=0.5) == pytest.approx(
        settled, abs=0.1 * abs(new - old) + 0.05 * new
    )
    careful = opinion(state, now, minutes=1) / opinion(known, at, minutes=1)
    assert 0.9 <= careful <= 1.5


def test_a_burst_after_silence_is_seen_at_once() -> None:
    state, _ = after([0.0] * 240)
    assert opinion(*after([0.0], state=state), q=0.9) < 0.2
    state, now = after([20.0], state=state)
    assert opinion(state, now, q=0.9) >= 5.0
    assert opinion(*after([20.0, 20.0], state=state), q=0.9) >= 15.0


def test_bursty_traffic_asks_for_more_room_than_steady_traffic() -> None:
    bursts = [5.0 if index % 10 else 20.0 for index in range(240)]
    steady = [6.5] * 240
    assert opinion(*after(bursts)) > 2.0 * opinion(*after(steady))


def test_ticks_of_fifteen_seconds_say_what_minutes_say() -> None:
    rates = poisson(10.0, 180)
    ticks = [rate for rate in rates for _ in range(4)]
    minutely, now = after(rates)
    quarterly, at = after(ticks, step=15.0)
    assert quarterly.closed == pytest.approx(minutely.closed, abs=1)
    assert opinion(quarterly, at) == pytest.approx(opinion(minutely, now), rel=0.1)


def test_missing_minutes_are_bridged_and_hours_are_not() -> None:
    state, _ = after([5.0] * 60)
    bridged = observe(state, now=START + 59 * 60.0 + 300.0, rps=5.0)
    bridged = observe(bridged, now=START + 59 * 60.0 + 360.0, rps=5.0)
    assert bridged.closed == state.closed + 6
    apart = observe(state, now=START + 6 * 3600.0, rps=50.0)
    apart, now = after([50.0] * 2, state=apart)
    assert opinion(apart, now, q=0.5) == pytest.approx(50.0, rel=0.15)


def test_what_is_no_rate_teaches_nothing() -> None:
    state, now = after([5.0] * 20)
    for rate in (math.nan, math.inf, -1.0, 1e300):
        assert observe(state, now=now + 60.0, rps=rate) == state
    assert observe(state, now=math.nan, rps=5.0) == state
    assert observe(state, now=now - 30.0, rps=50.0) == state


def test_history_warms_like_observations() -> None:
    rates = poisson(5.0, 300)
    state, now = after(rates)
    warm = warmed([(START + 60.0 * index, rate) for index, rate in enumerate(rates)])
    assert opinion(warm, now) == pytest.approx(opinion(state, now), rel=1e-3)
    coarse = [(START + 300.0 * index, rate) for index, rate in enumerate(rates)]
    assert opinion(warmed(coarse), coarse[-1][0], q=0.5) == pytest.approx(5.0, rel=0.2)


def test_a_week_of_history_forgets_none_of_the_last_hours() -> None:
    week = [(START + 60.0 * index, 1.0) for index in range(7 * 1440)]
    last = [(week[-1][0] + 60.0 * (index + 1), 30.0) for index in range(30)]
    assert opinion(warmed([*week, *last]), last[-1][0], q=0.5) == pytest.approx(30.0, rel=0.1)
