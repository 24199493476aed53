"""Token lengths of requests, as weighted points: a mean alone hides what prompts do."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.models.load import RUNGS, Spread, TokenShape
from trimtab.performance.arithmetic import Array, Number

EDGES = np.array([0.0, 0.12, 0.27, 0.42, 0.56, 0.69, 0.79, 0.86, 0.91, 0.945, 0.97, 0.985, 1.0])
"""Shares of requests between which a length is represented by its mean: finer where it is long,
for percentiles are asked for there."""
WEIGHTS = np.diff(EDGES)

_FINE = 512
"""Equally likely quantiles from which moments are taken."""
_RANKS = (np.arange(_FINE) + 0.5) / _FINE
_LADDER = np.array([1.0, *RUNGS, 2.0 * RUNGS[-1]])
_CELLS = np.exp(np.linspace(np.log(_LADDER[:-1]), np.log(_LADDER[1:]), 16, axis=1))
"""Lengths between each two rungs."""
_TILT = 30.0
"""At most so many times 1 over the mean."""
_HALVINGS = 30
_NORMAL = NormalDist()
_Moment: TypeAlias = Callable[[Array, Array, Array], float]
_Z = np.array([_NORMAL.inv_cdf((i + 0.5) / _FINE) for i in range(_FINE)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSample:
    """Prompt and answer lengths that were seen together, in tokens. Hashable.

    A trace, or a two-dimensional histogram with the mean lengths of each cell and its share.
    """

    prompts: tuple[float, ...]
    answers: tuple[float, ...]
    weights: tuple[float, ...]
    """Any positive scale."""

    def __post_init__(self) -> None:
        """Refuse what is no sample.

        Raises:
            InvalidInput: Lengths differ, nothing is in it, or a number is out of range.
        """
        if not len(self.prompts) == len(self.answers) == len(self.weights):
            raise InvalidInput("prompts", "answers and weights differ in length", "Give as many")
        if not self.prompts or min(*self.weights, 0.0) < 0.0 or sum(self.weights) <= 0.0:
            raise InvalidInput("weights", "hold nothing positive", "Give one weight for each pair")
        if min(*self.prompts, *self.answers, 1.0) < 1.0:
            raise InvalidInput("prompts", "and answers have at least 1 token", "Leave shorter out")


def length_sample(
    pairs: Iterable[tuple[float, float]], *, bins_per_doubling: float = 4.0
) -> LengthSample:
    """Return (prompt, answer) pairs of a trace as a histogram with logarithmic cells.

    Each cell is represented by the mean lengths in it, so means are exact.

    Raises:
        InvalidInput: No pair, or one with a length below 1.
    """
    cells: dict[tuple[int, int], list[float]] = {}
    for prompt, reply in pairs:
        if min(prompt, reply) < 1.0:
            raise InvalidInput("prompts", "and answers have at least 1 token", "Leave shorter out")
        cell = (
            int(np.log2(prompt) * bins_per_doubling),
            int(np.log2(reply) * bins_per_doubling),
        )
        held = cells.setdefault(cell, [0.0, 0.0, 0.0])
        held[0] += prompt
        held[1] += reply
        held[2] += 1.0
    ordered = [cells[key] for key in sorted(cells)]
    return LengthSample(
        prompts=tuple(prompt / count for prompt, _, count in ordered),
        answers=tuple(reply / count for _, reply, count in ordered),
        weights=tuple(count for _, _, count in ordered),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Lengths of the requests of one replica, or of many with one more axis in front. Tokens."""

    prompts: Array
    """Prompt tokens that must be computed, ascending on the last axis, with WEIGHTS: those in the
    prefix cache are not."""
    answers: Array
    """Answer tokens, ascending on the last axis, with WEIGHTS."""
    answer_spreads: Array
    """Their standard deviation between the edges."""
    prompts_of_answers: Array
    """Mean computed prompt tokens of the requests with each of those answers."""
    cached: Number
    """Mean prompt tokens found in the prefix cache."""
    prompt: Number
    """Mean computed prompt tokens."""
    answer: Number
    """Mean answer tokens."""
    prompt_square: Number
    """Mean square of computed prompt tokens."""
    answer_square: Number
    """Mean square of answer tokens."""
    resident: Number
    """Mean tokens that a decoding request holds: E[O (I + O/2)] / E[O], as long ones stay."""
    resident_square: Number
    """Mean square of those over the square of their mean: what makes a cache's use fluctuate."""
    churn: Number
    """Mean prompt tokens that a full cache computes in vain for each request that leaves it: the
    room of its answer is filled with prompts, and taken back as the others grow."""

    @property
    def prompt_context(self) -> Number:
        """Mean tokens that a computed prompt token attends to."""
        return self.cached + self.prompt_square / (2.0 * self.prompt)

    @property
    def answer_variation(self) -> Number:
        """Squared deviation of answers over their mean."""
        return np.maximum(self.answer_square / self.answer**2 - 1.0, 0.0)


