"""What users of one replica wait: at request rates, or with a number of users who ask in turn."""

from dataclasses import dataclass

import numpy as np

from trimtab.performance.latency import latencies, own_prompt_s
from trimtab.performance.meanfield import Equilibrium, Replica, equilibrium
from trimtab.performance.steptime import Array

LIGHTEST = 1e-3
"""Arrivals in one step, relative to the most, at which a replica counts as idle."""

_GRID = 48
_CORRECTIONS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """Times in seconds at several loads; arrays of one length. Infinite beyond saturation."""

    rate: Array
    """Requests per second that are served."""
    ttft_mean_s: Array
    ttft_s: Array
    """At the percentile, like all that are not means."""
    tpot_mean_s: Array
    tpot_s: Array
    """The mean gap of a request."""
    itl_s: Array
    """A single gap."""
    e2e_mean_s: Array
    e2e_s: Array
    kv_utilization: Array
    """0 to 1."""
    concurrency: Array
    """Requests in the replica."""
    saturated: Array
    """Booleans: more is asked than the replica can serve."""


def saturation_rate(replica: Replica) -> float:
    """Return the request rate beyond which the queue of `replica` grows without end."""
    return float(equilibrium(replica, np.array([replica.most_arrivals])).rate[0])


def open_loop(replica: Replica, rates: Array, percentile: float) -> Outlook:
    """Return what users wait when `rates` requests per second arrive at random."""
    grid = replica.most_arrivals * np.geomspace(LIGHTEST, 1.0, _GRID)
    known = equilibrium(replica, grid).rate
    saturated = rates > known[-1]
    arrivals = _arrivals_at(replica, np.minimum(rates, known[-1]), grid, known)
    state = equilibrium(replica, arrivals)
    waits = latencies(replica, state, percentile)

    def unless_saturated(values: Array, beyond: float) -> Array:
        return np.where(saturated, beyond, values)

    in_flight = unless_saturated(np.minimum(waits.in_flight, replica.slots), replica.slots)

    return Outlook(
        rate=np.minimum(rates, known[-1]),
        ttft_mean_s=unless_saturated(waits.ttft_mean_s, np.inf),
        ttft_s=unless_saturated(waits.ttft_s, np.inf),
        tpot_mean_s=waits.tpot_mean_s,
        tpot_s=waits.tpot_s,
        itl_s=waits.itl_s,
        e2e_mean_s=unless_saturated(waits.e2e_mean_s, np.inf),
        e2e_s=unless_saturated(waits.e2e_s, np.inf),
        kv_utilization=np.minimum(in_flight / replica.kv_slots, 1.0),
        concurrency=in_flight,
        saturated=saturated,
    )


def closed_loop(replica: Replica, users: Array, percentile: float) -> Outlook:
    """Return what `users` wait who each ask again as soon as they are answered.

    That is how benchmark tools with a fixed concurrency load an engine. Users beyond the batch
    wait for a place; all start together, which adds `wave` of everybody's prompts to the mean TTFT.
    """
    grid = replica.most_arrivals * np.geomspace(LIGHTEST * 1e-2, 1.0, 2 * _GRID)
    state = equilibrium(replica, grid)
    held = _held(replica, state)
    arrivals = np.interp(np.minimum(users, held[-1]), held, grid)
    state = equilibrium(replica, arrivals)
    waits = latencies(replica, state, percentile)
    own_s = own_prompt_s(replica, state).mean(axis=1)
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
        tpot_s=waits.tpot_s,
        itl_s=waits.itl_s,
        e2e_mean_s=ttft + later,
        e2e_s=ttft + later + np.maximum(waits.e2e_s - waits.e2e_mean_s, 0.0),
        kv_utilization=np.minimum(users / replica.kv_slots, 1.0),
        concurrency=users,
        saturated=users > held[-1] + 1.0,
    )


def _held(replica: Replica, state: Equilibrium) -> Array:
    """Requests that decode or have their prompts worked off; ascending."""
    own_s = own_prompt_s(replica, state).mean(axis=1)
    return np.maximum.accumulate(state.batch + state.rate * own_s)


def _prompt_alone_s(replica: Replica) -> float:
    """Seconds of the device for one prompt among many: its share of a full step."""
    lengths = replica.lengths
    budget = replica.token_budget
    context = min(lengths.prompt_context, lengths.cached + budget)
    return float(replica.step.mixed_s(budget, context, 0.0, 0.0)) * lengths.prompt / budget


def _arrivals_at(replica: Replica, rates: Array, grid: Array, known: Array) -> Array:
    """Arrivals in one step at which the replica serves `rates`, corrected on the grid's slope."""
    log_grid, log_known = np.log(grid), np.log(known)
    log_rates = np.log(np.maximum(rates, 1e-12))
    slope_all = np.diff(log_grid) / np.maximum(np.diff(log_known), 1e-9)
    slope = slope_all[np.clip(np.searchsorted(log_known, log_rates) - 1, 0, len(slope_all) - 1)]
    below = np.minimum(log_rates - log_known[0], 0.0)
    guess = np.interp(log_rates, log_known, log_grid) + below
    for _ in range(_CORRECTIONS):
        miss = log_rates - np.log(equilibrium(replica, np.exp(guess)).rate)
        guess = np.minimum(guess + slope * miss, log_grid[-1])
    arrivals: Array = np.exp(guess)
    return arrivals
