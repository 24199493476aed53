"""How much a mix of replicas carries behind a router that sends each class where it likes.

A request/s of a class takes the inverse of the rate of that class alone that one replica sustains
(Melange's load, arXiv 2404.14527, but for its slices: a split is as fine as requests are):

    max  rps    s.t.  sum_k x[c, k] + share[c] * y[k] = share[c] * rps    each class
                      sum_c x[c, k] / rate[k, c] + y[k] / mix[k] <= n[k]    each kind of replica

with x, y >= 0, y being what a kind gets of the mix of all: one replica of many sizes can do better
than its parts alone, as no more than a share of all requests may miss the targets.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import highspy
import numpy as np

from trimtab.planner.solver import INFINITY, quiet_solver

Rates: TypeAlias = tuple[float, ...]
"""Requests/s of each class alone, and last of all of them mixed, that one replica sustains; 0 where
it cannot."""
_CACHED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What a mix of replicas carries, and which of them what."""

    rps: float
    """Requests/s of all classes together, each with its share."""
    parts: tuple[tuple[float, ...], ...]
    """For each class the share of its requests that goes to each kind of replica; all 0 where the
    mix carries nothing."""


def mixed(shares: Sequence[float], rates: Sequence[float]) -> float:
    """Return the requests/s that one replica carries at these rates of each class, 0 for none.

    Of those classes that it can serve, the others being served elsewhere.
    """
    used = [(share, rate) for share, rate in zip(shares, rates, strict=True) if rate > 0]
    taken_s = math.fsum(share / rate for share, rate in used)
    return 1.0 / taken_s if taken_s > 0 else 0.0


@lru_cache(maxsize=_CACHED)
def split_of(shares: tuple[float, ...], kinds: tuple[tuple[Rates, int], ...]) -> Split:
    """Return what replicas carry of classes with these shares.

    Args:
        shares: Of all requests, above 0, one for each class; 1 together.
        kinds: Rates of one replica, and how many there are, 1 or more, for each kind.
    """
    whole = [count * _all_of(shares, rates) for rates, count in kinds]
    carried = math.fsum(whole)
    simple = Split(
        rps=carried,
        parts=(tuple(each / carried if carried else 0.0 for each in whole),) * len(shares),
    )
    able = all(any(rates[c] > 0 or rates[-1] > 0 for rates, _ in kinds) for c in range(len(shares)))
    return simple if len(kinds) == 1 or not able else _best_split(shares, kinds, simple)


def _all_of(shares: Sequence[float], rates: Rates) -> float:
    """Return the requests/s of all classes that one replica alone carries."""
    return max(rates[-1], mixed(shares, rates[:-1]) if all(rates[:-1]) else 0.0)


def _best_split(
    shares: tuple[float, ...], kinds: tuple[tuple[Rates, int], ...], simple: Split
) -> Split:
    """Return the best split, no worse than `simple`."""
    # About what is carried is the unit, so that the solver's tolerances are shares.
    unit = math.fsum(max(rates[-1], mixed(shares, rates[:-1])) * n for rates, n in kinds)
    solver = quiet_solver(exact=True)
    none = np.array([], dtype=np.int32), np.array([])
    for _ in shares:
        solver.addRow(0.0, 0.0, 0, *none)
    for _, count in kinds:
        solver.addRow(-INFINITY, float(count), 0, *none)
    rows = np.arange(len(shares), dtype=np.int32)
    ones = np.ones(len(rows))
    solver.addCol(-1.0, 0.0, INFINITY, len(rows), rows, -ones)
    columns: list[tuple[tuple[int, ...], int]] = []
    for k, (rates, _) in enumerate(kinds):
        streams: list[tuple[tuple[int, ...], float]] = [
            ((c,), share / rates[c]) for c, share in enumerate(shares) if rates[c] > 0
        ]
        if rates[-1] > 0:
            streams.append((tuple(rows.tolist()), 1.0 / rates[-1]))
        for served, taken in streams:
            at = np.array([*served, len(shares) + k], dtype=np.int32)
            values = np.array([*ones[: len(served)], taken * unit])
            solver.addCol(0.0, 0.0, INFINITY, len(at), at, values)
            columns.append((served, k))
    solver.run()
    values = solver.getSolution().col_value
    optimal = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    if not optimal or unit * values[0] <= simple.rps:
        return simple
    parts = [[0.0] * len(kinds) for _ in shares]
    for (served, k), value in zip(columns, values[1:], strict=True):
        for c in served:
            parts[c][k] += max(0.0, value) / values[0]
    return Split(rps=unit * values[0], parts=tuple(tuple(part) for part in parts))
