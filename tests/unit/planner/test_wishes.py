"""What the solver is asked for one deployment: what is kept, what may go, what may be added."""

import math
from dataclasses import replace
from typing import Any

import pytest

from cases import CONFIG, RPS, USD, case, choice, memory, on, pool_state
from trimtab.api.llmdeployment import Mode
from trimtab.api.policy import CapacityType
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import Verdict
from trimtab.planner import spot
from trimtab.planner.case import Case
from trimtab.planner.problem import Problem, Room
from trimtab.planner.starts import INIT_S
from trimtab.planner.wishes import (
    DEVICE_COST,
    LATENCY_POWER,
    SLOWEST,
    demand_question,
    free_question,
    move_name,
    move_places,
    option_places,
    question,
)

ROOM = Room(free={"h100": 16})


def unpaced(*variants: Any, **over: Any) -> Case:
    return case(*variants, **({"even": False} | over))


def asked(c: Case) -> Problem:
    return question(c, CONFIG, ROOM)


def limits(problem: Problem) -> dict[str, tuple[int, int]]:
    return {option.name: (option.lower, option.upper) for option in problem.options}


def test_more_than_the_maximum_leaves_the_best_of_what_is_there() -> None:
    for may_fall, minimum in ((True, 1), (False, 4)):
        found = asked(unpaced(on(replicas=8), max_replicas=4, may_fall=may_fall, keep_rps=9.0))
        assert (found.rps, found.minimum, found.maximum, found.surge) == (9.0, minimum, 4, 0)
        assert limits(found) == {"h100/tp1": (0, 8)}


def test_at_the_maximum_what_is_there_stays_on_doubt() -> None:
    found = asked(unpaced(on(replicas=4), max_replicas=4, may_fall=False))
    assert (found.rps, found.minimum, found.surge) == (0.0, 4, 0)
    assert limits(found) == {"h100/tp1": (4, 4)}


def test_scale_up_only_keeps_more_than_the_maximum() -> None:
    held = unpaced(on(replicas=8), max_replicas=4, may_fall=False, mode=Mode.SCALE_UP_ONLY)
    found = asked(held)
    assert (found.maximum, found.minimum, found.surge) == (8, 8, 0)
    assert limits(found) == {"h100/tp1": (8, 8)}
    few = unpaced(on(replicas=2), may_fall=False, mode=Mode.SCALE_UP_ONLY, minimum=7)
    assert (asked(few).maximum, asked(few).minimum) == (20, 7)


@pytest.mark.parametrize(
    ("over", "minimum"), [({}, 5), ({"max_replicas": 4}, 4), ({"minimum": 7}, 7)]
)
def test_on_doubt_what_is_lost_is_replaced_one_for_one(over: dict[str, Any], minimum: int) -> None:
    there = unpaced(on("gone", 3, ready=1), on("h100", 3, ready=2), may_fall=False, **over)
    assert asked(there).minimum == minimum


def test_what_is_not_ready_yet_counts_and_asks_for_no_more() -> None:
    found = asked(unpaced(on(replicas=3, ready=1), may_fall=False))
    assert (found.minimum, found.rps, found.options[0].current) == (3, 0.0, 3)
    assert limits(found) == {"h100/tp1": (3, 3)}
    closed = choice(refusal=Verdict.OVER_BUDGET), choice("z")
    starting = unpaced(on(replicas=3, ready=0), choices=closed)
    assert limits(asked(starting)) == {"h100/tp1": (0, 3)}
    assert limits(free_question(starting, CONFIG, ROOM)) == {"h100/tp1": (0, 3), "z/tp1": (0, 20)}
    above = unpaced(on(replicas=8, ready=1), max_replicas=4)
    assert limits(free_question(above, CONFIG, ROOM)) == {"h100/tp1": (0, 8)}


def test_what_only_leaves_is_no_option() -> None:
    there = unpaced(on("h100", 2), on("z", 0, pods=1), choices=(choice(), choice("z")))
    assert limits(asked(there)) == {"h100/tp1": (0, 2)}


def test_what_the_window_does_not_need_may_go() -> None:
    found = asked(unpaced(on(replicas=3), keep_rps=9.0))
    assert (found.rps, found.minimum) == (9.0, 1)
    assert limits(found) == {"h100/tp1": (0, 3)}
    assert limits(asked(unpaced(on(replicas=3), minimum=3))) == {"h100/tp1": (0, 3)}
    moving = unpaced(on(replicas=3), memory=memory(move_to="x + h100/tp1"))
    assert limits(asked(moving)) == {"h100/tp1": (3, 3)}


