"""How long engine steps take, and how far many equal ones can be summed in closed form."""

import math
from typing import NamedTuple, Protocol

_AFFINE_TOLERANCE = 1e-9
"""Relative distance from a straight line below which step times count as lying on it."""


class StepTimes(Protocol):
    """Step times of one replica; `trimtab.performance.steptime.StepModel` is one."""

    def decode_s(self, batch: float, kv_tokens: float) -> float:
        """Return the seconds of a step that gives `batch` requests one token each.

        `kv_tokens` are read from the KV cache, over all requests. For a fixed batch the time is
        convex or concave in them.
        """
        ...

    def mixed_s(
        self, prefill_tokens: float, prefill_context: float, batch: float, kv_tokens: float
    ) -> float:
        """Return the seconds of a step that also computes `prefill_tokens` of prompts.

        Each of them attends to `prefill_context` tokens on average.
        """
        ...


class Run(NamedTuple):
    """Step j of `steps` decode steps takes `first_s + j * growth_s`."""

    first_s: float
    growth_s: float
    steps: int


class Pace:
    """Step times with a memory, so that engines of one kind share what was worked out."""

    def __init__(self, times: StepTimes, kv_tokens: int) -> None:
        self._times = times
        self.kv_tokens = kv_tokens
        self._lines: dict[int, tuple[float, float] | None] = {}

    def mixed_s(
        self, prefill_tokens: int, prefill_context: float, batch: int, kv_tokens: int
    ) -> float:
        """Return the seconds of a step with parts of prompts, as `StepTimes.mixed_s`."""
        return float(self._times.mixed_s(prefill_tokens, prefill_context, batch, kv_tokens))

    def decode_run(self, batch: int, kv_tokens: int, steps: int) -> Run:
        """Return the longest run of at most `steps` decode steps whose times lie on a line.

        Each step adds one KV token for each of the `batch` requests to `kv_tokens`. A convex (or
        concave) function that meets its chord at an inner point is that chord, so three values
        prove a line.
        """
        try:
            line = self._lines[batch]
        except KeyError:
            line = self._lines[batch] = self._line(batch, batch, max(self.kv_tokens, batch + 1))
        if line is not None:
            base, slope = line
            return Run(base + slope * kv_tokens, slope * batch, steps)
        while steps > 1:
            line = self._line(batch, kv_tokens, kv_tokens + batch * (steps - 1))
            if line is not None:
                base, slope = line
                return Run(base + slope * kv_tokens, slope * batch, steps)
            steps //= 2
        return Run(self._decode_s(batch, kv_tokens), 0.0, 1)

    def _decode_s(self, batch: int, kv_tokens: float) -> float:
        return float(self._times.decode_s(batch, kv_tokens))

    def _line(self, batch: int, low: int, high: int) -> tuple[float, float] | None:
        at_low = self._decode_s(batch, low)
        at_high = self._decode_s(batch, high)
        slope = (at_high - at_low) / (high - low)
        middle = self._decode_s(batch, (low + high) / 2)
        if math.isclose(middle, (at_low + at_high) / 2, rel_tol=_AFFINE_TOLERANCE):
            return at_low - slope * low, slope
        return None
