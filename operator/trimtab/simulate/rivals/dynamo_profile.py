"""What NVIDIA Dynamo's planner reads from a swept profile: how fast one engine is under a target.

Source: ai-dynamo 1.0.2, planner core. The research page gives only that replicas = demand /
capacity for each role; how a profile is read was found from the vectors, which it reproduces.
Prefill: a cubic spline (not-a-knot) of time to first token and of tokens/s over the prompt length.
Decode: surfaces of the gap between tokens and of tokens/s over KV use and context length, read on a
grid of 100 x 100. Of the row of the context (prompt and half the answer) the highest KV use counts
whose gap is within the target, or the lowest if none is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimtab.simulate.rivals.surface import Surface

_GRID = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillSweep:
    """Measured prefills of one engine, by rising prompt length; at least four."""

    input_tokens: tuple[float, ...]
    ttft_ms: tuple[float, ...]
    tokens_per_s_gpu: tuple[float, ...]

    def ttft_at(self, input_tokens: float) -> float:
        """Return the time to first token, ms; beyond the sweep, that of its end."""
        return spline(self.input_tokens, self.ttft_ms, input_tokens)

    def speed_at(self, input_tokens: float) -> float:
        """Return prompt tokens/s of one GPU; beyond the sweep, those of its end."""
        return spline(self.input_tokens, self.tokens_per_s_gpu, input_tokens)


def spline(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Return the not-a-knot cubic spline through four or more points, at `x` in their range."""
    x = min(max(x, xs[0]), xs[-1])
    step = np.diff(np.array(xs))
    rise = np.diff(np.array(ys)) / step
    size = len(xs)
    # The unknowns are the second derivatives at the points.
    rows, right = np.zeros((size, size)), np.zeros(size)
    for i in range(1, size - 1):
        rows[i, i - 1 : i + 2] = step[i - 1], 2.0 * (step[i - 1] + step[i]), step[i]
        right[i] = 6.0 * (rise[i] - rise[i - 1])
    rows[0, :3] = step[1], -(step[0] + step[1]), step[0]
    rows[-1, -3:] = step[-1], -(step[-2] + step[-1]), step[-2]
    bend = np.linalg.solve(rows, right)
    i = min(max(int(np.searchsorted(np.array(xs), x)) - 1, 0), size - 2)
    h = float(step[i])
    right_of, left_of = (x - xs[i]) / h, (xs[i + 1] - x) / h
    cubic = bend[i] * (left_of**3 - left_of) + bend[i + 1] * (right_of**3 - right_of)
    return float(ys[i] * left_of + ys[i + 1] * right_of + cubic * h * h / 6.0)


class Decode(NamedTuple):
    """One engine at its best for a context."""

    tokens_per_s_gpu: float
    itl_ms: float
    kv_used: float


class DecodeSweep:
    """Measured decodes of one engine: several concurrencies for each of several contexts."""

    def __init__(
        self,
        max_kv_tokens: float,
        points: Sequence[tuple[float, float]],
        itl_ms: Sequence[float],
        tokens_per_s_gpu: Sequence[float],
    ) -> None:
        """Take each point as (requests in the batch, context tokens of each)."""
        used = [requests * context / max_kv_tokens for requests, context in points]
        contexts = [context for _, context in points]
        self._longest = max(contexts)
        self._itl = Surface(used, contexts, itl_ms)
        self._speed = Surface(used, contexts, tokens_per_s_gpu)

    def best(self, itl_ms: float, context_tokens: float) -> Decode:
        """Return the engine at the highest KV use whose gap between tokens is within `itl_ms`."""
        grid: NDArray[np.float64] = np.linspace(0.0, 1.0, _GRID)
        row = min(max(round(context_tokens / self._longest * (_GRID - 1)), 0), _GRID - 1)
        context = row * self._longest / (_GRID - 1)
        gaps = self._itl.along(grid, context)
        within = np.flatnonzero(gaps <= itl_ms)
        at = int(within[-1]) if len(within) else 0
        speeds = self._speed.along(grid, context)
        return Decode(float(speeds[at]), float(gaps[at]), float(grid[at]))


def engines(tokens_per_s: float, engine_tokens_per_s: float) -> int:
    """Return the engines of one role for `tokens_per_s` of its tokens, at least one."""
    return max(1, math.ceil(tokens_per_s / engine_tokens_per_s))
