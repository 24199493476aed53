"""Predicted against measured: medians, tails and bias, by any grouping."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pair:
    """One prediction and its measurement, of one quantity in one unit."""

    group: str
    predicted: float
    measured: float
    held_out: bool = True
    """Whether no constant was fitted to it."""

    @property
    def error(self) -> float:
        """Relative error, signed."""
        return self.predicted / self.measured - 1.0


@dataclass(frozen=True)
class Score:
    """Absolute relative errors of many pairs, and their signed median."""

    count: int
    median: float
    p90: float
    bias: float

    def __str__(self) -> str:
        """Return it as cells of a table."""
        return f"{self.count} | {self.median:.1%} | {self.p90:.1%} | {self.bias:+.1%}"


def score(pairs: Sequence[Pair]) -> Score:
    """Return the score of `pairs`; there must be one at least."""
    errors = np.array([pair.error for pair in pairs])
    return Score(
        count=len(errors),
        median=float(np.median(np.abs(errors))),
        p90=float(np.quantile(np.abs(errors), 0.9)),
        bias=float(np.median(errors)),
    )


def by(pairs: Iterable[Pair], key: Callable[[Pair], str]) -> dict[str, Score]:
    """Return the scores of the groups that `key` makes, sorted by name."""
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair)].append(pair)
    return {name: score(groups[name]) for name in sorted(groups)}


def table(title: str, scores: Mapping[str, Score]) -> str:
    """Return `scores` as a table of a page, under a heading where there is a title."""
    lines = [f"### {title}\n"] if title else []
    lines += ["| | n | median | p90 | bias |", "|---|---|---|---|---|"]
    lines += [f"| {name.replace('|', ', ')} | {value} |" for name, value in scores.items()]
    return "\n".join(lines)
