"""The cheapest replicas of one deployment whose router sends each class where it weighs least.

The integer programme of `split` with whole replicas to choose, and all that a problem knows
besides: replicas that exist, bounds, what additions take, shortages at their penalties, and what
must outlast the loss of a domain. HiGHS runs on one thread, from one seed, to a number of branches.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from trimtab.planner.problem import COVERED, Counts, Problem
from trimtab.planner.search import Cover
from trimtab.planner.solver import INFINITY, quiet_solver


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What additions may take, and what they pay."""

    takes: Sequence[Sequence[tuple[int, float]]]
    """What one added replica of each option takes: (number of the resource, amount)."""
    left: Sequence[float]
    """How much there is of each resource."""
    tolls: Sequence[float]
    """$/h beside the cost of one added replica, for each option."""


def cheapest_sized(problem: Problem, terms: Terms) -> Cover:
    """Return the counts that cost least, and what is proven of them."""
    programme = _Programme(problem, terms)
    counts = programme.solved()
    weight = problem.cost(counts) + problem.penalty(counts)
    weight += math.fsum(t * n for t, n in zip(terms.tolls, problem.added(counts), strict=True))
    return Cover(counts=counts, weight=weight, bound=min(weight, programme.bound))


class _Programme:
    """The columns in the order of their making; rows refer to them by number."""

    def __init__(self, problem: Problem, terms: Terms) -> None:
        self._problem = problem
        self._solver = quiet_solver(exact=True)
        options = problem.options
        self._kept = [
            self._column(o.cost, o.lower, max(o.lower, min(o.current, o.upper)), whole=True)
            for o in options
        ]
        self._added = [
            self._column(
                o.cost * (1.0 + problem.switch) + toll, 0, max(0, o.upper - o.current), whole=True
            )
            for o, toll in zip(options, terms.tolls, strict=True)
        ]
        both = [*self._kept, *self._added]
        most = max(problem.maximum, sum(o.lower for o in options))
        self._row(((n, 1.0) for n in both), most=most)
        self._row(((n, 1.0) for n in self._added), most=problem.surge)
        missing = self._column(problem.missing_cost, 0, max(0, problem.minimum))
        self._row([*((n, 1.0) for n in both), (missing, 1.0)], least=problem.minimum)
        taken: list[list[tuple[int, float]]] = [[] for _ in terms.left]
        for column, takes in zip(self._added, terms.takes, strict=True):
            for number, amount in takes:
                taken[number].append((column, amount))
        for entries, left in zip(taken, terms.left, strict=True):
            if left < INFINITY:
                self._row(entries, most=max(0.0, left))
        if problem.rps > 0:
            short = self._column(problem.rps * problem.short_cost, 0, 1)
            short_at_all = self._column(problem.missing_cost, 0, 1, whole=True)
            self._row([(short, 1.0), (short_at_all, -1.0)], most=0.0)
            self._cover(problem.rps, short, lost=None)
        if problem.survive > 0:
            exposed = self._column(problem.survive * problem.exposed_cost, 0, 1)
            domains: list[str | None] = [*sorted({o.domain for o in options if o.domain})]
            for domain in domains or [None]:
                self._cover(problem.survive, exposed, lost=domain)

    @property
    def bound(self) -> float:
        """What no answer weighs less than, $/h."""
        bound = float(self._solver.getInfo().mip_dual_bound)
        return bound if math.isfinite(bound) else 0.0

    def solved(self) -> Counts:
        """Return the best counts that were found; what exists where none were."""
        self._solver.run()
        found = self._solver.getInfo().primal_solution_status
        if found != highspy.SolutionStatus.kSolutionStatusFeasible:
            return self._problem.kept
        values = self._solver.getSolution().col_value
        return tuple(
            round(values[kept]) + round(values[added])
            for kept, added in zip(self._kept, self._added, strict=True)
        )

    def _cover(self, rps: float, short: int, *, lost: str | None) -> None:
        """Cover `rps` of all classes, but for the share `short`, without what is `lost`."""
        problem = self._problem
        there = [
            i for i, option in enumerate(problem.options) if lost is None or option.domain != lost
        ]
        loads: dict[int, list[tuple[int, float]]] = {i: [] for i in there}
        mixed = []
        for i in there:
            rate = problem.options[i].rates[-1]
            if rate > 0:
                part = self._column(0.0, 0, 1)
                mixed.append((part, 1.0))
                loads[i].append((part, rps / rate))
        for c, share in enumerate(problem.shares):
            parts = [(short, 1.0), *mixed]
            for i in there:
                rate = problem.options[i].rates[c]
                if rate > 0:
                    part = self._column(0.0, 0, 1)
                    parts.append((part, 1.0))
                    loads[i].append((part, share * rps / rate))
            self._row(parts, least=COVERED)
        for i, load in loads.items():
            self._row([*load, (self._kept[i], -1.0), (self._added[i], -1.0)], most=0.0)

    def _column(self, cost: float, least: float, most: float, *, whole: bool = False) -> int:
        number = int(self._solver.getNumCol())
        self._solver.addCol(cost, float(least), float(most), 0, *_NONE)
        if whole:
            self._solver.changeColIntegrality(number, highspy.HighsVarType.kInteger)
        return number

    def _row(
        self,
        entries: Iterable[tuple[int, float]],
        *,
        least: float = -INFINITY,
        most: float = INFINITY,
    ) -> None:
        pairs = list(entries)
        columns = np.array([column for column, _ in pairs], dtype=np.int32)
        values = np.array([value for _, value in pairs])
        self._solver.addRow(float(least), float(most), len(pairs), columns, values)


_NONE = np.array([], dtype=np.int32), np.array([])