@lru_cache(maxsize=16384)
def lengths_of(
    shape: TokenShape, max_model_len: int, sample: LengthSample | None = None
) -> Lengths:
    """Return the lengths of `sample`, or else those that `shape` says, independent of each other.

    Cut at `max_model_len`. Where nobody has seen how they spread they are lognormal, because public
    traces are close to it between their 5th and 95th percentile. Of `shape`, a sample leaves only
    the prefix hits.
    """
    hit = min(max(shape.prefix_hit, 0.0), 0.99)
    if sample is None:
        prompts = _quantiles(shape.input_tokens, shape.inputs or shape.input_cv, max_model_len - 1)
        answers = _quantiles(shape.output_tokens, shape.outputs or shape.output_cv, max_model_len)
        # Independent: the moments of products are products of moments.
        return _lengths(prompts, answers, np.full(_FINE, 1.0 / _FINE), hit, _independent)
    weights = np.array(sample.weights) / sum(sample.weights)
    prompts = np.minimum(np.array(sample.prompts), max_model_len - 1.0)
    answers = np.clip(np.array(sample.answers), 1.0, max_model_len)
    return _lengths(prompts, answers, weights, hit, _together)


def _lengths(
    prompts: Array, answers: Array, weights: Array, hit: float, moment: _Moment
) -> Lengths:
    computed = np.maximum(prompts * (1.0 - hit), 1.0)

    def mixed(prompt_power: int, answer_power: int) -> float:
        return moment(prompts**prompt_power, answers**answer_power, weights)

    held = mixed(1, 1) + mixed(0, 2) / 2.0
    held_square = mixed(2, 1) + mixed(1, 2) + mixed(0, 3) / 3.0
    answer = mixed(0, 1)
    stays = _strata(answers, answers, weights)
    scatter = _strata(answers, answers * answers, weights) - stays * stays
    independent = moment is _independent
    own = np.full(len(weights), float(weights @ computed)) if independent else computed
    return Lengths(
        prompts=_strata(computed, computed, weights),
        answers=stays,
        answer_spreads=np.sqrt(np.maximum(scatter, 0.0)),
        prompts_of_answers=_strata(answers, own, weights),
        cached=mixed(1, 0) * hit,
        prompt=float(weights @ computed),
        answer=answer,
        prompt_square=float(weights @ (computed * computed)),
        answer_square=mixed(0, 2),
        resident=held / answer,
        resident_square=max(held_square * answer / held**2, 1.0),
        churn=_churn(_strata(computed, computed, weights), stays),
    )


def _churn(prompts: Array, answers: Array) -> float:
    """Tokens of the prompts that fit one after the other into the room of an answer.

    Where many fit, what they leave free is half a prompt, counted as often as it is long (renewal
    theory); where hardly one does, it is the prompts that are shorter than the room.
    """
    mean = float(prompts @ WEIGHTS)
    left = float(prompts**2 @ WEIGHTS) / (2.0 * mean)
    single = np.where(prompts[None, :] <= answers[:, None], prompts[None, :], 0.0) @ WEIGHTS
    return float(np.maximum(answers - left, single) @ WEIGHTS)


def _independent(left: Array, right: Array, weights: Array) -> float:
    return float((weights @ left) * (weights @ right))


def _together(left: Array, right: Array, weights: Array) -> float:
    return float(weights @ (left * right))


def _strata(order: Array, values: Array, weights: Array) -> Array:
    """Return the mean of `values` between each two of EDGES, in ascending order of `order`."""
    rank = np.argsort(order, kind="stable")
    ends = np.concatenate([[0.0], np.cumsum(weights[rank])])
    sums = np.concatenate([[0.0], np.cumsum(weights[rank] * values[rank])])
    means: Array = np.diff(np.interp(EDGES * ends[-1], ends, sums)) / (WEIGHTS * ends[-1])
    return means


def _quantiles(mean: float, spread: Spread | float, longest: int) -> Array:
    """Return equally likely quantiles with this mean, cut; of a float they are lognormal."""
    mean = max(mean, 1.0)
    if isinstance(spread, Spread):
        values = _counted(mean, spread)
    elif spread < 1e-3:
        return np.full(_FINE, min(mean, float(longest)))
    else:
        values = np.exp(float(np.sqrt(np.log1p(spread * spread))) * _Z)
    cut: Array = np.clip(values * (mean / values.mean()), 1.0, float(longest))
    return cut


def _counted(mean: float, spread: Spread) -> Array:
    """Return quantiles of lengths that were counted by rungs and have about this mean.

    Between two rungs logarithms spread evenly, tilted by exp(-t x) as far as the mean asks for: of
    all distributions with these counts and this mean, the one that assumes least (maximum entropy).
    Of a few long ones between 20,000 and 50,000 tokens the mean thus tells where they are.
    """
    shares = np.array(spread.shares)[:, None]

    def weights(tilt: float) -> Array:
        within = np.exp(np.clip(-tilt * (_CELLS - _CELLS[:, :1]) / mean, -500.0, 500.0))
        return np.asarray(shares * within / within.sum(axis=1, keepdims=True))

    low, high = -_TILT, _TILT
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        above = float((weights(middle) * _CELLS).sum()) > mean * shares.sum()
        low, high = (middle, high) if above else (low, middle)
    ends = np.cumsum(weights(high).ravel())
    return np.asarray(np.interp(_RANKS * ends[-1], ends, _CELLS.ravel()))
