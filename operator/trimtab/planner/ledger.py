"""What additions may take: devices that nobody was promised, and what budgets leave."""

import math
from collections.abc import Iterable, Mapping, Sequence

from trimtab.models.snapshot import Budget, DeploymentState, Key, Snapshot
from trimtab.planner.problem import BudgetRoom, Room
from trimtab.planner.shortage import PoolState, held_pods
from trimtab.units import parse_decimal


def room_of(snapshot: Snapshot, pools: Mapping[str, PoolState]) -> Room:
    """Return the room for additions. What exists, and what leaves but is not gone, is taken."""
    return Room(
        free={name: state.free for name, state in pools.items()},
        budgets=tuple(
            _budget_room(budget, snapshot.deployments, pools) for budget in snapshot.budgets
        ),
        blocks={
            (name, size): free
            for name, state in pools.items()
            for size, free in blocks_of(state).items()
        },
    )


def blocks_of(state: PoolState) -> dict[int, int]:
    """Return the free blocks of each size on nodes that are there or may come.

    Only sizes of which there are fewer than the devices allow: devices that are free on many nodes
    are no room for a replica that needs them on one. What waits for its node has its blocks taken,
    and is smaller than a block placed where it disturbs least.
    """
    pool = state.pool
    if not pool.node_free:
        return {}
    growth = max(0, state.limit + pool.foreign_devices - pool.devices)
    found = {}
    for size in range(2, pool.devices_per_node + 1):
        if pool.devices_per_node % size == 0:
            blocks = sum(free // size for free in pool.node_free) + growth // size
            blocks -= sum(count * (devices // size) for devices, count in state.waiting)
            if blocks < state.free // size:
                found[size] = max(0, blocks)
    return found


def bound_by(budget: Budget, deployments: Iterable[DeploymentState]) -> frozenset[Key]:
    """Return the deployments that share `budget`."""
    spec = budget.spec
    wanted = set((spec.namespace_labels or {}).items())
    return frozenset(
        state.key
        for state in deployments
        if (spec.namespaces is None or state.key.namespace in spec.namespaces)
        and wanted <= set(state.namespace_labels)
    )


def spent(
    deployments: Iterable[DeploymentState], pools: Mapping[str, PoolState]
) -> tuple[float, int]:
    """Return the $/h and the devices that the pods of `deployments` hold; no price counts as 0."""
    money, devices = [], 0
    for state in deployments:
        for variant in state.variants:
            held = held_pods(variant) * variant.parallelism.devices
            devices += held
            pool = pools.get(variant.pool)
            if pool is not None and pool.pool.price is not None:
                money.append(held * pool.pool.price.usd_per_hour)
    return math.fsum(money), devices


def money_cap(budget: Budget) -> float:
    """Return the cap in $/h, infinite without one."""
    cap = budget.spec.max_per_hour
    return math.inf if cap is None else parse_decimal(cap, "spec.maxPerHour")


def _budget_room(
    budget: Budget, deployments: Sequence[DeploymentState], pools: Mapping[str, PoolState]
) -> BudgetRoom:
    members = bound_by(budget, deployments)
    money, devices = spent((state for state in deployments if state.key in members), pools)
    most = budget.spec.max_devices
    return BudgetRoom(
        name=budget.name,
        members=members,
        money=money_cap(budget) - money,
        devices=math.inf if most is None else max(0, most - devices),
    )
