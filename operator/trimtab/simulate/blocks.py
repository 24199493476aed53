"""KV blocks of one engine, counted so that a step of any batch costs the same."""

from trimtab.performance.fit import BLOCK_TOKENS


def blocks_of(tokens: int) -> int:
    """Return the blocks that `tokens` of one request occupy."""
    return -(-tokens // BLOCK_TOKENS)


class Blocks:
    """Free blocks, and when the decoding requests will each take another one.

    A request that decodes grows by one token a step, so it takes a block every 16 steps. All
    that matters of it is in which of the 16: its phase.
    """

    def __init__(self, kv_tokens: int) -> None:
        self.total = kv_tokens // BLOCK_TOKENS
        self.free = self.total
        self._phases = [0] * BLOCK_TOKENS
        self._decoding = 0

    def join(self, tokens: int, step: int) -> None:
        """Count a request that has `tokens` in the cache after `step` and decodes from then on."""
        self._phases[(step - tokens) % BLOCK_TOKENS] += 1
        self._decoding += 1

    def leave(self, tokens: int, step: int) -> None:
        """Stop counting a request that has `tokens` in the cache after `step`; free its blocks."""
        self._phases[(step - tokens) % BLOCK_TOKENS] -= 1
        self._decoding -= 1
        self.free += blocks_of(tokens)

    def needed(self, step: int) -> int:
        """Return the blocks that the decoding requests take in the step after `step`."""
        return self._phases[step % BLOCK_TOKENS]

    def needed_over(self, step: int, count: int) -> int:
        """Return the blocks that they take in the `count` steps after `step`."""
        cycles, rest = divmod(count, BLOCK_TOKENS)
        return cycles * self._decoding + sum(
            self._phases[(step + i) % BLOCK_TOKENS] for i in range(rest)
        )

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
