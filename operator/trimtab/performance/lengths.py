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
    cached: float
    """Mean prompt tokens found in the prefix cache."""
    answers: Array
    """Answer tokens, ascending."""

    @property
    def prompt(self) -> float:
        """Mean computed prompt tokens."""
        return float(self.prompts.mean())

    @property
    def answer(self) -> float:
        """Mean answer tokens."""
        return float(self.answers.mean())

    @property
    def resident(self) -> float:
        """Mean tokens that a decoding request holds: E[O (I + O/2)] / E[O], as long ones stay."""
        answers = self.answers
        grown = float((answers * answers).mean()) / (2.0 * self.answer)
        return self.prompt + self.cached + grown

    @property
    def prompt_context(self) -> float:
        """Mean tokens that a computed prompt token attends to."""
        squares = float((self.prompts * self.prompts).mean())
        return self.cached + squares / (2.0 * self.prompt)


@lru_cache(maxsize=8192)
def lengths_of(shape: TokenShape, max_model_len: int) -> Lengths:
    """Return lognormal lengths with the means and spreads of `shape`, cut at `max_model_len`.

    Lognormal because public traces are close to it between their 5th and 95th percentile; the
    longest twenty-fourth is represented by its own mean.
    """
    prompts = _lognormal(shape.input_tokens, shape.input_cv, max_model_len - 1)
    answers = _lognormal(shape.output_tokens, shape.output_cv, max_model_len)
    hit = min(max(shape.prefix_hit, 0.0), 0.99)
    return Lengths(
        prompts=np.maximum(prompts * (1.0 - hit), 1.0),
        cached=float(prompts.mean()) * hit,
        answers=np.maximum(answers, 1.0),
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
