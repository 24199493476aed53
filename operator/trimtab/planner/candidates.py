"""Every way to place a replica of one deployment, what one does there, and why some cannot be."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from trimtab.api.policy import CapacityType, Objective
from trimtab.catalog import accelerators
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible, LatencyPrediction, ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import Key
from trimtab.performance.capacity import (
    CapacityRequest,
    nearest,
    predict,
    replica_capacity,
    replica_of,
)
from trimtab.performance.outlook import saturation_rate
from trimtab.performance.reach import Nearest
from trimtab.performance.together import together
from trimtab.planner.power import Offer, Power, grams, weights
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


POWERED = frozenset({Objective.MINIMIZE_ENERGY, Objective.MINIMIZE_CARBON})
"""Objectives that ask what replicas draw."""

_MISSED = frozenset({Verdict.MISSES_TTFT, Verdict.MISSES_ITL, Verdict.MISSES_E2E})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to place a replica."""

    state: PoolState
    """What it offers; `promised` may be that of an earlier plan."""
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
    nearest: LatencyTargets | None = None
    """The nearest targets that any replica meets, where no choice meets those that are asked and
    this one comes closest; else None."""
    power: Power | None = None
    """What one replica draws, where that is the objective and known; else None."""
    weight: float | None = None
    """What the programme weighs one replica at, in $/h: its price, or what energy or carbon are
    worth; None when unknown."""

    def burden(self, objective: Objective) -> float | None:
        """Return what `objective` counts of one replica: $/h, W or gCO2/h; None when unknown."""
        if objective not in POWERED:
            return self.price
        watts = None if self.power is None else self.power.at(1.0)
        if objective is Objective.MINIMIZE_ENERGY:
            return watts
        return grams(watts, self.state.pool.carbon_g_per_kwh)

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
    """Return every choice, sorted by pool and parallelism; each refusal says why.

    The last answer of each deployment is kept: hundreds of choices stay as they are for as long as
    pools, policy and requests do.
    """
    known = _answers.get(query.state.key)
    inputs = _inputs(query)
    if known is not None and known[0] == inputs:
        return known[1]
    bench = _Bench(query)
    found = [choice for name in sorted(query.pools) for choice in _of_pool(bench, name)]
    objective = query.policy.objective
    choices = tuple(_absurd(_priced(_weighed(_reachable(bench, found), objective), objective)))
    _answers.pop(query.state.key, None)
    while len(_answers) >= REMEMBERED:
        del _answers[next(iter(_answers))]
    _answers[query.state.key] = inputs, choices
    return choices


def capacity_at(query: Query, choice: Choice, shape: TokenShape) -> float | None:
    """Return the rate that one replica of `choice` sustains of requests of `shape`, or None."""
    bench = _Bench(replace(query, shape=shape))
    answer = bench.capacity(choice.state, choice.parallelism)
    return answer.max_rps if isinstance(answer, ReplicaCapacity) else None


def _inputs(query: Query) -> tuple[object, ...]:
    """Return all that the choices follow from, to compare."""
    state = query.state
    return (
        query.speeds.market(query.pools),
        query.config,
        query.policy,
        query.geometry,
        query.engine,
        query.shape,
        query.most_rps,
        state.spec.model.name,
        frozenset((v.pool, v.parallelism) for v in state.variants),
        query.lessons.used(state.key),
    )


_answers: dict[Key, tuple[tuple[object, ...], tuple[Choice, ...]]] = {}
REMEMBERED = 2048
"""Deployments whose choices are kept, those that were asked for last."""


