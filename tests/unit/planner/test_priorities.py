"""A full pool: the less important give replicas to the more important, and to nobody else."""

import pytest

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import Why
from trimtab.models.signals import Partial, Stale

USABLE = 13.6
"""Requests/s that one replica is given (fleetworld.profiles)."""


def crowded(devices: int = 4, **batch: object) -> FleetWorld:
    """Four devices: one for chat, which is important, and all others for batch."""
    chat = planned(name="chat", priority=500, placement={"tensorParallel": [1]})
    other = planned(
        name="batch", **({"priority": 50, "placement": {"tensorParallel": [1]}} | batch)
    )
    pool = catalogue_pool(
        "h100", "nvidia-h100-sxm", 2.0, nodes=1, devices=devices, devices_per_node=devices
    )
    there = FleetWorld(pools=[pool], deployments={s.key: s for s in (chat, other)})
    there.set_load(fresh_load(0.8 * USABLE), "chat")
    there.set_load(fresh_load(0.9 * (devices - 1) * USABLE), "batch")
    there.run(900.0)
    assert (there.replicas("chat"), there.replicas("batch")) == (1, devices - 1)
    return there


def test_what_is_more_important_gets_what_it_needs_at_once() -> None:
    there = crowded()
    there.set_load(fresh_load(2.7 * USABLE), "chat")
    reasons = [decision_for(there.tick(), "batch").why for _ in range(8)]
    assert (there.replicas("chat"), there.replicas("batch")) == (3, 1)
    assert Why.CAPACITY_SHORT in reasons


def test_each_keeps_one_and_what_it_needs_at_least() -> None:
    there = crowded()
    there.set_load(fresh_load(20.0 * USABLE), "chat")
    there.run(300.0)
    assert (there.replicas("chat"), there.replicas("batch")) == (3, 1)
    there = crowded(scaling={"minReplicas": 2, "maxReplicas": 20})
    there.set_load(fresh_load(20.0 * USABLE), "chat")
    there.run(300.0)
    assert (there.replicas("chat"), there.replicas("batch")) == (2, 2)


def test_a_step_is_given_in_every_plan_and_none_waits_for_the_one_before_to_be_gone() -> None:
    there = crowded()
    there.drain_s = 600.0
    there.set_load(fresh_load(2.7 * USABLE), "chat")
    there.tick()
    assert there.replicas("batch") == 2
    there.tick()
    assert there.replicas("batch") == 1
    assert there.replicas("chat") == 1


def test_what_replicas_that_report_serve_is_sure_and_takes_what_it_lacks() -> None:
    there = crowded()
    partial = Partial(value=2.7 * USABLE, reporting=1, expected=2)
    there.set_load(fresh_load(0.0, arrival_rps=partial), "chat")
    there.tick()
    assert there.replicas("batch") == 2
    there.run(120.0)
    assert (there.replicas("chat"), there.replicas("batch")) == (3, 1)


def test_what_covers_its_demand_takes_nothing_for_what_its_window_held() -> None:
    there = crowded()
    there.set_load(fresh_load(2.7 * USABLE), "chat")
    there.tick()
    there.set_load(fresh_load(1.5 * USABLE), "chat")
    assert there.replicas("batch") == 2
    for _ in range(40):
        there.tick()
        assert (there.replicas("chat"), there.replicas("batch")) == (2, 2)


def test_it_comes_back_when_the_pool_has_room_again() -> None:
    there = crowded()
    there.set_load(fresh_load(2.7 * USABLE), "chat")
    there.run(300.0)
    there.set_load(fresh_load(0.8 * USABLE), "chat")
    there.run(3600.0)
    assert (there.replicas("chat"), there.replicas("batch")) == (1, 3)


@pytest.mark.parametrize(
    "load",
    [
        fresh_load(20.0 * USABLE, arrival_rps=Stale(value=20.0 * USABLE, age_s=300.0)),
        ObservedLoad(source_error="down"),
    ],
)
def test_a_doubtful_demand_takes_nothing(load: ObservedLoad) -> None:
    there = crowded()
    there.set_load(load, "chat")
    there.run(600.0)
    assert there.replicas("batch") == 3


@pytest.mark.parametrize(
    "load",
    [
        fresh_load(0.9 * 3 * USABLE, arrival_rps=Stale(value=0.9 * 3 * USABLE, age_s=300.0)),
        ObservedLoad(source_error="down"),
    ],
)
def test_nothing_is_taken_from_a_doubtful_demand(load: ObservedLoad) -> None:
    there = crowded()
    there.set_load(load, "batch")
    there.set_load(fresh_load(20.0 * USABLE), "chat")
    there.run(600.0)
    assert there.replicas("batch") == 3


def test_equals_take_nothing_from_each_other() -> None:
    there = crowded(priority=500)
    there.set_load(fresh_load(20.0 * USABLE), "chat")
    there.run(600.0)
    assert there.replicas("batch") == 3


def test_nothing_is_taken_from_what_may_only_grow() -> None:
    there = crowded()
    (key,) = [key for key in there.deployments if key.name == "batch"]
    there.deployments[key] = planned(
        name="batch", priority=50, mode="ScaleUpOnly", placement={"tensorParallel": [1]}
    )
    there.set_load(fresh_load(0.9 * 3 * USABLE), "batch")
    there.set_load(fresh_load(20.0 * USABLE), "chat")
    there.run(600.0)
    assert there.replicas("batch") == 3
