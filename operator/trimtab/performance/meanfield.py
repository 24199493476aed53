"""One replica in equilibrium: how arrivals, steps and the batch hold each other in balance.

The free variable is the number of requests that arrive during one engine step. It fixes the batch
(each request decodes for as many steps as it has tokens), the step time and so the request rate:
no iteration is needed (research/models.md 1.2, mean-field fixed point, solved from the other side).
Prompts arrive in lumps; the prompt tokens of a step are a compound Poisson variable, never a mean.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from trimtab.performance.arithmetic import Array, Number, some
from trimtab.performance.arrivals import any_in, spread_of_sum
from trimtab.performance.lengths import Lengths
from trimtab.performance.steptime import StepModel

_LUMP_EDGES = np.array([0.0, 0.2, 0.45, 0.65, 0.8, 0.9, 0.96, 0.99, 1.0])
LUMP_WEIGHTS = np.diff(_LUMP_EDGES)
"""Shares of the steps with prompts that each lump stands for."""
_LUMP_Z = np.array([NormalDist().inv_cdf(p) for p in (_LUMP_EDGES[1:] + _LUMP_EDGES[:-1]) / 2.0])

_NUDGE = 1.05
_LEAST_STIFFNESS = 0.05
_WIDEST = 0.1
"""Variance of the batch over its square up to which linear noise describes it."""
_EVEN = math.sqrt(3.0)
"""Half the width of an even spread, in standard deviations."""
_FEW = 4.0
"""Requests below which the batch is no normal variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica and the requests that it gets; or as many as loads, with arrays for numbers."""

    step: StepModel
    lengths: Lengths
    token_budget: Number
    """Most new tokens of one step."""
    slots: Number
    """Most requests that are served at the same time: batch limit or KV cache."""
    sequences: Number
    """The batch limit alone."""
    kv_slots: Number
    """Requests of mean size that the KV cache holds."""
    variation: float = 1.0
    """Of the gaps between arrivals, squared: 1 at random, 1/n in turn with those of n replicas."""

    @property
    def decode_steps(self) -> Number:
        """Mean steps that a request decodes; its first token comes with its prompt."""
        return np.maximum(self.lengths.answer - 1.0, 1e-3)

    @property
    def most_arrivals(self) -> Number:
        """Most arrivals in one step: the batch is full, or the token budget of the step.

        A request holds a place while it decodes and in the step of its prompt; with n decodes,
        n / steps prompts come in each step, beside which B - n tokens have room.
        """
        full = self.token_budget / (self.decode_steps + self.lengths.prompt)
        return np.minimum(self.slots / (self.decode_steps + 1.0), full)

    @property
    def columns(self) -> "Replica":
        """The same for arithmetic on loads x points: arrays for numbers become columns."""
        if not isinstance(self.token_budget, np.ndarray):
            return self
        return Replica(
            step=_columns(self.step),
            lengths=_columns(self.lengths),
            token_budget=_column(self.token_budget),
            slots=_column(self.slots),
            sequences=_column(self.sequences),
            kv_slots=_column(self.kv_slots),
            variation=self.variation,
        )

    @property
    def peakedness(self) -> float:
        """Variance of the number of requests that are served at a time, over its mean.

        Of many servers whose times are about exponential (Whitt 1984).
        """
        return 0.5 * (1.0 + self.variation)


@dataclass(frozen=True, slots=True, kw_only=True)
class Equilibrium:
    """The replica at several loads; arrays of one length."""

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
    mean_s: Array
    """Mean time of a step, over all steps."""
    square_s: Array
    """Mean square of it."""
    chunk: Array
    """Most prompt tokens of one step beside the batch."""
    loud: Array
    """Chance that prompts arrive in a step."""
    lumps: Array
    """Prompt tokens that arrive in such a step, on the last axis, with LUMP_WEIGHTS."""
    lump_s: Array
    """What they add to the time of the batch."""
    lump_work_s: Array
    """Times of all steps that one lump fills."""
    loud_s: Array
    """Times of the steps that carry prompts, on the last axis."""
    loud_share: Array
    """Share of each of those in all steps; the rest take `decode_s`."""
    stiffness: Array
    """How much harder a larger batch is left than entered: 1 when steps take as long whatever is
    in them, less when more requests make slower steps make more requests. The batch fluctuates
    with a variance of its mean over that (linear noise around the fixed point)."""

    @property
    def quiet(self) -> Array:
        """Share of steps without prompts."""
        quiet: Array = 1.0 - self.loud_share.sum(axis=1)
        return quiet


def equilibrium(replica: Replica, arrivals: Array, *, steady: bool = False) -> Equilibrium:
    """Return the state of `replica` for each number of arrivals in one step.

    With random arrivals the batch fluctuates, and more tokens fall into its slower steps than into
    its quick ones; with a `steady` number of users it does not.
    """
    lengths, wide = replica.lengths, replica.columns
    batch = arrivals * replica.decode_steps
    cached = batch * lengths.resident
    # Of a steady number of users the batch is about the same in all steps.
    swings = batch * 0.0 if steady else _EVEN * np.sqrt(replica.peakedness * batch)
    fewer = replica.step.tokens_of(0.0, batch - swings)
    more = replica.step.tokens_of(0.0, batch + swings)

    def decoding_s(share: float) -> Array:
        return _launched(
            replica.step, lambda step: step.decode_s(share * batch, share * cached), fewer, more
        )

    decode_s, fuller_s = decoding_s(1.0), decoding_s(_NUDGE)
    chunk = np.maximum(replica.token_budget - batch, 1.0)
    loud = any_in(arrivals, replica.variation)
    lumps = _lump_tokens(replica, arrivals, loud, decode_s)
    least, most = _between(lumps)
    work = prompt_work(
        wide.step,
        lumps,
        context=wide.lengths.prompt_context,
        batch=batch[:, None],
        cached=cached[:, None],
        chunk=chunk[:, None],
        apart=(lumps - least + swings[:, None], most - lumps + swings[:, None]),
    )
    work_s = work.seconds
    lump_s = work_s - work.steps * decode_s[:, None]
    step_s = decode_s + loud * (lump_s @ LUMP_WEIGHTS)
    loud_s = np.concatenate([work.full_s, work.last_s], axis=1)
    shares = np.concatenate([work.full * LUMP_WEIGHTS, work.last * LUMP_WEIGHTS], axis=1)
    shares *= loud[:, None]
    shares /= np.maximum(shares.sum(axis=1), 1.0)[:, None]
    quiet = 1.0 - shares.sum(axis=1)
    growth = (fuller_s - decode_s) / (_NUDGE - 1.0)
    stiffness = np.clip((decode_s - growth) / step_s, _LEAST_STIFFNESS, 1.0)
    if not steady:
        free = np.maximum(replica.slots - batch, 0.0)
        swing = (
            np.minimum(replica.peakedness * batch / stiffness, free * free)
            / np.maximum(batch, _FEW) ** 2
        )
        swing = np.minimum(swing, _WIDEST)
        step_s = step_s + growth * swing
    return Equilibrium(
        arrivals=arrivals,
        rate=arrivals / step_s,
        batch=batch,
        decode_s=decode_s,
        step_s=step_s,
        mean_s=quiet * decode_s + (shares * loud_s).sum(axis=1),
        square_s=quiet * decode_s**2 + (shares * loud_s**2).sum(axis=1),
        chunk=chunk,
        loud=loud,
        lumps=lumps,
        lump_s=lump_s,
        lump_work_s=work_s,
        loud_s=loud_s,
        loud_share=shares,
        stiffness=stiffness,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Where a replica saturates; one value, or one for each load."""

    rate: Array
    """Requests per second beyond which its queue grows without end."""
    stiffness: Array
    """As of Equilibrium, there."""