class _Bench:
    """What one replica of a deployment can do, looked up once for pools of the same devices."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self._taught = query.lessons.pools(query.state.key)
        self._found: dict[tuple[object, ...], _Figures] = {}

    def capacity(
        self, state: PoolState, parallelism: Parallelism
    ) -> ReplicaCapacity | Infeasible | None:
        """Return what one replica does, why it cannot, or None when its figures are unknown."""
        return self._figures(state, parallelism).capacity

    def wait_s(self, state: PoolState, parallelism: Parallelism) -> float | None:
        """Return the wait at half of the largest rate: all choices are compared equally busy."""
        if self.query.policy.objective is not Objective.MINIMIZE_LATENCY:
            return None
        found = self._figures(state, parallelism)
        if found.request is None or not isinstance(found.capacity, ReplicaCapacity):
            return None
        answer = predict(found.request, found.capacity.max_rps / 2.0)
        return answer.e2e_s if isinstance(answer, LatencyPrediction) else None

    def power(self, state: PoolState, parallelism: Parallelism, usable_rps: float) -> Power | None:
        """Return what one replica draws that is given `usable_rps`, where that is asked."""
        if self.query.policy.objective not in POWERED or usable_rps <= 0:
            return None
        request, accelerator = self._figures(state, parallelism).request, state.pool.accelerator
        if request is None or accelerator is None or accelerator.watts is None:
            return None
        replica = replica_of(request)
        if isinstance(replica, Infeasible):
            return None
        return Power(
            rated_w=accelerator.watts * parallelism.devices,
            busy=min(1.0, usable_rps / saturation_rate(replica)),
        )

    def nearest(self, state: PoolState, parallelism: Parallelism) -> LatencyTargets | None:
        """Return the nearest targets that one replica meets, None where it does not fit."""
        request = self._figures(state, parallelism).request
        answer = None if request is None else nearest(request)
        return answer.targets if isinstance(answer, Nearest) else None

    def _figures(self, state: PoolState, parallelism: Parallelism) -> "_Figures":
        pool = state.pool
        # Replicas on a pool teach that pool first, and others of the same devices after.
        own = pool.name if pool.name in self._taught else ""
        key = (pool.accelerator, pool.devices_per_node, parallelism, own)
        if key not in self._found:
            request = request_of(self.query, state, parallelism)
            if request is not None and self.query.policy.dealt:
                request = together(request, self.query.most_rps)
            capacity = None if request is None else _capacity(request, pool.devices_per_node)
            self._found[key] = _Figures(request=request, capacity=capacity)
        return self._found[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Figures:
    request: CapacityRequest | None
    capacity: ReplicaCapacity | Infeasible | None


def _of_pool(bench: _Bench, name: str) -> Iterator[Choice]:
    query = bench.query
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
        yield _choice(bench, state, parallelism, own, running=parallelism in running)


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
    bench: _Bench,
    state: PoolState,
    parallelism: Parallelism,
    refusal: tuple[Verdict, str] | None,
    *,
    running: bool,
) -> Choice:
    query, pool = bench.query, state.pool
    price = None if pool.price is None else pool.price.usd_per_hour * parallelism.devices
    capacity: ReplicaCapacity | None = None
    # What is not allowed is looked at where it serves, or as the baseline of the saving.
    if refusal is None or running or pool.capacity_type is CapacityType.ON_DEMAND:
        answer = bench.capacity(state, parallelism)
        if isinstance(answer, ReplicaCapacity):
            capacity = answer
        elif refusal is None and answer is not None:
            refusal = _verdict(answer), answer.message
    if refusal is None:
        refusal = _limits(query, state, parallelism, price)
    unsure = 0.0 if capacity is None else capacity.uncertainty
    rate = 0.0 if capacity is None else capacity.max_rps
    headroom = query.config.headroom
    usable_rps = rate * max(LEAST_SHARE, 1.0 - headroom - unsure)
    return Choice(
        state=state,
        parallelism=parallelism,
        refusal=refusal[0] if refusal else None,
        message=refusal[1] if refusal else "",
        capacity=capacity,
        usable_rps=usable_rps,
        tight_rps=rate * max(LEAST_SHARE, 1.0 - headroom / 2.0 - unsure),
        price=price,
        wait_s=None if capacity is None else bench.wait_s(state, parallelism),
        power=bench.power(state, parallelism, usable_rps),
        weight=price,
    )


def _capacity(request: CapacityRequest, per_node: int) -> ReplicaCapacity | Infeasible:
    parallelism, heads = request.parallelism, request.geometry.heads
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


def _reachable(bench: _Bench, choices: list[Choice]) -> list[Choice]:
    """Say the nearest targets that can be met where none of the choices meets those asked."""
    missed = [c for c in choices if c.refusal in _MISSED]
    if not missed or any(c.capacity is not None for c in choices):
        return choices
    found = [(bench.nearest(c.state, c.parallelism), c) for c in missed]
    asked = bench.query.policy.targets

    def far(targets: LatencyTargets) -> float:
        """Return how much longer than asked the worst of the targets is."""
        pairs = (
            (targets.ttft_s, asked.ttft_s),
            (targets.itl_s, asked.itl_s),
            (targets.e2e_s, asked.e2e_s),
        )
        return max(met / wish for met, wish in pairs if met is not None and wish is not None)

    near = [(far(targets), c, targets) for targets, c in found if targets is not None]
    if not near:
        return choices
    _, best, targets = min(near, key=lambda one: (one[0], one[1].state.pool.name))
    return [replace(c, nearest=targets) if c is best else c for c in choices]


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


def _weighed(choices: list[Choice], objective: Objective) -> list[Choice]:
    """Weigh what energy or carbon decide on as money, so that all objectives share pools alike."""
    if objective not in POWERED:
        return choices
    found = weights(
        [Offer(burden=c.burden(objective), price=c.price, rps=c.usable_rps) for c in choices]
    )
    return [replace(c, weight=weight) for c, weight in zip(choices, found, strict=True)]


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
