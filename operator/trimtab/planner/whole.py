"""From the relaxation to whole answers, one for each deployment.

Few deployments are split in the relaxation, at most as many as there are pools and budgets. The
others stand; those are chosen together by a small integer programme over every column that could
still matter. Where deployments end up short, that is done for one priority after the other, the
most important first: least shortage, then, with all shortages held, least cost.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from trimtab.planner.columns import Column, Columns, Relaxation, Vector
from trimtab.planner.market import Dual, Market
from trimtab.planner.problem import Counts, Problem, Room
from trimtab.planner.solver import INFINITY, quiet_solver

NARROWER = 10
"""Times that columns are sought of half of the excess, where there are too many."""
SEVERAL = 150
"""Deployments of which all are asked for columns that could matter; of more, only those that the
relaxation splits."""
TOGETHER = 40
"""Deployments of a small fleet: all their columns are looked at that could matter."""
MANY_COLUMNS, SOME_COLUMNS, FEW_COLUMNS = 6000, 1000, 500
"""Most columns that are sought for the integer programme of a small fleet, of one in which all are
asked, and of a larger one."""
WIDE = 0.25
"""Share by which a column of a larger fleet may exceed the best of its deployment at first."""
SPARE_COLUMNS = 250
"""Most columns that it takes of those that are known and not in the relaxation."""
_WHOLE = 1.0 - 1e-6
_LITTLE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is known when columns are no longer sought."""

    columns: Columns
    market: Market
    relaxation: Relaxation
    dual: Dual
    fleet: list[Counts]
    """An answer for each deployment that fit together."""

    @property
    def problems(self) -> Sequence[Problem]:
        """What is asked."""
        return self.columns.problems


def whole_answers(frame: Frame) -> tuple[list[Counts], bool]:
    """Return whole answers, chosen together wherever there is a choice, and if none is better."""
    problems, fleet = frame.problems, frame.fleet
    weight = math.fsum(p.cost(c) + p.penalty(c) for p, c in zip(problems, fleet, strict=True))
    spare = max(0.0, weight - frame.dual.bound) + 1e-6 * abs(weight)
    split = _split(frame)
    if len(problems) <= SEVERAL:
        split = set(range(len(problems)))
    pool = _candidates(frame, spare)
    short = any(
        problem.shortage(counts) > 0 for problem, counts in zip(problems, fleet, strict=True)
    )
    if short and len(problems) <= TOGETHER:
        spare = math.inf  # the prices are of weighted shortages; priorities go before any weight
    pool, whole = _enumerated(frame, pool, split, spare)
    whole = whole and len(split) == len(problems)
    sizes = Counter(column.problem for column in pool)
    room = frame.market.resources.room
    for column in pool:
        if sizes[column.problem] == 1:
            room = room.minus(problems[column.problem], column.counts)
    standing = {column.problem: column.counts for column in pool if sizes[column.problem] == 1}
    pool = [column for column in pool if sizes[column.problem] > 1]
    if not pool:
        return [standing[i] for i in range(len(problems))], whole
    chosen, solved = _choose(problems, _Choice(frame, room, pool))
    if chosen is None:
        return fleet, False
    counts = [chosen[i] if i in chosen else standing[i] for i in range(len(problems))]
    return counts, whole and solved


def _split(frame: Frame) -> set[int]:
    """Return the deployments that the relaxation answers with more than one column."""
    shares = frame.relaxation.shares()
    parts = np.flatnonzero((shares > _LITTLE) & (shares < _WHOLE))
    return set(frame.columns.owners()[parts].tolist())


def _candidates(frame: Frame, spare: float) -> list[Column]:
    """Return the columns that the relaxation takes, and known ones that a better fleet could have.

    At the best prices a fleet with a column in it weighs no less than the bound and what that
    column weighs more than the best of its deployment.
    """
    columns, dual = frame.columns, frame.dual
    taken = np.flatnonzero(frame.relaxation.shares() > _LITTLE)
    excess = columns.tolled(dual.prices) - dual.least[columns.owners()]
    excess[taken] = math.inf
    order = np.argsort(excess, kind="stable")
    others = order[excess[order] <= spare][:SPARE_COLUMNS]
    return [columns.all[i] for i in (*taken.tolist(), *others.tolist())]


