"""What was asked over the window: for how long it counts, and what a request of then weighs."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cases import CONFIG, RPS, capacity, case, choice, memory
from trimtab.models.forecast import ForecastState
from trimtab.models.load import TokenShape
from trimtab.models.memory import DeploymentMemory, WantedSample
from trimtab.planner.choice import Choice
from trimtab.planner.query import Market, Query, Speeds, query_of
from trimtab.planner.window import WEIGHT_MOST, most_asked, past_of, window_of

NOW = 1e6
SHAPE = case().policy.shape
LONGER = replace(SHAPE, input_tokens=9.0 * SHAPE.input_tokens)


def query() -> Query:
    there = case()
    market = Market(pools={}, speeds=Speeds(()), config=CONFIG)
    return query_of(there.state, there.policy, SHAPE, market)


def asked(
    *samples: tuple[float, float, TokenShape], rates: Sequence[float] = ()
) -> DeploymentMemory:
    """What is remembered: how many seconds ago how much was asked of which shape, and minutes."""
    return memory(
        samples=tuple(WantedSample(at=NOW - ago, rps=rps, shape=of) for ago, rps, of in samples),
        forecast=ForecastState(at=NOW - 15.0, rates=tuple(rates)),
    )


def most(there: DeploymentMemory, recall_s: float, reference: Choice | None = None) -> float:
    return most_asked(there, query(), reference, now=NOW, recall_s=recall_s)


def test_its_own_window_wins() -> None:
    assert window_of(case().policy, CONFIG) == CONFIG.scale_down_window_s
    assert window_of(case(scale_down_window_s=0.0).policy, CONFIG) == 0.0


@pytest.mark.parametrize(("own", "rates"), [(None, (1.0, 2.0)), (90.0, ())])
def test_who_names_a_window_gets_all_of_it(own: float | None, rates: tuple[float, ...]) -> None:
    policy = case(scale_down_window_s=own).policy
    past = past_of(policy, asked(rates=(1.0, 2.0)), 75.0, CONFIG)
    assert (past.rates, past.ahead_s) == (rates, 75.0)
    assert past.window_s == (CONFIG.scale_down_window_s if own is None else own)


@pytest.mark.parametrize(
    ("recall_s", "expected"), [(300.0, 7.0), (30.0, 7.0), (15.0, 7.0), (14.5, 6.0)]
)
def test_the_most_of_the_window_counts(recall_s: float, expected: float) -> None:
    there = asked((30.0, 5.0, SHAPE), (15.0, 7.0, SHAPE), (0.0, 6.0, LONGER))
    assert most(there, recall_s) == expected
    assert most(asked(), recall_s) == 0.0


@pytest.mark.parametrize(
    ("max_rps", "weighs"), [(1e9, WEIGHT_MOST), (1e-9, 1.0 / WEIGHT_MOST), (None, 1.0)]
)
def test_a_request_of_another_shape_weighs_no_more_than_twenty_of_now_and_no_less(
    max_rps: float | None, weighs: float
) -> None:
    reference = choice(capacity=None if max_rps is None else capacity(max_rps))
    assert most(asked((15.0, 6.0, LONGER)), 300.0, reference) == 6.0 * weighs
    assert most(asked((15.0, 6.0, SHAPE)), 300.0, reference) == 6.0


@pytest.mark.parametrize(("minutes_ago", "expected"), [(9, 50.0), (10, 20.0)])
def test_beyond_the_window_minutes_count_as_they_were_measured(
    minutes_ago: int, expected: float
) -> None:
    """Nothing counts there that alarms asked for beyond what came."""
    rates = [20.0, 5.0] * 20
    rates[-1 - minutes_ago] = 50.0
    twice = 2.0 * CONFIG.scale_down_window_s
    assert most(asked((15.0, RPS, SHAPE), rates=rates), twice) == expected
    assert most(asked((15.0, RPS, SHAPE), rates=(5.0,) * 40), twice) == RPS
    assert most(asked((15.0, RPS, SHAPE), rates=rates), CONFIG.scale_down_window_s) == RPS
