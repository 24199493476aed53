"""From the equilibrium of a replica to what its users wait: TTFT, ITL and E2E at a percentile.

TTFT is the rest of the running step, the wait for room in the token budget (Allen-Cunneen, one
server) and in the batch (Halfin-Whitt, many servers), the steps that carry the prompt, and what the
engine adds. ITL is over all gaps between two tokens, as engines count them, so it sees the steps
that carry prompts of others.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trimtab.performance.meanfield import Equilibrium, Replica, prompt_work
from trimtab.performance.steptime import Array

_NORMAL = NormalDist()
_BISECTIONS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """What users wait at each load, in seconds; arrays as in Equilibrium."""

    ttft_mean_s: Array
    ttft_s: Array
    """At the percentile."""
    tpot_mean_s: Array
    tpot_s: Array
    """The mean gap of one request, at the percentile over requests."""
    itl_s: Array
    """A gap between two tokens, at the percentile over all gaps."""
    e2e_mean_s: Array
    e2e_s: Array
    """At the percentile."""
    in_flight: Array
    """Requests in the replica, prompts included."""


def latencies(replica: Replica, state: Equilibrium, percentile: float) -> Latencies:
    """Return what users wait at each load of `state`, at `percentile` (0 to 1)."""
    own_s = own_prompt_s(replica, state)
    own_mean = own_s.mean(axis=1)
    rest_s = _rest_s(state, own_mean)
    chance, wait_s = _wait(replica, state, own_mean)
    engine_s = replica.step.request_s + replica.step.first_token_steps * state.step_s
    ttft_mean = 0.5 * rest_s + wait_s + own_mean + engine_s
    ttft = _ttft_quantile(own_s, rest_s, wait_s, chance, percentile) + engine_s
    steps = replica.lengths.answer - 1.0
    e2e_mean = ttft_mean + steps * state.step_s
    longer = _quantile(replica.lengths.answers, percentile) - replica.lengths.answer
    spread = np.hypot(np.maximum(ttft - ttft_mean, 0.0), longer * state.step_s)
    return Latencies(
        ttft_mean_s=ttft_mean,
        ttft_s=ttft,
        tpot_mean_s=state.step_s,
        tpot_s=_request_gap_quantile(replica, state, percentile),
        itl_s=gap_quantile(replica, state, percentile),
        e2e_mean_s=e2e_mean,
        e2e_s=e2e_mean + spread,
        in_flight=state.batch + state.rate * (own_mean + wait_s),
    )


def own_prompt_s(replica: Replica, state: Equilibrium) -> Array:
    """Return seconds of the steps that carry a prompt, for each load and prompt length.

    Prompts that arrive in the same step share it: on average `arrivals` others.
    """
    lengths = replica.lengths
    others = (state.arrivals * lengths.prompt)[:, None]
    tokens = lengths.prompts + others
    own_context = lengths.cached + lengths.prompts / 2.0
    context = (lengths.prompts * own_context + others * lengths.prompt_context) / tokens
    batch = state.batch[:, None]
    return prompt_work(
        replica.step,
        tokens,
        context=context,
        batch=batch,
        cached=batch * lengths.resident,
        chunk=state.chunk[:, None],
    ).seconds


def _rest_s(state: Equilibrium, own_s: Array) -> Array:
    """Longest rest of the step that runs when a request arrives; nothing when none does."""
    quiet = state.quiet
    first = quiet * state.decode_s + (state.loud_share * state.loud_s).sum(axis=1)
    second = quiet * state.decode_s**2 + (state.loud_share * state.loud_s**2).sum(axis=1)
    occupied = -np.expm1(-(state.batch + state.rate * own_s))
    rest: Array = occupied * second / first
    return rest


def _wait(replica: Replica, state: Equilibrium, own_s: Array) -> tuple[Array, Array]:
    """Chance to wait for room, and the mean wait over all requests."""
    lengths = replica.lengths
    full_s = replica.step.mixed_s(
        state.chunk, lengths.prompt_context, state.batch, state.batch * lengths.resident
    )
    occupancy = lengths.prompt / state.chunk * full_s
    busy = np.minimum(state.rate * occupancy, 0.999)
    budget_s = (1.0 + lengths.prompt_variation) / 2.0 * busy / (1.0 - busy) * occupancy

    held = np.minimum((state.batch + state.rate * own_s) / replica.slots, 0.999)
    spare = (1.0 - held) * np.sqrt(replica.slots)
    crowded = 1.0 / (1.0 + spare * _normal_cdf(spare) / _normal_density(spare))
    residence = own_s + replica.decode_steps * state.step_s
    place_s = (
        crowded
        * (1.0 + lengths.answer_variation)
        / 2.0
        * residence
        / (replica.slots * (1.0 - held))
    )
    return 1.0 - (1.0 - busy) * (1.0 - crowded), budget_s + place_s


def _normal_density(x: Array) -> Array:
    density: Array = np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)
    return np.maximum(density, 1e-300)


def _normal_cdf(x: Array) -> Array:
    """Within 0.0003 of the normal distribution (Page's approximation)."""
    cdf: Array = 0.5 * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))
    return cdf


