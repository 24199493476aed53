"""A request inside an engine: how far it is, and what it reports when something happens to it."""

from trimtab.errors import Bug
from trimtab.simulate.blocks import Segment
from trimtab.simulate.events import Finished, FinishReason, FirstToken, Request


class Job:
    """A request inside the engine."""

    __slots__ = (
        "cached",
        "first_token_at",
        "found",
        "generated",
        "joined_step",
        "last_token_at",
        "output",
        "own",
        "preemptions",
        "prompt",
        "reached_at",
        "request",
        "scheduled_at",
        "segments",
    )

    def __init__(self, request: Request, output: int, reached_at: float) -> None:
        self.request = request
        self.output = output
        self.reached_at = reached_at
        self.prompt = request.input_tokens
        """Tokens to compute before the next one comes: after a preemption the answer's too."""
        self.cached = 0
        """Tokens in the cache while the prompt is computed."""
        self.generated = 0
        """Tokens of the answer when decoding last began."""
        self.joined_step: int | None = None
        """The step at whose end decoding last began; None while the prompt is computed."""
        self.scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at = 0.0
        """When the token before the latest preemption came."""
        self.preemptions = 0
        self.found = 0
        """Tokens of the prompt that were in the cache when a step first had it."""
        self.segments: list[Segment] = []
        """Blocks that it holds and others may find, the first of its prompt first."""
        self.own: Segment | None = None
        """What may be left of its own blocks since it was preempted."""

    def has_generated(self, step: int) -> int:
        """Return the tokens of the answer after `step`."""
        return self.generated + (0 if self.joined_step is None else step - self.joined_step)

    def first_token(self, now: float) -> FirstToken:
        """Return the event of its first token."""
        if self.scheduled_at is None:
            raise Bug("a request got a token before any step had it")
        return FirstToken(
            at=now,
            request=self.request,
            reached_at=self.reached_at,
            scheduled_at=self.scheduled_at,
            cached_tokens=self.found,
        )

    def finished(self, now: float, reason: FinishReason, generated: int) -> Finished:
        """Return the event of its end with `generated` tokens of the answer."""
        return Finished(
            at=now,
            request=self.request,
            reason=reason,
            generated=generated,
            reached_at=self.reached_at,
            scheduled_at=self.scheduled_at,
            first_token_at=self.first_token_at,
            preemptions=self.preemptions,
            cached_tokens=self.found,
        )
