"""What is expected by the time that a replica serves: trends, no bursts, a fading margin."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import planned
from fleetworld import fresh_load
from trimtab.models.memory import DeploymentMemory, WantedSample
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import Missing
from trimtab.planner.foresight import (
    LASTS_S,
    MARGIN_HALF_LIFE_S,
    MOST_TIMES,
    RISE,
    UNLEARNT_TIMES,
    Foresight,
    Seen,
    foresee,
    learn,
    seen,
)

BLANK = DeploymentMemory(namespace="n", name="d", uid="u")
READY_S = 120.0


def policy() -> EffectivePolicy:
    found = planned("chat").policy
    assert found is not None
    return found


def watched(
    rates: list[float], memory: DeploymentMemory = BLANK, since: float = 0.0
) -> tuple[DeploymentMemory, Foresight, float]:
    """What is expected after a rate was seen at each tick of 15 s."""
    now, found = since, Foresight(horizon_s=0.0, rps=None, margin=0.0)
    for rate in rates:
        now += 15.0
        memory = seen(memory, fresh_load(rate), now)
        memory, found = foresee(memory, policy(), Seen(now=now, rps=rate, window_s=60.0), READY_S)
    return memory, found, now


def blind(now: float) -> Seen:
    return Seen(now=now, rps=0.0, window_s=60.0)


def climbing(at: float, rps: float, before: float) -> float | None:
    """What is expected in the first minutes, where 30 s ago `before` was asked."""
    shape = policy().shape
    memory = replace(BLANK, samples=(WantedSample(at=at - 30.0, rps=before, shape=shape),))
    return foresee(memory, policy(), Seen(now=at, rps=rps, window_s=60.0), READY_S)[1].rps


def test_before_there_is_a_forecast_more_is_expected_than_is_seen() -> None:
    assert watched([5.0] * 8)[1].rps == pytest.approx(UNLEARNT_TIMES * 5.0)
    assert foresee(BLANK, policy(), blind(100.0), READY_S)[1].rps == 0.0


def test_a_steep_climb_is_followed_from_the_first_minute_and_chance_is_none() -> None:
    assert climbing(600.0, 12.0, 6.0) == pytest.approx(UNLEARNT_TIMES * 16.9, rel=0.01)
    assert climbing(600.0, 6.5, 6.0) == pytest.approx(UNLEARNT_TIMES * 6.5)
    assert climbing(600.0, 12.0, 0.0) == MOST_TIMES * 12.0


def test_a_steady_rate_is_expected_to_stay_and_chance_is_not_counted_twice() -> None:
    expected = watched([9.0] * 200)[1].rps
    assert expected is not None
    assert 0.9 * 9.0 <= expected <= 9.0


def test_a_burst_moves_nothing_before_it_has_lasted() -> None:
    memory, before, now = watched([9.0] * 200)
    ticks = int(LASTS_S / 15.0)
    _, burst, _ = watched([40.0] * ticks, memory, now)
    assert before.rps is not None
    assert burst.rps is not None
    assert burst.rps <= before.rps * 1.05
    assert burst.base(40.0) == 40.0


def test_a_climb_is_met_ahead_of_it_and_within_reason() -> None:
    rates = [5.0 + 0.05 * i for i in range(400)]
    _, found, _ = watched(rates)
    assert found.rps is not None
    assert 0.95 * rates[-1] < found.rps <= RISE * rates[-1]


def test_a_rate_that_nobody_measured_teaches_nothing() -> None:
    memory, _, now = watched([9.0] * 40)
    blind = fresh_load(1.0, arrival_rps=Missing(why="down"))
    assert seen(memory, blind, now + 15.0) == memory
    assert seen(memory, replace(fresh_load(1.0), source_error="down"), now + 15.0) == memory


@given(st.floats(0.0, 1e4), st.floats(0.0, 3.0), st.floats(0.0, 1e4))
def test_no_less_than_the_demand_of_now_is_covered(
    now_rps: float, margin: float, expected: float
) -> None:
    found = Foresight(horizon_s=150.0, rps=expected, margin=margin)
    assert found.demand(now_rps) >= found.base(now_rps) >= now_rps
    assert found.demand(now_rps) <= max(found.base(now_rps), MOST_TIMES * now_rps)


def test_a_margin_fades_and_is_bounded() -> None:
    memory = learn(BLANK, 1.3, 1000.0)
    assert memory.margin == pytest.approx(0.3)
    later = foresee(memory, policy(), blind(1000.0 + MARGIN_HALF_LIFE_S), READY_S)[1]
    assert later.margin == pytest.approx(0.15)
    for _ in range(20):
        memory = learn(memory, 1.3, 1000.0)
    assert memory.margin == MOST_TIMES - 1.0


def test_a_clock_that_went_back_grows_no_margin() -> None:
    memory = learn(BLANK, 1.3, 1e6)
    assert foresee(memory, policy(), blind(0.0), READY_S)[1].margin == pytest.approx(0.3)
