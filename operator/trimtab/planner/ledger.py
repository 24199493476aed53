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
    )


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
        money=max(0.0, money_cap(budget) - money),
        devices=math.inf if most is None else max(0, most - devices),
    )
