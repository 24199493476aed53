"""Whole plans behind a router that tells classes apart: costs, routes, refusals and removals."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.config import PlannerConfig
from trimtab.models.load import ObservedLoad, mix_of
from trimtab.models.plan import Decision, Verdict
from trimtab.models.policy import resolve
from trimtab.models.signals import Fresh
from trimtab.models.snapshot import DeploymentState, Snapshot
from trimtab.planner.plan import plan

SMALL = {"name": "small", "weight": 19, "inputTokens": 200, "outputTokens": 100}
LARGE = {"name": "large", "weight": 1, "inputTokens": 4000, "outputTokens": 400}
POOLS = (
    catalogue_pool("a10g", "nvidia-a10g", 1.01, devices_per_node=4),
    catalogue_pool("h100", "nvidia-h100-sxm", 6.88),
)


def asked(rps: str = "12", **over: Any) -> DeploymentState:
    """A deployment of many small requests and a few large ones."""
    fields: dict[str, Any] = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct", "quantization": "fp8"},
        "latency": {"timeToFirstToken": "500ms", "interTokenLatency": "40ms"},
        "placement": {"tensorParallel": [1]},
        "routing": "BySize",
        "workload": {"requestsPerSecond": rps, "classes": [SMALL, LARGE]},
    }
    return planned("chat", **(fields | over))


def decided(state: DeploymentState, pools: Any = POOLS) -> Decision:
    snapshot = Snapshot(now=NOW, deployments=(state,), pools=tuple(pools))
    return plan(snapshot, PlannerConfig()).decisions[0]


def counts(decision: Decision) -> dict[str, int]:
    return {target.pool: target.replicas for target in decision.targets if target.replicas}


@pytest.mark.parametrize("rps", ["1", "12", "30", "80"])
def test_it_never_costs_more_than_where_each_replica_gets_the_mix(rps: str) -> None:
    apart, mixed = decided(asked(rps)), decided(asked(rps, routing="LoadAware"))
    assert apart.usd_per_hour is not None
    assert mixed.usd_per_hour is not None
    assert apart.usd_per_hour <= mixed.usd_per_hour + 1e-9


def test_what_cannot_serve_large_requests_serves_small_ones() -> None:
    # Within half a second an A10G reads no large prompt. It takes what one H100 has no room for.
    decisions = [decided(asked(str(rps))) for rps in range(40, 90, 6)]
    mixes = [decision for decision in decisions if "a10g" in counts(decision)]
    assert mixes
    for decision in mixes:
        small, large = decision.routes
        assert {part.pool for part in large.parts} == {"h100"}
        assert {part.pool for part in small.parts} == {"a10g", "h100"}
        assert sum(part.share for part in small.parts) == pytest.approx(1.0)
    # Elsewhere each replica gets large ones too, and an A10G is of no use.
    rates = [decision.demand.rps for decision in mixes]
    others = [decided(asked(f"{rps:g}", routing="LoadAware")) for rps in rates]
    assert all("a10g" not in counts(decision) for decision in others)


def test_other_routers_have_no_routes_and_classes_are_to_them_what_their_mix_is() -> None:
    state = asked(routing="LoadAware")
    assert state.policy is not None
    shape = state.policy.shape
    assert shape.input_tokens == pytest.approx((19 * 200 + 4000) / 20)
    assert shape.output_tokens == pytest.approx((19 * 100 + 400) / 20)
    assert shape.input_cv > 1.5
    assert decided(state).routes == ()


def test_a_class_that_nothing_serves_is_refused_with_its_name() -> None:
    state = asked(latency={"timeToFirstToken": "20ms", "interTokenLatency": "60ms"})
    decision = decided(state)
    assert not counts(decision)
    lost = {candidate.verdict for candidate in decision.candidates}
    assert Verdict.MISSES_TTFT in lost
    assert any("requests of class" in candidate.message for candidate in decision.candidates)


def test_longer_requests_than_expected_make_every_class_longer() -> None:
    state = asked("40")
    assert state.policy is not None
    means = mix_of(state.policy.classes)
    load = fresh_load(
        40.0,
        input_tokens=Fresh(value=2.0 * means.input_tokens),
        output_tokens=Fresh(value=2.0 * means.output_tokens),
    )
    world = FleetWorld(pools=list(POOLS), deployments={state.key: replace(state, load=load)})
    world.run(900.0)
    small, large = decision_for(world.tick(), "chat").routes
    assert large.input_tokens == pytest.approx(8000.0, rel=0.12)
    assert small.output_tokens == pytest.approx(200.0, rel=0.12)
    assert (small.share, large.share) == pytest.approx((19 / 20, 1 / 20))


def settled(rps: float) -> FleetWorld:
    state = asked(str(rps))
    world = FleetWorld(
        pools=list(POOLS), deployments={state.key: replace(state, load=matching(state, rps))}
    )
    world.run(900.0)
    return world


def matching(state: DeploymentState, rps: float) -> ObservedLoad:
    """A load of requests as they are expected."""
    assert state.policy is not None
    means = mix_of(state.policy.classes)
    return fresh_load(
        rps,
        input_tokens=Fresh(value=means.input_tokens),
        output_tokens=Fresh(value=means.output_tokens),
    )


def test_a_live_fleet_follows_the_demand_up_and_down_and_rests() -> None:
    world = settled(10.0)
    few = world.replicas()
    (state,) = world.deployments.values()
    world.set_load(matching(state, 120.0))
    world.run(900.0)
    many = world.replicas()
    assert many > few
    world.set_load(matching(state, 10.0))
    world.run(7200.0)
    assert world.replicas() < many
    assert not any(decision.changed for decision in world.tick().decisions)


def test_nothing_ready_goes_before_what_is_wanted_serves_every_class() -> None:
    world = settled(40.0)
    (state,) = world.deployments.values()
    moved = asked("40", placement={"tensorParallel": [1], "excludePools": ["a10g", "h100"]})
    assert moved.policy is not None
    other = catalogue_pool("other", "nvidia-h100-sxm", 3.0)
    world.pools.append(other)
    world.deployments[state.key] = replace(state, spec=moved.spec, policy=resolve(moved.spec, None))
    before = world.ready()
    world.start_s = 120.0
    for _ in range(6):
        world.tick()
        world.pass_time(15.0)
        if world.ready(pool="other") == 0:
            assert world.ready() == before
    world.run(1800.0)
    assert world.ready(pool="other") == world.ready() > 0