def _enumerated(
    frame: Frame, pool: Sequence[Column], split: set[int], spare: float
) -> tuple[list[Column], bool]:
    """Return the known columns, and all others that could matter of those in `split`; if all are.

    Where these are too many, it is those that exceed the best least, and where capacity is short
    those with a replica less: the relaxation has no use for an answer that is a little short;
    sharing what is scarce has.
    """
    problems, dual = frame.problems, frame.dual
    each = max(1, _most_columns(len(problems)) // max(1, len(split)))
    more = Columns(problems, frame.market.resources)
    mine: dict[int, list[Counts]] = {i: [] for i in split}
    for column in pool:
        more.put(column)
    for column in frame.columns.all:
        if column.problem in split:
            mine[column.problem].append(column.counts)
            if not more.knows(column.problem, column.counts):
                more.put(column)
    whole = True
    for index in sorted(split):
        tolls = frame.market.tolls(index, dual.prices)
        every, reach = None, spare
        if len(problems) > TOGETHER and reach > WIDE * dual.least[index]:
            # All that could matter are far too many.
            whole, reach = False, WIDE * float(dual.least[index])
        for _ in range(NARROWER):
            every = frame.market.questions[index].every(tolls, dual.least[index] + reach, each)
            if every is not None:
                break
            whole, reach = False, reach / 2.0
        problem = problems[index]
        scarce = not whole and any(problem.shortage(counts) > 0 for counts in mine[index])
        near = _neighbours(problem, mine[index], each) if scarce else ()
        for counts in (*near, *(every or ())):
            more.add(index, counts)
    return more.all, whole


def _most_columns(deployments: int) -> int:
    if deployments <= TOGETHER:
        return MANY_COLUMNS
    return SOME_COLUMNS if deployments <= SEVERAL else FEW_COLUMNS


def _neighbours(problem: Problem, known: Sequence[Counts], most: int) -> list[Counts]:
    """Return `known` and what has one added replica less, again and again."""
    found = list(known)
    seen = set(found)
    for counts in found:  # those that are added here follow in turn
        for i, new in enumerate(problem.added(counts)):
            fewer = (*counts[:i], counts[i] - 1, *counts[i + 1 :])
            if new and fewer not in seen and len(found) < most:
                seen.add(fewer)
                found.append(fewer)
    return found


class _Choice:
    """A solver over whole columns, one for each deployment that has any."""

    def __init__(self, frame: Frame, room: Room, columns: Sequence[Column]) -> None:
        self.columns = columns
        free = {i: row for row, i in enumerate(sorted({column.problem for column in columns}))}
        self.priorities = sorted({frame.problems[i].priority for i in free}, reverse=True)
        limits = [max(0.0, min(room.limit(r), INFINITY)) for r in frame.market.resources.numbers]
        starts, index, value = [0], [], []
        for column in columns:
            index.append(free[column.problem])
            value.append(1.0)
            for number, amount in column.usage:
                index.append(len(free) + number)
                value.append(amount)
            starts.append(len(index))
        size, ones = len(columns), [1.0] * len(free)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = size, len(ones) + len(limits)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(size), np.zeros(size), np.ones(size)
        lp.row_lower_ = np.array([*ones, *(-INFINITY for _ in limits)])
        lp.row_upper_ = np.array([*ones, *limits])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(index, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(value)
        lp.integrality_ = [highspy.HighsVarType.kInteger] * size
        self._solver = quiet_solver(exact=len(free) <= TOGETHER)
        self._solver.passModel(lp)

    def costs(self, of: Callable[[Column], float]) -> Vector:
        """Return what each column costs."""
        return np.array([of(column) for column in self.columns])

    def best(self, costs: Vector) -> tuple[list[int] | None, bool]:
        """Return the columns of the cheapest choice, None without any, and if that is sure."""
        solver = self._solver
        solver.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)
        solver.run()
        feasible = highspy.SolutionStatus.kSolutionStatusFeasible
        if solver.getInfo().primal_solution_status != feasible:
            return None, False
        sure = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
        values = solver.getSolution().col_value
        return [i for i, value in enumerate(values) if value > 0.5], sure

    def hold(self, costs: Vector, chosen: Sequence[int]) -> None:
        """Let no other choice cost more than `chosen`."""
        # A tolerance keeps the next solve feasible in spite of rounding.
        most = float(costs[list(chosen)].sum()) * (1.0 + 1e-6) + 1e-6
        used = np.flatnonzero(costs).astype(np.int32)
        self._solver.addRow(-INFINITY, most, len(used), used, costs[used])


def _choose(problems: Sequence[Problem], choice: _Choice) -> tuple[dict[int, Counts] | None, bool]:
    """Return the best whole choice of columns, by priority where some end up short.

    And whether the solver is sure of it.
    """
    columns = choice.columns
    chosen, sure = choice.best(choice.costs(lambda column: column.cost))
    if chosen is None:
        return None, False

    def shortage(column: Column) -> float:
        return problems[column.problem].shortage(column.counts)

    if any(shortage(columns[i]) > 0 for i in chosen):
        for priority in choice.priorities:
            worth = choice.costs(
                lambda column, priority=priority: (  # type: ignore[misc]
                    shortage(column) if problems[column.problem].priority == priority else 0.0
                ),
            )
            if not worth.any():
                continue
            found, optimal = choice.best(worth)
            sure = sure and optimal
            if found is None:
                break
            chosen = found
            choice.hold(worth, chosen)
        else:
            found, optimal = choice.best(choice.costs(lambda c: _kept_weight(problems, c)))
            chosen, sure = found or chosen, sure and optimal
    return {columns[i].problem: columns[i].counts for i in chosen}, sure


def _kept_weight(problems: Sequence[Problem], column: Column) -> float:
    """Return what a column weighs once its shortage is settled."""
    problem = problems[column.problem]
    return problem.cost(column.counts) + problem.exposure(column.counts)
