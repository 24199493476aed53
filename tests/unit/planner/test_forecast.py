"""Forecasts of an arrival rate, by what a caller sees of them."""

import pytest

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, observe, warmed

START = 1_700_000_000.0


def after(rates: list[float], step: float = 60.0) -> tuple[ForecastState, float]:
    """Return what is remembered of `rates`, and when the last was measured."""
    state, now = ForecastState(), START
    for index, rate in enumerate(rates):
        now = START + step * index
        state = observe(state, now=now, rps=rate)
    return state, now


def test_nothing_seen_is_no_opinion() -> None:
    assert ahead(ForecastState(), now=START, horizon_s=300, q=0.9) is None
    state, now = after([5.0] * 3)
    assert ahead(state, now=now, horizon_s=300, q=0.9) is None


def test_a_steady_rate_stays() -> None:
    state, now = after([5.0] * 60)
    median = ahead(state, now=now, horizon_s=300, q=0.5)
    assert median == pytest.approx(5.0, rel=0.1)


def test_history_warms_like_observations() -> None:
    rates = [5.0 + index % 7 for index in range(120)]
    state, now = after(rates)
    points = [(START + 60.0 * index, rate) for index, rate in enumerate(rates)]
    warm = warmed(points)
    assert ahead(warm, now=now, horizon_s=300, q=0.9) == pytest.approx(
        ahead(state, now=now, horizon_s=300, q=0.9), rel=0.2
    )
