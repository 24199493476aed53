"""What users of one replica wait: at request rates, or with a number of users who ask in turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trimtab.performance.arithmetic import Array, Number
from trimtab.performance.firsttoken import first_token
from trimtab.performance.latency import latencies
from trimtab.performance.meanfield import (
    Equilibrium,
    Limit,
    Replica,
    equilibrium,
    limit_of,
    prompt_work,
    stacked,
)

LIGHTEST = 1e-3
"""Arrivals in one step, relative to the most, at which a replica counts as idle."""

_ROUNDS = 8
_FLATTEST = 0.01
"""Slope of the rate over arrivals below which it says nothing."""
_NEAR = 1e-9
"""Relative error of a rate at which it is found."""
_CLOSE = 1e-4
"""The same for a number of users."""
_FAINTEST = 1e-2
"""Arrivals relative to LIGHTEST below which nobody asks."""
_WIDE = 4.0
"""Standard deviations beyond the mean of the longest prompts."""
_BLOCK = 1024
"""Loads that are evaluated together: their arrays stay in a processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Times in seconds at several loads; arrays of one length. Infinite beyond saturation."""

    rate: Array
    """Requests per second that are served."""
    ttft_mean_s: Array
    ttft_s: Array
    """At the percentile, like all that are not means."""
    tpot_mean_s: Array
    itl_s: Array
    """The mean gap of a request."""
    gap_s: Array
    """A single gap."""
    e2e_mean_s: Array
    e2e_s: Array
    kv_utilization: Array
    """0 to 1."""
    concurrency: Array
    """Requests in the replica."""
    saturated: NDArray[np.bool_]
    """More is asked than the replica can serve."""


def saturation_rate(replica: Replica) -> float:
    """Return the request rate beyond which the queue of `replica` grows without end."""
    return float(limit_of(replica).rate[0])


def open_loop(replica: Replica, rates: Array, percentile: float) -> Outlook:
    """Return what users wait when `rates` requests per second arrive at random."""
    limit = limit_of(replica)
    most = np.broadcast_to(limit.rate, rates.shape)
    saturated = rates > most
    served = np.minimum(rates, most)
    state = equilibrium(replica, _arrivals_at(replica, served))
    waits = latencies(replica, state, percentile, limit)

    def unless_saturated(values: Array, beyond: Number) -> Array:
        return np.where(saturated, beyond, values)

    in_flight = unless_saturated(np.minimum(waits.in_flight, replica.slots), replica.slots)
    return Outlook(
        rate=served,
        ttft_mean_s=unless_saturated(waits.ttft_mean_s, np.inf),
        ttft_s=unless_saturated(waits.ttft_s, np.inf),
        tpot_mean_s=waits.tpot_mean_s,
        itl_s=waits.itl_s,
        gap_s=waits.gap_s,
        e2e_mean_s=unless_saturated(waits.e2e_mean_s, np.inf),
        e2e_s=unless_saturated(waits.e2e_s, np.inf),
        kv_utilization=np.minimum(in_flight / replica.kv_slots, 1.0),
        concurrency=in_flight,
        saturated=saturated,
    )


def evaluate_many(replicas: Sequence[Replica], rates: Array, percentile: float) -> Outlook:
    """Return `open_loop` of `replicas[i]` at `rates[i]`, for all of them at once.

    Replicas that occur more than once are best the same object. Ten thousand take about half a
    second.
    """
    return _in_blocks(open_loop, replicas, rates, percentile)


def _in_blocks(
    evaluate: Callable[[Replica, Array, float], Outlook],
    replicas: Sequence[Replica],
    loads: Array,
    percentile: float,
) -> Outlook:
    """Return what `evaluate` says of `replicas[i]` under `loads[i]`."""
    places: dict[int, int] = {}
    rows = np.array([places.setdefault(id(one), len(places)) for one in replicas], dtype=np.intp)
    kinds = {places[id(one)]: one for one in replicas}
    parts = []
    for begin in range(0, len(rows), _BLOCK):
        here, of_here = np.unique(rows[begin : begin + _BLOCK], return_inverse=True)
        together = stacked([kinds[int(k)] for k in here], of_here)
        parts.append(evaluate(together, loads[begin : begin + _BLOCK], percentile))
    return Outlook(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Outlook)
        }
    )


def closed_loop(replica: Replica, users: Array, percentile: float) -> Outlook:
    """Return what `users` wait who each ask again as soon as they are answered.

    That is how benchmark tools with a fixed concurrency load an engine. Users beyond the batch
    wait for a place; all start together, which adds `wave` of the others' prompts to the mean TTFT.
    What one of them meets is what the others do, and none waits longer than for all their prompts.
    """
    limit = limit_of(replica)
    most = np.zeros_like(users) + replica.most_arrivals
    full = _held(replica, most, limit)
    arrivals = _arrivals_holding(replica, np.minimum(users, full), (most, full), limit)
    state = equilibrium(replica, arrivals, steady=True)
    inside = np.maximum(np.minimum(users, full), 1.0)
    others = equilibrium(replica, arrivals * np.maximum(1.0 - 1.0 / inside, _FAINTEST), steady=True)
    waits = latencies(replica, others, percentile, limit)
    slower = _churning(replica, state, users - full, limit)
    tpot = _own_step_s(replica, state, inside) * slower
    own_s = first_token(replica, state, limit).own_mean_s
    queue_s = np.maximum(users - full, 0.0) / state.rate * slower
    wave_s = replica.step.wave * np.maximum(users - 1.0, 0.0) * _prompt_alone_s(replica)
    late = np.minimum(replica.step.first_token_steps, replica.lengths.answer - 1.0)
    engine_s = replica.step.request_s + (late + _gathering(replica, state)) * state.step_s
    ttft = own_s + queue_s + wave_s + engine_s
    e2e = ttft + replica.decode_steps * tpot
    each_s = np.minimum(own_s, _prompt_beside_s(replica, state))
    most_s = (inside - 1.0 + _widest(replica)) * each_s

    def later_s(tail: Array, mean: Array, most: Number = most_s) -> Array:
        return np.clip(tail - mean, 0.0, most)

    return Outlook(
        rate=users / e2e,
        ttft_mean_s=ttft,
        ttft_s=ttft + later_s(waits.ttft_s, waits.ttft_mean_s),
        tpot_mean_s=tpot,
        itl_s=tpot + later_s(waits.itl_s, waits.tpot_mean_s, most_s / replica.decode_steps),
        gap_s=waits.gap_s,
        e2e_mean_s=e2e,
        e2e_s=e2e + later_s(waits.e2e_s, waits.e2e_mean_s),
        kv_utilization=np.minimum(users / replica.kv_slots, 1.0),
        concurrency=users,
        saturated=users > full + 1.0,
    )


def _own_step_s(replica: Replica, state: Equilibrium, users: Array) -> Array:
    """Return what a step takes while one certain user of `users` decodes.

    That one is in the batch then, whatever share of the others is, and only prompts of the others
    come beside it (the arrival theorem of closed networks, Reiser and Lavenberg 1980).
    """
    batch = state.batch + 1.0 - np.minimum(state.batch / users, 1.0)
    alone = replica.step.decode_s(batch, batch * replica.lengths.resident)
    return alone + (state.step_s - state.decode_s) * (1.0 - 1.0 / users)


def _churning(replica: Replica, state: Equilibrium, waiting: Array, limit: Limit) -> Array:
    """Return how many times longer steps take while `waiting` users fill what room the cache has.

    So many prompts come in with each request that leaves, and are computed again later, up to what
    its room holds.
    """
    room = np.maximum(replica.lengths.churn / replica.lengths.prompt, 1.0)
    crowd = np.clip(waiting / room, 0.0, 1.0)
    slower: Array = 1.0 + crowd * np.maximum(state.rate / limit.rate - 1.0, 0.0)
    return slower


def _gathering(replica: Replica, state: Equilibrium) -> Array:
    """Return how many steps a request waits until all ranks have a prompt, or the wait ends.

    The first to come waits for all of it, those that come meanwhile for half on average.
    """
    step = replica.step
    whole = np.minimum(step.gather_steps, step.gathered / state.arrivals)
    come = state.arrivals * whole
    waited: Array = whole * (1.0 + 0.5 * come) / (1.0 + come)
    return waited


def _widest(replica: Replica) -> Number:
    """Return how many mean prompts longer the longest prompts of `replica` are."""
    lengths = replica.lengths
    variance = np.maximum(lengths.prompt_square / lengths.prompt**2 - 1.0, 0.0)
    widest: Number = _WIDE * np.sqrt(variance)
    return widest


def closed_loops(replicas: Sequence[Replica], users: Array, percentile: float) -> Outlook:
    """Return `closed_loop` of `replicas[i]` with `users[i]`, for all of them at once."""
    return _in_blocks(closed_loop, replicas, users, percentile)


def _held(replica: Replica, arrivals: Array, limit: Limit) -> Array:
    """Requests that decode or have their prompts worked off, at so many arrivals in a step."""
    state = equilibrium(replica, arrivals, steady=True)
    return state.batch + state.rate * first_token(replica, state, limit).own_mean_s


def _arrivals_holding(
    replica: Replica, users: Array, most: tuple[Array, Array], limit: Limit
) -> Array:
    """Arrivals in one step at which `users` are held: false position in logarithms (Illinois).

    Args:
        replica: Or as many as users, stacked.
        users: No more than are held with the most arrivals.
        most: Those arrivals, and the users that they make.
        limit: Of `replica`.
    """
    wanted = np.log(users)
    high, above = np.log(most[0]), np.log(most[1]) - wanted
    low = high + np.log(LIGHTEST * _FAINTEST)
    below = np.log(_held(replica, np.exp(low), limit)) - wanted
    found, before = high, np.zeros_like(wanted)
    for _ in range(_ROUNDS):
        share = above / np.maximum(above - below, 1e-12)
        found = high - np.clip(share, 0.0, 1.0) * (high - low)
        miss = np.log(_held(replica, np.exp(found), limit)) - wanted
        if (np.abs(miss) < _CLOSE).all():
            break
        over = miss > 0.0
        # An end that stays twice counts half, or the other would creep.
        below = np.where(over, np.where(before > 0.0, 0.5 * below, below), miss)
        above = np.where(over, miss, np.where(before < 0.0, 0.5 * above, above))
        low, high = np.where(over, low, found), np.where(over, found, high)
        before = np.sign(miss)
    arrivals: Array = np.exp(found)
    return arrivals


def _prompt_alone_s(replica: Replica) -> Number:
    """Seconds of the device for one prompt among many: its share of a full step."""
    lengths, budget = replica.lengths, np.asarray(replica.token_budget, dtype=np.float64)
    context = np.minimum(lengths.prompt_context, lengths.cached + budget)
    nobody = np.zeros_like(budget)
    seconds: Number = replica.step.mixed_s(budget, context, nobody, nobody)
    return seconds * lengths.prompt / budget


def _prompt_beside_s(replica: Replica, state: Equilibrium) -> Array:
    """Seconds of the steps that a mean prompt takes which nobody else's shares."""
    lengths = replica.lengths
    return prompt_work(
        replica.step,
        np.zeros_like(state.batch) + lengths.prompt,
        context=lengths.prompt_context,
        batch=state.batch,
        cached=state.batch * lengths.resident,
        chunk=state.chunk,
    ).seconds


