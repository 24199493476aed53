"""Every way to place a replica of one deployment, what one does there, and why some cannot be."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trimtab.api.policy import CapacityType, Objective
from trimtab.catalog import accelerators
from trimtab.models.hardware import Parallelism
from trimtab.models.load import TokenShape
from trimtab.models.performance import Infeasible, LatencyPrediction, ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.performance.capacity import predict, replica_capacity
from trimtab.planner.query import Query, request_of
from trimtab.planner.shortage import PoolState
from trimtab.units import format_money

DEGREES = (1, 2, 4, 8)
"""Devices of one replica that are tried where the user names none."""
LEAST_SHARE = 0.25
"""Share of a replica's capacity that is used however unsure it is."""
ABSURD = 25.0
"""A request/s that costs so many times what it costs elsewhere is not bought."""

_LEAVES = frozenset(
    {
        Verdict.DOES_NOT_FIT,
        Verdict.MISSES_TTFT,
        Verdict.MISSES_ITL,
        Verdict.MISSES_E2E,
        Verdict.NOT_ALLOWED,
        Verdict.UNKNOWN_ACCELERATOR,
        Verdict.UNKNOWN_MODEL,
    }
)
"""Verdicts under which what runs is moved elsewhere; under the others it only does not grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to place a replica."""

    state: PoolState
    parallelism: Parallelism
    refusal: Verdict | None
    """Why no replica may be added, or None."""
    message: str
    """The refusal in one sentence."""
    capacity: ReplicaCapacity | None
    """None when it cannot serve, or was not looked at."""
    usable_rps: float
    """What one replica is given, with headroom and doubt taken off; 0 without a capacity."""
    tight_rps: float
    """The same with half of the headroom: what a fleet that exists may be asked before it grows."""
    price: float | None
    """$/h of one replica."""
    wait_s: float | None
    """Mean-load wait of a request from end to end, where latency is the objective; else None."""

    @property
    def key(self) -> tuple[str, Parallelism]:
        """Pool and parallelism, as variants have them."""
        return self.state.pool.name, self.parallelism

    @property
    def grows(self) -> bool:
        """Whether replicas may be added."""
        return self.refusal is None

    @property
    def stays(self) -> bool:
        """Whether replicas that exist may stay."""
        return self.refusal not in _LEAVES


def choices_of(query: Query) -> tuple[Choice, ...]:
    """Return every choice, sorted by pool and parallelism; each refusal says why."""
    found = [choice for name in sorted(query.pools) for choice in _of_pool(query, name)]
    return tuple(_absurd(_priced(found, query.policy.objective)))


def capacity_at(query: Query, choice: Choice, shape: TokenShape) -> float | None:
    """Return the rate that one replica of `choice` sustains of requests of `shape`, or None."""
    answer = _capacity(replace(query, shape=shape), choice.state, choice.parallelism)
    return answer.max_rps if isinstance(answer, ReplicaCapacity) else None


def _of_pool(query: Query, name: str) -> Iterator[Choice]:
    state = query.pools[name]
    running = {v.parallelism for v in query.state.variants if v.pool == name}
    named = query.policy.placement.tensor_parallel
    per_node = state.pool.devices_per_node
    tried = {
        Parallelism(tensor=tensor)
        for tensor in named or DEGREES
        if named or (tensor <= per_node and per_node % tensor == 0)
    }
    refusal = _pool_refusal(query, state)
    if refusal is not None:
        tried = {Parallelism()}
    parallelisms = sorted(tried | running, key=order)
    for parallelism in parallelisms:
        own = refusal
        if own is None and parallelism not in tried:
            own = Verdict.NOT_ALLOWED, f"{degree(parallelism)} is not among the degrees allowed"
        yield _choice(query, state, parallelism, own, running=parallelism in running)


def _pool_refusal(query: Query, state: PoolState) -> tuple[Verdict, str] | None:
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