def limit_of(replica: Replica) -> Limit:
    """Return where `replica` saturates.

    Where the cache is what is full, each request that leaves makes room for more prompts than can
    stay, which come in together, are preempted and computed again.
    """
    arrivals = np.atleast_1d(np.asarray(replica.most_arrivals, dtype=np.float64))
    lengths, full = replica.lengths, replica.kv_slots / (replica.decode_steps + 1.0)
    state = equilibrium(replica, arrivals, steady=True)
    again = prompt_work(
        replica.step,
        np.where(arrivals >= full * (1.0 - 1e-9), lengths.churn, 0.0),
        context=lengths.prompt_context,
        batch=state.batch,
        cached=state.batch * lengths.resident,
        chunk=state.chunk,
    )
    again_s = again.seconds - again.steps * state.decode_s
    return Limit(rate=arrivals / (state.step_s + arrivals * again_s), stiffness=state.stiffness)


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
    apart: tuple[Number, Number] = (0.0, 0.0),
) -> PromptWork:
    """Return the steps that work `tokens` prompt tokens off, the batch decoding beside.

    The arguments broadcast together. `apart` says how many less and more tokens than these they
    stand for: what a step that is launched takes longer falls to the share of them that make one.
    """
    full = np.floor(tokens / chunk)
    left = tokens - full * chunk
    fewer, more = apart
    return PromptWork(
        full=full,
        full_s=step.mixed_s(np.minimum(tokens, chunk), context, batch, cached),
        last=np.where(left > 0.0, 1.0, 0.0),
        last_s=_launched(
            step,
            lambda one: one.mixed_s(left, context, batch, cached),
            step.tokens_of(left - fewer, batch),
            step.tokens_of(left + more, batch),
        ),
    )


