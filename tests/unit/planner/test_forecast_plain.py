"""Two opinions of a rate: that of the learner, and that it stays as it is."""

import numpy as np
import pytest

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import ahead, observe
from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import JUMPS
from trimtab.planner.forecast.plain import losses, plain_quantiles, shares, trusted, within

START = 1_700_000_000.0
HORIZONS = 6


def counts(jump: float, times: float) -> Floats:
    """Return how often one jump was seen, for one rate and each horizon."""
    found = np.zeros((1, HORIZONS, len(JUMPS) + 1))
    found[:, :, np.searchsorted(JUMPS, jump)] = times
    return found


def test_a_quantile_of_classes_lies_on_the_line_between_their_limits() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    below = np.array([[0.2, 0.6, 1.0], [0.95, 0.96, 1.0]])
    found = within(np.array([0.4, 0.8, 0.1]), below, edges)
    assert found == pytest.approx(np.array([[0.5, 1.5, 0.0], [0.0, 0.0, 0.0]]))


def test_the_loss_of_both_is_told_apart() -> None:
    found = np.full((1, 1), 10.0)
    learnt, plain = np.full((1, 1, 3), 8.0), np.full((1, 1, 3), 14.0)
    assert losses(found, learnt, plain)[0, 0] == pytest.approx([1.0, 1.8, 1.96, 2.0, 0.4, 0.08])


def test_before_any_jump_was_seen_chance_alone_is_expected() -> None:
    low, _, high = plain_quantiles(np.full((1, HORIZONS), 25.0), shares(counts(0.0, 0.0)))[0, 0]
    # Two minutes of 1,500 arrivals differ by 55, give or take; the 0.98 quantile is twice that.
    assert low == pytest.approx(25.0, abs=0.2)
    assert high == pytest.approx(25.0 + 2.0 * 55.0 / 60.0, rel=0.05)


def test_a_climb_is_expected_once_most_minutes_had_one() -> None:
    last = np.full((1, HORIZONS), 25.0)
    few, many = (plain_quantiles(last, shares(counts(1.0, n)))[0, 2, 0] for n in (20.0, 400.0))
    assert few < 26.5
    assert many == pytest.approx(36.0, rel=0.1)


def test_the_opinion_that_lost_less_counts_for_more() -> None:
    seen = counts(0.0, 1e6)
    lost = np.tile(np.array([1.0, 1.0, 2.0, 1.0, 2.0, 1.0]), (1, HORIZONS, 1))
    even, better, worse = trusted(lost, seen)[0, 0]
    assert even == pytest.approx(0.5)
    assert better > 0.99
    assert worse < 0.01


def test_without_evidence_the_learner_counts_alone() -> None:
    lost = np.zeros((1, HORIZONS, 6))
    assert np.all(trusted(lost, counts(0.0, 0.0)) == 1.0)
    few = trusted(lost, counts(0.0, 10.0))[0, :, 0]
    assert few.tolist() == sorted(few.tolist())
    assert few[0] < 0.6 < few[-1]


def said_of(rates: list[float], minutes: float, q: float) -> float:
    state, now = ForecastState(), START
    for rate in rates:
        now += 60.0
        state = observe(state, now=now, rps=rate)
    found = ahead(state, now=now, horizon_s=60.0 * minutes, q=q)
    assert found is not None
    return found


def test_a_rate_that_stands_still_and_jumps_is_expected_to_stay() -> None:
    dice = np.random.default_rng(5)
    rates = np.repeat(dice.lognormal(3.0, 0.5, 120), 5).tolist()
    assert said_of(rates, 1.0, 0.5) == pytest.approx(rates[-1], rel=0.02)


@pytest.mark.parametrize("minutes", [1.0, 4.0, 10.0])
def test_no_quantile_is_below_one_of_a_lower_level(minutes: float) -> None:
    dice = np.random.default_rng(6)
    rates = np.repeat(dice.lognormal(1.0, 1.0, 60), 3).tolist()
    found = [said_of(rates, minutes, q) for q in np.linspace(0.3, 0.99, 24).tolist()]
    assert found == sorted(found)
    assert found[-1] > found[0]
