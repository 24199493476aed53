"""The engine again, as plainly as it can be written: one step after another, no skipping.

It shares no code with `trimtab.simulate.engine` but the requests that go in.
"""

from dataclasses import dataclass, field

from trimtab.models.hardware import EngineSettings
from trimtab.simulate.events import Request


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
    preemptions: int = 0
    token_times: list[float] = field(default_factory=list)

    @property
    def known(self) -> int:
        return self.request.input_tokens + self.generated

    @property
    def blocks(self) -> int:
        return -(-self.cached // 16)


def run(
    times: Times, kv_tokens: int, settings: EngineSettings, requests: list[Request]
) -> list[Job]:
    """Serve requests, sorted by arrival, and return their jobs with all timestamps."""
    total = kv_tokens // 16
    jobs = [Job(r, min(r.output_tokens, settings.max_model_len - r.input_tokens)) for r in requests]
    coming, waiting, running = list(jobs), list[Job](), list[Job]()
    now = 0.0
    while coming or waiting or running:
        if not waiting and not running:
            now = max(now, coming[0].request.arrival)
        while coming and coming[0].request.arrival <= now:
            waiting.append(coming.pop(0))
        chosen: list[tuple[Job, int]] = []
        budget = settings.max_num_batched_tokens
        preempted = False
        i = 0
        while i < len(running) and budget > 0:
            job = running[i]
            tokens = min(job.known - job.cached, budget)
            more = -(-(job.cached + tokens) // 16) - job.blocks
            while more > total - sum(j.blocks for j in running) - _promised(chosen):
                victim = running.pop()
                victim.cached = 0
                victim.decoding = False
                victim.preemptions += 1
                waiting.insert(0, victim)
                preempted = True
                if victim is job:
                    break
            else:
                chosen.append((job, tokens))
                budget -= tokens
                i += 1
        while not preempted and waiting and budget > 0 and len(running) < settings.max_num_seqs:
            job = waiting[0]
            free = total - sum(j.blocks for j in running) - _promised(chosen)
            if -(-job.known // 16) > free:
                break
            running.append(waiting.pop(0))
            if job.scheduled_at is None:
                job.scheduled_at = now
            tokens = min(job.known, budget)
            chosen.append((job, tokens))
            budget -= tokens
        decodes = [job for job, _ in chosen if job.decoding]
        chunks = [(job.cached, x) for job, x in chosen if not job.decoding]
        kv = sum(job.cached for job in decodes)
        if chunks:
            x = sum(x for _, x in chunks)
            cost = sum(x * (p + x / 2) for p, x in chunks)
            now += times.mixed_s(x, cost / x, len(decodes), kv)
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
    return jobs


def _promised(chosen: list[tuple[Job, int]]) -> int:
    return sum(-(-(job.cached + x) // 16) - job.blocks for job, x in chosen)
