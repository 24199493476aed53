"""The search for one deployment: exact, within bounds, and honest about what cannot be covered."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.snapshot import Key
from trimtab.planner.cover import cheapest
from trimtab.planner.problem import Counts, Option, Problem, Room


def option(**over: Any) -> Option:
    values: dict[str, Any] = {
        "name": "a/tp1",
        "pool": "a",
        "devices": 1,
        "rps": 10.0,
        "cost": 2.0,
        "price": 2.0,
        "current": 0,
        "lower": 0,
        "upper": 10,
    }
    return Option(**(values | over))


def problem(options: Sequence[Option], **over: Any) -> Problem:
    values: dict[str, Any] = {
        "key": Key(namespace="n", name="d"),
        "priority": 100,
        "rps": 30.0,
        "minimum": 1,
        "maximum": 10,
        "surge": 10,
        "money": math.inf,
        "switch": 0.1,
        "options": tuple(options),
    }
    return Problem(**(values | over))


def solve(asked: Problem, **free: int) -> Counts:
    pools = {option.pool for option in asked.options}
    room = Room(free=dict.fromkeys(pools, 1000) | free)
    return cheapest(asked, room.bounds(asked))


def brute(asked: Problem, free: dict[str, int]) -> float:
    """The least weight over every count there is."""
    best = math.inf
    ranges = [range(o.lower, o.upper + 1) for o in asked.options]
    for counts in itertools.product(*ranges):
        added = asked.added(counts)
        used: dict[str, int] = {}
        for o, n in zip(asked.options, added, strict=True):
            used[o.pool] = used.get(o.pool, 0) + n * o.devices
        money = sum(o.price * n for o, n in zip(asked.options, added, strict=True))
        if (
            sum(counts) <= asked.maximum
            and sum(added) <= asked.surge
            and money <= asked.money + 1e-9
            and all(used[pool] <= free[pool] for pool in used)
        ):
            best = min(best, asked.cost(counts) + asked.penalty(counts))
    return best


def test_the_cheapest_mix_covers_the_demand() -> None:
    big, small = option(rps=10.0, cost=4.0), option(name="b/tp1", pool="b", rps=3.0, cost=1.4)
    assert solve(problem([big, small], rps=12.0)) == (1, 1)


def test_the_minimum_holds_without_demand_and_takes_the_cheapest_replica() -> None:
    big, small = option(rps=10.0, cost=4.0), option(name="b/tp1", pool="b", rps=1.0, cost=1.3)
    assert solve(problem([big, small], rps=0.0, minimum=2)) == (0, 2)


def test_no_more_than_the_pool_has_free() -> None:
    cheap, dear = option(devices=2), option(name="b/tp1", pool="b", cost=5.0)
    assert solve(problem([cheap, dear], rps=30.0), a=3) == (1, 2)


def test_replicas_that_exist_take_nothing_from_the_pool_and_weigh_less() -> None:
    mine = option(current=2, cost=2.1)
    other = option(name="b/tp1", pool="b", cost=2.0)
    assert solve(problem([mine, other], rps=20.0), a=0) == (2, 0)


def test_a_money_cap_holds_additions_back() -> None:
    assert solve(problem([option()], rps=50.0, money=5.0)) == (2,)


def test_what_cannot_be_covered_is_covered_as_far_as_it_goes() -> None:
    asked = problem([option()], rps=90.0, maximum=4)
    counts = solve(asked)
    assert counts == (4,)
    assert asked.short_rps(counts) == pytest.approx(50.0)


def test_scarce_replicas_go_to_the_strong_option_although_it_is_dearer() -> None:
    weak, strong = option(rps=5.0, cost=1.0), option(name="b/tp8", pool="b", rps=50.0, cost=20.0)
    counts = solve(problem([weak, strong], rps=100.0, maximum=3))
    assert counts[1] >= 2


def test_nothing_at_all_is_an_answer_where_there_is_no_option() -> None:
    asked = problem([], rps=5.0)
    assert cheapest(asked, Room(free={}).bounds(asked)) == ()


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[Problem, dict[str, int]]:
    options = []
    for i in range(draw(st.integers(1, 4))):
        current = draw(st.integers(0, 2))
        lower = draw(st.sampled_from([0, current]))
        cost = draw(st.integers(1, 40)) / 4
        options.append(
            option(
                name=f"o{i}",
                pool=draw(st.sampled_from("ab")),
                devices=draw(st.sampled_from([1, 2, 4])),
                rps=draw(st.integers(1, 40)) / 4,
                cost=cost,
                price=cost,
                current=current,
                lower=lower,
                upper=current + draw(st.integers(0, 3)),
            )
        )
    exist = sum(o.current for o in options)
    maximum = draw(st.integers(max(1, exist), exist + 6))
    asked = problem(
        options,
        rps=draw(st.integers(0, 160)) / 4,
        minimum=draw(st.integers(0, maximum)),
        maximum=maximum,
        surge=maximum - exist,
        money=draw(st.sampled_from([math.inf, 0.0, 7.0, 20.0])),
    )
    return asked, {"a": draw(st.integers(0, 8)), "b": draw(st.integers(0, 8))}


@given(small_problems())
@settings(max_examples=400, deadline=None)
def test_it_equals_brute_force(case: tuple[Problem, dict[str, int]]) -> None:
    asked, free = case
    counts = solve(asked, **free)
    assert all(o.lower <= n <= o.upper for o, n in zip(asked.options, counts, strict=True))
    weight = asked.cost(counts) + asked.penalty(counts)
    assert weight == pytest.approx(brute(asked, free), rel=1e-5, abs=1e-6)
