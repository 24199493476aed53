"""Requests in order of time, as arrays: what every source of traffic gives and every run takes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BLOCK_TOKENS = 512
"""Prompt tokens of one prefix block, as in the Mooncake traces."""
_INDEPENDENT_S = 60.0
"""Time within which the requests of different users are taken as independent of each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The requests of one deployment; arrays have one shape (n,)."""

    at_s: Floats
    """Seconds from the start of the scenario, ascending."""
    input_tokens: Ints
    """At least 1."""
    output_tokens: Ints
    """At least 1."""
    prefix: tuple[tuple[int, ...], ...] | None = None
    """Of each request the ids of its leading prompt blocks of 512 tokens; equal ids can share KV.

    None when nothing is shared.
    """

    def __post_init__(self) -> None:
        """Hold the contract, so that no reader can break it unseen.

        Raises:
            InvalidInput: Lengths differ, times go back or are none, or a count is below 1.
        """
        n = len(self.at_s)
        same = len(self.input_tokens) == n == len(self.output_tokens)
        if not same or (self.prefix is not None and len(self.prefix) != n):
            raise InvalidInput(
                "traffic", "its columns differ in length", "Give every row all of them"
            )
        if not np.all(np.isfinite(self.at_s)) or np.any(np.diff(self.at_s) < 0):
            raise InvalidInput("traffic", "its times are not ascending", "Sort them by time")
        if n and min(self.input_tokens.min(), self.output_tokens.min()) < 1:
            raise InvalidInput("traffic", "a request has no token", "Give counts of at least 1")

    def __len__(self) -> int:
        return len(self.at_s)

    @property
    def span_s(self) -> float:
        """Time from the start until one mean gap after the last request; 0 without two of them."""
        return span_of(self.at_s)

    def slice(self, start_s: float, end_s: float) -> "Traffic":
        """Return the requests of [start_s, end_s), with times from `start_s`."""
        low, high = np.searchsorted(self.at_s, (start_s, end_s), side="left")
        return replace(
            self,
            at_s=self.at_s[low:high] - start_s,
            input_tokens=self.input_tokens[low:high],
            output_tokens=self.output_tokens[low:high],
            prefix=None if self.prefix is None else self.prefix[low:high],
        )

    def shifted(self, by_s: float) -> "Traffic":
        """Return the same requests, `by_s` seconds later."""
        return replace(self, at_s=self.at_s + by_s)

    def scaled(self, factor: float, rng: np.random.Generator) -> "Traffic":
        """Return `factor` times as many requests in the same time, each like a real one.

        Above 1 whole copies are laid over each other; the rest is thinned at random. Requests of
        further copies are moved by up to half a minute: the rate from minute to minute and the
        lengths stay those of the trace, and within a minute further users are independent of the
        first. Each copy has prefix blocks of its own, for its users are others.

        Raises:
            InvalidInput: `factor` is not above 0.
        """
        if not factor > 0:
            raise InvalidInput("scale", f"{factor} is not above 0", "Give a positive factor")
        whole, rest = divmod(factor, 1.0)
        copies: list[Traffic] = []
        if len(self) == 0 or factor == 1.0:
            return self
        for copy in range(int(whole)):
            late = _moves(len(self), rng) if copy else np.zeros(len(self))
            copies.append(self.renamed(copy)._kept(np.ones(len(self), dtype=bool), late))
        if rest > 0:
            late = _moves(len(self), rng) if whole else np.zeros(len(self))
            copies.append(self.renamed(int(whole))._kept(rng.random(len(self)) < rest, late))
        return merge(copies)

    def renamed(self, copy: int) -> "Traffic":
        """Return the same requests with the prefix blocks of copy number `copy`, as no other's."""
        if self.prefix is None or copy == 0:
            return self
        # The top of 63 bits tells copies apart; a copy of a copy is spread over the next ones.
        move = copy << 40
        return replace(
            self, prefix=tuple(tuple(block + move for block in blocks) for blocks in self.prefix)
        )

    def _kept(self, keep: NDArray[np.bool_], late: Floats) -> "Traffic":
        at = np.abs(self.at_s + late)[keep]  # what would come before the start comes as late
        order = np.argsort(at, kind="stable")
        rows = np.flatnonzero(keep)[order]
        return replace(
            self,
            at_s=at[order],
            input_tokens=self.input_tokens[rows],
            output_tokens=self.output_tokens[rows],
            prefix=None if self.prefix is None else tuple(self.prefix[row] for row in rows),
        )

    def repeated(self, until_s: float, span_s: float) -> "Traffic":
        """Return the requests again and again until `until_s`, `span_s` seconds a lap."""
        if span_s <= 0 or span_s >= until_s:
            return self.slice(0.0, until_s)
        laps = int(np.ceil(until_s / span_s))
        whole = merge([self.shifted(lap * span_s).renamed(lap) for lap in range(laps)])
        return whole.slice(0.0, until_s)


def span_of(at_s: Floats) -> float:
    """Return the time until one mean gap after the last of ascending times; 0 without two."""
    n = len(at_s)
    if n < 2:
        return 0.0
    first, last = float(at_s[0]), float(at_s[-1])
    return last + (last - first) / (n - 1)


def _moves(count: int, rng: np.random.Generator) -> Floats:
    return rng.uniform(-_INDEPENDENT_S / 2, _INDEPENDENT_S / 2, count)


EMPTY = Traffic(
    at_s=np.empty(0), input_tokens=np.empty(0, np.int64), output_tokens=np.empty(0, np.int64)
)
"""No request at all."""


def merge(parts: Iterable[Traffic]) -> Traffic:
    """Return all requests of `parts` in order of time; of equal times the earlier part first.

    Ids of prefix blocks are kept: parts of one trace share them. A part without ids shares none.
    """
    kept = [part for part in parts if len(part)]
    if not kept:
        return EMPTY
    at = np.concatenate([part.at_s for part in kept])
    order = np.argsort(at, kind="stable")
    prefix: tuple[tuple[int, ...], ...] | None = None
    if any(part.prefix is not None for part in kept):
        ids = list(
            chain.from_iterable(
                ((),) * len(part) if part.prefix is None else part.prefix for part in kept
            )
        )
        prefix = tuple(ids[row] for row in order)
    return Traffic(
        at_s=at[order],
        input_tokens=np.concatenate([part.input_tokens for part in kept])[order],
        output_tokens=np.concatenate([part.output_tokens for part in kept])[order],
        prefix=prefix,
    )