def _choice(
    query: Query,
    state: PoolState,
    parallelism: Parallelism,
    refusal: tuple[Verdict, str] | None,
    *,
    running: bool,
) -> Choice:
    pool = state.pool
    price = None if pool.price is None else pool.price.usd_per_hour * parallelism.devices
    capacity: ReplicaCapacity | None = None
    # What is not allowed is looked at where it serves, or as the baseline of the saving.
    if refusal is None or running or pool.capacity_type is CapacityType.ON_DEMAND:
        answer = _capacity(query, state, parallelism)
        if isinstance(answer, ReplicaCapacity):
            capacity = answer
        elif refusal is None and answer is not None:
            refusal = _verdict(answer), answer.message
    if refusal is None:
        refusal = _limits(query, state, parallelism, price)
    unsure = 0.0 if capacity is None else capacity.uncertainty
    rate = 0.0 if capacity is None else capacity.max_rps
    headroom = query.config.headroom
    return Choice(
        state=state,
        parallelism=parallelism,
        refusal=refusal[0] if refusal else None,
        message=refusal[1] if refusal else "",
        capacity=capacity,
        usable_rps=rate * max(LEAST_SHARE, 1.0 - headroom - unsure),
        tight_rps=rate * max(LEAST_SHARE, 1.0 - headroom / 2.0 - unsure),
        price=price,
        wait_s=None if capacity is None else _wait_s(query, state, parallelism, rate),
    )


def _wait_s(query: Query, state: PoolState, parallelism: Parallelism, rate: float) -> float | None:
    """Return the wait at half of the largest rate: all choices are compared equally busy."""
    request = request_of(query, state, parallelism)
    if query.policy.objective is not Objective.MINIMIZE_LATENCY or request is None:
        return None
    answer = predict(request, rate / 2.0)
    return answer.e2e_s if isinstance(answer, LatencyPrediction) else None


def _capacity(
    query: Query, state: PoolState, parallelism: Parallelism
) -> ReplicaCapacity | Infeasible | None:
    """Return what one replica does, why it cannot, or None when its figures are unknown."""
    request = request_of(query, state, parallelism)
    if request is None:
        return None
    per_node, heads = state.pool.devices_per_node, request.geometry.heads
    if parallelism.devices > per_node or per_node % parallelism.devices:
        return Infeasible(
            reason=Verdict.DOES_NOT_FIT,
            message=f"{parallelism.devices} devices do not divide the {per_node} of a node",
        )
    if heads % parallelism.tensor:
        return Infeasible(
            reason=Verdict.DOES_NOT_FIT,
            message=f"{heads} attention heads do not spread over {parallelism.tensor}",
        )
    answer = replica_capacity(request)
    if isinstance(answer, ReplicaCapacity) and not (0 < answer.max_rps < math.inf):
        return Infeasible(reason=Verdict.DOES_NOT_FIT, message="it serves no request at all")
    return answer


def _limits(
    query: Query, state: PoolState, parallelism: Parallelism, price: float | None
) -> tuple[Verdict, str] | None:
    """Return why no replica may be added although one could serve."""
    cap = query.policy.max_usd_per_hour
    if state.short:
        return Verdict.POOL_SHORT, "pods wait there in vain: the pool rests and is tried again"
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


def _priced(choices: Sequence[Choice], objective: Objective) -> list[Choice]:
    """Refuse growth without a price where something priced can serve and cost decides."""
    priced = any(c.capacity and c.price is not None and c.stays for c in choices)
    if objective is not Objective.MINIMIZE_COST or not priced:
        return list(choices)
    text = "no price is known: set spec.price of the pool"
    return [
        replace(c, refusal=Verdict.NO_PRICE, message=text) if c.grows and c.price is None else c
        for c in choices
    ]


def _absurd(choices: Iterable[Choice]) -> Iterator[Choice]:
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


def _verdict(answer: Infeasible) -> Verdict:
    known = {verdict.value for verdict in Verdict}
    return Verdict(answer.reason) if answer.reason in known else Verdict.DOES_NOT_FIT


def _same_accelerator(left: str, right: str) -> bool:
    one, other = accelerators.get(left), accelerators.get(right)
    return left == right or (one is not None and one == other)


def degree(parallelism: Parallelism) -> str:
    """Return how a replica spreads, such as `tp4` or `tp8pp2`."""
    parts = (("tp", parallelism.tensor), ("pp", parallelism.pipeline), ("ep", parallelism.expert))
    return "".join(f"{name}{n}" for name, n in parts if n > 1 or name == "tp")


def order(parallelism: Parallelism) -> tuple[int, int, int, int]:
    """Return what parallelisms are sorted by: devices first."""
    return (
        parallelism.devices,
        parallelism.tensor,
        parallelism.pipeline,
        parallelism.expert,
    )
