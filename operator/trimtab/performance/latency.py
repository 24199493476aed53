"""From the equilibrium of a replica to what its users wait: TTFT, ITL and E2E at a percentile.

TTFT is the rest of the running step, the wait for room in the token budget and in the batch, the
steps that carry the prompt and those that came with it, and what the engine adds. ITL is over all
gaps between two tokens, as engines count them, so it sees the steps that carry prompts of others.
Each quantile is that of one distribution, so percentiles are in order.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from trimtab.performance.firsttoken import FirstToken, first_token, full_step_s
from trimtab.performance.lengths import WEIGHTS
from trimtab.performance.meanfield import LUMP_WEIGHTS, Equilibrium, Limit, Replica
from trimtab.performance.quantiles import mean_of, normal_mixture, weighted_quantile
from trimtab.performance.steptime import Array

_CROWD = ((-sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (sqrt(3.0), 1.0 / 6.0))
"""Three-point rule for a normal distribution: exact up to the fifth moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """What users wait at each load, in seconds; arrays as in Equilibrium."""

    ttft_mean_s: Array
    ttft_s: Array
    """At the percentile."""
    tpot_mean_s: Array
    """Over all gaps."""
    tpot_s: Array
    """The mean gap of one request, at the percentile over requests."""
    itl_s: Array
    """A gap between two tokens, at the percentile over all gaps."""
    e2e_mean_s: Array
    e2e_s: Array
    """At the percentile."""
    in_flight: Array
    """Requests in the replica, prompts included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Steps with prompts of others that follow a prompt, beyond those that any step may have.

    Who comes in a burst decodes while the rest of it is worked off, which short answers do not
    outlast.
    """

    steps: Array
    """For each answer length."""
    share: Array
    """Of all gaps between tokens."""
    longer_s: Array
    """How much longer such a step is than one without prompts."""


def latencies(replica: Replica, state: Equilibrium, percentile: float, limit: Limit) -> Latencies:
    """Return what users wait at each load of `state`, at `percentile` (0 to 1).

    `limit` is where the replica saturates.
    """
    first = first_token(replica, state, limit)
    wake = wake_of(replica, state, first)
    ttft = first.quantile(percentile)
    e2e_mean, e2e = end_to_end(replica, state, (first, wake), percentile)
    extra_s = wake.share * wake.longer_s
    return Latencies(
        ttft_mean_s=first.mean_s,
        ttft_s=ttft,
        tpot_mean_s=state.step_s + extra_s,
        tpot_s=request_gap_quantile(replica, state, wake, percentile),
        itl_s=gap_quantile(replica, state, wake, percentile),
        e2e_mean_s=e2e_mean,
        e2e_s=np.maximum(e2e, ttft),
        in_flight=in_flight(replica, state, first, wake),
    )


def in_flight(replica: Replica, state: Equilibrium, first: FirstToken, wake: Wake) -> Array:
    """Return the requests in the replica, prompts included (Little's law)."""
    inside = first.worked_s + replica.decode_steps * wake.share * wake.longer_s
    held: Array = state.batch + state.rate * inside
    return held


def wake_of(replica: Replica, state: Equilibrium, first: FirstToken) -> Wake:
    """Return what follows a request whose first token took `first`.

    Behind it are the prompts that came while its own was worked off or waited for others; while
    those are worked off others come, a chain of which the next is `demand` as long as the last.
    """
    lengths = replica.lengths
    own_s = first.own_mean_s
    before_s = np.maximum(own_s, first.prompts_s)
    full_s = full_step_s(replica, state)
    per_s = state.rate * lengths.prompt / state.chunk
    behind = per_s * before_s
    demand = np.minimum(per_s * full_s, 0.95)
    chain = np.maximum(-np.expm1(-state.rate * own_s), behind) / (1.0 - demand)
    loud = state.loud_share.sum(axis=1)
    answers = np.maximum(np.atleast_2d(lengths.answers) - 1.0, 0.0)
    steps = np.minimum(answers, chain[:, None]) * (1.0 - loud)[:, None]
    typical_s = (state.loud_share * state.loud_s).sum(axis=1) / np.maximum(loud, 1e-12)
    return Wake(
        steps=steps,
        share=mean_of(steps, WEIGHTS) / np.maximum(mean_of(answers, WEIGHTS), 1e-9),
        longer_s=np.maximum(typical_s - state.decode_s, 0.0),
    )


