"""Why a replica may not be added although one could serve: placement, price, room, and sense."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from trimtab.api.policy import Objective
from trimtab.catalog import accelerators
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import Verdict
from trimtab.planner.choice import Choice
from trimtab.planner.query import Query
from trimtab.planner.shortage import PoolState
from trimtab.units import format_money

ABSURD = 25.0
"""A request/s that costs so many times what it costs elsewhere is not bought."""


def refusal_of_pool(query: Query, state: PoolState) -> tuple[Verdict, str] | None:
    """Return why the policy or the catalogue rules a pool out, and the remedy."""
    pool, policy, placement = state.pool, query.policy, query.policy.placement
    if placement.pools is not None and pool.name not in placement.pools:
        return Verdict.NOT_ALLOWED, "spec.placement.pools does not name it"
    if pool.name in (placement.exclude_pools or ()):
        return Verdict.NOT_ALLOWED, "spec.placement.excludePools names it"
    if placement.accelerators is not None and not any(
        _same_accelerator(name, pool.accelerator_name) for name in placement.accelerators
    ):
        return (
            Verdict.NOT_ALLOWED,
            f"spec.placement.accelerators does not name {pool.accelerator_name}",
        )
    if pool.capacity_type not in policy.capacity_types:
        allowed = ", ".join(sorted(policy.capacity_types))
        return (
            Verdict.NOT_ALLOWED,
            f"it is {pool.capacity_type}, and spec.cost.capacityTypes allows {allowed}",
        )
    if pool.accelerator is None:
        return (
            Verdict.UNKNOWN_ACCELERATOR,
            f"the catalogue does not know {pool.accelerator_name}: set spec.hardware of the pool",
        )
    if query.geometry is None:
        return (
            Verdict.UNKNOWN_MODEL,
            f"the catalogue does not know {query.state.spec.model.name}: "
            "set spec.model.architecture",
        )
    return None


def refusal_of_replica(
    query: Query, state: PoolState, parallelism: Parallelism, price: float | None
) -> tuple[Verdict, str] | None:
    """Return why no replica may be added although one could serve."""
    cap = query.policy.max_usd_per_hour
    if state.short:
        return Verdict.POOL_SHORT, "pods wait there in vain: the pool rests and is tried again"
    if state.late:
        return Verdict.POOL_SHORT, "pods wait there for longer than nodes take"
    if state.limit < parallelism.devices:
        return (
            Verdict.NO_CAPACITY,
            f"one replica needs {parallelism.devices} devices, the pool has {state.limit}",
        )
    if cap is not None and price is not None and price > cap:
        return (
            Verdict.OVER_BUDGET,
            f"one replica costs ${format_money(price)}/h, maxPerHour is ${format_money(cap)}",
        )
    return None


def without_price(choices: Sequence[Choice], objective: Objective) -> list[Choice]:
    """Refuse growth without a price where something priced can serve and cost decides."""
    priced = any(c.capacity and c.price is not None and c.stays for c in choices)
    if objective is not Objective.MINIMIZE_COST or not priced:
        return list(choices)
    text = "no price is known: set spec.price of the pool"
    return [
        replace(c, refusal=Verdict.NO_PRICE, message=text) if c.grows and c.price is None else c
        for c in choices
    ]


def absurd(choices: Iterable[Choice]) -> Iterator[Choice]:
    """Refuse growth where a request/s costs ABSURD times what the cheapest way costs."""
    choices = tuple(choices)
    ratios = [c.price / c.usable_rps for c in choices if c.grows and c.price]
    least = min(ratios, default=math.inf)
    for c in choices:
        if c.grows and c.price and c.price / c.usable_rps > ABSURD * least:
            text = (
                f"a request/s costs ${format_money(c.price / c.usable_rps)}/h, "
                f"elsewhere ${format_money(least)}/h"
            )
            yield replace(c, refusal=Verdict.DEARER, message=text)
        else:
            yield c


def _same_accelerator(left: str, right: str) -> bool:
    one, other = accelerators.get(left), accelerators.get(right)
    return left == right or (one is not None and one == other)
