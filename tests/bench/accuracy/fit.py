"""Fits the constants of efficiency.py and coefficients.py to the rows that are not held out.

`python -m bench.accuracy.fit` in tests/ (a few minutes) prints every constant beside the one that
stands, and ends with an error where they differ by more than rounding. It starts every family from
the same round figures, never from what stands, so the same rows always give the same constants.
Least squares on logarithms, with Huber's weights against outliers, and a weak pull to where it
started. Four stages, each with what those before it found: step times, first tokens, power limits,
and devices of which only kernels were timed (the last two move nothing before: see `constants`).
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from bench.accuracy import constants, evidence
from bench.accuracy.constants import Constant
from bench.accuracy.evidence import Block
from trimtab.performance.arithmetic import Array

ROUNDS = 40
SETTLED = 1e-3
"""Largest change of a logarithm in a round at which the fit ends."""
ROUNDING = 0.01
"""Most by which the logarithm of a constant that stands may differ: three digits are written."""
PULL = 0.7
"""Standard deviation of the pull, in logarithms."""

_NUDGE, _LEAP = 1e-3, 0.3
"""Of a logarithm, for a slope, and at most in one round."""
_DAMPING, _LEAST_DAMPING = 0.05, 1e-3
"""Levenberg's, in the first round and at least."""


def fit() -> list[tuple[Constant, float]]:
    """Return every constant with the value that fits best; nothing stays changed."""
    stages = (
        (constants.of_steps, evidence.of_steps),
        (constants.of_first_tokens, evidence.of_first_tokens),
        (constants.of_limits, evidence.of_limits),
        (constants.of_kernels, evidence.of_kernels),
    )
    every = [constant for free, _ in stages for constant in free()]
    with restored(every):
        for constant in every:
            constant.set(constant.start)
        return [one for free, blocks in stages for one in fitted(free(), blocks())]


def fitted(free: list[Constant], blocks: list[Block]) -> list[tuple[Constant, float]]:
    """Return `free` with the values that fit `blocks` best, and leave them so.

    The search begins at what they are; the pull is to where each constant starts all the same.
    """
    start = np.log([one.start for one in free])
    most = np.log([one.most for one in free])
    stiffness = (0.5 / PULL) ** 2

    def at(values: Array) -> tuple[list[Array], float]:
        for one, value in zip(free, values, strict=True):
            one.set(math.exp(value))
        residuals = [block.residuals() for block in blocks]
        loss = sum(b.loss(r) for b, r in zip(blocks, residuals, strict=True))
        return residuals, loss + stiffness * float(((values - start) ** 2).sum())

    values = np.minimum(np.log([one.get() for one in free]), most)
    residuals, loss = at(values)
    damping = _DAMPING
    for turn in range(ROUNDS):
        normal, gradient = _quadratic(free, blocks, residuals)
        normal[np.diag_indices_from(normal)] += stiffness
        gradient += stiffness * (values - start)
        # What stands at its most and would go beyond is no part of this round.
        mobile = np.flatnonzero((values < most) | (gradient > 0.0))
        while True:
            damped = normal[np.ix_(mobile, mobile)]
            damped[np.diag_indices_from(damped)] *= 1.0 + damping
            moved = values.copy()
            moved[mobile] -= np.clip(np.linalg.solve(damped, gradient[mobile]), -_LEAP, _LEAP)
            moved = np.minimum(moved, most)
            change = float(np.abs(moved - values).max())
            new_residuals, new_loss = at(moved)
            if new_loss <= loss or change < SETTLED:
                break
            damping *= 4.0
        if new_loss <= loss:
            values, residuals, loss = moved, new_residuals, new_loss
            damping = max(damping / 4.0, _LEAST_DAMPING)
        sys.stderr.write(f"round {turn + 1}: loss {loss:.2f}, largest change {change:.4f}\n")
        if change < SETTLED:
            break
    at(values)
    return [(one, math.exp(value)) for one, value in zip(free, values, strict=True)]


def _quadratic(
    free: list[Constant], blocks: list[Block], residuals: list[Array]
) -> tuple[Array, Array]:
    """Return the matrix and the gradient of reweighted least squares around what stands now."""
    normal = np.zeros((len(free), len(free)))
    gradient = np.zeros(len(free))
    columns: list[dict[int, Array]] = [{} for _ in blocks]
    for k, one in enumerate(free):
        value = one.get()
        one.set(value * math.exp(_NUDGE))
        for b, block in enumerate(blocks):
            if one.concerns(block.family, block.engine):
                columns[b][k] = (block.residuals() - residuals[b]) / _NUDGE
        one.set(value)
    for block, residual, slopes in zip(blocks, residuals, columns, strict=True):
        weight = block.weight**2 / np.sqrt(1.0 + (residual / block.huber) ** 2)
        for k, left in slopes.items():
            gradient[k] += float((weight * left * residual).sum())
            for other, right in slopes.items():
                normal[k, other] += float((weight * left * right).sum())
    return normal, gradient


@contextmanager
def restored(every: list[Constant]) -> Iterator[None]:
    """Give `every` constant its value back in the end."""
    standing = [(one, one.get()) for one in every]
    try:
        yield
    finally:
        for one, value in standing:
            one.set(value)


def main() -> int:
    """Print the fit beside what stands; 1 where they differ by more than rounding."""
    found = fit()
    apart = [one for one, value in found if abs(math.log(value / one.get())) > ROUNDING]
    for one, value in found:
        mark = "  differs" if one in apart else ""
        sys.stdout.write(
            f"{one.home:15s} {one.name:20s} {value:10.3g} stands {one.get():.3g}{mark}\n"
        )
    sys.stdout.write(f"{len(apart)} of {len(found)} constants differ by more than rounding\n")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
