"""A linear or integer programme, built column by column and row by row, solved by HiGHS."""

from collections.abc import Iterable
from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

INFINITY = float(highspy.kHighsInf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What HiGHS found."""

    value: float
    """The objective of `columns`."""
    bound: float
    """No solution has a smaller objective."""
    columns: NDArray[np.float64]


class QuietSolver(highspy.Highs):  # type: ignore[misc]  # highspy ships no types
    """A solver that writes nothing, not even the banner that switching callbacks on prints."""

    def enableCallbacks(self) -> None:  # noqa: N802
        """Switch callbacks on without a word."""
        self.setOptionValue("output_flag", False)
        super().enableCallbacks()


class Programme:
    """Minimise the costs of the columns within the limits of the rows."""

    def __init__(self) -> None:
        self._costs: list[float] = []
        self._lower: list[float] = []
        self._upper: list[float] = []
        self._whole: list[int] = []
        self._rows: list[tuple[float, float]] = []
        self._starts = [0]
        self._index: list[int] = []
        self._value: list[float] = []

    def column(
        self, *, cost: float = 0.0, most: float = INFINITY, least: float = 0.0, whole: bool = False
    ) -> int:
        """Add a column and return its number."""
        number = len(self._costs)
        self._costs.append(cost)
        self._lower.append(least)
        self._upper.append(most)
        if whole:
            self._whole.append(number)
        return number

    def at_least(self, least: float, entries: Iterable[tuple[int, float]]) -> None:
        """Let the sum over (column, factor) be at least `least`."""
        self._row(least, INFINITY, entries)

    def at_most(self, most: float, entries: Iterable[tuple[int, float]]) -> None:
        """Let the sum over (column, factor) be at most `most`."""
        self._row(-INFINITY, most, entries)

    def _row(self, least: float, most: float, entries: Iterable[tuple[int, float]]) -> None:
        for column, factor in entries:
            self._index.append(column)
            self._value.append(factor)
        self._starts.append(len(self._index))
        self._rows.append((least, most))

    def solve(self, *, nodes: int = 0, gap: float = 0.0) -> Solution | None:
        """Return the best columns, or None when there are none.

        HiGHS runs on one thread, from one seed, to `nodes` branches and never to a time: equal
        programmes have equal solutions.
        """
        solver = QuietSolver()
        for name, setting in (
            ("output_flag", False),
            ("threads", 1),
            ("random_seed", 0),
            ("mip_max_nodes", nodes),
            ("mip_rel_gap", gap),
        ):
            solver.setOptionValue(name, setting)
        scale = max((abs(cost) for cost in self._costs), default=0.0) or 1.0
        solver.passModel(self._model(scale))
        solver.run()
        info = solver.getInfo()
        if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        value = float(info.objective_function_value) * scale
        return Solution(
            value=value,
            bound=float(info.mip_dual_bound) * scale if self._whole else value,
            columns=np.array(solver.getSolution().col_value),
        )

    def _model(self, scale: float) -> highspy.HighsLp:
        """Return the programme; its largest cost is 1, for the solver's tolerances are absolute."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self._costs), len(self._rows)
        lp.col_cost_ = np.array(self._costs) / scale
        lp.col_lower_, lp.col_upper_ = np.array(self._lower), np.array(self._upper)
        lp.row_lower_ = np.array([least for least, _ in self._rows])
        lp.row_upper_ = np.array([most for _, most in self._rows])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.array(self._starts, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(self._index, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(self._value)
        if self._whole:
            kinds = [highspy.HighsVarType.kContinuous] * len(self._costs)
            for number in self._whole:
                kinds[number] = highspy.HighsVarType.kInteger
            lp.integrality_ = kinds
        return lp
