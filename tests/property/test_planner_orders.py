"""Orders and ends of the decision: more load, looser targets, constant input, bounded swings."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import NOW, catalogue_pool, planned, variant_state
from fleetworld import FleetWorld, fresh_load
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.memory import DeploymentMemory, PlannerMemory, WantedSample
from trimtab.models.plan import Decision
from trimtab.models.signals import Partial
from trimtab.models.snapshot import DeploymentState, Snapshot
from trimtab.planner.plan import plan

CONFIG = PlannerConfig()
H100 = catalogue_pool("h100", "nvidia-h100-sxm", 3.5, devices=512)
H200 = catalogue_pool("h200", "nvidia-h200-sxm", 4.4, devices=512)
L40S = catalogue_pool("l40s", "nvidia-l40s", 0.9, devices=512)
POOLS = (H100, H200, L40S)
RATES = st.floats(0.1, 300.0)
WINDOW_S = 300.0


def asked(rps: float, **over: Any) -> DeploymentState:
    """A new deployment whose prior asks for `rps`."""
    workload = {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": f"{rps:.3f}"}
    values: dict[str, Any] = {"workload": workload, "scaling": {"maxReplicas": 500}}
    return planned(**(values | over))


def first(state: DeploymentState, *pools: Pool) -> Decision:
    snapshot = Snapshot(now=NOW, deployments=(state,), pools=pools or POOLS)
    return plan(snapshot, CONFIG).decisions[0]


def total(decision: Decision) -> int:
    return sum(target.replicas for target in decision.targets)


def weight(decision: Decision) -> float:
    assert decision.usd_per_hour is not None
    return decision.usd_per_hour


@given(RATES, st.floats(1.0, 4.0))
@settings(max_examples=60, deadline=None)
def test_more_load_asks_for_no_fewer_replicas_and_no_less_money(rps: float, more: float) -> None:
    one = {"tensorParallel": [1]}
    low, high = asked(rps, placement=one), asked(rps * more, placement=one)
    assert total(first(low, H100)) <= total(first(high, H100))
    # Costs are compared within the solver's gap.
    assert weight(first(asked(rps))) <= weight(first(asked(rps * more))) * (1 + 1e-3)


@given(RATES, st.integers(100, 2000), st.integers(0, 3000))
@settings(max_examples=40, deadline=None)
def test_a_looser_target_costs_no_more(rps: float, ttft: int, looser: int) -> None:
    tight = first(asked(rps, latency={"timeToFirstToken": f"{ttft}ms"}))
    loose = first(asked(rps, latency={"timeToFirstToken": f"{ttft + looser}ms"}))
    if tight.targets:
        assert weight(loose) <= weight(tight) * (1 + 1e-3)


@given(RATES, st.floats(1.01, 5.0))
@settings(max_examples=40, deadline=None)
def test_a_dearer_pool_is_never_preferred_over_an_equal_cheaper_one(
    rps: float, dearer: float
) -> None:
    assert H100.price is not None
    price = replace(H100.price, usd_per_hour=H100.price.usd_per_hour * dearer)
    for name in ("a-twin", "z-twin"):
        decision = first(asked(rps), H100, replace(H100, name=name, price=price))
        assert {target.pool for target in decision.targets} == {"h100"}


def served(decision: Decision, rps: float) -> float:
    """Requests/s of `rps` that the fleet is given."""
    rates = {
        (c.pool, c.parallelism): c.capacity.max_rps * (1 - CONFIG.headroom - c.capacity.uncertainty)
        for c in decision.candidates
        if c.capacity is not None
    }
    given = sum(rates[t.pool, t.parallelism] * t.replicas for t in decision.targets if t.replicas)
    return min(rps, given)


@given(RATES, st.floats(1.0, 200.0), st.floats(1.0, 3.0))
@settings(max_examples=40, deadline=None)
def test_a_larger_cap_serves_no_less(rps: float, cap: float, larger: float) -> None:
    low = first(asked(rps, cost={"maxPerHour": f"{cap:.2f}"}))
    high = first(asked(rps, cost={"maxPerHour": f"{cap * larger + 0.01:.2f}"}))
    assert served(low, rps) <= served(high, rps) * (1 + 1e-3)
    assert weight(low) <= cap + 0.01


def running(replicas: int, rps: float, **over: Any) -> Snapshot:
    """A fleet on h100 that has reported a light load for longer than its window."""
    pods = variant_state(replicas=replicas, ready=replicas, pods=replicas, youngest_ready_s=9000.0)
    state = planned(
        variants=(pods,), load=fresh_load(rps, **over), created=NOW - 9000.0,
        scaling={"maxReplicas": 100}, placement={"pools": ["h100"], "tensorParallel": [1]},
    )  # fmt: skip
    assert state.policy is not None
    known = state.policy.shape
    samples = tuple(
        WantedSample(at=NOW - 15.0 * i, rps=rps / 2, shape=known) for i in range(25, 0, -1)
    )
    memory = DeploymentMemory(
        namespace=state.key.namespace,
        name=state.key.name,
        uid=state.uid,
        samples=samples,
        fresh_since=samples[0].at,
        measured=True,
        shape=known,
    )
    return Snapshot(
        now=NOW, deployments=(state,), pools=POOLS, memory=PlannerMemory(deployments=(memory,))
    )


@given(st.integers(1, 40), RATES, st.floats(1.0, 5.0))
@settings(max_examples=60, deadline=None)
def test_from_one_fleet_more_load_never_ends_in_fewer_replicas(
    replicas: int, rps: float, more: float
) -> None:
    low = plan(running(replicas, rps), CONFIG).decisions[0]
    high = plan(running(replicas, rps * more), CONFIG).decisions[0]
    assert total(low) <= total(high)


@given(st.integers(1, 40), RATES, st.integers(1, 10), st.integers(1, 10))
@settings(max_examples=60, deadline=None)
def test_a_replica_that_does_not_report_never_lets_another_go(
    replicas: int, rps: float, reporting: int, silent: int
) -> None:
    partial = Partial(value=rps, reporting=reporting, expected=reporting + silent)
    decision = plan(running(replicas, rps, arrival_rps=partial), CONFIG).decisions[0]
    whole = plan(running(replicas, rps), CONFIG).decisions[0]
    assert total(decision) >= max(replicas, total(whole) if total(whole) > replicas else 0)


@given(st.integers(1, 60), RATES)
@settings(max_examples=30, deadline=None)
def test_a_constant_load_ends_in_a_fleet_that_stays(replicas: int, rps: float) -> None:
    state = planned(scaling={"maxReplicas": 100}, placement={"tensorParallel": [1]})
    there = FleetWorld(pools=list(POOLS), deployments={state.key: state})
    there.set_load(fresh_load(float(replicas)))
    there.run(600.0)
    start = there.replicas()
    there.set_load(fresh_load(rps))
    sizes = [start]
    for _ in range(8):
        there.tick()
        sizes.append(there.replicas())
    ups = sum(after > before for before, after in pairwise(sizes))
    assert ups <= math.ceil(math.log2(100)) + 1
    # One window, and a step of at most a quarter each fifth of a window.
    steps = math.ceil(math.log(max(sizes)) / math.log(4 / 3)) + max(sizes)
    there.run(WINDOW_S + steps * WINDOW_S / 5 + 3600.0)
    for _ in range(30):
        assert not there.tick().decisions[0].changed


@given(st.lists(st.floats(1.0, 120.0), min_size=2, max_size=8), st.integers(1, 10))
@settings(max_examples=25, deadline=None)
def test_a_bounded_swing_changes_direction_at_most_once_in_a_window(
    levels: list[float], hold: int
) -> None:
    state = planned(scaling={"maxReplicas": 100}, placement={"tensorParallel": [1]})
    there = FleetWorld(pools=[H100], deployments={state.key: state})
    turns: list[float] = []
    last = 0
    for i in range(240):
        there.set_load(fresh_load(levels[(i // hold) % len(levels)]))
        before = there.replicas()
        there.tick()
        move = (there.replicas() > before) - (there.replicas() < before)
        if move and last and move != last:
            turns.append(there.now)
        last = move or last
    # A fall follows a rise by a window at least; the rise after it may come at once.
    for earlier, later in zip(turns, turns[2:], strict=False):
        assert later - earlier >= WINDOW_S


def test_the_light_fleet_of_these_properties_may_fall() -> None:
    assert total(plan(running(10, 5.0), CONFIG).decisions[0]) == 8
