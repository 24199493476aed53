"""What goes into a simulated engine and what comes out of it. Times are seconds on one clock.

Events are not frozen: that makes creating one three times as slow, and a million requests make
five million of them. Nobody changes one.
"""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request of a client."""

    id: int
    """Unique within one engine."""
    arrival: float
    """When the client sent it, which may be before it reaches an engine."""
    input_tokens: int
    output_tokens: int
    prefix: tuple[int, ...] = ()
    """Ids of the leading 512-token blocks of the prompt; equal ids stand for equal prompts so far.

    An id of a block that the prompt does not fill is not looked at.
    """


class FinishReason(StrEnum):
    """Why an answer ended, in the engine's own words."""

    STOP = "stop"
    """The answer was complete."""
    LENGTH = "length"
    """The answer reached the longest length that the engine serves."""
    ABORT = "abort"
    """The client gave up."""


@dataclass(slots=True, kw_only=True)
class Steps:
    """Consecutive engine steps of one batch; step j of them took `first_s + j * growth_s`.

    Every decoding request got one token in every step, so each of these is also the gap before
    `decoding` tokens.
    """

    at: float
    """End of the last of them."""
    count: int
    first_s: float
    growth_s: float
    decoding: int
    """Requests that got a further token in each step."""
    prefill_tokens: int
    """Prompt tokens computed in each step."""
    prompts_done: int
    """Prompts whose last token was among them: each got the next token of its answer."""


@dataclass(slots=True, kw_only=True)
class FirstToken:
    """A prompt is computed and its answer has begun."""

    at: float
    request: Request
    reached_at: float
    """When it reached the engine, whose own latencies count from there."""
    scheduled_at: float
    """When its first part was first put into a step."""
    cached_tokens: int
    """Tokens of the prompt that the prefix cache had."""


@dataclass(slots=True, kw_only=True)
class Preempted:
    """A request lost its KV blocks and waits to be computed anew."""

    at: float
    request: Request


@dataclass(slots=True, kw_only=True)
class Resumed:
    """A preempted request has been computed anew and got its next token."""

    at: float
    request: Request
    gap_s: float
    """Time since its last token."""


@dataclass(slots=True, kw_only=True)
class Finished:
    """A request has left the engine."""

    at: float
    request: Request
    reason: FinishReason
    generated: int
    """Tokens of the answer."""
    reached_at: float
    scheduled_at: float | None
    """None when it was given up before any step had it."""
    first_token_at: float | None
    preemptions: int
    cached_tokens: int
    """Tokens of the prompt that the prefix cache had."""

    @property
    def mean_itl_s(self) -> float | None:
        """Mean gap between two tokens, or None for an answer that has no gap."""
        if self.first_token_at is None or self.generated < 2:
            return None
        return (self.at - self.first_token_at) / (self.generated - 1)


Event = Steps | FirstToken | Preempted | Resumed | Finished
