"""What holds the whole fleet back: nodes that fail together, and many removals at once."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from builders import planned, pool
from cases import case, choice, memory, on
from fleetworld import CHEAP, fresh_load, world
from trimtab.models.plan import Why
from trimtab.planner.brakes import broken, hold_back
from trimtab.planner.case import Case
from trimtab.planner.settle import Settled


@pytest.mark.parametrize(
    ("ready", "unready", "text"),
    [
        (0, 0, ""),
        (0, 3, ""),
        (0, 4, "4 of 4 nodes are not Ready"),
        (5, 4, ""),
        (4, 4, "4 of 8 nodes are not Ready"),
        (11, 9, ""),  # 45 % to the last
        (10, 9, "9 of 19 nodes are not Ready"),
    ],
)
def test_many_nodes_that_are_not_ready_are_more_than_a_few_and_than_their_share(
    ready: int, unready: int, text: str
) -> None:
    half = pool(nodes=ready - ready // 2, unready_nodes=unready - unready // 2)
    rest = pool(nodes=ready // 2, unready_nodes=unready // 2)
    assert broken([half, rest]) == text


def test_while_many_nodes_are_lost_nothing_falls_and_demand_is_followed() -> None:
    there = world(pools=(replace(CHEAP, devices=64, nodes=8),))
    there.set_load(fresh_load(120.0))
    there.run(600.0)
    before = there.replicas()
    there.pools = [replace(CHEAP, devices=64, nodes=4, unready_nodes=4)]
    there.set_load(fresh_load(20.0))
    decision = there.run(1800.0).decisions[0]
    assert there.replicas() == before
    assert decision.why is Why.WINDOW
    assert "nothing goes while 4 of 8 nodes are not Ready" in decision.message
    there.set_load(fresh_load(200.0))
    there.run(60.0)
    assert there.replicas() > before
    there.set_load(fresh_load(20.0))
    there.pools = [replace(CHEAP, devices=64, nodes=8)]
    there.run(1800.0)
    assert there.replicas() < before


def after(*fleets: tuple[Case, int]) -> dict[str, int]:
    """Replicas after removals that leave each case so many."""
    settled = {
        one.state.key: Settled(targets=Counter({one.places[0].key: left}), wanted=Counter())
        for one, left in fleets
    }
    hold_back([one for one, _ in fleets], settled)
    return {name.name: sum(item.targets.values()) for name, item in settled.items()}


def named(name: str, replicas: int, **over: Any) -> Case:
    return case(on(replicas=replicas), name=name, **over)


def fell(name: str, at: float | None) -> dict[str, Any]:
    return {"memory": memory(name, last_down_at=at)}


def test_one_alone_takes_its_own_step() -> None:
    assert after((named("a", 8), 6)) == {"a": 6}
    assert after((named("a", 8), 6), (named("b", 4), 4)) == {"a": 6, "b": 4}


@pytest.mark.parametrize(("others", "left"), [(13, 8), (14, 7), (30, 7)])
def test_together_they_lose_a_tenth_and_the_rest_waits(others: int, left: int) -> None:
    kept = after((named("a", 8), 6), (named("b", 8), 7), (named("c", others), others))
    assert kept == {"a": 6, "b": left, "c": others}


def test_a_step_that_is_held_back_lets_nobody_else_go() -> None:
    there = (named("a", 4), 3), (named("b", 4), 3), (named("c", 12), 9)
    assert after(*there) == {"a": 3, "b": 3, "c": 12}
    assert after(*there[:2], (named("c", 11), 9)) == {"a": 3, "b": 4, "c": 11}


def test_who_fell_the_longest_ago_goes_first_and_nobody_waits_for_ever() -> None:
    late, early = named("a", 8, **fell("a", 500.0)), named("b", 8, **fell("b", 400.0))
    assert after((late, 6), (early, 6)) == {"a": 8, "b": 6}
    never = named("c", 8, **fell("c", None))
    assert after((late, 6), (early, 6), (never, 6)) == {"a": 8, "b": 8, "c": 6}


def test_what_is_beyond_a_maximum_goes_in_any_case() -> None:
    over = named("a", 8, max_replicas=2)
    assert after((over, 2), (named("b", 8), 6)) == {"a": 2, "b": 6}
    just = named("b", 8, max_replicas=8)
    assert after((named("a", 8), 6), (just, 6)) == {"a": 6, "b": 8}


def test_what_is_held_back_loses_nothing_that_is_still_to_come() -> None:
    first, choices = named("a", 8), (choice("b"), choice("h100"))
    moves = case(on("b", replicas=4, ready=1), on(replicas=8), name="z", choices=choices)
    b, h100 = (place.key for place in moves.places)
    settled = {
        first.state.key: Settled(targets=Counter({h100: 6}), wanted=Counter()),
        moves.state.key: Settled(targets=Counter({b: 4, h100: 6}), wanted=Counter()),
    }
    hold_back([first, moves], settled)
    assert settled[moves.state.key].targets == {b: 4, h100: 8}


def test_what_is_not_ready_goes_at_once() -> None:
    starting = case(on(replicas=8, ready=2), name="a")
    assert after((starting, 2), (named("b", 8), 6)) == {"a": 2, "b": 6}
    both = case(on(replicas=8, ready=4), name="z")
    assert after((both, 2), (named("b", 8), 6)) == {"z": 4, "b": 6}


def test_a_large_fleet_falls_a_tenth_a_plan() -> None:
    states = [planned(f"d{i}") for i in range(10)]
    there = world(*states, pools=(replace(CHEAP, devices=128),))
    there.set_load(fresh_load(100.0))
    there.run(600.0)
    before = there.replicas()
    assert before >= 80
    there.set_load(fresh_load(10.0))
    counts = [before]
    for _ in range(80):
        there.tick()
        counts.append(there.replicas())
    falls = [one - other for one, other in pairwise(counts)]
    assert max(falls) <= before // 10
    assert max(falls) > 2
    assert counts[-1] <= before // 4
