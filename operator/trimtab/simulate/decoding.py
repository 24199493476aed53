"""The requests of an engine that get a token in every step: how many, how long, who ends when."""

from heapq import heappop, heappush

from trimtab.errors import Bug
from trimtab.simulate.job import Job


class Decoding:
    """All requests whose prompts are computed and whose answers are not whole."""

    __slots__ = ("_ends", "context", "count")

    def __init__(self) -> None:
        self.count = 0
        self.context = 0
        """Tokens that they had in the cache before the current stretch."""
        self._ends: list[tuple[int, int, int, Job]] = []
        """Heap of (last step, request id, step at which decoding began, job); stale where it began
        anew or is over."""

    def join(self, job: Job, step: int) -> None:
        """Take in a request that got a token at the end of `step`."""
        job.joined_step = step
        self.count += 1
        self.context += job.prompt
        heappush(self._ends, (step + job.output - job.generated, job.request.id, step, job))

    def leave(self, job: Job, step: int) -> int:
        """Let a request go after `step`, and return the tokens that it has in the cache."""
        if job.joined_step is None:
            raise Bug("a request leaves that was not decoding")
        tokens = job.prompt + step - job.joined_step
        job.joined_step = None
        self.count -= 1
        self.context -= tokens
        return tokens

    def advance(self, steps: int) -> None:
        """Give everybody so many tokens."""
        self.context += self.count * steps

    def ends_in(self, step: int) -> int:
        """Return the number of steps from `step` until the next request has its last token."""
        while True:
            last, _, joined, job = self._ends[0]
            if job.joined_step == joined:
                return last - step
            heappop(self._ends)

    def ended(self, step: int) -> Job | None:
        """Return a request that has its last token by `step` and was not returned yet, or None."""
        while self._ends and self._ends[0][0] <= step:
            _, _, joined, job = heappop(self._ends)
            if job.joined_step == joined:
                return job
        return None
