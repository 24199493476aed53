"""One replica as a flow of tokens: what `engine.Engine` does, without its books.

Everybody in the batch gets a token a step, so one count of steps says of all of them how far they
are, and a request leaves when the count has come to its last token. Prompts are computed in order
of arrival, in parts and beside the answers, as the engine does it. What is left out is what costs
the engine most of its time: KV blocks are a volume of tokens and no single blocks, no prompt finds
anything in a cache, and how much longer a step takes for the prompts in it is looked up for a step
of about that size.
"""

from collections import deque
from heapq import heappop, heappush
from math import inf

from trimtab.models.hardware import EngineSettings
from trimtab.performance.fit import BLOCK_TOKENS
from trimtab.simulate.flowlog import Log
from trimtab.simulate.limits import admission_s, ahead_of, check, longest_answer
from trimtab.simulate.pace import Pace
from trimtab.simulate.readings import Counts

_UNFILLED = (BLOCK_TOKENS - 1) / 2
"""Tokens that would still fit into the last block of a request, on average."""


class Job:
    """One request of a client."""

    __slots__ = (
        "answer",
        "cached",
        "ends",
        "first_at",
        "flow",
        "generated",
        "input_tokens",
        "joined",
        "kept",
        "output_tokens",
        "over",
        "prompt",
        "reached_at",
        "sent_at",
        "taken",
    )

    def __init__(self, sent_at: float, input_tokens: int, output_tokens: int) -> None:
        """Begin at the client."""
        self.sent_at = self.reached_at = sent_at
        self.input_tokens = self.prompt = input_tokens
        """`prompt` is what is to be computed: after a preemption the answer so far, too."""
        self.output_tokens = self.answer = output_tokens
        """`answer` is what the engine gives: no more than it has room for."""
        self.flow: Flow | None = None
        self.cached = 0
        """Tokens of the prompt that are computed, while it is."""
        self.generated = 0
        """Tokens of the answer when it was last decoded for the first time."""
        self.kept = self.taken = 0
        """Tokens that it left in the cache when it was preempted, and what had been taken then."""
        self.joined = 0
        """Step after which that was."""
        self.ends: int | None = None
        """Step of the last token; None while it is not decoded."""
        self.first_at: float | None = None
        self.over = False
        """Whether its fate is known."""


