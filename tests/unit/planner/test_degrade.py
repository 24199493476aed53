"""Who gives replicas back at a budget's cap: exactly as many as it takes, the least important."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from cases import CONFIG, case, choice, evidence, fleet, key, on, option
from trimtab.api.conditions import Reason
from trimtab.api.fleetbudget import AtCap, FleetBudgetSpec
from trimtab.api.llmdeployment import Mode
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import DemandSource, Verdict, Why
from trimtab.models.snapshot import Budget
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.choice import Choice
from trimtab.planner.degrade import degrade
from trimtab.planner.problem import BudgetRoom, Room

TWO = choice("a"), choice("b", usd=8.0)
UNMEASURED = replace(case(on()).need, source=DemandSource.WORKLOAD)
"""A demand that only the workload tells."""


def settled(c: Case) -> Fleet:
    """What runs is what is wanted, and is enough."""
    options = [option(p.name, current=p.replicas) for p in c.running]
    return fleet(*options, counts=tuple(p.replicas for p in c.running), rps=0.0)


def lacking(c: Case, rps: float = 999.0) -> Fleet:
    """What runs is less than is asked for."""
    options = [option(p.name, current=p.replicas) for p in c.running]
    surge = max(0, c.policy.max_replicas - c.supply)
    return fleet(*options, counts=tuple(p.replicas for p in c.running), rps=rps, surge=surge)


def given(
    cases: list[Case],
    short: str = "",
    free: int = 99,
    left: tuple[float, float] = (0.0, math.inf),
    **spec: Any,
) -> tuple[dict[str, int], dict[str, Why]]:
    """Replicas after it, and who gave what for. `left` are the $/h and devices of the budget."""
    members = frozenset(c.state.key for c in cases)
    room = Room(
        free={c.state.pool.name: free for one in cases for c in one.choices},
        budgets=(BudgetRoom(name="b", members=members, money=left[0], devices=left[1]),),
    )
    targets = {c.state.key: Counter({p.key: p.replicas for p in c.running}) for c in cases}
    fleets = {c.state.key: lacking(c) if c.state.key.name == short else settled(c) for c in cases}
    budget = Budget(name="b", spec=FleetBudgetSpec.model_validate({"atCap": "Degrade"} | spec))
    givers = degrade([budget], cases, fleets, room, targets, CONFIG)
    counts = {c.state.key.name: sum(targets[c.state.key].values()) for c in cases}
    return counts, {giver.name: why for giver, why in givers.items()}


def low(replicas: int = 8, **over: Any) -> Case:
    return case(on(replicas=replicas), name="low", priority=1, **over)


def high(replicas: int = 1, **over: Any) -> Case:
    return case(on(replicas=replicas), name="high", priority=2, **over)


@pytest.mark.parametrize(
    ("spec", "after"),
    [
        ({"maxPerHour": "36"}, 8),
        ({"maxPerHour": "35.5"}, 7),
        ({"maxPerHour": "32"}, 7),
        ({"maxPerHour": "31.5"}, 6),
        ({"maxPerHour": "4"}, 6),
        ({"maxDevices": 9}, 8),
        ({"maxDevices": 8}, 7),
        ({"maxDevices": 7}, 6),
        ({"maxDevices": 1}, 6),
        ({"maxPerHour": "32", "maxDevices": 9}, 7),
        ({"maxPerHour": "99", "maxDevices": 8}, 7),
    ],
)
def test_above_its_cap_a_budget_takes_back_what_it_takes_and_one_step_at_most(
    spec: dict[str, Any], after: int
) -> None:
    counts, givers = given([low(), high()], **spec)
    assert counts == {"low": after, "high": 1}
    assert givers == ({} if after == 8 else {"low": Why.BUDGET})


def test_the_more_important_gives_once_the_less_important_has_nothing_left() -> None:
    assert given([low(1), high(8)], maxPerHour="32")[0] == {"low": 1, "high": 7}
    assert given([low(4), high(8)], maxPerHour="16")[0] == {"low": 3, "high": 8}


def test_equals_give_in_the_order_of_their_names() -> None:
    other = case(on(replicas=4), name="also", priority=1)
    assert given([low(4), other], maxPerHour="28")[0] == {"low": 4, "also": 3}
    assert given([low(4), other], maxPerHour="24")[0] == {"low": 3, "also": 3}


def test_the_dearest_goes_first() -> None:
    there = case(on("a", 2), on("b", 2), name="low", priority=1, choices=TWO)
    targets = {there.state.key: Counter({p.key: p.replicas for p in there.running})}
    room = Room(
        free={}, budgets=(BudgetRoom(name="b", members=frozenset(targets), money=0, devices=0),)
    )
    budget = Budget(name="b", spec=FleetBudgetSpec(max_devices=3, at_cap=AtCap.DEGRADE))
    degrade([budget], [there], {there.state.key: settled(there)}, room, targets, CONFIG)
    assert {pool: n for (pool, _), n in targets[there.state.key].items()} == {"a": 2, "b": 1}


@pytest.mark.parametrize(("minimum", "after"), [(0, 1), (1, 1), (2, 2)])
def test_one_replica_and_the_minimum_stay(minimum: int, after: int) -> None:
    assert given([low(2, minimum=minimum)], maxDevices=1)[0] == {"low": after}


def test_who_has_less_than_its_minimum_gives_nothing() -> None:
    assert given([low(3, minimum=5)], maxDevices=1)[0] == {"low": 3}


def test_a_small_fleet_gives_one_at_a_time() -> None:
    assert given([low(3)], maxDevices=1)[0] == {"low": 2}
    assert given([low(12)], maxDevices=1)[0] == {"low": 9}


def test_who_may_not_be_changed_gives_nothing() -> None:
    there = low(mode=Mode.SCALE_UP_ONLY)
    assert given([there], maxDevices=1)[0] == {"low": 8}


def test_a_cap_that_was_lowered_is_met_whatever_is_known() -> None:
    assert given([low(may_fall=False)], maxDevices=7)[0] == {"low": 7}
    assert given([low(may_fall=False)], maxPerHour="31.5")[0] == {"low": 7}


def test_holding_takes_nothing() -> None:
    assert given([low()], atCap="Hold", maxDevices=1)[0] == {"low": 8}


def test_who_grows_takes_nothing_back() -> None:
    there = low()
    targets = {there.state.key: Counter({there.places[0].key: 9})}
    room = Room(
        free={}, budgets=(BudgetRoom(name="b", members=frozenset(targets), money=0, devices=0),)
    )
    budget = Budget(name="b", spec=FleetBudgetSpec(max_devices=1, at_cap=AtCap.DEGRADE))
    fleets = {there.state.key: settled(there)}
    assert degrade([budget], [there], fleets, room, targets, CONFIG) == {}


@pytest.mark.parametrize(
    ("left", "after"),
    [
        ((4.0, math.inf), 8),  # one more of 4 $/h fits
        ((3.5, math.inf), 7),
        ((0.0, math.inf), 7),
        ((math.inf, 1.0), 8),
        ((math.inf, 0.0), 7),
    ],
)
def test_who_is_blocked_by_the_budget_gets_room_for_one_more(
    left: tuple[float, float], after: int
) -> None:
    counts, givers = given([low(), high()], "high", left=left, maxPerHour="99")
    assert counts == {"low": after, "high": 1}
    assert givers == ({} if after == 8 else {"low": Why.BUDGET})


@pytest.mark.parametrize("spec", [{"maxPerHour": "36"}, {"maxDevices": 9}])
def test_a_budget_that_is_spent_to_the_last_is_not_exceeded(spec: dict[str, Any]) -> None:
    there = [low(), high()]
    left = (0.0, math.inf) if "maxPerHour" in spec else (math.inf, 0.0)
    assert given(there, "high", left=left, **spec)[0] == {"low": 7, "high": 1}


def test_nothing_is_given_for_what_may_be_an_error_of_rounding() -> None:
    tiny = high(choices=(choice(usd=1e-9),))
    assert given([low(), tiny], "high", maxPerHour="99")[0] == {"low": 8, "high": 1}


def test_a_larger_replica_takes_several() -> None:
    dear = high(choices=(choice(usd=8.0),))
    assert given([low(), dear], "high", maxPerHour="99")[0] == {"low": 6, "high": 1}
    assert given([low(), dear], "high", left=(4.0, math.inf), maxPerHour="99")[0]["low"] == 7


def test_room_for_another_is_made_only_by_the_less_important_and_on_no_doubt() -> None:
    assert given([low(may_fall=False), high()], "high", maxPerHour="99")[0]["low"] == 8
    equal = case(on(replicas=8), name="equal", priority=2)
    assert given([equal, high()], "high", maxPerHour="99")[0]["equal"] == 8
    assert given([low(), high(8)], "low", maxPerHour="99")[0] == {"low": 8, "high": 8}


def test_what_leaves_already_is_not_taken_twice() -> None:
    leaving = case(on(replicas=8, pods=9), name="low", priority=1)
    assert given([leaving, high()], "high", maxPerHour="99")[0] == {"low": 8, "high": 1}
    two = high(choices=(choice(usd=8.0),))
    assert given([leaving, two], "high", maxPerHour="99")[0] == {"low": 7, "high": 1}


def test_who_may_not_grow_asks_for_no_room() -> None:
    stuck = high(choices=(choice(refusal=Verdict.NOT_ALLOWED),))
    assert given([low(), stuck], "high", maxPerHour="99")[0]["low"] == 8


def three(top: Choice, left: tuple[float, float]) -> dict[str, int]:
    """Replicas after a budget leaves `left`, where low has 4, and mid, of two devices, and top
    each lack some."""
    cases = [
        low(4),
        case(on(replicas=4), name="mid", priority=2, choices=(choice(usd=8.0),)),
        case(on(), name="top", priority=3, choices=(top,)),
    ]
    members = frozenset(c.state.key for c in cases)
    budget_room = BudgetRoom(name="b", members=members, money=left[0], devices=left[1])
    room = Room(free={"h100": 99}, budgets=(budget_room,))
    targets = {c.state.key: Counter({p.key: p.replicas for p in c.running}) for c in cases}
    fleets = {c.state.key: lacking(c) for c in cases} | {key("low"): settled(cases[0])}
    budget = Budget(name="b", spec=FleetBudgetSpec(max_per_hour="99", at_cap=AtCap.DEGRADE))
    degrade([budget], cases, fleets, room, targets, CONFIG)
    return {c.state.key.name: sum(targets[c.state.key].values()) for c in cases}


@pytest.mark.parametrize(("most", "after"), [(1, 8), (2, 7)])
def test_nobody_gives_to_one_that_is_at_its_own_maximum(most: int, after: int) -> None:
    cases = [low(), high(max_replicas=most)]
    assert given(cases, short="high", left=(99.0, 0.0), maxDevices=9)[0]["low"] == after


@pytest.mark.parametrize(("most", "after"), [(3, 8), (4, 6)])
def test_what_an_answer_does_without_counts_until_it_is_gone(most: int, after: int) -> None:
    cases = [low(), high(3, max_replicas=most)]
    targets = {c.state.key: Counter({p.key: p.replicas for p in c.running}) for c in cases}
    slow = replace(lacking(cases[1]), counts=(1,))
    fleets = {key("low"): settled(cases[0]), key("high"): slow}
    degrade([], cases, fleets, Room(free={}), targets, CONFIG)
    assert sum(targets[key("low")].values()) == after


def test_the_most_important_of_those_that_are_blocked_is_served() -> None:
    assert three(choice(usd=12.0), (0.0, math.inf)) == {"low": 3, "mid": 4, "top": 1}
    # What just fits is not blocked: the next one is.
    assert three(choice(usd=4.0), (4.0, math.inf)) == {"low": 3, "mid": 4, "top": 1}
    assert three(choice(usd=4.0), (4.0, 1.0)) == {"low": 3, "mid": 4, "top": 1}


def made_room(
    *cases: Case, rps: float = 16.0, free: int = 0, grown: int = 0
) -> tuple[dict[str, int], dict[str, Why]]:
    """Replicas after high, with 8 requests/s served, asks for `rps` on a pool with `free` left.

    `grown` are those that this tick adds to it.
    """
    targets = {c.state.key: Counter({p.key: p.replicas for p in c.running}) for c in cases}
    targets[key("high")].update({cases[-1].places[0].key: grown})
    fleets = {c.state.key: settled(c) for c in cases[:-1]}
    fleets[key("high")] = lacking(cases[-1], rps)
    room = Room(free={"h100": free} if free else {})
    givers = degrade([], cases, fleets, room, targets, CONFIG)
    counts = {c.state.key.name: sum(targets[c.state.key].values()) for c in cases[:-1]}
    return counts, {giver.name: why for giver, why in givers.items()}


@pytest.mark.parametrize(("rps", "after"), [(8.0, 8), (16.0, 7), (16.5, 6), (99.0, 6)])
def test_a_full_pool_is_made_room_on_for_what_is_lacking(rps: float, after: int) -> None:
    counts, givers = made_room(low(), high(), rps=rps)
    assert counts == {"low": after}
    assert givers == ({} if after == 8 else {"low": Why.CAPACITY_SHORT})


@pytest.mark.parametrize(("devices", "free", "after"), [(1, 1, 8), (2, 1, 6), (2, 2, 8)])
def test_where_a_replica_has_room_nobody_gives(devices: int, free: int, after: int) -> None:
    large = choice(parallelism=Parallelism(tensor=devices))
    there = case(
        on(parallelism=Parallelism(tensor=devices)), name="high", priority=2, choices=(large,)
    )
    assert made_room(low(), there, free=free)[0] == {"low": after}


@pytest.mark.parametrize(
    ("over", "after"),
    [
        ({"max_replicas": 1}, 8),
        ({"max_replicas": 2}, 7),
        ({"evidence": evidence(reason=Reason.METRICS_STALE)}, 8),
        ({"evidence": evidence(reason=Reason.METRICS_PARTIAL)}, 7),
        ({"evidence": evidence(reason=Reason.METRICS_PARTIAL), "need": UNMEASURED}, 8),
        ({"choices": (choice(rps=0.0),)}, 8),
        ({"choices": (choice(rps=1.0),)}, 6),
        ({"choices": (choice(refusal=Verdict.NOT_ALLOWED),)}, 8),
    ],
)
def test_only_who_can_grow_and_surely_needs_it_is_given(over: dict[str, Any], after: int) -> None:
    assert made_room(low(), high(**over))[0] == {"low": after}


@pytest.mark.parametrize(("most", "after"), [(1, 8), (2, 7)])
def test_who_covers_the_demand_of_now_takes_nothing_for_that_of_the_window(
    most: int, after: int
) -> None:
    cases = [low(), high()]
    counts = {c.state.key: Counter({p.key: p.replicas for p in c.running}) for c in cases}
    asked = fleet(option(current=1, upper=most), counts=(1,), rps=16.0)
    fleets = {key("low"): settled(cases[0]), key("high"): asked}
    members = frozenset(counts)
    blocked = Room(
        free={"h100": 99}, budgets=(BudgetRoom(name="b", members=members, money=0, devices=0),)
    )
    budget = Budget(name="b", spec=FleetBudgetSpec(max_devices=9, at_cap=AtCap.DEGRADE))
    for budgets, room in (([], Room(free={})), ([budget], blocked)):
        targets = {name: mine.copy() for name, mine in counts.items()}
        degrade(budgets, cases, fleets, room, targets, CONFIG)
        assert sum(targets[key("low")].values()) == after


@pytest.mark.parametrize(("over", "after"), [({"may_fall": False}, 8), ({"may_fall": True}, 7)])
def test_who_is_in_doubt_or_may_not_be_changed_gives_nothing(
    over: dict[str, Any], after: int
) -> None:
    assert made_room(low(**over), high())[0] == {"low": after}
    assert made_room(low(mode=Mode.SCALE_UP_ONLY, **over), high())[0] == {"low": 8}


def test_what_leaves_the_pool_already_is_room_to_come() -> None:
    leaving = case(on(replicas=8, pods=9), name="low", priority=1)
    assert made_room(leaving, high())[0] == {"low": 8}
    mine = case(on(pods=2), name="high", priority=2)
    assert made_room(low(), mine)[0] == {"low": 8}
    elsewhere = case(on(replicas=8), on("other", 1, pods=2), name="low", priority=1)
    assert made_room(elsewhere, high())[0] == {"low": 8}
    assert made_room(low(), high(), grown=1)[0] == {"low": 7}


def test_only_replicas_on_the_full_pool_are_given() -> None:
    cheaper = choice("h100"), choice("other", usd=2.0)
    there = case(on("h100", 4), on("other", 4), name="low", priority=1, choices=cheaper)
    assert made_room(there, high(), rps=99.0)[0] == {"low": 6}


def test_the_least_important_gives_first_and_equals_give_nothing() -> None:
    mid = case(on(replicas=8), name="mid", priority=2)
    top = case(on(), name="high", priority=3)
    assert made_room(mid, low(), top, rps=32.0)[0] == {"mid": 7, "low": 6}
    assert made_room(mid, high())[0] == {"mid": 8}


def test_dearer_replicas_elsewhere_do_not_stand_in_their_way() -> None:
    dearer = choice("h100"), choice("other", usd=8.0)
    there = case(on("h100", 4), on("other", 4), name="low", priority=1, choices=dearer)
    assert made_room(there, high(), rps=99.0)[0] == {"low": 6}