def _ttft_quantile(
    own_s: Array, rest_s: Array, wait_s: Array, chance: Array, percentile: float
) -> Array:
    """Quantile of U(0, rest) + own + {0, or with `chance` an exponential of mean wait}.

    `own_s` has equally likely values on its last axis. Bisection on the exact distribution.
    """
    rest = np.maximum(rest_s, 1e-9)[:, None]
    mean = np.maximum(wait_s / np.maximum(chance, 1e-9), 1e-9)[:, None]
    odds = chance[:, None]
    low = own_s.min(axis=1)
    high = own_s.max(axis=1) + rest_s + 12.0 * mean[:, 0]
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        left = np.maximum(middle[:, None] - own_s, 0.0)
        within = np.minimum(left, rest)
        plain = within / rest
        queued = (within - mean * (np.exp(-(left - within) / mean) - np.exp(-left / mean))) / rest
        below = (plain + odds * (queued - plain)).mean(axis=1) >= percentile
        high = np.where(below, middle, high)
        low = np.where(below, low, middle)
    quantile: Array = 0.5 * (low + high)
    return quantile


def gap_quantile(replica: Replica, state: Equilibrium, percentile: float) -> Array:
    """Return a quantile of the time between two tokens of a request, over all tokens."""
    lengths = replica.lengths
    z = _NORMAL.inv_cdf(percentile)
    crowd = np.minimum(state.batch + z * np.sqrt(state.batch), max(replica.slots, 1.0))
    crowd = np.maximum(crowd, state.batch)
    crowded_s = replica.step.decode_s(crowd, crowd * lengths.resident) - state.decode_s
    prompted_s = np.maximum(_loud_quantile(state, percentile) - state.decode_s, 0.0)
    return state.decode_s + np.hypot(crowded_s, prompted_s)


def _loud_quantile(state: Equilibrium, percentile: float) -> Array:
    """Quantile over all steps, where those without prompts are the shortest."""
    order = np.argsort(state.loud_s, axis=1)
    seconds = np.take_along_axis(state.loud_s, order, axis=1)
    share = np.take_along_axis(state.loud_share, order, axis=1)
    ends = state.quiet[:, None] + np.cumsum(share, axis=1)
    middles = ends - 0.5 * share
    rows = np.arange(len(seconds))
    upper = np.minimum((middles < percentile).sum(axis=1), seconds.shape[1] - 1)
    lower = np.maximum(upper - 1, 0)
    gap = np.maximum(middles[rows, upper] - middles[rows, lower], 1e-12)
    weight = np.clip((percentile - middles[rows, lower]) / gap, 0.0, 1.0)
    mixed = seconds[rows, lower] * (1.0 - weight) + seconds[rows, upper] * weight
    return np.where(state.quiet < percentile, mixed, state.decode_s)


def _request_gap_quantile(replica: Replica, state: Equilibrium, percentile: float) -> Array:
    """Quantile of a request's mean gap: lumps average out over its tokens, crowds over its stay."""
    mean = state.loud * state.lump_s.mean(axis=1)
    lumps = state.loud * (state.lump_s * state.lump_s).mean(axis=1) - mean * mean
    crowd = np.minimum(state.batch + np.sqrt(state.batch), max(replica.slots, 1.0))
    crowd = np.maximum(crowd, state.batch)
    crowded_s = replica.step.decode_s(crowd, crowd * replica.lengths.resident) - state.decode_s
    spread = np.sqrt(lumps / max(replica.lengths.answer, 1.0) + 0.5 * crowded_s * crowded_s)
    quantile: Array = state.step_s + max(_NORMAL.inv_cdf(percentile), 0.0) * spread
    return quantile


def _quantile(values: Array, share: float) -> float:
    """Quantile of equally likely ascending values, linear between their middles."""
    middles = (np.arange(len(values)) + 0.5) / len(values)
    return float(np.interp(share, middles, values))
