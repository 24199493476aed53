"""From the equilibrium of a replica to what its users wait: TTFT, ITL and E2E at a percentile.

TTFT is the rest of the running step, the wait for room in the token budget and in the batch, the
steps that carry the prompt and those that came with it, and what the engine adds. ITL is a
request's mean gap between two tokens; single gaps are given beside it (gaps.py). Each quantile is
that of one distribution, so percentiles are in order.
"""

from dataclasses import dataclass

import numpy as np

from trimtab.performance.arithmetic import Array
from trimtab.performance.firsttoken import FirstToken, first_token
from trimtab.performance.gaps import Wake, crowding_s, gap_quantile, request_gap, wake_of
from trimtab.performance.lengths import WEIGHTS
from trimtab.performance.meanfield import LUMP_WEIGHTS, Equilibrium, Limit, Replica
from trimtab.performance.quantiles import mean_of, normal_mixture


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """What users wait at each load, in seconds; arrays as in Equilibrium."""

    ttft_mean_s: Array
    ttft_s: Array
    """At the percentile."""
    tpot_mean_s: Array
    """Over all gaps."""
    itl_s: Array
    """The mean gap of one request, at the percentile over requests."""
    gap_s: Array
    """A single gap between two tokens, at the percentile over all gaps."""
    e2e_mean_s: Array
    e2e_s: Array
    """At the percentile."""
    in_flight: Array
    """Requests in the replica, prompts included."""


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
        itl_s=request_gap(replica, state, first).quantile(percentile),
        gap_s=gap_quantile(replica, state, wake, percentile),
        e2e_mean_s=e2e_mean,
        e2e_s=np.maximum(e2e, ttft),
        in_flight=in_flight(replica, state, first, wake),
    )


def in_flight(replica: Replica, state: Equilibrium, first: FirstToken, wake: Wake) -> Array:
    """Return the requests in the replica, prompts included (Little's law)."""
    inside = first.worked_s + replica.decode_steps * wake.share * wake.longer_s
    held: Array = state.batch + state.rate * inside
    return held


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


def _gap_variances(replica: Replica, state: Equilibrium) -> tuple[Array, Array]:
    """Variance of a request's mean gap from the size of the batch, and of one gap from prompts."""
    mean = state.loud * (state.lump_s @ LUMP_WEIGHTS)
    lumps = np.maximum(state.loud * (state.lump_s**2 @ LUMP_WEIGHTS) - mean * mean, 0.0)
    # Prompts come in proportion to the batch's steps, so they stretch with it.
    slow: Array = (crowding_s(replica, state) * state.step_s / state.decode_s) ** 2
    return slow, lumps
