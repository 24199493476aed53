"""The time between tokens: of single gaps, and of a request's mean gap.

Both are percentiles of one load, but of different things. Engines count single gaps, so theirs
shows the steps that carry prompts of others. Targets are for a request's mean gap, as in published
goodput: long answers average those steps out, short ones do not.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from trimtab.performance.arithmetic import Array
from trimtab.performance.arrivals import chance_of_none, following, queueing_square
from trimtab.performance.firsttoken import FirstToken
from trimtab.performance.lengths import WEIGHTS
from trimtab.performance.meanfield import Equilibrium, Replica, crowded_s
from trimtab.performance.quantiles import cdf, mean_of, solve, weighted_quantile

_CROWD = ((-sqrt(3.0), 1.0 / 6.0), (0.0, 2.0 / 3.0), (sqrt(3.0), 1.0 / 6.0))
"""Three-point rule for a normal distribution: exact up to the fifth moment."""
_SHORT = 3
"""Shortest strata of answers of which two lengths are taken: the tail is made of them."""
_SHARES = np.concatenate([WEIGHTS[:_SHORT] / 2.0, WEIGHTS[:_SHORT] / 2.0, WEIGHTS[_SHORT:]])


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


def wake_of(replica: Replica, state: Equilibrium, first: FirstToken) -> Wake:
    """Return what follows a request whose first token took `first`.

    Behind it are the prompts that came while its own was worked off or waited for others; while
    those are worked off others come, a chain of which the next is `demand` as long as the last.
    """
    lengths = replica.lengths
    own_s = first.own_mean_s
    before_s = np.maximum(own_s, first.prompts_s)
    per_s = state.rate * lengths.prompt / state.chunk
    behind = per_s * before_s
    demand = np.minimum(per_s * first.full_s, 0.95)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestGap:
    """A request's mean gap, for each load and answer length (the last axis); in seconds.

    Either no prompt of others comes while it decodes, and all its gaps are those of the batch; or
    some do, and what they add is a gamma variable. The batch's size spreads both as a normal one:
    the sum has the moments of a shifted gamma variable (Pearson's third type).
    """

    quiet_s: Array
    """Without prompts of others, for all lengths alike."""
    crowd_s: Array
    """Standard deviation of that."""
    quiet: Array
    """Chance of no prompt of others."""
    added_s: Array
    """Mean of what prompts add, where there are any."""
    added_variance: Array
    """Variance of it."""
    beside_s: Array
    """Standard deviation of it all from the size of the batch, where there are any."""
    most_s: Array
    """A step full of prompts: no mean gap is longer, for each load."""
    shares: Array
    """Of each answer length, of all requests that have a gap: a single token has none."""

    def missed(self, seconds: Array | float) -> Array:
        """Return the share of requests whose mean gap is longer than `seconds`."""
        limit = np.broadcast_to(seconds, self.quiet_s.shape[:1])[:, None]
        over = limit - self.quiet_s
        alone = cdf(over / np.maximum(self.crowd_s, 1e-9))
        variance = self.added_variance + self.beside_s**2
        deviation = np.sqrt(np.maximum(variance, 1e-18))
        skew = 2.0 * self.added_variance**2 / np.maximum(self.added_s * deviation**3, 1e-30)
        skew = np.maximum(skew, 1e-3)
        # Wilson and Hilferty: the cube root of a gamma variable is about normal.
        cube = np.cbrt(np.maximum(1.0 + 0.5 * skew * (over - self.added_s) / deviation, 0.0))
        beside = cdf(6.0 / skew * (cube - 1.0) + skew / 6.0)
        beside = np.where(limit >= self.most_s[:, None], 1.0, beside)
        late = 1.0 - self.quiet * alone - (1.0 - self.quiet) * beside
        above: Array = np.maximum((self.shares * late).sum(axis=-1), 0.0)
        return above

    def quantile(self, percentile: float) -> Array:
        """Return it at `percentile` (0 to 1)."""
        low = (self.quiet_s - 4.0 * self.crowd_s).min(axis=1)
        high = np.maximum(self.most_s, (self.quiet_s + 4.0 * self.crowd_s).max(axis=1))
        return solve(lambda seconds: 1.0 - self.missed(seconds), percentile, low, high)


def request_gap(replica: Replica, state: Equilibrium, first: FirstToken) -> RequestGap:
    """Return the distribution of a request's mean gap.

    While it decodes m steps of d seconds, and while what came behind its own prompt is worked off,
    prompts come at random and make the time longer, in which more come: the delay busy period of
    an M/G/1 queue (Kleinrock 1975, 5.8), started by m d and by those behind. With the share r of
    the time that prompts take and rate * E[X^2] of their work, its mean is that start over 1 - r
    and its variance the start times rate * E[X^2] / (1 - r)^3.
    """
    lengths, wide = replica.lengths, replica.columns.lengths
    answers, spreads = np.atleast_2d(lengths.answers), np.atleast_2d(lengths.answer_spreads)
    low, off = answers[:, :_SHORT], spreads[:, :_SHORT]
    answers = np.concatenate([low - off, low + off, answers[:, _SHORT:]], axis=1)
    # A length between one and two tokens stands for some requests with a gap and some without.
    # Where none has any, what is told is the gap that each would have.
    gapped = _SHARES * np.clip(answers - 1.0, 0.0, 1.0)
    some_gap = gapped.sum(axis=1, keepdims=True)
    shares = np.where(some_gap > 0.0, gapped / np.maximum(some_gap, 1e-12), _SHARES)
    steps = np.maximum(answers - 1.0, 1.0)
    share = np.clip(1.0 - state.decode_s / state.step_s, 0.0, 0.98)[:, None]
    rate, decode_s = state.rate[:, None], state.decode_s[:, None]
    alone_s = steps * decode_s
    work_s = share / rate
    square = queueing_square(1.0, wide.prompt_square / wide.prompt**2, replica.variation)
    square = rate * work_s**2 * square
    own_s = first.own_mean_s[:, None]
    before_s = np.maximum(own_s, first.prompts_s[:, None])
    before_variance = own_s**2 * (wide.prompt_square / wide.prompt**2 - 1.0)
    before_variance = before_variance + (before_s - own_s) ** 2
    come = rate * (alone_s + before_s)
    fewer = following(come, replica.variation) / np.maximum(come, 1e-12)
    begun = alone_s + share * before_s
    mean = fewer * (begun / (1.0 - share) - alone_s)
    variance = begun * square / (1.0 - share) ** 3
    variance += (square * before_s + share**2 * before_variance) / (1.0 - share) ** 2
    quiet = chance_of_none(come, replica.variation)
    some = np.maximum(1.0 - quiet, 1e-12)
    crowd_s = crowding_s(replica, state)
    added = mean / some
    added_variance = np.maximum((variance + mean**2) / some - added**2, 1e-3 * added**2)
    slower = (crowd_s * state.step_s / state.decode_s)[:, None]
    return RequestGap(
        quiet_s=decode_s,
        crowd_s=crowd_s[:, None],
        quiet=quiet,
        added_s=added / steps,
        added_variance=added_variance / steps**2,
        beside_s=slower,
        most_s=first.full_s,
        shares=shares,
    )


def crowding_s(replica: Replica, state: Equilibrium) -> Array:
    """Standard deviation of a request's mean gap from the size of the batch.

    The batch forgets its size at `stiffness` per stay, so a request averages over little of it:
    the mean of such a process over x relaxation times keeps 2 (x - 1 + exp(-x)) / x^2 of it.
    """
    # Percentiles are about two deviations away, and no batch is larger than full.
    peaked = replica.peakedness
    crowd = state.batch + 2.0 * np.sqrt(peaked * state.batch / state.stiffness)
    crowd = np.maximum(np.minimum(crowd, replica.slots), state.batch)
    x = state.stiffness
    kept = 2.0 * (x - 1.0 + np.exp(-x)) / (x * x)
    spread: Array = 0.5 * np.sqrt(kept) * crowded_s(replica, state, crowd)
    return spread


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
    swing = np.sqrt(replica.peakedness * state.batch / state.stiffness)
    values, weights = [], []
    for z, weight in _CROWD:
        crowd = np.clip(state.batch + z * swing, 0.1 * state.batch, None)
        crowd = np.minimum(crowd, np.maximum(replica.slots, state.batch))
        values.append(seconds + crowded_s(replica, state, crowd)[:, None])
        weights.append(share * (weight * crowd / np.maximum(state.batch, 1e-12))[:, None])
    return weighted_quantile(
        np.concatenate(values, axis=1), np.concatenate(weights, axis=1), percentile
    )
