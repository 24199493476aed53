"""Arrivals are evened out over the time that requests stay, and where they leave at once not."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from trimtab.models.load import ObservedLoad, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.performance import LatencyPrediction, Provenance, ReplicaCapacity
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.planner.residence import LONGEST_S, aged, evened

EMPTY = DeploymentMemory(namespace="a", name="b", uid="1")
WINDOW_S = 60.0
SHAPE = TokenShape(input_tokens=1000.0, output_tokens=2000.0)


def load(rate: Signal) -> ObservedLoad:
    return ObservedLoad(arrival_rps=rate, waiting=Fresh(value=0.0), window_s=WINDOW_S)


def full(stay_s: float, rps: float = 0.5) -> ReplicaCapacity:
    """A replica whose requests stay for so long."""
    at_max = LatencyPrediction(
        ttft_s=1.0, itl_s=0.03, gap_s=0.03, e2e_s=stay_s, kv_utilization=0.5,
        concurrency=stay_s * rps,
    )  # fmt: skip
    return ReplicaCapacity(
        max_rps=rps,
        at_max=at_max,
        provenance=Provenance.ESTIMATED,
        uncertainty=0.1,
        kv_tokens=100_000,
    )


def course(stay_s: float, rates: Sequence[Signal], step_s: float = 15.0) -> list[float]:
    """What is counted with, one after the other."""
    memory, found = aged(EMPTY, [full(stay_s)], SHAPE), []
    for i, rate in enumerate(rates):
        memory, seen = evened(memory, load(rate), step_s * i)
        assert isinstance(seen.arrival_rps, Fresh | Partial)
        found.append(seen.arrival_rps.value)
    return found


@pytest.mark.parametrize("stay_s", [1.0, 20.0, 30.0])
def test_what_leaves_within_the_window_is_left_as_it_was_measured(stay_s: float) -> None:
    rates = [2.0, 9.0, 0.0, 4.0]
    assert course(stay_s, [Fresh(value=rate) for rate in rates]) == rates


def test_one_fuller_minute_of_long_requests_counts_for_what_it_adds_to_those_in_flight() -> None:
    """For times that are exponential the mean age is the mean time: here two minutes.

    A minute's 60 requests more are at most the share 1 - exp(-60/90) of what they would be in the
    end, for half of the window has passed already.
    """
    found = course(120.0, [Fresh(value=1.0)] * 4 + [Fresh(value=2.0)] * 4 + [Fresh(value=1.0)] * 40)
    assert found[:4] == [1.0] * 4
    assert max(found) == found[7] == pytest.approx(2.0 - math.exp(-60.0 / 90.0))
    assert found[-1] == pytest.approx(1.0, abs=0.01)


def test_what_lasts_is_seen_in_full() -> None:
    found = course(120.0, [Fresh(value=1.0)] * 2 + [Fresh(value=5.0)] * 60)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(5.0, abs=0.01)


def test_no_request_is_so_long_that_a_rise_is_not_seen_within_the_window() -> None:
    steps = int(LONGEST_S / 15.0)
    found = course(36_000.0, [Fresh(value=1.0), *[Fresh(value=5.0)] * steps])
    assert found[-1] >= 5.0 - 4.0 / math.e


def test_lengths_that_vary_more_leave_older_requests_in_flight() -> None:
    wide = TokenShape(input_tokens=1000.0, output_tokens=2000.0, output_cv=2.0)
    assert aged(EMPTY, [full(100.0)], SHAPE).age_s == pytest.approx(100.0)
    assert aged(EMPTY, [full(100.0)], wide).age_s == pytest.approx(250.0)


def test_the_quickest_replicas_count_and_nothing_known_changes_nothing() -> None:
    known = aged(EMPTY, [full(100.0), full(40.0, rps=3.0), full(70.0)], SHAPE)
    assert known.age_s == pytest.approx(40.0)
    assert aged(known, [], SHAPE) == known


@pytest.mark.parametrize(
    "doubt",
    [
        Missing(why="no series"),
        Stale(value=50.0, age_s=400.0),
        Invalid(why="NaN"),
        Fresh(value=math.nan),
        Fresh(value=-1.0),
        Partial(value=math.inf, reporting=1, expected=2),
    ],
)
def test_what_is_not_known_is_left_as_it_is_and_forgets_nothing(doubt: Signal) -> None:
    memory = aged(EMPTY, [full(120.0)], SHAPE)
    memory, _ = evened(memory, load(Fresh(value=3.0)), 0.0)
    after, seen = evened(memory, load(doubt), 15.0)
    assert after == memory
    assert seen == load(doubt) or isinstance(doubt, Fresh)
    _, later = evened(after, load(Fresh(value=3.0)), 30.0)
    assert isinstance(later.arrival_rps, Fresh)
    assert later.arrival_rps.value == pytest.approx(3.0)


def test_a_part_is_a_lower_bound_still_and_teaches_nothing() -> None:
    memory = aged(EMPTY, [full(120.0)], SHAPE)
    memory, _ = evened(memory, load(Fresh(value=4.0)), 0.0)
    after, seen = evened(memory, load(Partial(value=2.0, reporting=1, expected=2)), 15.0)
    assert after == memory
    assert isinstance(seen.arrival_rps, Partial)
    assert 2.0 < seen.arrival_rps.value < 4.0


@pytest.mark.parametrize(
    ("running", "counted"),
    [
        (Fresh(value=0.0), 0.0),
        (Missing(why="none"), 0.0),
        (Stale(value=9.0, age_s=90.0), 0.0),
        (Fresh(value=9.0), 4.0 / math.e),
    ],
)
def test_where_nothing_comes_what_is_in_flight_counts_and_without_any_nothing(
    running: Signal, counted: float
) -> None:
    memory = aged(EMPTY, [full(120.0)], SHAPE)
    memory, _ = evened(memory, load(Fresh(value=4.0)), 0.0)
    _, seen = evened(memory, replace(load(Fresh(value=0.0)), running=running), 90.0)
    assert isinstance(seen.arrival_rps, Fresh)
    assert seen.arrival_rps.value == pytest.approx(counted)


def test_a_clock_that_went_back_counts_what_was_and_a_long_silence_does_not() -> None:
    memory = aged(EMPTY, [full(120.0)], SHAPE)
    memory, _ = evened(memory, load(Fresh(value=4.0)), 1000.0)
    _, back = evened(memory, load(Fresh(value=8.0)), 900.0)
    _, late = evened(memory, load(Fresh(value=8.0)), 9000.0)
    assert isinstance(back.arrival_rps, Fresh)
    assert isinstance(late.arrival_rps, Fresh)
    assert back.arrival_rps.value == pytest.approx(4.0)
    assert late.arrival_rps.value == pytest.approx(8.0)
