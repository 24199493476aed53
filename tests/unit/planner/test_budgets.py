"""Caps in money and devices: growth stops there, and Degrade takes from the least important."""

from dataclasses import replace
from typing import Any

import pytest

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.api.conditions import ConditionType, Reason
from trimtab.api.fleetbudget import FleetBudgetSpec
from trimtab.models.plan import Verdict, Why
from trimtab.models.snapshot import Budget, DeploymentState, Key
from trimtab.planner.ledger import bound_by
from trimtab.planner.plan import plan

POOL = catalogue_pool("h100", "nvidia-h100-sxm", 2.0, devices=64)
BUSY = {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "100"}


def budget(**spec: Any) -> Budget:
    return Budget(name="b", spec=FleetBudgetSpec.model_validate(spec))


def world(*states: DeploymentState, budgets: tuple[Budget, ...] = ()) -> FleetWorld:
    return FleetWorld(pools=[POOL], deployments={s.key: s for s in states}, budgets=budgets)


def spent(there: FleetWorld) -> float:
    return 2.0 * there.devices("h100")


def test_a_deployments_own_cap_holds_and_is_named() -> None:
    there = world(planned(workload=BUSY, cost={"maxPerHour": "7"}))
    there.tick()
    decision = there.tick().decisions[0]
    assert spent(there) == 6.0
    assert decision.why is Why.BUDGET
    fact = next(f for f in decision.facts if f.type == ConditionType.CAPACITY_AVAILABLE)
    assert fact.reason == Reason.BUDGET_REACHED
    assert any(c.verdict is Verdict.OVER_BUDGET for c in decision.candidates)


@pytest.mark.parametrize("cap", [{"maxPerHour": "11"}, {"maxDevices": 5}])
def test_a_fleet_budget_holds_over_all_its_deployments(cap: dict[str, Any]) -> None:
    there = world(
        planned("a", workload=BUSY), planned("z", workload=BUSY), budgets=(budget(**cap),)
    )
    there.tick()
    there.tick()
    assert there.devices("h100") == 5
    assert there.replicas("a") >= 1
    assert there.replicas("z") >= 1


def test_pods_on_their_way_out_still_count() -> None:
    there = world(planned("a", workload=BUSY), budgets=(budget(maxPerHour="6"),))
    there.tick()
    snapshot = there.snapshot()
    (state,) = snapshot.deployments
    (variant,) = state.variants
    assert variant.replicas == 3
    for pods, expected in ((3, 1), (1, 3)):
        leaving = replace(variant, replicas=1, pods=pods)
        changed = replace(snapshot, deployments=(replace(state, variants=(leaving,)),))
        decision = plan(changed, there.config).decisions[0]
        assert sum(t.replicas for t in decision.targets) == expected


@pytest.mark.parametrize(("cap", "grown"), [("15.99", 0), ("16", 8)])
@pytest.mark.parametrize("own", [True, False])
def test_beyond_a_cap_nothing_is_added_be_its_price_unknown(
    cap: str, grown: int, own: bool
) -> None:
    there = world(planned("a", workload=BUSY))
    there.tick(60.0)
    assert spent(there) == 16.0
    there.pools.append(replace(POOL, name="unpriced", price=None))
    spec: dict[str, Any] = {"workload": BUSY, "placement": {"pools": ["unpriced"]}}
    if own:
        spec["cost"] = {"maxPerHour": cap}
    else:
        there.budgets = (budget(maxPerHour=cap),)
    state = planned("a", **spec)
    there.deployments = {state.key: state}
    decision = there.tick().decisions[0]
    assert there.replicas(pool="unpriced") == grown
    assert spent(there) == 16.0
    if not grown:
        assert decision.why is Why.BUDGET
        assert "the budget leaves $0.00/h" in decision.message


def test_whom_a_budget_binds() -> None:
    here = planned("a", namespace_labels=(("team", "x"), ("tier", "1")))
    there = replace(planned("b"), key=Key(namespace="other", name="b"))
    states = (here, there)
    assert bound_by(budget(maxPerHour="1"), states) == {here.key, there.key}
    assert bound_by(budget(maxPerHour="1", namespaces=["other"]), states) == {there.key}
    labelled = budget(maxPerHour="1", namespaceLabels={"team": "x"})
    assert bound_by(labelled, states) == {here.key}


def test_holding_at_the_cap_takes_nothing_when_the_cap_falls() -> None:
    there = world(planned("a", workload=BUSY))
    there.set_load(fresh_load(100.0))
    there.run(1200.0)
    before = there.replicas()
    there.budgets = (budget(maxPerHour="2"),)
    there.run(1200.0)
    assert there.replicas() == before


def test_degrading_takes_from_the_least_important_down_to_one_replica() -> None:
    low, high = planned("low", workload=BUSY, priority=1), planned("high", workload=BUSY)
    there = world(low, high)
    there.set_load(fresh_load(100.0))
    there.run(1200.0)
    before = there.replicas("high")
    there.budgets = (budget(maxPerHour=str(2 * before + 2), atCap="Degrade"),)
    decision = decision_for(there.tick(), "low")
    assert decision.why is Why.BUDGET
    there.run(600.0)
    assert there.replicas("low") == 1
    assert there.replicas("high") == before


def test_degrading_makes_room_for_the_more_important_one() -> None:
    low = planned("low", workload=BUSY, priority=1)
    there = world(low, budgets=(budget(maxPerHour="14", atCap="Degrade"),))
    there.set_load(fresh_load(100.0))
    there.run(1200.0)
    assert spent(there) == 14.0
    high = planned("high", priority=500, workload=BUSY)
    there.deployments[high.key] = high
    for _ in range(60):
        there.tick()
        assert spent(there) <= 14.0
    assert there.replicas("low") == 1
    assert there.replicas("high") == 6
    there.run(600.0)
    assert there.replicas("low") == 1


def test_equals_do_not_take_from_each_other() -> None:
    there = world(planned("a", workload=BUSY), budgets=(budget(maxPerHour="14", atCap="Degrade"),))
    there.set_load(fresh_load(100.0))
    there.run(1200.0)
    other = planned("b", workload=BUSY)
    there.deployments[other.key] = other
    there.run(600.0)
    assert there.replicas("a") == 7
    assert there.replicas("b") == 0
