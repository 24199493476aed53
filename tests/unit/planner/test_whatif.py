"""What is said to change the answer does change it, and a little less of it does not."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, catalogue_pool, planned, variant_state
from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.plan import Decision
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.planner.afresh import question_of
from trimtab.planner.plan import plan
from trimtab.planner.whatif import Lever, WhatIf, fleet_of, whatif

CONFIG = PlannerConfig()
H100 = catalogue_pool("h100", "nvidia-h100-sxm", 3.0)
L40S = catalogue_pool("l40s", "nvidia-l40s", 1.9)
SPOT = catalogue_pool("l40s-spot", "nvidia-l40s", 0.2, capacity_type=CapacityType.SPOT)
# Only single devices, so that a test asks about few candidates.
SINGLE = {"tensorParallel": [1]}


def world(*states: DeploymentState, pools: tuple[Pool, ...] = (H100, L40S)) -> Snapshot:
    return Snapshot(now=NOW, deployments=states, pools=pools)


def asked(snapshot: Snapshot, lever: Lever, name: str = "chat") -> list[WhatIf]:
    key = Key(namespace="assistants", name=name)
    return [one for one in whatif(snapshot, CONFIG, key) if one.lever is lever]


def decided(snapshot: Snapshot, name: str = "chat") -> Decision:
    return next(d for d in plan(snapshot, CONFIG).decisions if d.key.name == name)


def repriced(snapshot: Snapshot, name: str, usd: float) -> Snapshot:
    pools = tuple(
        replace(pool, price=replace(pool.price, usd_per_hour=usd))
        if pool.name == name and pool.price is not None
        else pool
        for pool in snapshot.pools
    )
    return replace(snapshot, pools=pools)


def pools_of(decision: Decision) -> set[str]:
    return {target.pool for target in decision.targets if target.replicas}


def test_a_pool_that_lost_wins_at_the_price_that_is_named_and_not_well_above_it() -> None:
    snapshot = world(planned(placement=SINGLE))
    chosen = pools_of(decided(snapshot))
    found = {one.field.split()[1]: one for one in asked(snapshot, Lever.PRICE)}
    lost = set(found) - chosen
    assert lost, "one of the two pools lost and has a price at which it would win"
    for name in lost:
        price = float(found[name].value)
        at, above = repriced(snapshot, name, price), repriced(snapshot, name, price * 1.05)
        assert name in pools_of(decided(at))
        assert name not in pools_of(decided(above))
        assert found[name].fleet == fleet_of(decided(at))
        assert found[name].usd_per_hour == decided(at).usd_per_hour


def test_a_pool_that_won_loses_at_the_price_that_is_named_and_not_well_below_it() -> None:
    snapshot = world(planned(placement=SINGLE))
    chosen = pools_of(decided(snapshot))
    found = [one for one in asked(snapshot, Lever.PRICE) if one.field.split()[1] in chosen]
    assert found
    for one in found:
        name, price = one.field.split()[1], float(one.value)
        assert name not in pools_of(decided(repriced(snapshot, name, price)))
        assert name in pools_of(decided(repriced(snapshot, name, price * 0.95)))


def test_another_demand_is_named_with_the_fleet_that_it_gets() -> None:
    state = planned(placement=SINGLE)
    snapshot = world(state)
    base = fleet_of(decided(snapshot))
    found = asked(snapshot, Lever.DEMAND)
    rates = [float(one.value.split()[0]) for one in found]
    assert min(rates) < 10 < max(rates)
    for one in found:
        question = question_of(snapshot, CONFIG, plan(snapshot, CONFIG).decisions, state.key)
        assert one.fleet != base
        # The value is written with three digits; the fleet is that of the rate itself.
        rate = float(one.value.split()[0])
        near = {
            fleet_of(question.with_policy(prior_rps=rate * factor).answer())
            for factor in (0.995, 1.0, 1.005)
        }
        assert one.fleet in near


def test_a_target_is_named_with_which_a_pool_becomes_feasible() -> None:
    slow = catalogue_pool("l4", "nvidia-l4", 0.1)
    state = planned(placement=SINGLE, latency={"interTokenLatency": "20ms"})
    (found,) = asked(world(state, pools=(H100, slow)), Lever.TARGET)
    assert found.field == "spec.latency.interTokenLatency"
    assert "l4 becomes feasible" in found.message
    milliseconds = float(found.value.removesuffix("ms"))

    def feasible(target: str) -> bool:
        other = planned(placement=SINGLE, latency={"interTokenLatency": target})
        candidates = decided(world(other, pools=(H100, slow))).candidates
        return next(one for one in candidates if one.pool == "l4").capacity is not None

    assert feasible(found.value)
    assert not feasible(f"{milliseconds * 0.9:.0f}ms")


def test_a_pool_that_no_target_helps_is_not_named() -> None:
    tiny = catalogue_pool("t4", "nvidia-t4", 0.1)
    state = planned(model={"name": "meta-llama/Llama-3.1-70B-Instruct"}, placement=SINGLE)
    assert asked(world(state, pools=(tiny,)), Lever.TARGET) == []


def test_spot_is_offered_where_it_would_be_cheaper_and_with_its_risk() -> None:
    (found,) = asked(world(planned(placement=SINGLE), pools=(H100, SPOT)), Lever.PERMISSION)
    assert (found.field, found.value) == ("spec.cost.capacityTypes", "Spot")
    assert "l40s-spot" in found.fleet
    assert "may be taken away" in found.message


def test_spot_that_is_dearer_is_not_offered() -> None:
    dear = replace(SPOT, price=H100.price and replace(H100.price, usd_per_hour=30.0))
    assert asked(world(planned(placement=SINGLE), pools=(H100, dear)), Lever.PERMISSION) == []


def test_a_placement_that_costs_money_is_named() -> None:
    state = planned(placement={"pools": ["l40s"], "tensorParallel": [1]})
    cheap = repriced(world(state), "h100", 0.5)
    fields = [one.field for one in asked(cheap, Lever.PERMISSION)]
    assert fields == ["spec.placement"]


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"scaling": {"maxReplicas": 1}}, "spec.scaling.maxReplicas"),
        ({"cost": {"maxPerHour": "2"}}, "spec.cost.maxPerHour"),
    ],
)
def test_the_limit_that_holds_it_back_is_named(over: dict[str, Any], field: str) -> None:
    workload = {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "60"}
    snapshot = world(planned(placement=SINGLE, workload=workload, **over))
    found = asked(snapshot, Lever.LIMIT)
    assert [one.field for one in found] == [field]
    assert found[0].fleet != fleet_of(decided(snapshot))


def test_pools_that_are_full_are_named_as_the_limit() -> None:
    small = replace(L40S, devices=1, nodes=1)
    (found,) = asked(world(planned(placement=SINGLE), pools=(small,)), Lever.LIMIT)
    assert found.field == "spec.capacity.maxDevices"


def test_a_full_pool_that_would_be_cheaper_is_named_with_the_devices_that_it_lacks() -> None:
    cheap = replace(catalogue_pool("cheap", "nvidia-h100-sxm", 1.0), devices=0, nodes=0)
    snapshot = world(planned(placement=SINGLE), pools=(H100, cheap))
    (found,) = asked(snapshot, Lever.LIMIT)
    assert found.field == "AcceleratorPool cheap spec.capacity.maxDevices"
    enough, fewer = (
        replace(snapshot, pools=(H100, replace(cheap, max_devices=int(found.value) - lack)))
        for lack in (0, 1)
    )
    assert fleet_of(decided(enough)) == found.fleet
    assert fleet_of(decided(fewer)) != found.fleet


def test_what_others_were_given_is_not_given_twice() -> None:
    few = (replace(H100, devices=4), replace(L40S, devices=2))
    mine, other = planned("chat", placement=SINGLE), planned("writer", placement=SINGLE)
    snapshot = world(mine, other, pools=few)
    decisions = plan(snapshot, CONFIG).decisions
    question = question_of(snapshot, CONFIG, decisions, mine.key)
    held = decided(question.world, "writer")
    before = next(d for d in decisions if d.key == other.key)
    assert fleet_of(held) == fleet_of(before)
    assert not held.changed


def test_a_fleet_that_runs_is_asked_about_as_if_it_did_not() -> None:
    # What runs is kept for a while though it is dearer; the question is what would be bought now.
    running = planned(placement=SINGLE, variants=(variant_state(pool="h100", replicas=3, ready=3),))
    fresh = planned(placement=SINGLE)
    left = [one.message for one in asked(world(running), Lever.PRICE)]
    assert left == [one.message for one in asked(world(fresh), Lever.PRICE)]


def test_nothing_is_asked_about_a_spec_that_cannot_be_followed() -> None:
    broken = planned(policy=None, error="it contradicts itself")
    assert whatif(world(broken), CONFIG, broken.key) == ()
    assert whatif(world(broken), CONFIG, Key(namespace="no", name="body")) == ()