def test_below_the_minimum_it_is_added_to_whatever_is_asked() -> None:
    found = asked(unpaced(on(replicas=2), minimum=3))
    assert (found.rps, found.minimum) == (0.0, 3)
    assert limits(found) == {"h100/tp1": (2, 20)}


def test_what_does_not_cover_the_demand_is_added_to() -> None:
    found = asked(unpaced(on(replicas=2), grow_rps=21.0))
    assert (found.rps, found.minimum, found.surge) == (21.0, 1, 18)
    assert limits(found) == {"h100/tp1": (2, 20)}
    # Half of the headroom is left to be used.
    assert limits(asked(unpaced(on(replicas=2), grow_rps=20.0))) == {"h100/tp1": (0, 2)}
    assert limits(asked(unpaced(minimum=0, grow_rps=0.5))) == {"h100/tp1": (0, 20)}


def test_another_mix_may_be_anything_and_the_demand_of_now_adds_nothing() -> None:
    there = unpaced(on(replicas=8), max_replicas=4, keep_rps=9.0, grow_rps=7.0, minimum=2)
    free = free_question(there, CONFIG, ROOM)
    assert (free.rps, free.minimum, limits(free)) == (9.0, 2, {"h100/tp1": (0, 8)})
    now = demand_question(there, CONFIG, ROOM)
    assert (now.rps, now.minimum, limits(now)) == (7.0, 2, {"h100/tp1": (0, 8)})


def test_what_runs_alike_is_asked_at_the_pace_of_the_slowest() -> None:
    both = choice("fast", 16.0), choice("slow", 2.0, usd=3.9)
    there = case(grow_rps=16.0, choices=both, even=True)
    found = question(there, CONFIG, Room(free={"fast": 9, "slow": 9}))
    assert limits(found) == {"fast/tp1": (0, 20), "slow/tp1": (0, 0)}


def test_only_where_replicas_may_be_is_an_option() -> None:
    choices = (
        choice("closed", refusal=Verdict.OVER_BUDGET),
        choice("empty", refusal=Verdict.OVER_BUDGET),
        choice("leaves", refusal=Verdict.NOT_ALLOWED),
        choice("open"),
        choice("weak", rps=0.0),
    )
    variants = on("closed", 2), on("gone"), on("leaves"), on("weak")
    there = unpaced(*variants, choices=choices, grow_rps=99.0)
    found = asked(there)
    assert limits(found) == {"closed/tp1": (2, 2), "open/tp1": (0, 20)}
    assert [place.pool for place in option_places(there, found)] == ["closed", "open"]
    kept = asked(replace(there, grow_rps=1.0))
    assert limits(kept) == {"closed/tp1": (0, 2)}
    assert [place.pool for place in option_places(there, kept)] == ["closed"]


@pytest.mark.parametrize(
    ("cap", "money"), [(None, math.inf), (40.0, 24.0), (16.0, 0.0), (9.0, -7.0)]
)
def test_its_own_cap_leaves_what_its_pods_do_not_cost(cap: float | None, money: float) -> None:
    there = unpaced(on(replicas=3, ready=2, pods=4), max_usd_per_hour=cap)
    assert asked(there).money == money


def test_an_option_says_what_a_replica_takes_gives_and_weighs() -> None:
    wide = choice(rps=16.0, parallelism=Parallelism(tensor=2))
    (found,) = asked(unpaced(choices=(wide,), waits={"h100/tp2": 30.0})).options
    assert (found.pool, found.devices, found.rps, found.price) == ("h100", 2, 16.0, 2 * USD)
    assert found.cost == pytest.approx((2 * USD + 2 * DEVICE_COST) * 1.5)
    assert (found.current, found.domain) == (0, "")


def test_an_unknown_price_weighs_as_the_dearest_device_and_counts_nothing() -> None:
    blind = choice("blind", price=None, weight=None, parallelism=Parallelism(tensor=2))
    dear = choice("dear", usd=5.0)
    options = asked(unpaced(choices=(blind, dear))).options
    assert [one.price for one in options] == [0.0, 5.0]
    assert [one.cost for one in options] == pytest.approx(
        [10.0 + 2 * DEVICE_COST, 5.0 + DEVICE_COST]
    )
    # What runs is weighed against what could: by itself nothing of it has a price.
    kept = unpaced(on("blind", parallelism=Parallelism(tensor=2)), choices=(blind, dear))
    assert asked(kept).options[0].cost == pytest.approx(10.0 + 2 * DEVICE_COST)
    (alone,) = asked(unpaced(choices=(blind,))).options
    assert alone.cost == pytest.approx(2.0 + 2 * DEVICE_COST)


