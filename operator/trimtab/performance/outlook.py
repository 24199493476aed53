"""What users of one replica wait: at request rates, or with a number of users who ask in turn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trimtab.performance.firsttoken import first_token
from trimtab.performance.latency import latencies
from trimtab.performance.meanfield import (
    Equilibrium,
    Limit,
    Replica,
    equilibrium,
    limit_of,
    stacked,
)
from trimtab.performance.steptime import Array, Number

LIGHTEST = 1e-3
"""Arrivals in one step, relative to the most, at which a replica counts as idle."""

_GRID = 96
_ROUNDS = 8
_NEAR = 1e-9
"""Relative error of a rate at which it is found."""
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
    places: dict[int, int] = {}
    rows = np.array([places.setdefault(id(one), len(places)) for one in replicas], dtype=np.intp)
    kinds = {places[id(one)]: one for one in replicas}
    parts = [
        open_loop(
            stacked([kinds[k] for k in range(len(kinds))], rows[begin : begin + _BLOCK]),
            rates[begin : begin + _BLOCK],
            percentile,
        )
        for begin in range(0, len(rows), _BLOCK)
    ]
    return Outlook(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Outlook)
        }
    )


def closed_loop(replica: Replica, users: Array, percentile: float) -> Outlook:
    """Return what `users` wait who each ask again as soon as they are answered.

    That is how benchmark tools with a fixed concurrency load an engine. Users beyond the batch
    wait for a place; all start together, which adds `wave` of everybody's prompts to the mean TTFT.
    """
    grid = float(replica.most_arrivals) * np.geomspace(LIGHTEST * 1e-2, 1.0, _GRID)
    state = equilibrium(replica, grid, steady=True)
    limit = limit_of(replica)
    held = _held(replica, state, limit)
    arrivals = np.interp(np.minimum(users, held[-1]), held, grid)
    state = equilibrium(replica, arrivals, steady=True)
    waits = latencies(replica, state, percentile, limit)
    own_s = first_token(replica, state, limit).own_mean_s
    queue_s = np.maximum(users - held[-1], 0.0) / state.rate
    wave_s = replica.step.wave * users * _prompt_alone_s(replica)
    engine_s = replica.step.request_s + replica.step.first_token_steps * state.step_s
    ttft = own_s + queue_s + wave_s + engine_s
    later = waits.e2e_mean_s - waits.ttft_mean_s
    return Outlook(
        rate=state.rate,
        ttft_mean_s=ttft,
        ttft_s=ttft + np.maximum(waits.ttft_s - waits.ttft_mean_s, 0.0),
        tpot_mean_s=state.step_s,
        itl_s=waits.itl_s,
        gap_s=waits.gap_s,
        e2e_mean_s=ttft + later,
        e2e_s=ttft + later + np.maximum(waits.e2e_s - waits.e2e_mean_s, 0.0),
        kv_utilization=np.minimum(users / replica.kv_slots, 1.0),
        concurrency=users,
        saturated=users > held[-1] + 1.0,
    )


def _held(replica: Replica, state: Equilibrium, limit: Limit) -> Array:
    """Requests that decode or have their prompts worked off; ascending."""
    own_s = first_token(replica, state, limit).own_mean_s
    return np.maximum.accumulate(state.batch + state.rate * own_s)


def _prompt_alone_s(replica: Replica) -> float:
    """Seconds of the device for one prompt among many: its share of a full step."""
    lengths, budget = replica.lengths, float(replica.token_budget)
    context = min(float(lengths.prompt_context), float(lengths.cached) + budget)
    seconds = replica.step.mixed_s(budget, context, 0.0, 0.0)
    return seconds * float(lengths.prompt) / budget


def _arrivals_at(replica: Replica, rates: Array) -> Array:
    """Arrivals in one step at which the replica serves `rates`: Newton's method in logarithms.

    `stiffness` is the slope where prompts cost in proportion; where a step lands outside of what
    the answer is known to lie between, the middle is taken. An idle replica's step is the lower
    end: no step is shorter.
    """
    rates = np.maximum(rates, 1e-12)
    idle_s = replica.step.decode_s(np.full(len(rates), 1e-6), np.full(len(rates), 1e-6))
    wanted = np.log(rates)
    high = np.log(np.broadcast_to(replica.most_arrivals, rates.shape))
    found = low = np.minimum(wanted + np.log(idle_s), high)
    for _ in range(_ROUNDS):
        state = equilibrium(replica, np.exp(found))
        miss = wanted - np.log(state.rate)
        far = np.abs(miss) >= _NEAR
        if not far.any():
            break
        low, high = np.where(miss > 0.0, found, low), np.where(miss > 0.0, high, found)
        step = found + miss / state.stiffness
        step = np.where((step >= low) & (step <= high), step, 0.5 * (low + high))
        found = np.where(far, step, found)
    arrivals: Array = np.exp(found)
    return arrivals
