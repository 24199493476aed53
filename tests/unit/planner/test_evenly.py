"""Where every replica gets the same: what a mix carries, and which pace is asked for."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import catalogue_pool, planned
from fleetworld import FleetWorld
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.planner import cover
from trimtab.planner.evenly import carried, paced
from trimtab.planner.plan import plan
from trimtab.planner.problem import Bounds, Counts, Option, Problem


def option(name: str, rps: float, cost: float, **over: int) -> Option:
    values: dict[str, Any] = {"current": 0, "lower": 0, "upper": 6} | over
    return Option(name=name, pool=name, devices=1, rps=rps, cost=cost, price=cost, **values)


def problem(*options: Option, rps: float, minimum: int = 1, maximum: int = 6) -> Problem:
    return Problem(
        key=Key(namespace="n", name="d"),
        priority=100,
        rps=rps,
        minimum=minimum,
        maximum=maximum,
        surge=maximum,
        money=float("inf"),
        switch=0.0,
        options=options,
    )


def bounds(asked: Problem, free: int = 6) -> Bounds:
    return Bounds(
        free=tuple(sorted((o.pool, free) for o in asked.options)), money=float("inf"), devices=99
    )


def answer(asked: Problem, within: Bounds) -> Counts:
    return cover.cheapest(paced(asked, within), within)


def covers(asked: Problem, counts: Counts) -> bool:
    rates = ((o.rps, n) for o, n in zip(asked.options, counts, strict=True))
    return carried(rates, even=True) >= asked.rps * (1 - 1e-6)


def test_who_gets_no_slow_replicas_asks_again_at_the_pace_of_the_fast_ones() -> None:
    # Alone, nine slow ones are cheapest. The more important takes them, and two fast ones carry
    # what was to be nine at the pace of the slow.
    slow = catalogue_pool("slow", "nvidia-l40s", 0.5, devices=10, devices_per_node=1)
    fast = catalogue_pool("fast", "nvidia-h100-sxm", 3.0)
    first, second = (
        planned(
            name,
            priority=priority,
            placement={"tensorParallel": [1], **limits},
            workload={"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": rps},
        )
        for name, priority, rps, limits in (
            ("first", 500, "18", {"pools": ["slow"]}),
            ("second", 100, "20", {}),
        )
    )

    def fleets(*states: DeploymentState) -> list[dict[str, int]]:
        world = FleetWorld(pools=[slow, fast], deployments={s.key: s for s in states})
        decisions = plan(world.snapshot(), world.config).decisions
        return [{t.pool: t.replicas for t in d.targets if t.replicas} for d in decisions]

    assert fleets(second) == [{"slow": 9}]
    assert fleets(first, second) == [{"slow": 8}, {"fast": 2}]


def test_a_mix_carries_as_much_as_if_all_were_the_slowest() -> None:
    assert carried([(10.0, 2), (4.0, 1)], even=True) == 12.0
    assert carried([(10.0, 2), (4.0, 1)], even=False) == 24.0
    assert carried([(10.0, 2), (4.0, 0)], even=True) == 20.0
    assert carried([], even=True) == 0.0


def test_no_slow_replica_fills_a_gap() -> None:
    asked = problem(option("fast", 10.0, 5.0), option("slow", 4.0, 1.5), rps=22.0)
    # By what each can take, two fast and one slow would do for 11.5.
    assert answer(asked, bounds(asked)) == (0, 6)
    scarce = replace(asked, options=(asked.options[0], replace(asked.options[1], upper=4)))
    assert answer(scarce, bounds(scarce)) == (3, 0)


def test_what_is_kept_and_slow_counts_until_it_goes() -> None:
    slow = option("slow", 4.0, 3.1, current=3, lower=3, upper=9)
    asked = problem(option("fast", 10.0, 5.0), slow, rps=20.0, minimum=3, maximum=9)
    assert answer(asked, bounds(asked)) == (0, 5)
    assert answer(replace(asked, rps=30.0), bounds(asked)) == (3, 0)


def test_what_falls_short_at_every_pace_covers_as_much_as_can_be() -> None:
    asked = problem(option("fast", 10.0, 5.0), option("slow", 4.0, 1.5), rps=100.0)
    assert answer(asked, bounds(asked)) == (6, 0)
    assert answer(asked, bounds(asked, free=1)) == (1, 0)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=3
    ),
    st.floats(0.5, 40.0),
)
def test_no_fleet_that_covers_the_demand_costs_less(
    kinds: list[tuple[int, int, int]], rps: float
) -> None:
    options = [
        option(f"o{i}", float(rate), float(cost), upper=upper)
        for i, (rate, cost, upper) in enumerate(kinds)
    ]
    asked = problem(*options, rps=rps)
    found = answer(asked, bounds(asked))
    fleets = product(*(range(o.upper + 1) for o in options))
    costs = [
        sum(o.cost * n for o, n in zip(options, fleet, strict=True))
        for fleet in fleets
        if 1 <= sum(fleet) <= 6 and covers(asked, fleet)
    ]
    if costs:
        assert covers(asked, found)
        assert asked.cost(found) == pytest.approx(min(costs))
    else:
        assert not covers(asked, found)


def test_the_least_that_a_pace_costs_is_by_what_keeps_up_with_it() -> None:
    # The best is the one cheap and fast replica beside a dear one that is a little slower.
    asked = problem(
        option("fast", 10.0, 1.0, upper=1),
        option("near", 9.0, 5.0),
        option("slow", 6.0, 2.9),
        rps=18.0,
    )
    assert answer(asked, bounds(asked)) == (1, 1, 0)


@pytest.mark.parametrize(("minimum", "after"), [(0, 0), (1, 1), (2, 1), (3, 1), (4, 2)])
def test_slow_ones_that_exist_count_for_the_minimum_beyond_one(minimum: int, after: int) -> None:
    kept = option("slow", 1.0, 1.0, current=2, lower=2, upper=2)
    asked = problem(kept, option("fast", 8.0, 1.0), rps=8.0, minimum=minimum)
    assert paced(asked, bounds(asked)).minimum == after
