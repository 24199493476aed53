"""What is said to change an answer does so, in generated worlds, and asking never fails."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from builders import NOW, catalogue_pool, planned, variant_state
from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool, Price
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan
from trimtab.planner.whatif import Lever, fleet_of, whatif

CONFIG = PlannerConfig()
KINDS = ("nvidia-h100-sxm", "nvidia-l40s", "nvidia-l4", "acme-unknown")


@st.composite
def pools(draw: st.DrawFn) -> tuple[Pool, ...]:
    found = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=3))):
        name = f"pool-{number}"
        known = kind if kind != "acme-unknown" else "nvidia-l4"
        pool = catalogue_pool(
            name,
            known,
            draw(st.floats(0.0, 12.0)),
            devices=draw(st.sampled_from([0, 2, 16])),
            capacity_type=draw(st.sampled_from(list(CapacityType))),
        )
        unknown: dict[str, Any] = {"accelerator": None, "accelerator_name": kind}
        pool = replace(pool, **unknown) if kind == "acme-unknown" else pool
        found.append(replace(pool, price=None) if draw(st.integers(0, 5)) == 0 else pool)
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    there = draw(pools())
    workload = {
        "inputTokens": 1024,
        "outputTokens": 256,
        "requestsPerSecond": f"{draw(st.sampled_from([0, 0.2, 6, 90]))}",
    }
    running = [variant_state(pool=pool.name, replicas=1) for pool in there[:1] if pool.devices]
    asked = planned(
        "chat",
        workload=workload,
        latency={"interTokenLatency": draw(st.sampled_from(["12ms", "40ms", "100ms"]))},
        placement={"tensorParallel": [1]},
        scaling={"maxReplicas": draw(st.sampled_from([1, 8, 100]))},
        variants=tuple(running) if draw(st.booleans()) else (),
    )
    other = planned("other", workload=workload, placement={"tensorParallel": [1]})
    states = (asked, other) if draw(st.booleans()) else (asked,)
    return Snapshot(now=NOW, deployments=states, pools=there)


@given(worlds())
@settings(max_examples=40, deadline=None)
def test_every_change_is_a_real_one(world: Snapshot) -> None:
    key = world.deployments[0].key
    found = whatif(world, CONFIG, key)
    assert found == whatif(world, CONFIG, key), "the same world gives the same answer"
    for one in found:
        assert one.message
        assert one.value
        assert one.usd_per_hour is None or one.usd_per_hour >= 0


@given(pools(), st.sampled_from([0.5, 6.0, 40.0]))
@settings(max_examples=30, deadline=None)
def test_a_price_that_wins_or_loses_is_one_at_which_a_first_placement_does(
    there: tuple[Pool, ...], rps: float
) -> None:
    # Alone and not placed yet: here the question is what a plain plan answers, too.
    workload = {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": f"{rps}"}
    state = planned(workload=workload, placement={"tensorParallel": [1]})
    world = Snapshot(now=NOW, deployments=(state,), pools=there)
    for one in whatif(world, CONFIG, state.key):
        if one.lever is not Lever.PRICE:
            continue
        name = one.field.split()[1]
        priced = tuple(
            replace(pool, price=Price(usd_per_hour=float(one.value), source="Test"))
            if pool.name == name
            else pool
            for pool in there
        )
        (decision,) = plan(replace(world, pools=priced), CONFIG).decisions
        assert fleet_of(decision) == one.fleet
        used = any(target.pool == name and target.replicas for target in decision.targets)
        assert used == ("would win" in one.message)
