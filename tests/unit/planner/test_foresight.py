"""What is expected by the time that a replica serves: trends, no bursts, a fading margin."""

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import planned
from fleetworld import fresh_load
from trimtab.models.memory import DeploymentMemory, WantedSample
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import Missing
from trimtab.planner.forecast import ahead, warmed
from trimtab.planner.foresight import (
    LASTS_S,
    MARGIN_HALF_LIFE_S,
    MOST_TIMES,
    RISE,
    TREND,
    UNLEARNT_TIMES,
    Ahead,
    Foresight,
    Seen,
    _without_chance,
    climb,
    foresee,
    learn,
    most,
    scheduled,
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
        (memory,) = seen([(memory, fresh_load(rate))], now)
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


def test_a_climb_is_from_what_a_rate_of_half_a_window_ago_was() -> None:
    shape, now = policy().shape, Seen(now=40.0, rps=12.0, window_s=60.0)
    old, late = (
        WantedSample(at=at, rps=rps, shape=shape) for at, rps in ((0.0, 2.0), (25.0, 12.0))
    )
    found = climb(replace(BLANK, samples=(old, late)), now)
    assert found == climb(replace(BLANK, samples=(old,)), now)
    assert found > 0.0
    assert climb(BLANK, now) == climb(replace(BLANK, samples=(late,)), now) == 0.0


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


def after(
    course: Callable[[float], float], hours: float, ready_s: float = READY_S
) -> tuple[float, float]:
    """What is expected, and the median of it, after `hours` of a rate that was seen each minute."""
    seen_s = [60.0 * minute for minute in range(int(60.0 * hours))]
    known = replace(BLANK, forecast=warmed([(at, course(at)) for at in seen_s]))
    now = Seen(now=seen_s[-1], rps=course(seen_s[-1]), window_s=60.0)
    found = foresee(known, policy(), now, ready_s)[1]
    median = ahead(known.forecast, now=now.now, horizon_s=found.horizon_s, q=0.5)
    assert found.rps is not None
    assert median is not None
    return found.rps, median


HOUR_S = 3600.0
ERRATIC = Random(1).choices([200.0, 900.0], [4.0, 1.0], k=600)


def test_a_climb_that_lasts_is_expected_to_go_on() -> None:
    expected, _ = after(lambda at: 500.0 + at / 12.0, 3.0)
    assert expected > 500.0 + 3.0 * HOUR_S / 12.0


def test_a_single_burst_of_late_is_not_expected_again() -> None:
    expected, _ = after(lambda at: 900.0 if at == 2.75 * HOUR_S else 300.0, 3.0)
    assert expected < 310.0


def test_what_changes_from_minute_to_minute_is_expected_to_and_only_while_it_does() -> None:
    expected, median = after(lambda at: ERRATIC[int(at / 60.0)], 6.5)
    assert expected > 1.1 * median
    expected, median = after(lambda at: ERRATIC[int(at / 60.0)] if at < 6 * HOUR_S else 200.0, 6.3)
    assert expected <= TREND * median


def test_a_leap_that_comes_every_day_is_met_as_it_comes() -> None:
    expected, median = after(
        lambda at: 900.0 if 8.0 <= at % (24.0 * HOUR_S) / HOUR_S < 18.0 else 100.0, 79.98, 600.0
    )
    assert median > RISE * 100.0
    assert 100.0 < expected <= RISE * 100.0


def test_a_rate_that_nobody_measured_teaches_nothing() -> None:
    memory, _, now = watched([9.0] * 40)
    blind = fresh_load(1.0, arrival_rps=Missing(why="down"))
    assert seen([(memory, blind)], now + 15.0) == [memory]
    down = replace(fresh_load(1.0), source_error="down")
    assert seen([(memory, down)], now + 15.0) == [memory]


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


@pytest.mark.parametrize(
    ("expected", "margin", "now_rps", "base", "demand"),
    [
        (None, 0.0, 8.0, 8.0, 8.0),
        (None, 0.5, 8.0, 8.0, 12.0),
        (8.0, 0.5, 8.0, 8.0, 12.0),
        (16.0, 0.5, 8.0, 16.0, 16.0),
        (8.0, 0.5, 4.0, 8.0, 8.0),
        (8.0, 0.5, 1.0, 8.0, 8.0),
        (8.0, 0.5, 16.0, 16.0, 24.0),
        (8.0, 3.0, 8.0, 8.0, 16.0),
    ],
)
def test_the_margin_goes_no_further_than_the_demand_of_now_allows(
    expected: float | None, margin: float, now_rps: float, base: float, demand: float
) -> None:
    found = Foresight(horizon_s=150.0, rps=expected, margin=margin)
    assert (found.base(now_rps), found.demand(now_rps)) == (base, demand)


def test_the_most_is_of_the_window_of_now_and_of_what_was_foreseen_last() -> None:
    shape = policy().shape
    memory = replace(BLANK, foreseen=((1.0, 99.0), (2.0, 5.0)))
    assert most(memory, 1.0) == 5.0
    assert most(memory, 7.0) == 7.0
    samples = (WantedSample(at=1.0, rps=9.0, shape=shape),)
    assert most(replace(memory, samples=samples), 7.0) == 9.0
    assert most(BLANK, 1.0) == 1.0


def test_the_least_that_was_expected_of_late_counts() -> None:
    memory, _, now = watched([9.0] * 200)
    ahead = Seen(now=now, rps=9.0, window_s=60.0)
    for at, counts in ((now, True), (now - LASTS_S, True), (now - LASTS_S - 0.5, False),
                       (now + 0.5, False)):  # fmt: skip
        past = replace(memory, foreseen=((at, 1.0),))
        found = foresee(past, policy(), ahead, READY_S)[1]
        assert (found.rps == 1.0) is counts


def test_half_of_the_requests_may_be_late_and_still_the_median_is_expected() -> None:
    memory, _, now = watched([9.0] * 200)
    memory = replace(memory, foreseen=())
    ahead = Seen(now=now, rps=9.0, window_s=60.0)

    def expected(percentile: float) -> float | None:
        lax = replace(policy(), targets=replace(policy().targets, percentile=percentile))
        return foresee(memory, lax, ahead, READY_S)[1].rps

    # A sixteenth late is, eight times, one half.
    assert expected(0.5) == expected(1.0 - 1.0 / 16.0)


def test_chance_is_taken_off_and_never_more_than_there_is() -> None:
    assert _without_chance(4.0, 60.0, 0.5) == 4.0
    assert _without_chance(4.0, 60.0, 0.3) == 4.0
    assert _without_chance(4.0, 15.0, 0.9) == _without_chance(4.0, 60.0, 0.9) < 4.0
    assert _without_chance(4.0, 600.0, 0.9) < _without_chance(4.0, 60.0, 0.9)
    assert _without_chance(0.0, 60.0, 0.9) == 0.0
    off = NormalDist().inv_cdf(0.9) * 0.5 / math.sqrt(60.0)
    assert _without_chance(4.0, 60.0, 0.9) == pytest.approx((2.0 - off) ** 2)


@pytest.mark.parametrize(
    ("expected", "rps", "hinted"), [(None, 12.0, True), (11.0, 12.0, True), (12.0, 12.0, False),
                                    (13.0, 13.0, False)]
)  # fmt: skip
def test_a_schedule_raises_what_is_expected_and_lowers_nothing(
    expected: float | None, rps: float, hinted: bool
) -> None:
    entries = [
        {"name": "all", "start": "00:00", "end": "23:59", "requestsPerSecond": "12"},
        {"name": "less", "start": "00:00", "end": "23:59", "requestsPerSecond": "6"},
    ]
    state = planned("chat", demand={"schedule": entries})
    assert state.policy is not None
    found = Foresight(horizon_s=150.0, rps=expected, margin=0.0)
    plans = Ahead(now=12 * 3600.0, ready_s=lambda _: READY_S)
    memory, raised = scheduled(BLANK, state.policy, found, plans)
    assert raised.rps == rps
    assert (raised.hint is not None) is hinted
    assert raised.hint is None or raised.hint.name == "all"
    assert memory.hinted == ("all", "less")
    assert scheduled(BLANK, policy(), found, plans) == (BLANK, found)
