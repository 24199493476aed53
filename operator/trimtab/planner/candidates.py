"""Every way to place a replica of one deployment, what one does there, and why some cannot be."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

from trimtab.api.policy import CapacityType, Objective
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible, ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import Key
from trimtab.planner.ability import Bench
from trimtab.planner.choice import MISSED, POWERED, Choice, degree, order
from trimtab.planner.classes import joined
from trimtab.planner.kept import Kept
from trimtab.planner.power import Offer, weights
from trimtab.planner.query import Query
from trimtab.planner.refusal import absurd, refusal_of_pool, refusal_of_replica, without_price
from trimtab.planner.shortage import PoolState

DEGREES = (1, 2, 4, 8)
"""Devices of one replica that are tried where the user names none."""
LEAST_SHARE = 0.25
"""Share of a replica's capacity that is used however unsure it is."""
LEAST_RUNNING, LEAST_NEW = 0.7, 0.25
"""Shares of the rate at a tenth more than the targets that a replica is counted on for at least:
where it runs, alarms tell if that is too much; elsewhere other hardware is to come first."""


def choices_of(query: Query) -> tuple[Choice, ...]:
    """Return every choice, sorted by pool and parallelism; each refusal says why.

    The last answer of each deployment is kept: hundreds of choices stay as they are for as long as
    pools, policy and requests do.
    """
    return _known.answer(query.state.key, _inputs(query), lambda: _all(query))


_known: Kept[Key, tuple[Choice, ...]] = Kept()


def _all(query: Query) -> tuple[Choice, ...]:
    whole = _found(query)
    if not query.classes:
        return whole
    return joined(query.classes, whole, [_found(one) for one in query.each()])


def _found(query: Query) -> tuple[Choice, ...]:
    bench = Bench(query)
    found = [choice for name in sorted(query.pools) for choice in _of_pool(bench, name)]
    objective = query.policy.objective
    fast = _fast_enough(bench, _nearly(bench, found))
    weighed = _weighed(_reachable(bench, fast), objective)
    return tuple(absurd(without_price(weighed, objective)))


def capacity_at(query: Query, choice: Choice, shape: TokenShape) -> float | None:
    """Return the rate that one replica of `choice` sustains of requests of `shape`, or None."""
    bench = Bench(replace(query, shape=shape))
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
        query.classes,
        query.proven,
        state.spec.model.name,
        frozenset((v.pool, v.parallelism) for v in state.variants),
        query.lessons.used(state.key),
    )


def _of_pool(bench: Bench, name: str) -> Iterator[Choice]:
    query = bench.query
    state = query.pools[name]
    running = {v.parallelism for v in query.state.variants if v.pool == name}
    named = query.policy.placement.tensor_parallel
    per_node = state.pool.devices_per_node
    tried = {
        _over(tensor)
        for tensor in named or DEGREES
        if named or (tensor <= per_node and per_node % tensor == 0)
    }
    refusal = refusal_of_pool(query, state)
    if refusal is not None:
        tried = {_over(1)}
    parallelisms = sorted(tried | running, key=order)
    for parallelism in parallelisms:
        own = refusal
        if own is None and parallelism not in tried:
            own = Verdict.NOT_ALLOWED, f"{degree(parallelism)} is not among the degrees allowed"
        yield _choice(bench, state, parallelism, own, running=parallelism in running)


@cache
def _over(tensor: int) -> Parallelism:
    """Return the parallelism over `tensor` devices: one object for all of a fleet's choices."""
    return Parallelism(tensor=tensor)


def _choice(
    bench: Bench,
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
        refusal = refusal_of_replica(query, state, parallelism, price)
    choice = Choice(
        state=state,
        parallelism=parallelism,
        refusal=refusal[0] if refusal else None,
        message=refusal[1] if refusal else "",
        capacity=None,
        usable_rps=0.0,
        tight_rps=0.0,
        price=price,
        wait_s=None,
        weight=price,
    )
    return choice if capacity is None else _able(bench, choice, capacity)


def _able(bench: Bench, choice: Choice, capacity: ReplicaCapacity) -> Choice:
    """Return `choice` where one replica has `capacity`."""
    headroom, unsure = bench.query.config.headroom, capacity.uncertainty
    usable_rps = capacity.max_rps * max(LEAST_SHARE, 1.0 - headroom - unsure)
    return replace(
        choice,
        capacity=capacity,
        usable_rps=usable_rps,
        tight_rps=capacity.max_rps * max(LEAST_SHARE, 1.0 - headroom / 2.0 - unsure),
        wait_s=bench.wait_s(choice.state, choice.parallelism),
        power=bench.power(choice.state, choice.parallelism, usable_rps),
    )


def _nearly(bench: Bench, choices: list[Choice]) -> list[Choice]:
    """Count no less on what hardly meets a target than it does at a little more.

    Close to what a request takes alone, a rate falls to nothing within a tenth of the target, and
    times are not known better than that: fleets of a hundred would be bought for five per cent.
    What runs and misses a target by so little stays, where another choice meets it: else the target
    is out of reach, and has to be said to be.
    """
    reached = any(c.grows and c.capacity is not None for c in choices)
    found = []
    for choice in choices:
        runs = bench.query.runs(*choice.key)
        missed = choice.refusal in MISSED
        near = None
        if choice.capacity is not None or (missed and runs and reached):
            near = bench.nearly(choice.state, choice.parallelism)
        if near is None:
            found.append(choice)
        elif choice.capacity is None:
            found.append(_able(bench, replace(choice, refusal=None, message=""), near))
        else:
            least = near.max_rps * (LEAST_RUNNING if runs else LEAST_NEW)
            able = replace(choice.capacity, max_rps=max(choice.capacity.max_rps, least))
            found.append(_able(bench, choice, able))
    return found


def _fast_enough(bench: Bench, choices: list[Choice]) -> list[Choice]:
    """Refuse what is too slow for the longest requests that were seen, where other choices are not.

    Replicas there would be late for as many, however many there were. What was seen to serve them
    in time is none of it.
    """
    if bench.query.shape.inputs is None:
        return choices
    late = {
        c.key: None if c.key in bench.query.proven else bench.too_long(c.state, c.parallelism)
        for c in choices
        if c.capacity is not None
    }
    if not any(c.grows and late[c.key] is None for c in choices):
        return choices
    return [c if (why := late.get(c.key)) is None else _without(c, why) for c in choices]


def _without(choice: Choice, why: Infeasible) -> Choice:
    return replace(
        choice,
        refusal=choice.refusal or _verdict(why),
        message=choice.message or why.message,
        capacity=None,
        usable_rps=0.0,
        tight_rps=0.0,
    )


def _reachable(bench: Bench, choices: list[Choice]) -> list[Choice]:
    """Say the nearest targets that can be met where none of the choices meets those asked."""
    missed = [c for c in choices if c.refusal in MISSED]
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


def _weighed(choices: list[Choice], objective: Objective) -> list[Choice]:
    """Weigh what energy or carbon decide on as money, so that all objectives share pools alike."""
    if objective not in POWERED:
        return choices
    found = weights(
        [Offer(burden=c.burden(objective), price=c.price, rps=c.usable_rps) for c in choices]
    )
    return [replace(c, weight=weight) for c, weight in zip(choices, found, strict=True)]


def _verdict(answer: Infeasible) -> Verdict:
    known = {verdict.value for verdict in Verdict}
    return Verdict(answer.reason) if answer.reason in known else Verdict.DOES_NOT_FIT
