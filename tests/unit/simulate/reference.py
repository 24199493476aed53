"""The engine again, as plainly as it can be written: one step after another, no skipping.

It shares no code with `trimtab.simulate.engine` but the requests that go in.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from trimtab.models.hardware import EngineSettings
from trimtab.simulate.events import Request

BLOCK, SEGMENT = 16, 512


@dataclass(frozen=True)
class Times:
    """Made-up step times with the shape of real ones; `bend` breaks the straight line."""

    bend: float = 0.0

    def decode_s(self, batch: float, kv_tokens: float) -> float:
        kink = self.bend * max(0.0, kv_tokens - 300)
        return 0.010 + 0.0001 * batch + 1e-6 * kv_tokens + kink

    def mixed_s(
        self, prefill_tokens: float, prefill_context: float, batch: float, kv_tokens: float
    ) -> float:
        attended = prefill_tokens * prefill_context
        return self.decode_s(batch, kv_tokens) + 5e-5 * prefill_tokens + 1e-8 * attended


@dataclass
class Job:
    request: Request
    target: int
    cached: int = 0
    generated: int = 0
    decoding: bool = False
    scheduled_at: float | None = None
    first_token_at: float | None = None
    finished_at: float | None = None
    found: int = 0
    preemptions: int = 0
    token_times: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)

    @property
    def known(self) -> int:
        return self.request.input_tokens + self.generated

    def content(self, block: int) -> Hashable:
        """What tells the content of one of its blocks from all others."""
        shared = min(len(self.request.prefix), (self.request.input_tokens - 1) // SEGMENT)
        segment = block * BLOCK // SEGMENT
        if segment < shared:
            return self.request.prefix[: segment + 1], block
        return self.request.id, block


class Cache:
    """Blocks one by one, the free ones in the order of their reuse."""

    def __init__(self, total: int, caching: bool) -> None:
        self.caching = caching
        self.free = list(range(total))
        self.users = [0] * total
        self.content: list[Hashable] = [None] * total
        self.place: dict[Hashable, int] = {}

    def found(self, job: Job) -> list[int]:
        blocks = []
        for i in range((job.known - 1) // BLOCK if self.caching else 0):
            if job.content(i) not in self.place:
                break
            blocks.append(self.place[job.content(i)])
        return blocks

    def hold(self, job: Job, blocks: list[int]) -> None:
        for block in blocks:
            if self.users[block] == 0:
                self.free.remove(block)
            self.users[block] += 1
        job.blocks = list(blocks)
        job.cached = len(blocks) * BLOCK

    def extend(self, job: Job, tokens: int) -> None:
        """Give room to the next `tokens`, and let others find the blocks that they fill."""
        while len(job.blocks) * BLOCK < job.cached + tokens:
            block = self.free.pop(0)
            if self.place.get(self.content[block]) == block:
                del self.place[self.content[block]]
            self.content[block] = None
            self.users[block] = 1
            job.blocks.append(block)
        for i in range((job.cached + tokens) // BLOCK):
            if job.content(i) not in self.place:
                self.content[job.blocks[i]] = job.content(i)
                self.place[job.content(i)] = job.blocks[i]

    def release(self, job: Job) -> None:
        for block in reversed(job.blocks):
            self.users[block] -= 1
            if self.users[block] == 0:
                self.free.append(block)
        job.blocks = []


def run(
    times: Times,
    kv_tokens: int,
    settings: EngineSettings,
    requests: list[Request],
    caching: bool = True,
) -> list[Job]:
    """Serve requests, sorted by arrival, and return their jobs with all timestamps.

    Unless the engine takes turns with the device, a step is chosen when the one before it begins,
    and newcomers cost nothing but their tokens.
    """
    cache = Cache(kv_tokens // BLOCK, caching)
    jobs = [Job(r, min(r.output_tokens, settings.max_model_len - r.input_tokens)) for r in requests]
    coming, waiting, running = list(jobs), list[Job](), list[Job]()
    now = begun = 0.0
    while coming or waiting or running:
        chosen_at = now if settings.takes_turns else begun
        while coming and coming[0].request.arrival <= chosen_at:
            waiting.append(coming.pop(0))
        if not waiting and not running:
            now = max(now, coming[0].request.arrival)
            while coming and coming[0].request.arrival <= now:
                waiting.append(coming.pop(0))
        begun = now
        chosen: list[tuple[Job, int]] = []
        budget = settings.max_num_batched_tokens
        preempted = False
        admitted = 0
        i = 0
        while i < len(running) and budget > 0:
            job = running[i]
            tokens = min(job.known - job.cached, budget)
            while -(-(job.cached + tokens) // BLOCK) - len(job.blocks) > len(cache.free):
                victim = running.pop()
                cache.release(victim)
                victim.cached = 0
                victim.decoding = False
                victim.preemptions += 1
                waiting.insert(0, victim)
                preempted = True
                if victim is job:
                    break
            else:
                cache.extend(job, tokens)
                chosen.append((job, tokens))
                budget -= tokens
                i += 1
        while not preempted and waiting and budget > 0 and len(running) < settings.max_num_seqs:
            job = waiting[0]
            found = cache.found(job)
            held = sum(cache.users[block] > 0 for block in found)
            if -(-job.known // BLOCK) - held > len(cache.free):
                break
            running.append(waiting.pop(0))
            admitted += 1
            cache.hold(job, found)
            if job.scheduled_at is None:
                job.scheduled_at = now
                job.found = job.cached
            tokens = min(job.known - job.cached, budget)
            cache.extend(job, tokens)
            chosen.append((job, tokens))
            budget -= tokens
        decodes = [job for job, _ in chosen if job.decoding]
        chunks = [(job.cached, x) for job, x in chosen if not job.decoding]
        kv = sum(job.cached for job in decodes)
        if chunks:
            x = sum(x for _, x in chunks)
            cost = sum(x * (p + x / 2) for p, x in chunks)
            lasts = times.mixed_s(x, cost / x, len(decodes), kv)
            now += lasts + (0.7e-3 * admitted if settings.takes_turns else 0.0)
        else:
            now += times.decode_s(len(decodes), kv)
        for job, tokens in chosen:
            job.cached += tokens
            if job.cached == job.known:
                job.generated += 1
                job.decoding = True
                job.token_times.append(now)
                if job.first_token_at is None:
                    job.first_token_at = now
                if job.generated == job.target:
                    job.finished_at = now
                    running.remove(job)
                    cache.release(job)
    return jobs