class Flow:
    """A simulated replica. Deterministic: the caller owns the clock and never turns it back."""

    def __init__(self, pace: Pace, settings: EngineSettings, log: Log) -> None:
        """Start an idle replica that writes down what it does in `log`.

        Raises:
            InvalidInput: The real engine would refuse to start with these settings.
        """
        check(settings, pace.kv_tokens)
        self._pace = pace
        self._settings = settings
        self._log = log
        self._counts = Counts()
        self.kv_blocks = pace.kv_tokens // BLOCK_TOKENS
        self._room = self.kv_blocks * BLOCK_TOKENS
        self.outstanding = 0
        """Requests that were submitted and have not finished."""
        self.due = inf
        """When somebody may leave; before, nobody need advance it."""
        self._clock = 0.0
        """When the next step begins."""
        self._ahead = ahead_of(settings)
        self._admission_s = admission_s(settings)
        self._chosen = 0.0
        """Until when it was possible to get into that step."""
        self._step = 0
        self._waiting: deque[Job] = deque()
        """In order of arrival; who has come in the step that runs is among them."""
        self._partial: Job | None = None
        """The request whose prompt is partly computed."""
        self._count = 0
        """Requests that are decoded."""
        self._context = 0
        """Tokens that they have in the cache."""
        self._ends: list[tuple[int, int, Job]] = []
        """Heap of (step of the last token, rank, job); stale where it has left before."""
        self._rank = 0
        self._taken = 0
        """Tokens that were put into the cache so far."""
        self._admitted: list[Job] = []
        """Those that are decoded, in order of admission, and some that have left."""

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return self._count + (self._partial is not None)

    def waiting(self, now: float) -> int:
        """Requests in the queue at `now`, the time to which it was advanced."""
        return len(self._waiting)

    @property
    def kv_blocks_held(self) -> int:
        """KV blocks in use."""
        return min(self.kv_blocks, round(self._used / BLOCK_TOKENS))

    kv_blocks_used = kv_blocks_held

    @property
    def _used(self) -> float:
        partial = 0.0 if self._partial is None else self._partial.cached + _UNFILLED
        return self._context + self._count * _UNFILLED + partial

    def unfinished(self) -> list[Job]:
        """Return the requests that have not finished, in order of admission and arrival."""
        return [*self._batch(), *self._waiting]

    def _batch(self) -> list[Job]:
        batch = [job for job in self._admitted if job.ends is not None]
        return batch if self._partial is None else [*batch, self._partial]

    def taken(self) -> Counts:
        """Return what was counted since this was last asked."""
        counts, self._counts = self._counts, Counts()
        return counts

    def submit(self, job: Job, now: float) -> bool:
        """Queue a request at `now`; False where the engine refuses it, see `longest_answer`."""
        job.answer = longest_answer(job.input_tokens, job.output_tokens, self._settings)
        if job.answer < 1:
            return False
        job.flow, job.reached_at = self, now
        self._waiting.append(job)
        self.outstanding += 1
        if not self._count:
            self.due = min(self.due, max(now, self._clock))
        return True

    def cancel(self, job: Job) -> None:
        """Let a request go that is not over, without an answer."""
        if job is self._partial:
            self._partial = None
        elif job.ends is not None:
            self._leave(job)
        else:
            self._waiting.remove(job)
        self.outstanding -= 1

    def advance(self, until: float) -> None:
        """Run all steps that begin before `until`; the last of them may end after it."""
        waiting = self._waiting
        while self._clock < until:
            comes = waiting[0].reached_at if waiting else inf
            if not self._count and self._partial is None:
                self._chosen = self._clock
            if self._partial is not None or comes <= self._chosen:
                if self._mixed():
                    continue
                # Who finds no room waits until somebody has left.
                comes = inf
            if self._count:
                self._decode(until, comes)
            else:
                self._clock = min(until, comes)
        self.due = inf
        if self._count:
            steps = self._next_end() - self._step
            self.due = self._clock + self._pace.decode_run(self._count, self._context, steps).lasts
        elif self._partial is not None:
            self.due = self._clock
        elif waiting:
            self.due = max(self._clock, waiting[0].reached_at)

    def _decode(self, until: float, comes: float) -> None:
        """Give everybody tokens until one has his last, or to the end of the step at `until`.

        Somebody is there from `comes` on: not longer than to the step that he can get into.
        """
        count = self._count
        steps = self._next_end() - self._step
        room = self._room - self._used
        if steps * count > room:
            steps = int(room / count)
            if steps < 1:
                self._preempt()
                return
        run = self._pace.decode_run(count, self._context, steps)
        if run.steps > 1 and self._clock + run.lasts > min(until, comes):
            # Steps of one run are nearly equally long.
            step_s = run.lasts / run.steps
            most = int((until - self._clock) / step_s) + 1
            if comes <= self._clock:
                most = 1
            elif comes < until:
                most = min(most, int((comes - self._clock) / step_s) + 1 + self._ahead)
            run = run._replace(steps=min(run.steps, most))
        self._pass(run.steps, run.lasts)

    def _mixed(self) -> bool:
        """Take a step with prompts in it; False when none of them gets in."""
        budget = self._settings.max_num_batched_tokens - self._count
        room = int(self._room - self._used) - self._count
        places = self._settings.max_num_seqs - self._count
        tokens, attended = 0, 0.0
        whole: list[Job] = []
        admitted = 0
        while budget > 0 and room > 0:
            job = self._partial or self._admitted_of(room, places - len(whole))
            if job is None:
                break
            if job is not self._partial:
                room -= job.cached + BLOCK_TOKENS // 2
                admitted += 1
            some = min(job.prompt - job.cached, budget, room)
            attended += some * (job.cached + some / 2)
            job.cached += some
            budget -= some
            tokens += some
            room -= some
            if job.cached < job.prompt:
                self._partial = job
                break
            self._partial = None
            whole.append(job)
        if not tokens:
            return False
        lasts = self._pace.about_s(tokens, attended / tokens, self._count, self._context)
        lasts += admitted * self._admission_s
        self._taken += tokens
        self._counts.prompt_tokens += tokens
        self._counts.answer_tokens += len(whole)
        if whole and not self._count:
            self._counts.steps += 1
        self._pass(1, lasts)
        for one in whole:
            self._join(one)
        return True

    def _admitted_of(self, room: int, places: int) -> Job | None:
        """Take the first in the queue into the batch, if it is there and has room and a place."""
        if not self._waiting or places <= 0:
            return None
        job = self._waiting[0]
        if job.reached_at > self._chosen or job.prompt + BLOCK_TOKENS // 2 >= room:
            return None
        if job.kept:
            # What it had is overwritten first: it was free before all that others left.
            left = job.kept - (self._taken - job.taken)
            job.cached = max(0, min(left, job.prompt - 1) // BLOCK_TOKENS * BLOCK_TOKENS)
        return self._waiting.popleft()

    def _pass(self, steps: int, lasts: float) -> None:
        """Let steps pass, and those leave who have their last token."""
        count = self._count
        self._clock += lasts
        self._chosen = self._clock - (lasts / steps if self._ahead else 0.0)
        self._step += steps
        if not count:
            return
        gaps = steps * count
        counts = self._counts
        counts.steps += steps
        counts.gaps += gaps
        counts.gap_s += count * lasts
        counts.answer_tokens += gaps
        self._log.gaps.append((lasts / steps, gaps))
        self._context += gaps
        self._taken += gaps
        ends = self._ends
        while ends and ends[0][0] <= self._step:
            last, _, job = heappop(ends)
            if job.ends == last:
                self._leave(job)
                self._finish(job)

    def _join(self, job: Job) -> None:
        """Begin to decode a request whose prompt was just computed."""
        job.generated += 1
        if job.first_at is None:
            self._first(job)
        if job.generated >= job.answer:
            self._finish(job)
            return
        job.joined = self._step
        job.ends = self._step + job.answer - job.generated
        self._count += 1
        self._context += job.prompt
        self._rank += 1
        heappush(self._ends, (job.ends, self._rank, job))
        self._admitted.append(job)

    def _next_end(self) -> int:
        ends = self._ends
        while ends[0][2].ends != ends[0][0]:
            heappop(ends)
        return ends[0][0]

    def _leave(self, job: Job) -> None:
        """Take a request out of those that are decoded."""
        job.ends = None
        passed = self._step - job.joined
        job.generated += passed
        self._count -= 1
        self._context -= job.prompt + passed
        if len(self._admitted) > 2 * self._count + BLOCK_TOKENS:
            self._admitted = [one for one in self._admitted if one.ends is not None]

    def _preempt(self) -> None:
        """Send who was admitted last back to the head of the queue, to be computed anew."""
        job = self._batch()[-1]
        self._counts.preempted += 1
        if job is self._partial:
            self._partial = None
            job.kept = job.cached
        else:
            self._admitted.remove(job)
            self._leave(job)
            job.prompt = job.input_tokens + job.generated
            job.kept = job.prompt - 1
        job.taken, job.cached = self._taken, 0
        self._waiting.appendleft(job)

    def _first(self, job: Job) -> None:
        job.first_at = self._clock
        wait_s = self._clock - job.reached_at
        self._log.firsts.append((wait_s, self._clock - job.sent_at))
        counts = self._counts
        counts.first_tokens += 1
        counts.ttft_s += wait_s
        counts.sought += job.input_tokens

    def _finish(self, job: Job) -> None:
        job.over = True
        self.outstanding -= 1
        counts = self._counts
        counts.finished += 1
        counts.inputs += job.input_tokens
        counts.outputs += job.answer
        self._log.ends.append(
            (
                job.sent_at,
                job.reached_at,
                job.first_at or self._clock,
                self._clock,
                job.input_tokens,
                job.answer,
            )
        )
