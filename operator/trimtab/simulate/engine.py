"""One replica of a serving engine: vLLM's v1 scheduler, event by event, without its GPU.

Each step takes the running requests first (one token each, or the next chunk of a prompt), then
waiting ones in order of arrival while token budget, sequences and KV blocks last. A prompt is
admitted only when all of it would fit (`scheduler_reserve_full_isl`). Unless the engine takes turns
with its device, a step is chosen when the one before it begins: who comes later is in the next but
one (see `limits.ahead_of`). When blocks run out, the
request that was admitted last loses its blocks and goes back to the head of the queue, to be
computed anew, but for what the prefix cache keeps of it. As long as nothing of this happens the
batch stays the same, and the engine skips from one change to the next (see `stretch`).
"""

from collections import deque
from math import inf

from trimtab.errors import Bug
from trimtab.models.hardware import EngineSettings
from trimtab.simulate.blocks import Blocks, blocks_of
from trimtab.simulate.chunks import Chunks
from trimtab.simulate.decoding import Decoding
from trimtab.simulate.events import (
    Event,
    Finished,
    FinishReason,
    Preempted,
    Request,
    Resumed,
    Steps,
)
from trimtab.simulate.job import Job
from trimtab.simulate.limits import admission_s, ahead_of, check, longest_answer
from trimtab.simulate.pace import Pace
from trimtab.simulate.prefix import PrefixCache
from trimtab.simulate.stretch import Stretch


