"""The cheapest fleet for requests of several classes behind a router that knows them.

Such a router sends each class where it weighs least, in any shares. Per replica of an option, a
request/s of a class takes the inverse of the rate that it serves of that class alone:

    min  sum cost * n   s.t.  sum_o x[c, o] = rps[c],   sum_c x[c, o] / rate[c, o] <= n[o]

with n whole and x >= 0 (Melange, arXiv 2404.14527, whose slices of whole size are left out: a
split is as fine as requests are). Behind a router that spreads all classes alike, a replica has one
rate for the mix, which `cover` takes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from trimtab.errors import InvalidInput
from trimtab.planner.solver import quiet_solver


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOption:
    """One way to place a replica."""

    cost: float
    """$/h of one replica."""
    rates: tuple[float, ...]
    """Requests/s of each class alone that one replica sustains; 0 where it misses the targets."""
    most: int
    """Most replicas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The answer."""

    counts: tuple[int, ...]
    """Replicas of each option."""
    cost: float
    """$/h."""
    bound: float
    """What no fleet costs less than, $/h."""


def cheapest_split(rps: Sequence[float], options: Sequence[SplitOption]) -> Split | None:
    """Return the cheapest fleet for classes of `rps` requests/s each, None where none serves all.

    Raises:
        InvalidInput: An option has not one rate for each class.
    """
    if any(len(option.rates) != len(rps) for option in options):
        raise InvalidInput("rates", "not one for each class", "Give one for each class of requests")
    asked = [c for c, rate in enumerate(rps) if rate > 0]
    if any(all(option.rates[c] <= 0 for option in options) for c in asked):
        return None
    solver = quiet_solver(exact=True)
    infinite = highspy.kHighsInf
    none = np.array([], dtype=np.int32), np.array([])
    for c in asked:
        solver.addRow(rps[c], rps[c], 0, *none)
    for o, option in enumerate(options):
        row = len(asked) + o
        solver.addRow(-infinite, 0.0, 0, *none)
        solver.addCol(option.cost, 0.0, float(option.most), 1, np.array([row]), np.array([-1.0]))
        solver.changeColIntegrality(solver.getNumCol() - 1, highspy.HighsVarType.kInteger)
    for o, option in enumerate(options):
        for i, c in enumerate(asked):
            if option.rates[c] > 0:
                rows = np.array([i, len(asked) + o], dtype=np.int32)
                each = np.array([1.0, 1.0 / option.rates[c]])
                solver.addCol(0.0, 0.0, infinite, 2, rows, each)
    solver.run()
    info = solver.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None
    values = solver.getSolution().col_value
    counts = tuple(round(values[o]) for o in range(len(options)))
    cost = math.fsum(o.cost * n for o, n in zip(options, counts, strict=True))
    return Split(counts=counts, cost=cost, bound=min(cost, float(info.mip_dual_bound)))
