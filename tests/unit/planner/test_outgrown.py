"""Where growth would cost more than another mix by enough, the move takes its place at once."""

from typing import Any

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.models.plan import Why

SMALL = catalogue_pool("small", "nvidia-l40s", 1.0)


def there(large_usd: float, **spec: Any) -> FleetWorld:
    """Three small replicas, which are full; one large one serves as much as six of them."""
    large = catalogue_pool("large", "nvidia-h100-sxm", large_usd)
    state = planned(
        placement={"tensorParallel": [1]},
        workload={"inputTokens": 1000, "outputTokens": 250, "requestsPerSecond": "6"},
        **spec,
    )
    world = FleetWorld(pools=[SMALL, large], deployments={state.key: state}, profiles=())
    world.set_load(fresh_load(6.0))
    world.run(900.0)
    assert counts(world) == {"small": 3}
    return world


def counts(world: FleetWorld) -> dict[str, int]:
    (places,) = world.pods.values()
    return {pool: len(pods) for (pool, _), pods in places.items() if pods}


def test_the_move_takes_the_place_of_the_growth_and_the_old_replica_stays_until_it_is_done() -> (
    None
):
    world = there(large_usd=3.3)
    world.set_load(fresh_load(12.0))
    decision = decision_for(world.tick(), "chat")
    assert decision.why is Why.CHEAPER_POOL
    assert counts(world) == {"small": 3, "large": 1}
    world.run(300.0)
    assert counts(world) == {"large": 1}


def test_what_saves_less_waits_for_its_window() -> None:
    world = there(large_usd=4.5)
    world.set_load(fresh_load(12.0))
    decision = decision_for(world.tick(), "chat")
    assert decision.why is Why.DEMAND_ROSE
    assert "large" not in counts(world)


def test_what_may_only_grow_grows() -> None:
    world = there(large_usd=3.3, mode="ScaleUpOnly")
    world.set_load(fresh_load(12.0))
    world.run(300.0)
    assert counts(world) == {"small": 5}