def _arrivals_at(replica: Replica, rates: Array) -> Array:
    """Arrivals in one step at which the replica serves `rates`: the secant method in logarithms.

    `stiffness` is the first slope, that where prompts cost in proportion; where a step lands
    outside of what the answer is known to lie between, the middle is taken. An idle replica's step
    is the lower end: no step is shorter.
    """
    rates = np.maximum(rates, 1e-12)
    idle_s = replica.step.decode_s(np.full(len(rates), 1e-6), np.full(len(rates), 1e-6))
    wanted = np.log(rates)
    high = np.log(np.broadcast_to(replica.most_arrivals, rates.shape))
    found = low = np.minimum(wanted + np.log(idle_s), high)
    before, missed = found, np.zeros_like(found)
    for _ in range(_ROUNDS):
        state = equilibrium(replica, np.exp(found))
        miss = wanted - np.log(state.rate)
        far = np.abs(miss) >= _NEAR
        if not far.any():
            break
        low, high = np.where(miss > 0.0, found, low), np.where(miss > 0.0, high, found)
        moved = found != before
        slope = np.where(moved, missed - miss, 1.0) / np.where(moved, found - before, 1.0)
        slope = np.where(moved & (slope > _FLATTEST), slope, state.stiffness)
        step = found + miss / slope
        step = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        before, missed = found, miss
        found = np.where(far, step, found)
    arrivals: Array = np.exp(found)
    return arrivals
