"""KV blocks of one engine, counted so that a step of any batch costs the same."""

from collections import deque

from trimtab.performance.fit import BLOCK_TOKENS


def blocks_of(tokens: int) -> int:
    """Return the blocks that `tokens` of one request occupy."""
    return -(-tokens // BLOCK_TOKENS)


class Segment:
    """Neighbouring blocks whose content somebody may find again."""

    __slots__ = ("blocks", "children", "key", "parent", "run", "users")

    def __init__(self, parent: "Segment | None", key: int) -> None:
        self.parent = parent
        """What must come before it; None when only its own request can find it."""
        self.key = key
        self.children: dict[int, Segment] = {}
        self.blocks = 0
        """How many of its blocks are in the cache; the first ones stay longest."""
        self.users = 0
        """Requests in the batch that hold it."""
        self.run: _Run | None = None
        """Its place among the free blocks."""


class _Run:
    """Free blocks that follow each other in the order of their reuse."""

    __slots__ = ("count", "segment")

    def __init__(self, count: int, segment: Segment | None) -> None:
        self.count = count
        self.segment = segment
        """What they hold that can be found; None for nothing."""


class Blocks:
    """Free blocks, and when the decoding requests will each take another one.

    A request that decodes grows by one token a step, so it takes a block every 16 steps. All
    that matters of it is in which of the 16: its phase. Free blocks are taken in the order in
    which they became free, and keep what they hold until then.
    """

    def __init__(self, kv_tokens: int) -> None:
        self.total = kv_tokens // BLOCK_TOKENS
        self.free = self.total
        self._phases = [0] * BLOCK_TOKENS
        self._decoding = 0
        self._kept = 0
        """Free blocks that hold something. Without any, their order does not matter."""
        self._runs: deque[_Run] = deque()
        """All free blocks, those free longest first, as long as some hold something."""

    def take(self, count: int) -> None:
        """Take free blocks for new content; what they held is lost."""
        self.free -= count
        if self._kept:
            self._overwrite(count)

    def give(self, count: int) -> None:
        """Free blocks that hold nothing that can be found."""
        if self._kept and count:
            self._runs.append(_Run(count, None))
        self.free += count

    def keep(self, segment: Segment) -> None:
        """Free the blocks of a segment, which can be found until they are taken."""
        if not self._kept:
            self._runs = deque([_Run(self.free, None)])
        segment.run = _Run(segment.blocks, segment)
        self._runs.append(segment.run)
        self._kept += segment.blocks
        self.free += segment.blocks

    def reuse(self, segment: Segment) -> None:
        """Take the free blocks of a segment for what they hold."""
        if segment.run is not None:
            segment.run.count = 0
            segment.run = None
        self._kept -= segment.blocks
        self.free -= segment.blocks

    def _overwrite(self, count: int) -> None:
        runs = self._runs
        while count and self._kept:
            run = runs[0]
            some = min(count, run.count)
            count -= some
            run.count -= some
            if run.segment is not None:
                self._kept -= some
                run.segment.blocks -= some
            if run.count == 0:
                runs.popleft()
                if some and run.segment is not None and run.segment.parent is not None:
                    del run.segment.parent.children[run.segment.key]

    def join(self, tokens: int, step: int) -> None:
        """Count a request that has `tokens` in the cache after `step` and decodes from then on."""
        self._phases[(step - tokens) % BLOCK_TOKENS] += 1
        self._decoding += 1

    def leave(self, tokens: int, step: int) -> None:
        """Stop counting a request that has `tokens` in the cache after `step`."""
        self._phases[(step - tokens) % BLOCK_TOKENS] -= 1
        self._decoding -= 1

    def needed(self, step: int) -> int:
        """Return the blocks that the decoding requests take in the step after `step`."""
        return self._phases[step % BLOCK_TOKENS]

    def needed_over(self, step: int, count: int) -> int:
        """Return the blocks that they take in the `count` steps after `step`."""
        cycles, rest = divmod(count, BLOCK_TOKENS)
        first = step % BLOCK_TOKENS
        last = first + rest
        phases = self._phases
        some = sum(phases[first:last])
        if last > BLOCK_TOKENS:
            some += sum(phases[: last - BLOCK_TOKENS])
        return cycles * self._decoding + some

    def affordable(self, step: int, most: int) -> int:
        """Return for how many steps after `step`, up to `most`, the free blocks last."""
        if self.free >= (most // BLOCK_TOKENS + 1) * self._decoding:
            return most
        cycles = self.free // self._decoding
        left = self.free - cycles * self._decoding
        count = cycles * BLOCK_TOKENS
        while count < most and self.needed(step + count) <= left:
            left -= self.needed(step + count)
            count += 1
        return min(count, most)
