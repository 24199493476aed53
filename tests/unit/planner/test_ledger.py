"""What additions may take: devices, blocks of nodes, and what budgets leave."""

import math
from typing import Any

import pytest

from builders import planned
from cases import on, pool_state
from trimtab.api.fleetbudget import FleetBudgetSpec
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import Budget, Snapshot
from trimtab.planner.ledger import blocks_of, room_of, spent

STATES = (
    planned("a", variants=(on(replicas=2, pods=3),)),
    planned("b", variants=(on(replicas=1, parallelism=Parallelism(tensor=4)), on("gone", 2))),
)
POOLS = {"h100": pool_state(limit=16, promised=7)}


def room(*names: str, **spec: Any) -> Any:
    budget = Budget(name="cap", spec=FleetBudgetSpec.model_validate(spec))
    states = tuple(state for state in STATES if state.key.name in names)
    snapshot = Snapshot(now=0.0, deployments=states, pools=(POOLS["h100"].pool,), budgets=(budget,))
    return room_of(snapshot, POOLS)


def test_pods_that_exist_or_shall_exist_cost_their_pools_price_and_none_costs_nothing() -> None:
    assert spent(STATES, POOLS) == (3 * 4.0 + 4 * 4.0, 3 + 4 + 2)
    unpriced = {"h100": pool_state(price=None)}
    assert spent(STATES, unpriced) == (0.0, 9)


@pytest.mark.parametrize(
    ("spec", "money", "devices"),
    [
        ({"maxPerHour": "30"}, 2.0, math.inf),
        ({"maxPerHour": "28"}, 0.0, math.inf),
        ({"maxPerHour": "20"}, -8.0, math.inf),
        ({"maxDevices": 11}, math.inf, 2),
        ({"maxDevices": 9}, math.inf, 0),
        ({"maxDevices": 5}, math.inf, 0),
        ({"maxDevices": 0, "maxPerHour": "0"}, -28.0, 0),
    ],
)
def test_a_budget_leaves_what_its_members_do_not_hold(
    spec: dict[str, Any], money: float, devices: float
) -> None:
    found = room("a", "b", **spec)
    assert found.free == {"h100": 9}
    (left,) = found.budgets
    assert (left.name, left.money, left.devices) == ("cap", money, devices)
    assert {key.name for key in left.members} == {"a", "b"}


def blocks(*node_free: int, waiting: Any = (), **over: Any) -> dict[int, int]:
    values: dict[str, Any] = {"limit": sum(node_free), "devices": sum(node_free)} | over
    return blocks_of(pool_state(node_free=node_free, waiting=waiting, **values))


def test_only_blocks_that_are_scarcer_than_devices_count() -> None:
    assert blocks() == {}
    assert blocks(8, 8) == {}
    assert blocks(4, 4) == {8: 0}
    assert blocks(1, 1, 1, 1) == {2: 0, 4: 0}
    assert blocks(3, 3, 2) == {4: 0, 8: 0, 2: 3}
    assert blocks(2, 2, devices_per_node=3) == {3: 0}


def test_nodes_that_may_come_are_whole_and_what_waits_has_taken_its_blocks() -> None:
    assert blocks(4, 4, limit=16) == {8: 1}
    assert blocks(4, 4, limit=8, foreign_devices=8) == {}
    assert blocks(4, 4, waiting=((4, 1),)) == {2: 2, 4: 1, 8: 0}
    assert blocks(4, 4, waiting=((8, 9),)) == {2: 0, 4: 0, 8: 0}
    assert blocks(4, 4, limit=4, devices=12) == {}