def _launched(
    step: StepModel, seconds: Callable[[StepModel], Array], fewest: Number, most: Number
) -> Array:
    """Return the mean seconds of steps of `fewest` to `most` tokens, any as likely.

    Those that no CUDA graph holds are launched, which takes several times as long at one token
    more: a batch that is taken for its mean would be all on one side of that edge or the other.
    """
    if not some(step.launch_s):
        return seconds(step)
    held_s = seconds(_held_by_graph(step))
    launched_s = seconds(replace(step, graph_tokens=step.launch_s * 0.0))
    beyond = (most - step.graph_tokens) / np.maximum(most - fewest, 1e-9)
    mean_s: Array = held_s + np.clip(beyond, 0.0, 1.0) * (launched_s - held_s)
    return mean_s


def crowded_s(replica: Replica, state: Equilibrium, crowd: Array) -> Array:
    """Return how much longer a step takes in which `crowd` decode than one with the mean batch.

    Steps with prompts take as much longer, so not for being launched: most of them are anyway.
    """
    held, resident = _held_by_graph(replica.step), replica.lengths.resident
    mean_s = state.decode_s
    if held is not replica.step:
        mean_s = held.decode_s(state.batch, state.batch * resident)
    longer_s: Array = held.decode_s(crowd, crowd * resident) - mean_s
    return longer_s


def _held_by_graph(step: StepModel) -> StepModel:
    """Return `step` as if a CUDA graph held any number of tokens."""
    return replace(step, launch_s=step.launch_s * 0.0) if some(step.launch_s) else step


def _between(lumps: Array) -> tuple[Array, Array]:
    """Return where each of `lumps`, ascending on the last axis, begins and ends."""
    middles = 0.5 * (lumps[:, 1:] + lumps[:, :-1])
    first = np.maximum(2.0 * lumps[:, :1] - middles[:, :1], 0.0)
    last = 2.0 * lumps[:, -1:] - middles[:, -1:]
    return np.concatenate([first, middles], axis=1), np.concatenate([middles, last], axis=1)


def _lump_tokens(replica: Replica, arrivals: Array, loud: Array, decode_s: Array) -> Array:
    """Prompt tokens of a step that has any: a gamma distribution with the right two moments.

    A step lasts longer the more prompts it carries, and the longer it lasts the more prompts the
    next one has. With a share r of the time spent on prompts the variance of such a chain is that
    of one step over 1 - r^2. Quantiles follow Wilson and Hilferty's cube, scaled back to the mean.
    """
    lengths = replica.lengths
    mean = arrivals * lengths.prompt / loud
    cached = arrivals * replica.decode_steps * lengths.resident
    lump_s = (
        replica.step.mixed_s(mean, lengths.prompt_context, arrivals * replica.decode_steps, cached)
        - decode_s
    )
    share = loud * lump_s / (decode_s + loud * lump_s)
    spread = spread_of_sum(arrivals, lengths.prompt, lengths.prompt_square, replica.variation)
    own = spread / (1.0 - share * share)
    variance = (own + (arrivals * lengths.prompt) ** 2) / loud - mean * mean
    shape = (mean * mean / np.maximum(variance, 1e-6 * mean * mean))[:, None]
    cube = 1.0 - 1.0 / (9.0 * shape) + _LUMP_Z / (3.0 * np.sqrt(shape))
    values = np.maximum(cube, 0.02) ** 3
    scaled: Array = values * (mean / (values @ LUMP_WEIGHTS))[:, None]
    return scaled


Index: TypeAlias = NDArray[np.intp]
_Part = TypeVar("_Part", StepModel, Lengths)


def stacked(replicas: Sequence[Replica], rows: Index) -> Replica:
    """Return `replicas` as one with arrays for numbers: load i is that of replica `rows[i]`."""

    def numbers(name: str) -> Array:
        return np.array([getattr(one, name) for one in replicas], dtype=np.float64)[rows]

    return Replica(
        step=_stack([one.step for one in replicas], rows),
        lengths=_stack([one.lengths for one in replicas], rows),
        token_budget=numbers("token_budget"),
        slots=numbers("slots"),
        sequences=numbers("sequences"),
        kv_slots=numbers("kv_slots"),
    )


def _stack(parts: Sequence[_Part], rows: Index) -> _Part:
    values: dict[str, Any] = {
        field.name: np.array([getattr(part, field.name) for part in parts], dtype=np.float64)[rows]
        for field in fields(parts[0])
    }
    return replace(parts[0], **values)


def _columns(part: _Part) -> _Part:
    values: dict[str, Any] = {
        field.name: _column(getattr(part, field.name)) for field in fields(part)
    }
    return replace(part, **values)


def _column(value: Number) -> Number:
    """Loads become a column; what has points on its last axis already is left."""
    return value[:, None] if isinstance(value, np.ndarray) and value.ndim == 1 else value