def end_to_end(
    replica: Replica, state: Equilibrium, begin: tuple[FirstToken, Wake], percentile: float
) -> tuple[Array, Array]:
    """Return the mean time from a request's arrival to its last token, and its quantile.

    A mixture over answer lengths; for each the times of its steps and of its first token, which
    follows the prompts that such answers have, spread it.
    """
    first, wake = begin
    wide = replica.columns
    answers = np.atleast_2d(replica.lengths.answers)
    steps = np.maximum(answers - 1.0, 0.0)
    prompts = np.atleast_2d(replica.lengths.prompts_of_answers)
    per_token = (first.own_mean_s / replica.lengths.prompt)[:, None]
    begun = first.mean_s[:, None] + (prompts - wide.lengths.prompt) * per_token
    step_s = state.step_s[:, None]
    means = np.maximum(begun, 0.0) + steps * step_s + wake.steps * wake.longer_s[:, None]
    slow, lumps = _gap_variances(replica, state)
    spread = np.sqrt(
        first.variance[:, None]
        + steps**2 * slow[:, None]
        + steps * lumps[:, None]
        + (np.atleast_2d(replica.lengths.answer_spreads) * step_s) ** 2
    )
    quantile = normal_mixture(means, spread, percentile)
    return mean_of(means, WEIGHTS), quantile


def request_gap_quantile(
    replica: Replica, state: Equilibrium, wake: Wake, percentile: float
) -> Array:
    """Return a quantile of a request's mean gap: lumps average out over its tokens, crowds less."""
    slow, lumps = _gap_variances(replica, state)
    steps = np.maximum(np.atleast_2d(replica.lengths.answers) - 1.0, 1.0)
    spread = np.sqrt(slow[:, None] + lumps[:, None] / steps)
    means = state.step_s[:, None] + wake.steps / steps * wake.longer_s[:, None]
    return np.maximum(normal_mixture(means, spread, percentile), state.decode_s)


def gap_quantile(replica: Replica, state: Equilibrium, wake: Wake, percentile: float) -> Array:
    """Return a quantile of the time between two tokens of a request, over all tokens.

    Over the times of steps with and without prompts, each in a small, a mean and a large batch,
    which gives as many gaps as it has requests.
    """
    seconds = np.concatenate([state.decode_s[:, None], state.loud_s], axis=1)
    loud = state.loud_share.sum(axis=1)
    louder = np.minimum(1.0 + wake.share / np.maximum(loud, 1e-12), 1.0 / np.maximum(loud, 1e-12))
    quiet = 1.0 - loud * louder
    share = np.concatenate([quiet[:, None], state.loud_share * louder[:, None]], axis=1)
    swing = np.sqrt(state.batch / state.stiffness)
    resident = replica.lengths.resident
    values, weights = [], []
    for z, weight in _CROWD:
        crowd = np.clip(state.batch + z * swing, 0.1 * state.batch, None)
        crowd = np.minimum(crowd, np.maximum(replica.slots, state.batch))
        crowded_s = replica.step.decode_s(crowd, crowd * resident) - state.decode_s
        values.append(seconds + crowded_s[:, None])
        weights.append(share * (weight * crowd / np.maximum(state.batch, 1e-12))[:, None])
    return weighted_quantile(
        np.concatenate(values, axis=1), np.concatenate(weights, axis=1), percentile
    )


def _gap_variances(replica: Replica, state: Equilibrium) -> tuple[Array, Array]:
    """Variance of a request's mean gap from the size of the batch, and of one gap from prompts.

    The batch forgets its size at `stiffness` per stay, so a request averages over little of it:
    the mean of such a process over x relaxation times keeps 2 (x - 1 + exp(-x)) / x^2 of it.
    """
    mean = state.loud * (state.lump_s @ LUMP_WEIGHTS)
    lumps = np.maximum(state.loud * (state.lump_s**2 @ LUMP_WEIGHTS) - mean * mean, 0.0)
    crowd = state.batch + np.sqrt(state.batch / state.stiffness)
    crowd = np.maximum(np.minimum(crowd, replica.slots), state.batch)
    step_s = replica.step.decode_s(crowd, crowd * replica.lengths.resident)
    # Prompts come in proportion to the batch's steps, so they stretch with it.
    crowded_s = (step_s - state.decode_s) * state.step_s / state.decode_s
    x = state.stiffness
    kept = 2.0 * (x - 1.0 + np.exp(-x)) / (x * x)
    return kept * crowded_s**2, lumps
