"""The parts of prompts that one engine step computes."""

from collections.abc import Iterator

from trimtab.simulate.decoding import Decoding
from trimtab.simulate.job import Job
from trimtab.simulate.pace import Pace


class Chunks:
    """Chosen one by one, before the step; none of them is empty."""

    __slots__ = ("_attended", "_parts", "prompts_done", "tokens")

    def __init__(self) -> None:
        self._parts: list[tuple[Job, int]] = []
        self._attended = 0.0
        self.tokens = 0
        self.prompts_done = 0
        """Prompts that are whole with them."""

    def add(self, job: Job, tokens: int) -> None:
        """Let the step compute the next tokens of a prompt.

        A token of a chunk of x tokens on p cached ones attends to p + x / 2 on average.
        """
        self._parts.append((job, tokens))
        self._attended += tokens * (job.cached + tokens / 2)
        self.tokens += tokens
        self.prompts_done += job.cached + tokens == job.prompt

    def seconds(self, pace: Pace, decoding: Decoding) -> float:
        """Return the time of a step with them and a token for each of `decoding`."""
        attended = self._attended / self.tokens
        return pace.mixed_s(self.tokens, attended, decoding.count, decoding.context)

    def computed(self) -> Iterator[Job]:
        """Note that they are computed, and yield the jobs whose prompts are whole."""
        for job, tokens in self._parts:
            job.cached += tokens
            if job.cached == job.prompt:
                yield job