@pytest.mark.parametrize(("wait_s", "slower"), [(1.0, 1.0), (1.5, 1.5), (9.0, SLOWEST)])
def test_where_latency_is_the_objective_the_slower_one_weighs_far_more(
    wait_s: float, slower: float
) -> None:
    choices = choice("a", wait_s=1.0), choice("b", wait_s=wait_s), choice("c")
    costs = [o.cost for o in asked(unpaced(choices=choices)).options]
    money = 1e-3 * (USD + DEVICE_COST)
    assert costs[:2] == pytest.approx([RPS + money, RPS * slower**LATENCY_POWER + money])
    assert costs[2] == pytest.approx(USD + DEVICE_COST)


def test_a_slower_one_that_runs_is_weighed_against_what_could() -> None:
    choices = choice("a", wait_s=1.0), choice("b", wait_s=2.0)
    (kept,) = asked(unpaced(on("b"), choices=choices)).options
    assert kept.cost > RPS * 2.0**LATENCY_POWER


def spotty(name: str = "spot", usd: float = 1.0, provisioning_s: float = 300.0) -> Any:
    state = pool_state(name, usd, capacity_type=CapacityType.SPOT, provisioning_s=provisioning_s)
    return choice(name, usd=usd, state=state)


def risk_of(provisioning_s: float, rate: float = spot.RECLAIMS_PER_HOUR) -> spot.Risk:
    return spot.Risk(ready_s=provisioning_s + INIT_S, reclaims_per_hour=rate)


def test_spot_weighs_what_its_loss_costs_and_part_of_the_demand_survives_it() -> None:
    risk = risk_of(300.0)
    for others, substitute in (((choice(), choice("z", usd=9.0)), USD), ((), 0.0)):
        found = asked(unpaced(choices=(*others, spotty())))
        option = next(one for one in found.options if one.domain == "spot")
        money = 1.0 + DEVICE_COST
        assert option.cost == pytest.approx(money + spot.interruption_cost(1.0, substitute, risk))
    assert found.survive == RPS * spot.survive_share(risk, 0.95)


def test_the_slowest_spot_pool_decides_what_must_survive() -> None:
    steady = choice("c", state=pool_state("c", provisioning_s=9000.0))
    choices = spotty("a", provisioning_s=60.0), spotty("b", provisioning_s=3000.0), steady
    found = asked(unpaced(choices=choices))
    share = spot.survive_share(risk_of(3000.0), 0.95)
    assert 0.0 < share < 1.0
    assert found.survive == pytest.approx(RPS * share)
    assert asked(unpaced(choices=(choice("c"),))).survive == 0.0
    (kept,) = asked(unpaced(on("a"), choices=choices)).options
    assert kept.cost == pytest.approx(
        1.0 + DEVICE_COST + spot.interruption_cost(1.0, USD, risk_of(60.0))
    )


def test_a_domain_that_was_seen_to_be_taken_back_weighs_more_and_more_must_survive() -> None:
    choices = spotty("a"), choice("c")
    calm = asked(unpaced(choices=choices, reclaims={"a": spot.RECLAIMS_PER_HOUR}))
    taken = asked(unpaced(choices=choices, reclaims={"a": 0.5}))
    assert calm == asked(unpaced(choices=choices))
    assert taken.survive == RPS * spot.survive_share(risk_of(300.0, 0.5), 0.95) > calm.survive
    assert taken.options[0].cost > calm.options[0].cost
    assert taken.options[1].cost == calm.options[1].cost


def test_replicas_that_are_late_count_for_nothing_but_for_the_maximum() -> None:
    late = pool_state("a", late=True)
    there = on("a", 4, ready=1, unschedulable=2)
    refused = choice("a", state=late, refusal=Verdict.POOL_SHORT)
    found = asked(unpaced(there, choices=(refused, choice("b")), grow_rps=40.0, max_replicas=9))
    assert [(o.name, o.current, o.upper) for o in found.options] == [
        ("a/tp1", 2, 2),
        ("b/tp1", 0, 7),
    ]
    assert (found.maximum, found.surge) == (7, 5)
    fewer = asked(unpaced(there, choices=(refused, choice("b")), max_replicas=1))
    assert (fewer.maximum, fewer.surge) == (0, 0)


def test_a_move_is_named_after_the_places_that_it_adds_to() -> None:
    name = move_name(("a/tp1", "b/tp2"))
    assert name == "a/tp1 + b/tp2"
    assert move_places(memory(move_to=name)) == {"a/tp1", "b/tp2"}
    assert move_places(memory()) == frozenset()
