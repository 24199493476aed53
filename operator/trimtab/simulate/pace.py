"""How long engine steps take, and how far many equal ones can be summed in closed form."""

import math
from typing import NamedTuple, Protocol

_PROMPT_BITS, _BATCH_BITS, _KV_BITS = 5, 2, 3
"""Steps with prompts are looked up by 32 tokens, 4 requests and an eighth to a sixteenth of the
tokens in the cache: what falls to the batch alone is exact, and errors of the rest even out."""
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

    @property
    def lasts(self) -> float:
        """Seconds of all of them."""
        return self.steps * (self.first_s + self.growth_s * (self.steps - 1) / 2)


class Pace:
    """Step times with a memory, so that engines of one kind share what was worked out."""

    def __init__(self, times: StepTimes, kv_tokens: int) -> None:
        self._times = times
        self.kv_tokens = kv_tokens
        self._lines: dict[int, tuple[float, float] | None] = {}
        self._beside: dict[tuple[int, int, int, int, int], float] = {}

    def mixed_s(
        self, prefill_tokens: int, prefill_context: float, batch: int, kv_tokens: int
    ) -> float:
        """Return the seconds of a step with parts of prompts, as `StepTimes.mixed_s`."""
        return float(self._times.mixed_s(prefill_tokens, prefill_context, batch, kv_tokens))

    def about_s(self, prompt: int, attended: float, batch: int, kv_tokens: int) -> float:
        """Return the seconds of a step with parts of prompts, as those of steps much like it are.

        Arguments are those of `mixed_s`. At a fifth of its cost.
        """
        coarse = max(0, kv_tokens.bit_length() - _KV_BITS - 1)
        key = (
            prompt >> _PROMPT_BITS,
            int(attended) >> _PROMPT_BITS,
            (batch >> _BATCH_BITS) if batch else -1,
            kv_tokens >> coarse,
            coarse,
        )
        beside = self._beside.get(key)
        if beside is None:
            held = _middle(kv_tokens, coarse) if batch else 0.0
            many = _middle(batch, _BATCH_BITS) if batch else 0.0
            beside = self._times.mixed_s(
                _middle(prompt, _PROMPT_BITS), _middle(int(attended), _PROMPT_BITS), many, held
            ) - (self._times.decode_s(many, held) if batch else 0.0)
            self._beside[key] = beside
        return beside + (self.decode_run(batch, kv_tokens, 1).first_s if batch else 0.0)

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


def _middle(size: int, bits: int) -> float:
    """Return the middle of the whole sizes that differ from this one in the last `bits` only."""
    return (size >> bits << bits) + ((1 << bits) - 1) / 2
