"""The integer programme over deployments that contend for pools and budgets, by its columns.

A column is one way to answer one deployment: counts for all its options. The programme picks one
for each deployment:

    min   sum cost * x      s.t.  sum x = 1            each deployment
                                  sum usage * x <= room    each pool and budget,   x in {0, 1}

Columns are generated: the prices of the linear relaxation's pools and budgets are tolls under
which the search of `cover` answers each deployment anew, until no answer improves it. So the
relaxation is nearly whole, its bound tight, and the programme small. Where deployments end up
short, it is solved again for one priority after the other, the most important first: least
shortage, then, with all shortages held, least cost. HiGHS runs on one thread, from one seed and to
a number of nodes, never to a time, so that equal questions have equal answers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import highspy
import numpy as np
from numpy.typing import NDArray

from trimtab.planner import cover
from trimtab.planner.problem import Counts, Problem, Resource, Room, unit_usage, usage

ROUNDS = 12
"""Most rounds of new columns."""
NODES = 50
"""Most branches of one solve."""
NEIGHBOURS = 300
"""Programmes of so many columns get those that are a little short, too."""
GAP = 5e-3
"""Relative gap at which a solve ends."""
_IMPROVES = 1e-6
_INFINITY = highspy.kHighsInf

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Counts for each problem, in order."""

    counts: tuple[Counts, ...]
    proven: bool
    """Whether the solver ended by itself, so that the answer is within the gap of its columns."""
    columns: tuple[tuple[Counts, ...], ...]
    """All columns, for each problem: seeds of a later programme."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    """One way to answer one deployment."""

    problem: int
    counts: Counts
    cost: float
    usage: dict[Resource, float]


class _Quiet(highspy.Highs):  # type: ignore[misc]  # highspy ships no types
    """A solver that writes nothing, not even the banner that switching callbacks on prints."""

    def enableCallbacks(self) -> None:  # noqa: N802
        self.setOptionValue("output_flag", False)
        super().enableCallbacks()


class _Master:
    """The programme over the columns known so far."""

    def __init__(self, problems: Sequence[Problem], room: Room) -> None:
        self.problems = problems
        self.room = room
        self.columns: list[_Column] = []
        self.known: set[tuple[int, Counts]] = set()

    def add(self, index: int, counts: Counts) -> None:
        """Add a column, once."""
        if (index, counts) not in self.known:
            self.known.add((index, counts))
            problem = self.problems[index]
            self.columns.append(
                _Column(
                    problem=index,
                    counts=counts,
                    cost=problem.cost(counts) + problem.penalty(counts),
                    usage=usage(problem, counts, self.room.budgets),
                )
            )

    def load(self, *, whole: bool) -> tuple[highspy.Highs, list[Resource]]:
        """Return a solver over all columns, without costs, and the resources of its last rows."""
        resources = sorted({resource for column in self.columns for resource in column.usage})
        rows = {resource: len(self.problems) + i for i, resource in enumerate(resources)}
        starts, index, value = [0], [], []
        for column in self.columns:
            index.append(column.problem)
            value.append(1.0)
            for resource, amount in column.usage.items():
                index.append(rows[resource])
                value.append(amount)
            starts.append(len(index))
        limits = [max(0.0, min(self.room.limit(r), _INFINITY)) for r in resources]
        size, ones = len(self.columns), [1.0] * len(self.problems)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = size, len(ones) + len(limits)
        lp.col_cost_, lp.col_lower_ = np.zeros(size), np.zeros(size)
        lp.col_upper_ = np.ones(size) if whole else np.full(size, _INFINITY)
        lp.row_lower_ = np.array([*ones, *(-_INFINITY for _ in limits)])
        lp.row_upper_ = np.array([*ones, *limits])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(index, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(value)
        if whole:
            lp.integrality_ = [highspy.HighsVarType.kInteger] * size
        solver = _Quiet()
        for name, setting in (
            ("threads", 1),
            ("random_seed", 0),
            ("mip_max_nodes", NODES),
            ("mip_rel_gap", GAP),
        ):
            solver.setOptionValue(name, setting)
        solver.passModel(lp)
        return solver, resources

    def costs(self, of: Callable[[_Column], float]) -> Vector:
        """Return one cost for each column."""
        return np.array([of(column) for column in self.columns])


def solve(
    problems: Sequence[Problem], room: Room, seeds: Sequence[Sequence[Counts]]
) -> Answer | None:
    """Return the best choice of columns, or None when the solver finds none.

    `seeds` are known answers for each problem; what exists is always one of them.
    """
    master = _Master(problems, room)
    for index, (problem, known) in enumerate(zip(problems, seeds, strict=True)):
        for counts in (problem.kept, *known):
            master.add(index, counts)
    _generate(master)
    solver, _ = master.load(whole=True)
    costs = master.costs(lambda column: column.cost)
    found, proven = _choose(solver, costs)
    if found is None:
        return None
    chosen: Sequence[int] = found
    if any(_shortage(master, column) > 0 for column in _picked(master, chosen)):
        _add_neighbours(master)
        chosen, proven = _by_priority(master, chosen)
    picked = {column.problem: column.counts for column in _picked(master, chosen)}
    columns: list[list[Counts]] = [[] for _ in problems]
    for column in master.columns:
        columns[column.problem].append(column.counts)
    return Answer(
        counts=tuple(picked[i] for i in range(len(problems))),
        proven=proven,
        columns=tuple(tuple(known) for known in columns),
    )


def _generate(master: _Master) -> None:
    """Add columns until none improves the linear relaxation."""
    problems, room = master.problems, master.room
    bounds = [room.bounds(problem) for problem in problems]
    for _ in range(ROUNDS):
        solver, resources = master.load(whole=False)
        _set_costs(solver, master.costs(lambda column: column.cost))
        solver.run()
        if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            return
        duals = solver.getSolution().row_dual
        prices = {
            resource: max(0.0, -duals[len(problems) + i]) for i, resource in enumerate(resources)
        }
        before = len(master.columns)
        for index, problem in enumerate(problems):
            tolls = tuple(
                math.fsum(prices.get(r, 0.0) * amount for r, amount in taken.items())
                for taken in unit_usage(problem, room.budgets)
            )
            counts = cover.cheapest(problem, bounds[index], tolls)
            tolled = zip(tolls, problem.added(counts), strict=True)
            cost = problem.cost(counts) + problem.penalty(counts)
            reduced = cost + math.fsum(toll * n for toll, n in tolled) - duals[index]
            if reduced < -_IMPROVES * (1.0 + abs(duals[index])):
                master.add(index, counts)
        if len(master.columns) == before:
            return


def _add_neighbours(master: _Master) -> None:
    """Add every column with one added replica less, again and again.

    The relaxation has no use for an answer that is a little short; sharing what is scarce has.
    """
    for column in master.columns:  # those that are added here follow in turn
        problem = master.problems[column.problem]
        for i, new in enumerate(problem.added(column.counts)):
            if new and len(master.columns) <= NEIGHBOURS:
                counts = column.counts
                master.add(column.problem, (*counts[:i], counts[i] - 1, *counts[i + 1 :]))


def _by_priority(master: _Master, chosen: Sequence[int]) -> tuple[Sequence[int], bool]:
    """Minimise the shortage of each priority in turn, then the cost."""
    solver, _ = master.load(whole=True)
    all_proven = True
    for priority in sorted({problem.priority for problem in master.problems}, reverse=True):
        worth = master.costs(
            lambda column, priority=priority: (  # type: ignore[misc]
                _shortage(master, column)
                if master.problems[column.problem].priority == priority
                else 0.0
            )
        )
        if not worth.any():
            continue
        found, proven = _choose(solver, worth)
        if found is None:
            return chosen, False
        chosen, all_proven = found, all_proven and proven
        # A tolerance keeps the next solve feasible in spite of rounding.
        least = float(worth[list(chosen)].sum()) * (1.0 + 1e-6) + 1e-6
        used = np.flatnonzero(worth).astype(np.int32)
        solver.addRow(-_INFINITY, least, len(used), used, worth[used])
    found, proven = _choose(solver, master.costs(lambda column: column.cost))
    return (chosen if found is None else found), all_proven and proven


def _shortage(master: _Master, column: _Column) -> float:
    return master.problems[column.problem].shortage(column.counts)


def _picked(master: _Master, chosen: Sequence[int]) -> list[_Column]:
    return [master.columns[i] for i in chosen]


def _set_costs(solver: highspy.Highs, costs: Vector) -> None:
    solver.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)


def _choose(solver: highspy.Highs, costs: Vector) -> tuple[list[int] | None, bool]:
    """Return the chosen columns, None without any, and whether the solve ended by itself."""
    _set_costs(solver, costs)
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None, False
    proven = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    values = solver.getSolution().col_value
    return [i for i, value in enumerate(values) if value > 0.5], proven
