"""Columns, each one way to answer one deployment, and the linear programme over those known.

min   sum cost * x      s.t.  sum x = 1            each deployment
                              sum usage * x <= room    each pool and budget,   x >= 0
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import highspy
import numpy as np
from numpy.typing import NDArray

from trimtab.planner.problem import Counts, Problem, Resource, Room, usage
from trimtab.planner.search import Cover
from trimtab.planner.solver import INFINITY, quiet_solver

Vector: TypeAlias = NDArray[np.float64]
_NONE = np.array([], dtype=np.int32), np.array([])


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One way to answer one deployment."""

    problem: int
    counts: Counts
    cost: float
    """Cost and penalties, $/h."""
    usage: tuple[tuple[int, float], ...]
    """What it takes: (number of the resource, amount)."""


class Resources:
    """What problems take of a room, by numbers."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.numbers: dict[Resource, int] = {}

    def number(self, resource: Resource) -> int:
        """Return the number of a resource."""
        return self.numbers.setdefault(resource, len(self.numbers))

    @property
    def limits(self) -> Vector:
        """How much there is of each."""
        return np.array([max(0.0, self.room.limit(resource)) for resource in self.numbers])


class Columns:
    """The columns known so far."""

    def __init__(self, problems: Sequence[Problem], resources: Resources) -> None:
        self.problems = problems
        self.resources = resources
        self.all: list[Column] = []
        self._known: set[tuple[int, Counts]] = set()
        # The same as `all`, to compute with.
        self._owner: list[int] = []
        self._cost: list[float] = []
        self._allowed: list[bool] = []
        self._taker: list[int] = []
        self._taken: list[int] = []
        self._amount: list[float] = []

    def knows(self, index: int, counts: Counts) -> bool:
        """Return whether deployment `index` has a column of these counts."""
        return (index, counts) in self._known

    def made(self, index: int, counts: Counts) -> Column:
        """Return the column of these counts, which is not added."""
        problem = self.problems[index]
        taken = usage(problem, counts, self.resources.room)
        return Column(
            problem=index,
            counts=counts,
            cost=problem.cost(counts) + problem.penalty(counts),
            usage=tuple((self.resources.number(r), amount) for r, amount in taken.items()),
        )

    def put(self, column: Column) -> None:
        """Add a column that is not known."""
        self._known.add((column.problem, column.counts))
        for number, amount in column.usage:
            self._taker.append(len(self.all))
            self._taken.append(number)
            self._amount.append(amount)
        self.all.append(column)
        self._owner.append(column.problem)
        self._cost.append(column.cost)
        # What exists may be more than is allowed, and is no answer to a question.
        self._allowed.append(sum(column.counts) <= self.problems[column.problem].maximum)

    def add(self, index: int, counts: Counts) -> None:
        """Add the column of these counts, once."""
        if not self.knows(index, counts):
            self.put(self.made(index, counts))

    def owners(self) -> NDArray[np.int64]:
        """Return the number of the deployment of each column."""
        return np.array(self._owner, dtype=np.int64)

    def tolled(self, prices: Vector) -> Vector:
        """Return what each column weighs at `prices` of the resources, $/h."""
        paid = np.array(self._amount) * prices[np.array(self._taken, dtype=np.int64)]
        tolls = np.bincount(np.array(self._taker, dtype=np.int64), paid, len(self.all))
        weights: Vector = np.array(self._cost) + tolls
        return weights

    def best(self, prices: Vector) -> list[Cover | None]:
        """Return the answer known of each deployment that weighs least at `prices`."""
        weights = np.where(self._allowed, self.tolled(prices), math.inf)
        owners = self.owners()
        order = np.lexsort((weights, owners))
        owners = owners[order]
        first = order[np.flatnonzero(np.diff(owners, prepend=-1))]
        found: list[Cover | None] = [None] * len(self.problems)
        for i, weight in zip(first.tolist(), weights[first].tolist(), strict=True):
            if weight < math.inf:
                column = self.all[i]
                found[column.problem] = Cover(counts=column.counts, weight=weight, bound=0.0)
        return found


class Relaxation:
    """The linear programme over the columns known so far; it keeps its basis when they grow."""

    def __init__(self, columns: Columns, fleet: Sequence[Counts]) -> None:
        """`fleet` are columns that fit together, to start from."""
        self.columns = columns
        self.loaded = 0
        self._fleet = fleet
        self._limits = columns.resources.limits
        self._solver = quiet_solver(exact=True)
        # What is known stays feasible when columns are added: then the primal method goes on.
        self._solver.setOptionValue("simplex_strategy", 4)
        for _ in columns.problems:
            self._solver.addRow(1.0, 1.0, 0, *_NONE)
        for limit in self._limits.tolist():
            self._solver.addRow(-INFINITY, min(limit, INFINITY), 0, *_NONE)

    def solve(self) -> bool:
        """Solve it anew with all columns; return whether that went well."""
        fresh = self.columns.all[self.loaded :]
        rows = len(self.columns.problems)
        starts, index, value = [0], [], []
        for column in fresh:
            index.append(column.problem)
            value.append(1.0)
            for number, amount in column.usage:
                index.append(rows + number)
                value.append(amount)
            starts.append(len(index))
        size = len(fresh)
        self._solver.addCols(
            size,
            np.array([column.cost for column in fresh]),
            np.zeros(size),
            np.full(size, INFINITY),
            len(index),
            np.array(starts[:-1], dtype=np.int32),
            np.array(index, dtype=np.int32),
            np.array(value),
        )
        if not self.loaded:
            self._start()
        self.loaded += size
        self._solver.run()
        return bool(self._solver.getModelStatus() == highspy.HighsModelStatus.kOptimal)

    def _start(self) -> None:
        """Begin with the fleet that is known."""
        status, basis = highspy.HighsBasisStatus, highspy.HighsBasis()
        taken = {(i, counts) for i, counts in enumerate(self._fleet)}
        basis.col_status = [
            status.kBasic if (c.problem, c.counts) in taken else status.kLower
            for c in self.columns.all
        ]
        basis.row_status = [
            *[status.kLower] * len(self._fleet),
            *[status.kBasic] * len(self._limits),
        ]
        self._solver.setBasis(basis)

    @property
    def value(self) -> float:
        """The cost of the last solution."""
        return float(self._solver.getInfo().objective_function_value)

    def duals(self) -> tuple[Vector, Vector]:
        """Return what each deployment and each resource is worth."""
        duals = np.array(self._solver.getSolution().row_dual)
        rows = len(self.columns.problems)
        return duals[:rows], np.maximum(0.0, -duals[rows:])

    def shares(self) -> Vector:
        """Return how much of each column is taken."""
        return np.array(self._solver.getSolution().col_value)
