"""Many rates at once: what is remembered and expected of each is what it is of one alone."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, look, observe, observe_all, warmed
from trimtab.planner.forecast.arrays import rounded

START = 1_700_000_000.0
DAY_S = 86_400.0


def histories(dice: Random) -> list[ForecastState]:
    """Rates that were watched for different times, one with a course of the day, two for none."""
    found = [ForecastState(), ForecastState()]
    for minutes in (3, 9, 40, 40, 40, 90):
        points = [(START - 60.0 * k, dice.uniform(1.0, 9.0)) for k in range(minutes, 0, -1)]
        found.append(warmed(points))
    days = [(START - 300.0 * k, 2.0 + (k % 288 > 144)) for k in range(4 * 288, 0, -1)]
    return [*found, warmed(days)]


@pytest.mark.parametrize("seed", range(5))
def test_of_each_rate_is_known_what_is_known_of_it_alone(seed: int) -> None:
    dice = Random(seed)
    together = histories(dice)
    alone = list(together)
    now = START
    for _ in range(80):
        # Ticks, minutes that are missed, gaps, and a clock that goes back.
        now += dice.choice([15.0, 15.0, 15.0, 60.0, 200.0, 900.0, -20.0, -300.0])
        rates = [
            dice.choice([None, float("nan"), *[dice.uniform(0.0, 20.0)] * 6]) for _ in together
        ]
        together = observe_all(together, now=now, rates=rates)
        alone = [
            state if rate is None else observe(state, now=now, rps=rate)
            for state, rate in zip(alone, rates, strict=True)
        ]
        assert together == alone
        look(together)
        said = [ahead(state, now=now, horizon_s=150.0, q=0.9) for state in together]
        assert said == [ahead(state, now=now, horizon_s=150.0, q=0.9) for state in alone]


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1),
    digits=st.integers(1, 6),
)
def test_rounding_many_is_rounding_each_by_way_of_text(values: list[float], digits: int) -> None:
    expected = [float(f"{value:.{digits}g}") if value else 0.0 for value in values]
    assert rounded(np.array(values), digits).tolist() == expected


@pytest.mark.parametrize("value", [0.5, 2.5, 99999.95, 999999.5, 1e5, 0.1, 1e-12, 123456.5, -7.5])
@pytest.mark.parametrize("digits", [1, 4, 6])
def test_ties_and_powers_of_ten_round_as_text_does(value: float, digits: int) -> None:
    assert rounded(np.array([value]), digits)[0] == float(f"{value:.{digits}g}")
