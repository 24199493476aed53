"""What a decision says moved or held it, and what it falls short of."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from cases import RPS, case, choice, evidence, fleet, memory, on, option, pool_state
from trimtab.api.conditions import Reason
from trimtab.api.llmdeployment import Mode
from trimtab.api.policy import Objective
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.models.plan import DemandSource, Verdict, Why
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.evidence import Alarm
from trimtab.planner.foresight import Foresight
from trimtab.planner.outcome import Outcome, explain, shortfall, unplaced
from trimtab.planner.power import Power
from trimtab.planner.problem import Bounds
from trimtab.planner.schedule import Hint

ROOMY = Bounds(free=(("h100", 99), ("other", 99)), money=math.inf, devices=99)


def outcome(c: Case, *after: int, answer: Fleet | None = None, **over: Any) -> Outcome:
    """What so many replicas at each place of the case come to; what is there, unless given."""
    counts = after or tuple(place.replicas for place in c.places)
    targets = Counter({p.key: n for p, n in zip(c.places, counts, strict=True)})
    options = [option(p.name, current=p.supply) for p in c.places]
    values: dict[str, Any] = {
        "case": c,
        "fleet": answer or fleet(*options, counts=counts, rps=0.0, minimum=0),
        "targets": targets,
        "wanted": targets,
        "asked_replicas": None,
        "left": ROOMY,
        "moving": False,
        "degraded": None,
    }
    return Outcome(**(values | over))


def why(c: Case, *after: int, **over: Any) -> Why:
    return explain(outcome(c, *after, **over))[0]


def says(c: Case, *after: int, **over: Any) -> str:
    return explain(outcome(c, *after, **over))[1]


ALARM = Alarm(why=Why.QUEUE_GREW, message="many wait")
DEMAND = {"grow_rps": 30.0}
"""More than one replica is asked even with little headroom."""


def test_what_changes_is_what_differs_from_what_runs() -> None:
    there = case(on(replicas=2))
    assert [outcome(there, n).rises for n in (1, 2, 3)] == [False, False, True]
    assert [outcome(there, n).falls for n in (1, 2, 3)] == [True, False, False]
    assert [outcome(there, n).changed for n in (1, 2, 3)] == [True, False, True]
    assert [outcome(case(), n).rises for n in (0, 1)] == [False, True]
    assert outcome(there, 3).total == 3


def test_a_first_placement_and_a_waking() -> None:
    assert why(case(), 1) is Why.INITIAL
    assert why(case(memory=memory(last_down_at=0.0)), 1) is Why.WAKE


@pytest.mark.parametrize(
    ("there", "over", "expected"),
    [
        (case(on(), **DEMAND), {}, Why.DEMAND_ROSE),
        (case(on(), **DEMAND), {"moving": True}, Why.CHEAPER_POOL),
        (case(on()), {}, Why.BOUNDS),
        (case(on(), grow_rps=1.25 * RPS), {}, Why.BOUNDS),
        (case(on(), grow_rps=1.26 * RPS), {}, Why.DEMAND_ROSE),
        (case(on(), on("gone"), **DEMAND), {}, Why.POOL_GONE),
        (case(on(), on("gone", 0, pods=1), **DEMAND), {}, Why.DEMAND_ROSE),
    ],
)
def test_why_it_rises(there: Case, over: dict[str, Any], expected: Why) -> None:
    after = [place.replicas for place in there.places]
    after[-1] += 1
    assert why(there, *after, **over) is expected


def test_it_rises_because_pods_wait_in_vain() -> None:
    short = choice("h100", state=pool_state("h100", short=True), refusal=Verdict.POOL_SHORT)
    stuck = on(replicas=2, ready=1, unschedulable=1)
    there = case(stuck, choices=(short, choice("other")), **DEMAND)
    assert why(there, 2, 1) is Why.POOL_SHORT
    assert "wait in vain" in says(there, 2, 1)
    assert why(there, 1, 0) is Why.POOL_SHORT


def test_what_the_autoscaler_says_is_passed_on() -> None:
    short = choice("h100", state=pool_state("h100", short=True), refusal=Verdict.POOL_SHORT)
    stuck = on(replicas=2, ready=1, unschedulable=1, refusal="NotTriggerScaleUp: too many nodes")
    there = case(stuck, choices=(short, choice("other")), **DEMAND)
    assert "(NotTriggerScaleUp: too many nodes)" in says(there, 2, 1)


def test_it_rises_for_an_alarm_only_where_that_asks_for_more_than_the_demand() -> None:
    there = case(on(), evidence=evidence(alarm=ALARM), **DEMAND)
    more = replace(there, need=replace(there.need, rps=29.0))
    assert why(more, 2) is Why.QUEUE_GREW
    assert says(more, 2).endswith("many wait.")
    assert why(there, 2) is Why.DEMAND_ROSE
    assert why(replace(more, evidence=evidence()), 2) is Why.DEMAND_ROSE


def test_it_rises_by_the_schedule_only_where_that_asks_for_more_than_the_demand() -> None:
    for rps, expected in ((30.0, Why.DEMAND_ROSE), (31.0, Why.SCHEDULED)):
        hint = Hint(name="morning", rps=rps)
        ahead = Foresight(horizon_s=150.0, rps=rps, margin=0.0, hint=hint)
        assert why(case(on(), foresight=ahead, **DEMAND), 2) is expected


@pytest.mark.parametrize(
    ("there", "after", "expected"),
    [
        (case(on()), 0, Why.IDLE),
        (case(on(replicas=2)), 1, Why.DEMAND_FELL),
        (case(on(replicas=3), max_replicas=2), 2, Why.BOUNDS),
        (case(on(replicas=2), max_replicas=2), 1, Why.DEMAND_FELL),
        (case(on(replicas=2), memory=memory(move_to="x")), 1, Why.CHEAPER_POOL),
        (case(on(replicas=2), memory=memory(move_to="x", move_since=0.0)), 1, Why.DEMAND_FELL),
    ],
)
def test_why_it_falls(there: Case, after: int, expected: Why) -> None:
    assert why(there, after) is expected


def test_it_falls_because_a_pool_is_gone() -> None:
    assert why(case(on("gone"), on("h100", 2)), 0, 2) is Why.POOL_GONE
    assert why(case(on("gone", 0, pods=1), on("h100", 2)), 0, 1) is Why.DEMAND_FELL


def test_who_gives_for_others_says_so() -> None:
    there = case(on(replicas=3))
    assert why(there, 2, degraded=Why.BUDGET) is Why.BUDGET
    assert "at its cap" in says(there, 2, degraded=Why.BUDGET)
    assert "A pool is full" in says(there, 2, degraded=Why.CAPACITY_SHORT)
    for reason in (Reason.BUDGET_REACHED, Reason.CAPACITY_SHORT):
        said = says(there, short_reason=reason, short_message="8 req/s are not covered")
        assert said.endswith(". 8 req/s are not covered.")


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.BUDGET_REACHED, Why.BUDGET),
        (Reason.MAX_REPLICAS_REACHED, Why.BOUNDS),
        (Reason.CAPACITY_SHORT, Why.CAPACITY_SHORT),
        (Reason.POOL_SHORT, Why.CAPACITY_SHORT),
    ],
)
def test_why_it_stays_short(reason: Reason, expected: Why) -> None:
    assert why(case(on()), short_reason=reason, short_message="lacks") is expected


@pytest.mark.parametrize(
    ("reason", "source", "asked", "expected"),
    [
        (Reason.METRICS_FRESH, DemandSource.PROMETHEUS, None, Why.STEADY),
        (Reason.METRICS_FRESH, DemandSource.PROMETHEUS, 3, Why.STEADY),
        (Reason.METRICS_FRESH, DemandSource.PROMETHEUS, 2, Why.WINDOW),
        (Reason.NO_REPLICAS, DemandSource.UNKNOWN, None, Why.STEADY),
        (Reason.METRICS_STALE, DemandSource.UNKNOWN, None, Why.DOUBT),
        (Reason.METRICS_STALE, DemandSource.WORKLOAD, None, Why.STEADY),
        (Reason.METRICS_STALE, DemandSource.WORKLOAD, 3, Why.STEADY),
        (Reason.METRICS_STALE, DemandSource.WORKLOAD, 2, Why.DOUBT),
    ],
)
def test_why_it_stays(
    reason: Reason, source: DemandSource, asked: int | None, expected: Why
) -> None:
    there = case(on(replicas=3), evidence=evidence(reason=reason, message="too old"))
    there = replace(there, need=replace(there.need, source=source))
    assert why(there, asked_replicas=asked) is expected
    assert ("Nothing falls: too old." in says(there, asked_replicas=asked)) == (
        expected is Why.DOUBT
    )


@pytest.mark.parametrize(
    ("recall_s", "waits_for", "looked_over"),
    [(60.0, "5m", "1m"), (300.0, "5m", "5m"), (600.0, "10m", "10m")],
)
def test_the_time_that_counts_is_said(recall_s: float, waits_for: str, looked_over: str) -> None:
    there = case(on(replicas=3), recall_s=recall_s)
    assert f"fresh evidence over {waits_for} has asked" in says(there, asked_replicas=2)
    fell = replace(there, need=replace(there.need, rps=0.5))
    assert f"was asked over {looked_over} is" in says(fell, 2)


def test_scale_up_only_says_that_it_holds() -> None:
    there = case(on(replicas=3), mode=Mode.SCALE_UP_ONLY)
    assert why(there, asked_replicas=2) is Why.MODE
    assert "2 would do" in says(there, asked_replicas=2)
    assert why(there, asked_replicas=3) is Why.STEADY


def test_what_sleeps_stays_asleep() -> None:
    there = case(scale_to_zero_after_s=360.0)
    assert why(there) is Why.IDLE
    assert says(there).endswith("No request for 6m.")


def test_nothing_can_serve_it_where_no_choice_may_keep_replicas() -> None:
    leaves = choice(refusal=Verdict.NOT_ALLOWED, message="not in spec.placement.pools")
    blind = choice(capacity=None)
    assert why(case(on(), choices=(leaves,))) is Why.NO_CANDIDATE
    assert why(case(on(), choices=(blind,))) is Why.NO_CANDIDATE
    assert why(case(on(), choices=(leaves, choice("other")))) is Why.STEADY


def refused(*names: str, nearest: LatencyTargets | None = None) -> Case:
    return case(
        choices=tuple(
            choice(name, refusal=Verdict.MISSES_TTFT, message="no", nearest=nearest)
            for name in names
        )
    )


def test_whom_nothing_can_serve_is_told_of_three_and_how_many_more() -> None:
    assert unplaced(case(choices=())) == "There is no AcceleratorPool"
    assert unplaced(refused("a", "b", "c")) == "No pool can serve it. a: no; b: no; c: no"
    assert unplaced(refused("a", "b", "c", "d")).endswith("c: no; 1 more")
    nearest = LatencyTargets(percentile=0.95, ttft_s=0.25, itl_s=None, e2e_s=3.0)
    assert unplaced(refused("a", nearest=nearest)) == (
        "No pool can serve it. a: no. The nearest that can be met, on a/tp1: "
        "timeToFirstToken 250ms, endToEnd 3000ms"
    )


def test_bounds_name_what_decides() -> None:
    assert says(case(on()), 2).endswith("minReplicas 1 and maxReplicas 20 decide.")
    for minimum, decides in ((2, "minReplicas 1"), (3, "fallbackReplicas 3 counts: blind.")):
        there = case(on(), minimum=minimum, fallback_replicas=3, evidence=evidence(message="blind"))
        assert decides in says(there, 2)
    same = case(on(), minimum=3, min_replicas=3, fallback_replicas=3)
    assert says(same, 2).endswith("minReplicas 3 and maxReplicas 20 decide.")
    lacks = says(
        case(on()), short_reason=Reason.MAX_REPLICAS_REACHED, short_message="maxReplicas is 1"
    )
    assert "decide" not in lacks


def test_the_window_is_named_even_where_there_is_none() -> None:
    assert "over 5m has" in says(case(on(replicas=3)), asked_replicas=2)
    assert "over 0ms has" in says(case(on(replicas=3), window_s=0.0), asked_replicas=2)
    assert says(case(on(replicas=2), keep_rps=6.0), 1).endswith("over 5m is 6 req/s.")


def test_a_move_says_what_it_is_better_in() -> None:
    there = case(on(), **DEMAND)
    assert "which is cheaper" in says(there, 2, moving=True)
    watts = case(on(), objective=Objective.MINIMIZE_ENERGY, **DEMAND)
    assert "which is cheaper" in says(watts, 2, moving=True)
    assert "knows no pool's figures" in says(watts, 2)


def test_an_answer_that_is_not_the_best_says_so() -> None:
    there = case(on())
    rough = fleet(option(current=1), counts=(1,), rps=0.0)
    assert "stopped early" not in says(there, answer=rough)
    assert "stopped early" in says(there, answer=replace(rough, bound=1.0))


def lacks(c: Case, counts: tuple[int, ...], left: Bounds = ROOMY, **asked: Any) -> Any:
    """Why a fleet of so many replicas at each place falls short."""
    options = [
        option(p.name, current=p.supply, devices=p.parallelism.devices, rps=p.usable_rps or RPS)
        for p in c.places
    ]
    values: dict[str, Any] = {"rps": c.grow_rps, "minimum": 1} | asked
    return shortfall(outcome(c, *counts, answer=fleet(*options, counts=counts, **values),
                             left=left))  # fmt: skip


FULL = Bounds(free=(("h100", 0),), money=math.inf, devices=99)


def test_what_is_covered_or_within_rounding_falls_short_of_nothing() -> None:
    assert lacks(case(on(replicas=4), **DEMAND), (4,)) == (None, "")
    # What runs covers it with half of the headroom: nothing is asked for.
    assert lacks(case(on(), grow_rps=1.2 * RPS), (1,)) == (None, "")
    hair = case(on(), grow_rps=16.0 * (1.0 + 1e-7))
    assert lacks(hair, (2,)) == (None, "")


@pytest.mark.parametrize(
    ("counts", "surge", "reason", "said"),
    [
        ((2,), 1, Reason.MAX_REPLICAS_REACHED, "14 req/s of 30 req/s are not covered: max"),
        ((3,), 1, Reason.MAX_REPLICAS_REACHED, "6 req/s of 30 req/s are not covered: max"),
        # It is at its maximum until what it does without is gone.
        ((0,), 0, Reason.MAX_REPLICAS_REACHED, "30 req/s of 30 req/s are not covered: max"),
        ((2,), 2, Reason.CAPACITY_SHORT, "14 req/s of 30 req/s are not covered: no pool"),
    ],
)
def test_the_maximum_is_named_where_it_binds(
    counts: tuple[int, ...], surge: int, reason: Reason, said: str
) -> None:
    found = lacks(case(on(), **DEMAND), counts, FULL, surge=surge)
    assert found[0] is reason
    assert found[1].startswith(said)


def test_replicas_below_the_minimum_are_counted() -> None:
    found = lacks(case(on()), (1,), FULL, minimum=3)
    assert found == (
        Reason.CAPACITY_SHORT,
        "2 replicas below the minimum: no pool that can serve it has devices left",
    )


@pytest.mark.parametrize(
    ("money", "devices", "text"),
    [(3.5, 99, "the budget leaves $3.50/h"), (4.0, 0, "the budget leaves 0 devices")],
)
def test_a_budget_is_named_where_devices_are_free(money: float, devices: int, text: str) -> None:
    left = Bounds(free=(("h100", 1),), money=money, devices=devices)
    reason, said = lacks(case(on(), **DEMAND), (1,), left)
    assert reason is Reason.BUDGET_REACHED
    assert said.endswith(text)


def test_a_cap_below_the_price_of_a_replica_is_named_and_no_device_is_missed() -> None:
    said = "one replica costs $2.50/h, maxPerHour is $0.50"
    dear = choice(refusal=Verdict.OVER_BUDGET, message=said)
    idle = Bounds(free=(("h100", 8),), money=math.inf, devices=99)
    assert lacks(case(on(), choices=(dear,), **DEMAND), (1,), idle) == (
        Reason.BUDGET_REACHED,
        f"22 req/s of 30 req/s are not covered: {said}",
    )


def test_fragments_and_short_pools_are_named() -> None:
    two = choice(parallelism=Parallelism(tensor=2))
    wide = case(on(parallelism=Parallelism(tensor=2)), choices=(two,), **DEMAND)
    left = Bounds(free=(("h100", 2),), money=math.inf, devices=99, blocks=(("h100", 2, 0),))
    reason, said = lacks(wide, (1,), left)
    assert reason is Reason.CAPACITY_SHORT
    assert said.endswith("on h100 2 devices are free and no node has 2 of them")
    one = Bounds(free=(("h100", 1),), money=math.inf, devices=99)
    assert lacks(wide, (1,), one)[1].endswith("no pool that can serve it has devices left")
    short = choice(state=pool_state(short=True), refusal=Verdict.POOL_SHORT)
    assert lacks(case(on(), choices=(short,), **DEMAND), (1,), FULL) == (
        Reason.POOL_SHORT,
        "22 req/s of 30 req/s are not covered: pods wait in vain on h100",
    )


def test_a_pool_that_may_not_be_asked_has_no_room() -> None:
    closed = choice(refusal=Verdict.NO_PRICE)
    assert lacks(case(on(), choices=(closed,), **DEMAND), (1,))[0] is Reason.CAPACITY_SHORT
    there = case(on(), **DEMAND)
    slow = fleet(option(upper=0), counts=(1,), rps=30.0)
    assert shortfall(outcome(there, 1, answer=slow))[0] is Reason.CAPACITY_SHORT


def test_what_is_lacking_is_named_however_little() -> None:
    assert lacks(case(on(), grow_rps=16.5), (2,), FULL)[1].startswith("0.5 req/s of 16.5 req/s")


def test_only_the_pools_that_are_short_are_named() -> None:
    short = choice("a", state=pool_state("a", short=True), refusal=Verdict.POOL_SHORT)
    closed = choice("b", refusal=Verdict.OVER_BUDGET)
    there = case(on("a"), on("gone"), choices=(short, closed), **DEMAND)
    assert lacks(there, (1, 0, 1), FULL)[1].endswith("wait in vain on a")


def test_energy_says_what_is_drawn_and_what_is_taken_for_want_of_others() -> None:
    known = choice("a", power=Power(rated_w=700.0, busy=1.0))
    blind = choice("b")
    there = case(on("a"), on("b"), choices=(known, blind), objective=Objective.MINIMIZE_ENERGY)
    said = says(there, 1, 0)
    assert "and 700 W" in said
    assert "Taken for want" not in said
    said = says(there, 0, 1)
    assert "and an unknown power" in said
    assert said.endswith("Taken for want of others: b: its power is unknown: set spec.hardware "
                         "of the pool with watts.")  # fmt: skip
