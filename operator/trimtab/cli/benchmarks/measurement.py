"""One measurement of one replica, whatever tool took it, and the checks that all must pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.errors import InvalidInput

_SHORTEST_GAP_S, _LONGEST_GAP_S = 1e-4, 10.0
"""No device reads the weights of a language model in 0.1 ms; nobody waits 10 s for a token."""
_SHORTEST_PROMPT_S, _LONGEST_PROMPT_S = 5e-4, 3600.0
_AGREE = 10.0
_PERCENTILES = (95, 99, 90, 50)
"""Which one is taken where the user asks for none, the first that is there."""
_SERVED = 0.9
"""Share of the requests of an open loop that a replica below saturation answers in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A steady load on one replica and what its users waited, in SI units."""

    where: str
    """File and row, for messages."""
    input_tokens: float
    output_tokens: float
    rps: float
    """Requests per second that were answered."""
    percentile: int
    """In percent."""
    ttft_s: float
    itl_s: float
    offered_rps: float | None = None
    """Requests per second that arrived; None where users ask again as soon as answered."""
    labels: Mapping[str, str]
    """What the file says of model, accelerator, tensor_parallel, quantization and engine."""

    @property
    def saturated(self) -> bool:
        """Whether requests arrived faster than they were answered."""
        return self.offered_rps is not None and self.rps < _SERVED * self.offered_rps


def checked(measurement: Measurement) -> Measurement:
    """Return `measurement` if it can be one.

    Raises:
        InvalidInput: A figure is none, or of a size that only a wrong unit explains.
    """
    m = measurement
    for name, value in (
        ("input tokens", m.input_tokens),
        ("output tokens", m.output_tokens),
        ("requests per second", m.rps),
    ):
        if not (math.isfinite(value) and value > 0):
            raise InvalidInput(f"{m.where}: {name}", f"is {value:g}", "Leave such runs out")
    for name, value, least, most in (
        ("time between tokens", m.itl_s, _SHORTEST_GAP_S, _LONGEST_GAP_S),
        ("time to first token", m.ttft_s, _SHORTEST_PROMPT_S, _LONGEST_PROMPT_S),
    ):
        if not least <= value <= most:
            raise InvalidInput(
                f"{m.where}: {name}",
                f"is {value:g} s, which no replica does",
                "Check the unit: names that end in _ms hold milliseconds, in _s seconds",
            )
    return m


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """Mean latencies of the same requests, in seconds; None where a file has none."""

    ttft_s: float | None
    itl_s: float | None
    e2e_s: float | None


def check_per_token(where: str, means: Means, output_tokens: float) -> None:
    """Refuse a time between tokens that is one of whole requests, or the other way round.

    Requests take a first token and as many gaps as there are further tokens. Engines that emit
    several tokens at once have fewer, longer gaps, which a factor of ten allows for.

    Raises:
        InvalidInput: The mean latencies contradict each other by more.
    """
    if means.ttft_s is None or means.itl_s is None or means.e2e_s is None:
        return
    expected = means.ttft_s + means.itl_s * max(output_tokens - 1.0, 0.0)
    if not 1.0 / _AGREE < expected / max(means.e2e_s, 1e-9) < _AGREE:
        raise InvalidInput(
            f"{where}: time between tokens",
            f"makes {expected:.3g} s of a request with {output_tokens:.0f} tokens, whose mean "
            f"latency is {means.e2e_s:.3g} s",
            "Give the gap between two tokens, not the time of a request, and check the units",
        )


def percentile_in(available: Mapping[int, Any], wanted: int | None, where: str) -> int:
    """Return the percentile to take of those that a file has.

    Raises:
        InvalidInput: The wanted one is not there, or none is.
    """
    choice = (wanted,) if wanted is not None else _PERCENTILES
    for percentile in choice:
        if percentile in available:
            return percentile
    have = ", ".join(f"p{one}" for one in sorted(available)) or "none"
    asked = " or ".join(f"p{one}" for one in choice)
    raise InvalidInput(
        f"{where}: percentiles",
        f"has {have}, not {asked}",
        "Name one that is there with --percentile, or measure with that one",
    )


def number(values: Mapping[str, Any], name: str, where: str) -> float:
    """Return the number called `name`.

    Raises:
        InvalidInput: It is missing or no number.
    """
    value = values.get(name)
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"{where}: {name}", "is missing or no number", "Give the file as the tool wrote it"
        ) from error


def little(users: float, ttft_s: float, itl_s: float, output_tokens: float) -> float:
    """Return the requests per second of `users` who ask again as soon as answered."""
    return users / (ttft_s + itl_s * max(output_tokens - 1.0, 0.0))
