"""What a KV cache remembers of leading prompt blocks, by request, as vLLM's v1 prefix cache does.

Ids stand for chained hashes: a segment of 512 prompt tokens is found only behind all those before
it. Nobody names the rest of a prompt and its answer, so nobody else can find those; only a
preempted request finds its own again.
"""

from trimtab.performance.fit import BLOCK_TOKENS
from trimtab.simulate.blocks import Blocks, Segment, blocks_of
from trimtab.simulate.events import Request
from trimtab.simulate.job import Job

SEGMENT_TOKENS = 512
"""Prompt tokens of one id, as in the Mooncake traces."""
SEGMENT_BLOCKS = SEGMENT_TOKENS // BLOCK_TOKENS


class PrefixCache:
    """Which requests share which KV blocks of one engine."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._root = Segment(None, 0)

    def found(self, job: Job) -> list[Segment]:
        """Return what the cache holds of a waiting request's tokens, from the first on.

        Whole blocks, and never the last token: the engine must compute one to get the next.
        """
        segments: list[Segment] = []
        shared = shared_segments(job.request)
        node = self._root
        for i in range(shared):
            child = node.children.get(job.request.prefix[i])
            if child is None or child.blocks == 0:
                return segments
            segments.append(child)
            if child.blocks < SEGMENT_BLOCKS:
                return segments
            node = child
        if job.own is not None and job.own.blocks:
            segments.append(job.own)
        return segments

    def hold(self, job: Job, segments: list[Segment]) -> None:
        """Let an admitted request begin behind the segments that were found for it."""
        tokens = sum(segment.blocks for segment in segments) * BLOCK_TOKENS
        for segment in segments:
            if segment.users == 0:
                self._blocks.reuse(segment)
            segment.users += 1
        if job.own is not None:
            if segments and segments[-1] is job.own:
                segments.pop()
            job.own = None
        job.segments = segments
        job.cached = tokens

    def computing(self, job: Job, tokens: int) -> None:
        """Let others find the whole blocks of a prompt whose first `tokens` are put into steps."""
        shared = shared_segments(job.request)
        held = job.segments
        whole = tokens // BLOCK_TOKENS
        while True:
            if held:
                last = held[-1]
                last.blocks = max(
                    last.blocks, min(SEGMENT_BLOCKS, whole - SEGMENT_BLOCKS * (len(held) - 1))
                )
            if len(held) == shared or whole <= SEGMENT_BLOCKS * len(held):
                return
            parent = held[-1] if held else self._root
            key = job.request.prefix[len(held)]
            child = parent.children.get(key)
            if child is None:
                child = parent.children[key] = Segment(parent, key)
            child.users += 1
            held.append(child)

    def release(self, job: Job, tokens: int, *, preempted: bool) -> None:
        """Free the blocks of a request that has `tokens` in the cache, its last ones first."""
        blocks = self._blocks
        held = job.segments
        private = blocks_of(tokens) - sum(segment.blocks for segment in held)
        if preempted:
            own = max(0, tokens // BLOCK_TOKENS - sum(segment.blocks for segment in held))
            blocks.give(private - own)
            if own:
                job.own = Segment(None, 0)
                job.own.blocks = own
                blocks.keep(job.own)
        else:
            blocks.give(private)
        for segment in reversed(held):
            segment.users -= 1
            if segment.users == 0:
                blocks.keep(segment)
        job.segments = []


def shared_segments(request: Request) -> int:
    """Return how many segments others may find: whole ones, without the last token."""
    return min(len(request.prefix), (request.input_tokens - 1) // SEGMENT_TOKENS)
