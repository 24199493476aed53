"""Token lengths of requests as a small weighted sample: a mean alone hides what prompts do."""

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from trimtab.models.load import TokenShape
from trimtab.performance.steptime import Array

POINTS = 24
"""Equally likely points of each length; their mean is exact, their tail ends at 98 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Equally likely prompt and answer lengths, independent of each other. Tokens."""

    prompts: Array
    """Prompt tokens that must be computed: those in the prefix cache are not. Ascending."""
    answers: Array
    """Answer tokens, ascending."""
    cached: float
    """Mean prompt tokens found in the prefix cache."""
    prompt: float
    """Mean computed prompt tokens."""
    answer: float
    """Mean answer tokens."""
    prompt_square: float
    """Mean square of computed prompt tokens."""
    answer_square: float
    """Mean square of answer tokens."""

    @property
    def resident(self) -> float:
        """Mean tokens that a decoding request holds: E[O (I + O/2)] / E[O], as long ones stay."""
        return self.prompt + self.cached + self.answer_square / (2.0 * self.answer)

    @property
    def prompt_context(self) -> float:
        """Mean tokens that a computed prompt token attends to."""
        return self.cached + self.prompt_square / (2.0 * self.prompt)

    @property
    def prompt_variation(self) -> float:
        """Squared deviation of computed prompts over their mean."""
        return max(self.prompt_square / self.prompt**2 - 1.0, 0.0)

    @property
    def answer_variation(self) -> float:
        """Squared deviation of answers over their mean."""
        return max(self.answer_square / self.answer**2 - 1.0, 0.0)


@lru_cache(maxsize=8192)
def lengths_of(shape: TokenShape, max_model_len: int) -> Lengths:
    """Return lognormal lengths with the means and spreads of `shape`, cut at `max_model_len`.

    Lognormal because public traces are close to it between their 5th and 95th percentile; the
    longest twenty-fourth is represented by its own mean.
    """
    prompts = _lognormal(shape.input_tokens, shape.input_cv, max_model_len - 1)
    answers = _lognormal(shape.output_tokens, shape.output_cv, max_model_len)
    hit = min(max(shape.prefix_hit, 0.0), 0.99)
    computed = np.maximum(prompts * (1.0 - hit), 1.0)
    answers = np.maximum(answers, 1.0)
    return Lengths(
        prompts=computed,
        answers=answers,
        cached=float(prompts.mean()) * hit,
        prompt=float(computed.mean()),
        answer=float(answers.mean()),
        prompt_square=float((computed * computed).mean()),
        answer_square=float((answers * answers).mean()),
    )


def _lognormal(mean: float, spread: float, longest: int) -> Array:
    """Return the means of POINTS equally likely slices of a lognormal distribution."""
    mean = max(mean, 1.0)
    if spread < 1e-3:
        return np.full(POINTS, min(mean, float(longest)))
    sigma = float(np.sqrt(np.log1p(spread * spread)))
    edges = [_NORMAL.inv_cdf(i / POINTS) for i in range(1, POINTS)]
    # The mean of a slice between z1 and z2 is mean * (Phi(z2 - sigma) - Phi(z1 - sigma)) / width.
    mass = np.array([0.0, *(_NORMAL.cdf(edge - sigma) for edge in edges), 1.0])
    slices: Array = np.diff(mass) * POINTS * mean
    return np.minimum(slices, float(longest))


_NORMAL = NormalDist()
