"""Evidence over a window: whole only without gap, bounded, and never shortened by a clock."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.api.conditions import Reason
from trimtab.models.load import TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import DemandSource
from trimtab.planner.demand import Need
from trimtab.planner.evidence import Evidence
from trimtab.planner.history import (
    GAP_S,
    MAX_SAMPLES,
    Observation,
    heavier,
    is_whole,
    remember,
)

BLANK = DeploymentMemory(namespace="n", name="d", uid="u")
SHAPE = TokenShape(input_tokens=1000.0, output_tokens=250.0)


def seen(
    now: float, rps: float = 1.0, *, fresh: bool = True, shape: TokenShape = SHAPE, **over: Any
) -> Observation:
    evidence = Evidence(
        reason=Reason.METRICS_FRESH if fresh else Reason.METRICS_STALE,
        message="",
        arrivals=rps,
        waiting=0.0,
        idle=rps == 0 and fresh,
        alarm=None,
    )
    need = Need(
        rps=rps,
        observed_rps=rps,
        source=DemandSource.PROMETHEUS,
        shape=shape,
        means=shape,
    )
    values: dict[str, Any] = {
        "now": now,
        "window_s": 300.0,
        "evidence": evidence,
        "need": need,
        "rps": rps,
        "settling": False,
    }
    return Observation(**(values | over))


def after(times: list[float], memory: DeploymentMemory = BLANK, **over: Any) -> DeploymentMemory:
    for now in times:
        memory = remember(memory, seen(now, **over))
    return memory


TICKS = [1000.0 + 15.0 * i for i in range(21)]


def test_a_window_is_whole_after_its_length_and_not_before() -> None:
    assert not is_whole(after(TICKS[:-1]), TICKS[-2], 300.0)
    assert is_whole(after(TICKS), TICKS[-1], 300.0)


def test_doubt_empties_the_window() -> None:
    memory = remember(after(TICKS), seen(TICKS[-1] + 15, fresh=False))
    assert memory.samples == ()
    assert memory.fresh_since is None
    assert memory.measured


def partial(now: float, *, settling: bool = True) -> Observation:
    few = seen(now, fresh=False, settling=settling)
    return replace(few, evidence=replace(few.evidence, reason=Reason.METRICS_PARTIAL))


def test_a_replica_that_does_not_report_yet_breaks_no_evidence() -> None:
    memory = after(TICKS)
    for late in (15.0, 45.0, GAP_S):
        memory = remember(memory, partial(TICKS[-1] + late))
    assert memory == after(TICKS)
    assert is_whole(remember(memory, seen(TICKS[-1] + GAP_S)), TICKS[-1] + GAP_S, 300.0)


def test_one_that_falls_silent_empties_the_window() -> None:
    assert remember(after(TICKS), partial(TICKS[-1] + 15.0, settling=False)).samples == ()


def test_one_that_keeps_silent_does() -> None:
    memory = remember(after(TICKS), partial(TICKS[-1] + GAP_S + 1))
    assert memory.samples == ()


def test_a_gap_begins_anew() -> None:
    memory = remember(after(TICKS), seen(TICKS[-1] + GAP_S + 1))
    assert len(memory.samples) == 1
    assert not is_whole(memory, TICKS[-1] + GAP_S + 1, 300.0)


def test_a_clock_that_goes_back_or_leaps_never_makes_a_window_whole() -> None:
    for jump in (-1.0, -3600.0, 3600.0):
        memory = remember(after(TICKS[:5]), seen(TICKS[4] + jump))
        assert not is_whole(memory, TICKS[4] + jump, 300.0)
        assert memory.fresh_since == TICKS[4] + jump


def test_the_largest_demand_of_the_window_is_kept_and_then_goes() -> None:
    memory = after(TICKS[:1], rps=50.0)
    memory = after(TICKS[1:], memory, rps=1.0)
    assert max(sample.rps for sample in memory.samples) == 50.0
    memory = after([TICKS[-1] + 15.0 * i for i in range(1, 3)], memory)
    assert max(sample.rps for sample in memory.samples) == 1.0


def test_idle_time_counts_from_the_first_fresh_zero() -> None:
    memory = after(TICKS[3:], after(TICKS[:3], rps=1.0), rps=0.0)
    assert memory.idle_since == TICKS[3]
    assert remember(memory, seen(TICKS[-1] + 15, rps=0.1)).idle_since is None
    assert remember(memory, seen(TICKS[-1] + 15, rps=0.0, fresh=False)).idle_since is None
    late = TICKS[-1] + GAP_S + 1
    assert remember(memory, seen(late, rps=0.0)).idle_since == late


def test_a_longer_window_is_not_whole_for_being_fresh_over_a_shorter_one() -> None:
    memory = after(TICKS)
    longer = remember(memory, seen(TICKS[-1] + 15, window_s=900.0))
    assert not is_whole(longer, TICKS[-1] + 15, 900.0)


def test_a_window_of_no_length_is_whole_at_once() -> None:
    assert is_whole(remember(BLANK, seen(5.0, window_s=0.0)), 5.0, 0.0)


def test_the_peak_is_the_largest_demand_ever_seen() -> None:
    assert after(TICKS[1:], after(TICKS[:1], rps=9.0), rps=1.0).peak_rps == 9.0


def test_the_heavier_of_two_shapes_is_no_lighter_than_either() -> None:
    one = TokenShape(input_tokens=10.0, output_tokens=5.0, prefix_hit=0.5)
    other = TokenShape(input_tokens=5.0, output_tokens=10.0, prefix_hit=0.1)
    assert heavier(one, other) == TokenShape(input_tokens=10.0, output_tokens=10.0, prefix_hit=0.1)


@given(
    st.lists(st.tuples(st.floats(0.01, 80.0), st.floats(0.0, 100.0)), min_size=1, max_size=300),
    st.sampled_from([60.0, 300.0, 3600.0]),
)
def test_samples_are_bounded_and_never_forget_a_peak_of_the_window(
    steps: list[tuple[float, float]], window_s: float
) -> None:
    now, memory = 1000.0, BLANK
    past: list[tuple[float, float]] = []
    for step, rps in steps:
        now += step
        past.append((now, rps))
        memory = remember(memory, seen(now, rps=rps, window_s=window_s))
        assert len(memory.samples) <= MAX_SAMPLES
        recent = [value for at, value in past if at > now - window_s]
        if len(memory.samples) < MAX_SAMPLES:
            assert max(sample.rps for sample in memory.samples) >= max(recent)
        if is_whole(memory, now, window_s):
            assert now - past[0][0] >= window_s


def test_samples_of_one_slot_merge_into_the_heaviest() -> None:
    light, heavy = SHAPE, replace(SHAPE, input_tokens=5000.0)
    memory = remember(BLANK, seen(1000.0, window_s=4800.0))
    memory = remember(memory, seen(1040.0, window_s=4800.0, rps=3.0, shape=light))
    memory = remember(memory, seen(1050.0, window_s=4800.0, rps=2.0, shape=heavy))
    assert len(memory.samples) == 2
    assert (memory.samples[-1].rps, memory.samples[-1].shape) == (3.0, heavy)
    assert memory.samples[-1].at == pytest.approx(1050.0)


def test_a_deployment_is_measured_after_a_window_and_stays_so() -> None:
    assert not after(TICKS[:1]).measured
    assert not after(TICKS[:-1]).measured
    assert after(TICKS).measured
    assert after([TICKS[-1] + GAP_S + 1], after(TICKS)).measured


def test_which_of_two_shapes_is_the_heavier_does_not_hang_on_their_order() -> None:
    one = TokenShape(input_tokens=10.0, output_tokens=5.0, prefix_hit=0.5)
    other = TokenShape(input_tokens=5.0, output_tokens=10.0, prefix_hit=0.1)
    assert heavier(one, other) == heavier(other, one)


def test_samples_stay_bounded_when_the_window_grows() -> None:
    memory = after([1000.0 + 1.25 * i for i in range(60)], window_s=60.0)
    memory = after([1100.0 + 75.0 * i for i in range(48)], memory, window_s=3600.0)
    assert MAX_SAMPLES / 2 < len(memory.samples) <= MAX_SAMPLES


def test_two_looks_at_the_same_moment_are_no_gap() -> None:
    memory = remember(after([100.0, 160.0]), seen(160.0, 9.0))
    assert (memory.fresh_since, len(memory.samples)) == (100.0, 2)
    twice = remember(after([100.0]), seen(100.0, 9.0))
    assert [one.rps for one in twice.samples] == [1.0, 9.0]


def test_a_shape_that_was_never_measured_is_not_remembered() -> None:
    blind = seen(100.0)
    blind = replace(blind, need=replace(blind.need, means=None))
    other = replace(SHAPE, input_tokens=7.0)
    assert remember(replace(BLANK, shape=other), blind).shape == other


def test_samples_of_a_short_window_merge_too() -> None:
    assert len(after([0.0, 10.0, 10.1], window_s=30.0).samples) == 2


def test_the_newest_of_what_is_older_than_the_window_stays() -> None:
    assert [one.at for one in after([0.0, 80.0, 160.0], window_s=80.0).samples] == [80.0, 160.0]
    assert [one.at for one in after([0.0, 80.0, 160.0], window_s=79.0).samples] == [80.0, 160.0]
    assert [one.at for one in after([0.0, 80.0], window_s=90.0).samples] == [0.0, 80.0]
    assert [one.at for one in after([0.0, 80.0], window_s=0.0).samples] == [80.0]
    assert [one.at for one in after([0.0, 20.0, 40.0, 60.0], window_s=10.0).samples] == [40.0, 60.0]
