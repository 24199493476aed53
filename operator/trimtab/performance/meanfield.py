"""One replica in equilibrium: how arrivals, steps and the batch hold each other in balance.

The free variable is the number of requests that arrive during one engine step. It fixes the batch
(each request decodes for as many steps as it has tokens), the step time and so the request rate:
no iteration is needed (research/models.md 1.2, mean-field fixed point, solved from the other side).
Prompts arrive in lumps; the prompt tokens of a step are a compound Poisson variable, never a mean.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trimtab.performance.lengths import Lengths
from trimtab.performance.steptime import Array, Number, StepModel

_LUMPS = 12
_LUMP_Z = np.array([NormalDist().inv_cdf((i + 0.5) / _LUMPS) for i in range(_LUMPS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica and the requests that it gets."""

    step: StepModel
    lengths: Lengths
    token_budget: float
    """Most new tokens of one step."""
    slots: float
    """Most requests that are served at the same time: batch limit or KV cache."""
    kv_slots: float
    """Requests that the KV cache holds."""

    @property
    def decode_steps(self) -> float:
        """Mean steps that a request decodes; its first token comes with its prompt."""
        return max(self.lengths.answer - 1.0, 1e-3)

    @property
    def most_arrivals(self) -> float:
        """Most arrivals in one step: the batch is full, or the token budget of the step.

        A request holds a place while it decodes and in the step of its prompt; with n decodes,
        n / steps prompts come in each step, beside which B - n tokens have room.
        """
        full = self.token_budget / (self.decode_steps + self.lengths.prompt)
        return min(self.slots / (self.decode_steps + 1.0), full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equilibrium:
    """The replica at several loads; arrays of one length, ascending in load."""

    arrivals: Array
    """Requests that arrive in one step."""
    rate: Array
    """Requests per second."""
    batch: Array
    """Requests that decode."""
    decode_s: Array
    """A step without prompts."""
    step_s: Array
    """Mean time from one token of a request to its next."""
    chunk: Array
    """Most prompt tokens of one step beside the batch."""
    loud: Array
    """Chance that prompts arrive in a step."""
    lump_s: Array
    """What those prompts add to the time of the batch: equally likely values on the last axis."""
    loud_s: Array
    """Times of the steps that carry prompts, on the last axis."""
    loud_share: Array
    """Share of each of those in all steps; the rest take `decode_s`."""

    @property
    def quiet(self) -> Array:
        """Share of steps without prompts."""
        quiet: Array = 1.0 - self.loud_share.sum(axis=1)
        return quiet


def equilibrium(replica: Replica, arrivals: Array) -> Equilibrium:
    """Return the state of `replica` for each number of arrivals in one step."""
    lengths = replica.lengths
    batch = arrivals * replica.decode_steps
    cached = batch * lengths.resident
    decode_s = replica.step.decode_s(batch, cached)
    chunk = np.maximum(replica.token_budget - batch, 1.0)
    loud = -np.expm1(-arrivals)
    work = prompt_work(
        replica.step,
        _lump_tokens(arrivals, loud, lengths),
        context=lengths.prompt_context,
        batch=batch[:, None],
        cached=cached[:, None],
        chunk=chunk[:, None],
    )
    lump_s = work.seconds - work.steps * decode_s[:, None]
    step_s = decode_s + loud * lump_s.mean(axis=1)
    shares = np.concatenate([work.full, work.last], axis=1) * (loud / _LUMPS)[:, None]
    return Equilibrium(
        arrivals=arrivals,
        rate=arrivals / step_s,
        batch=batch,
        decode_s=decode_s,
        step_s=step_s,
        chunk=chunk,
        loud=loud,
        lump_s=lump_s,
        loud_s=np.concatenate([work.full_s, work.last_s], axis=1),
        loud_share=shares / np.maximum(shares.sum(axis=1), 1.0)[:, None],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptWork:
    """Steps that work prompts off: full chunks, and a last one with what is left."""

    full: Array
    """Steps with a full chunk."""
    full_s: Array
    """Seconds of one of them."""
    last: Array
    """Steps with less: 0 or 1."""
    last_s: Array
    """Seconds of it."""

    @property
    def steps(self) -> Array:
        """Steps of both kinds."""
        return self.full + self.last

    @property
    def seconds(self) -> Array:
        """Seconds of all of them."""
        return self.full * self.full_s + self.last * self.last_s


def prompt_work(
    step: StepModel,
    tokens: Array,
    *,
    context: Number,
    batch: Number,
    cached: Number,
    chunk: Number,
) -> PromptWork:
    """Return the steps that work `tokens` prompt tokens off, the batch decoding beside.

    The arguments broadcast together.
    """
    full = np.floor(tokens / chunk)
    left = tokens - full * chunk
    return PromptWork(
        full=full,
        full_s=step.mixed_s(np.minimum(tokens, chunk), context, batch, cached),
        last=np.where(left > 0.0, 1.0, 0.0),
        last_s=step.mixed_s(left, context, batch, cached),
    )


def _lump_tokens(arrivals: Array, loud: Array, lengths: Lengths) -> Array:
    """Prompt tokens of a step that has any: a gamma distribution with the right two moments.

    Its quantiles follow Wilson and Hilferty's cube; they are scaled back to the exact mean.
    """
    mean = arrivals * lengths.prompt / loud
    square = arrivals * lengths.prompt_square + (arrivals * lengths.prompt) ** 2
    variance = np.maximum(square / loud - mean * mean, 1e-6 * mean * mean)
    shape = (mean * mean / variance)[:, None]
    cube = 1.0 - 1.0 / (9.0 * shape) + _LUMP_Z / (3.0 * np.sqrt(shape))
    values = np.maximum(cube, 0.02) ** 3
    scaled: Array = values * (mean / values.mean(axis=1))[:, None]
    return scaled