class Engine:
    """A simulated replica. Deterministic: the caller owns the clock and the dice."""

    def __init__(
        self, pace: Pace, settings: EngineSettings, *, prefix_caching: bool = True
    ) -> None:
        """Start an idle engine.

        Raises:
            InvalidInput: The real engine would refuse to start with these settings.
        """
        self._pace = pace
        self._settings = settings
        self._blocks = Blocks(pace.kv_tokens)
        self._cache = PrefixCache(self._blocks) if prefix_caching else None
        check(settings, pace.kv_tokens)
        self.outstanding = 0
        """Requests that were submitted and have not finished."""
        self._now = 0.0
        """To when the engine was advanced."""
        self._clock = 0.0
        """When the next step may begin."""
        self._step = 0
        """Steps before the current stretch."""
        self._ahead = ahead_of(settings)
        self._admission_s = admission_s(settings)
        self._begun = -inf
        """When the last step began."""
        self._arriving: deque[Job] = deque()
        self._waiting: deque[Job] = deque()
        self._running: dict[int, Job] = {}
        """By request id, in order of admission."""
        self._partial: Job | None = None
        """The running request whose prompt is partly computed: always the last admitted."""
        self._leaving: list[Job] = []
        """Running requests whose clients gave up; they leave before the next step."""
        self._decoding = Decoding()
        self._stretch: Stretch | None = None
        self._chunks = Chunks()
        """Parts of prompts in the current stretch, which has one step when there are any."""
        self._events: list[Event] = []

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._running)

    def waiting(self, now: float) -> int:
        """Requests in the queue at `now`, the time to which the engine was advanced."""
        return len(self._waiting) + sum(job.reached_at <= now for job in self._arriving)

    @property
    def next_at(self) -> float:
        """When a step begins or ends that changes the batch; until then nobody need advance it."""
        if self._stretch is not None:
            return self._stretch.ends_at
        start = self._next_start()
        return inf if start is None else start

    @property
    def kv_blocks(self) -> int:
        """KV blocks of the engine."""
        return self._blocks.total

    @property
    def kv_blocks_held(self) -> int:
        """KV blocks that were in use when the batch last changed."""
        return self._blocks.total - self._blocks.free

    @property
    def kv_blocks_used(self) -> int:
        """KV blocks in use, those of the step that runs included."""
        used = self.kv_blocks_held
        if self._stretch is not None:
            # The first step's blocks were taken when the stretch began.
            begun = min(self._stretch.done, self._stretch.steps - 1)
            used += self._blocks.needed_over(self._step + 1, begun)
        return used

    def unfinished(self) -> list[Request]:
        """Return the requests that have not finished, in order of admission and arrival."""
        jobs = [*self._running.values(), *self._waiting, *self._arriving]
        return [job.request for job in jobs]

    def submit(self, request: Request, now: float) -> bool:
        """Queue a request that reaches the engine at `now`, not before any earlier one.

        Returns:
            False when the engine refuses it, as vLLM does (HTTP 400) with an empty prompt, with
            one that leaves no room for an answer, and with an answer of no tokens.
        """
        answer = longest_answer(request.input_tokens, request.output_tokens, self._settings)
        if answer < 1:
            return False
        stretch = self._stretch
        if stretch is not None and not self._waiting and not self._arriving:
            stretch.cut_at(now, ahead=self._ahead)
        self._arriving.append(Job(request, answer, now))
        self.outstanding += 1
        return True

    def cancel(self, request: Request, now: float) -> None:
        """Give up a request at `now`, the time to which the engine was advanced.

        A running one leaves when the step that runs is over. One that has finished is ignored.
        """
        if self._stretch is not None:
            self._stretch.cut_at(now)  # what leaves may let others in
        running = self._running.get(request.id)
        if running is not None:
            self._leaving.append(running)
            return
        for queue in (self._waiting, self._arriving):
            for job in queue:
                if job.request.id == request.id:
                    queue.remove(job)
                    self._leave(job.finished(now, FinishReason.ABORT, job.generated))
                    return

    def advance(self, until: float) -> list[Event]:
        """Run all steps that end by `until` and return what happened, in order of time.

        A step that begins before `until` and ends after it goes on; a step at `until` does not
        begin, so that a request submitted at `until` can be in it.
        """
        while True:
            stretch = self._stretch
            if stretch is None:
                start = self._next_start()
                if start is None or start >= until:
                    break
                self._schedule(start)
                continue
            if stretch.steps > 1 and self._arriving and not self._waiting:
                at = max(self._now, self._arriving[0].reached_at)
                stretch.cut_at(at, ahead=self._ahead)
            done = stretch.ended_by(until)
            self._report(stretch, done)
            if done < stretch.steps:
                break
            self._conclude(stretch)
        self._now = self._clock if until == inf else until
        events, self._events = self._events, []
        return events

    def _next_start(self) -> float | None:
        if self._running or self._waiting:
            return self._clock
        if self._arriving:
            return max(self._clock, self._arriving[0].reached_at)
        return None

    def _schedule(self, now: float) -> None:
        """Choose what the next step computes, and for how many steps that stays the same."""
        for job in self._leaving:
            if self._running.get(job.request.id) is job:
                generated = job.has_generated(self._step)
                self._remove(job)
                self._leave(job.finished(now, FinishReason.ABORT, generated))
        self._leaving.clear()
        self._queue_up(self._begun if self._ahead else now)
        if not self._running and not self._waiting:
            self._queue_up(now)
        if not self._running and not self._waiting:
            self._clock = now
            return
        preempted = self._make_room(now)
        admitted = 0 if preempted else self._admit(now)
        if self._chunks.tokens:
            first_s = self._chunks.seconds(self._pace, self._decoding)
            first_s += admitted * self._admission_s
            growth_s, steps = 0.0, 1
        elif self._decoding.count:
            steps = 1 if preempted else self._decoding.ends_in(self._step)
            steps = 1 + self._blocks.affordable(self._step + 1, steps - 1)
            first_s, growth_s, steps = self._pace.decode_run(
                self._decoding.count, self._decoding.context, steps
            )
        else:
            raise Bug("an engine with waiting requests has nothing to compute")
        self._stretch = Stretch(now, first_s, growth_s, steps)

    def _queue_up(self, until: float) -> None:
        """Let those into the queue that the engine knew of at `until`."""
        while self._arriving and self._arriving[0].reached_at <= until:
            self._waiting.append(self._arriving.popleft())

    def _make_room(self, now: float) -> bool:
        """Take the blocks that running requests need; tell whether one had to be preempted."""
        preempted = False
        while (needed := self._blocks.needed(self._step)) > self._blocks.free:
            self._preempt(now)
            preempted = True
        self._blocks.take(needed)
        job = self._partial
        if job is not None:
            tokens = min(job.prompt - job.cached, self._budget())
            blocks = blocks_of(job.cached + tokens) - blocks_of(job.cached)
            if blocks > self._blocks.free:
                self._preempt(now)
                return True
            self._take(job, tokens, blocks)
        return preempted

    def _admit(self, now: float) -> int:
        """Let into the batch who has room there, in order of arrival; return how many."""
        before = len(self._running)
        while self._waiting and len(self._running) < self._settings.max_num_seqs:
            job = self._waiting[0]
            budget = self._budget()
            if budget == 0 or not self._holds(job):
                break
            self._waiting.popleft()
            self._running[job.request.id] = job
            if job.scheduled_at is None:
                job.scheduled_at = now
                job.found = job.cached
            tokens = min(job.prompt - job.cached, budget)
            self._take(job, tokens, blocks_of(job.cached + tokens) - blocks_of(job.cached))
        return len(self._running) - before

    def _holds(self, job: Job) -> bool:
        """Tell whether all of a waiting prompt fits; if so, hold what the cache has of it."""
        blocks = self._blocks
        if self._cache is None or not (job.request.prefix or job.own):
            return blocks_of(job.prompt) <= blocks.free
        found = self._cache.found(job)
        held = sum(segment.blocks for segment in found if segment.users)
        if blocks_of(job.prompt) - held > blocks.free:
            return False
        self._cache.hold(job, found)
        return True

    def _budget(self) -> int:
        most = self._settings.max_num_batched_tokens
        return most - self._decoding.count - self._chunks.tokens

    def _take(self, job: Job, tokens: int, blocks: int) -> None:
        self._partial = job
        if tokens:
            self._blocks.take(blocks)
            self._chunks.add(job, tokens)
            if self._cache is not None and job.request.prefix:
                self._cache.computing(job, job.cached + tokens)

    def _preempt(self, now: float) -> None:
        """Send the request that was admitted last back to the head of the queue."""
        job = next(reversed(self._running.values()))
        generated = job.has_generated(self._step)
        if job.joined_step is not None:
            job.last_token_at = now
        self._remove(job, preempted=True)
        job.generated = generated
        job.prompt = job.request.input_tokens + generated
        job.cached = 0
        job.preemptions += 1
        self._waiting.appendleft(job)
        self._events.append(Preempted(at=now, request=job.request))

    def _remove(self, job: Job, *, preempted: bool = False) -> None:
        """Take a job out of the batch, between two steps, and free its blocks."""
        del self._running[job.request.id]
        if job is self._partial:
            self._partial = None
        if job.joined_step is None:
            tokens = job.cached
        else:
            tokens = self._decoding.leave(job, self._step)
            self._blocks.leave(tokens, self._step)
        if self._cache is not None and (preempted or job.segments):
            self._cache.release(job, tokens, preempted=preempted)
        else:
            self._blocks.give(blocks_of(tokens))

    def _report(self, stretch: Stretch, done: int) -> None:
        if done > stretch.done:
            self._events.append(
                Steps(
                    at=stretch.end(done),
                    count=done - stretch.done,
                    first_s=stretch.first_s + stretch.growth_s * stretch.done,
                    growth_s=stretch.growth_s,
                    decoding=self._decoding.count,
                    prefill_tokens=self._chunks.tokens,
                    prompts_done=self._chunks.prompts_done,
                )
            )
            stretch.done = done

    def _conclude(self, stretch: Stretch) -> None:
        """Bring the books to the end of a stretch: first tokens, last tokens."""
        steps = stretch.steps
        now = self._clock = stretch.ends_at
        self._begun = stretch.end(steps - 1)
        if steps > 1:
            self._blocks.take(self._blocks.needed_over(self._step + 1, steps - 1))
        self._step += steps
        self._decoding.advance(steps)
        self._stretch = None
        chunks, self._chunks = self._chunks, Chunks()
        for job in chunks.computed():
            self._begin_decoding(job, now)
        while (ended := self._decoding.ended(self._step)) is not None:
            self._finish(ended, now)

    def _begin_decoding(self, job: Job, now: float) -> None:
        if job is self._partial:
            self._partial = None
        job.generated += 1
        self._decoding.join(job, self._step)
        self._blocks.join(job.prompt, self._step)
        if job.first_token_at is None:
            job.first_token_at = now
            self._events.append(job.first_token(now))
        else:
            gap = now - job.last_token_at
            self._events.append(Resumed(at=now, request=job.request, gap_s=gap))

    def _finish(self, job: Job, now: float) -> None:
        self._remove(job)
        cut_short = job.output < job.request.output_tokens
        reason = FinishReason.LENGTH if cut_short else FinishReason.STOP
        self._leave(job.finished(now, reason, job.output))

    def _leave(self, end: Finished) -> None:
        self.outstanding -= 1
        self._events.append(end)
