"""The integer programme over deployments that contend for pools and budgets, by its columns.

A column is one way to answer one deployment: counts for all its options. The programme picks one
for each deployment:

    min   sum cost * x      s.t.  sum x = 1            each deployment
                                  sum usage * x <= room    each pool and budget,   x in {0, 1}

Columns are generated: the prices of the linear relaxation's pools and budgets are tolls under
which the search of `cover` answers each deployment anew. The sum of these answers, less the room at
its prices, is a bound that no fleet goes below (Lagrange), so the answer says how good it is. Few
deployments are split in the relaxation, at most as many as there are pools and budgets. The others
stand; those are chosen together by a small integer programme over every column that could still
matter. Where deployments end up short, that is done for one priority after the other, the most
important first: least shortage, then, with all shortages held, least cost. HiGHS runs on one
thread, from one seed and to a number of nodes, never to a time: equal questions, equal answers.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import highspy
import numpy as np
from numpy.typing import NDArray

from trimtab.planner.cover import Cover, Question
from trimtab.planner.problem import Counts, Problem, Resource, Room, unit_usage, usage

ROUNDS = 30
"""Most rounds of new columns."""
CLOSE = 4e-3
"""Relative distance of the relaxation from its bound at which no more columns are sought."""
CENTRE = 0.5
"""Share of the best prices so far in those that columns are sought at: what a single relaxation
says jumps about, and slows the bound (Wentges' smoothing)."""
NODES, FEW_NODES = 1000, 1
"""Most branches of one solve of a small fleet, and of a large one."""
EXACT, GAP = 1e-7, 3e-3
"""Relative gap at which a solve of a small fleet ends, and of a large one."""
NARROWER = 10
"""Times that columns are sought of half of the excess, where there are too many."""
SEVERAL = 150
"""Deployments of which all are asked for columns that could matter; of more, only those that the
relaxation splits."""
TOGETHER = 40
"""Deployments of a small fleet: all their columns are looked at that could matter."""
MANY_COLUMNS, SOME_COLUMNS, FEW_COLUMNS = 6000, 4000, 1000
"""Most columns that are sought for the integer programme of a small fleet, of one in which all are
asked, and of a larger one."""
SPARE_COLUMNS = 500
"""Most columns that it takes of those that are known and not in the relaxation."""
BALANCE_STEPS = 60
BALANCE_SPREAD = 0.03
"""How much dearer, as a share, an option is that gets 1/e of what the cheapest gets."""
_IMPROVES = 1e-7
_WHOLE = 1.0 - 1e-6
_LITTLE = 1e-6
_INFINITY = highspy.kHighsInf

Vector: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Counts for each problem, in order."""

    counts: tuple[Counts, ...]
    bound: float
    """What no answer weighs less than, cost and penalties of all together, $/h."""
    best: bool
    """Whether every answer was weighed that could be better, by priorities too."""


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


def quiet_solver(*, exact: bool) -> _Quiet:
    """Return a solver on one thread, from one seed, to a number of nodes, which prints nothing."""
    solver = _Quiet()
    for name, setting in (
        ("threads", 1),
        ("random_seed", 0),
        ("mip_max_nodes", NODES if exact else FEW_NODES),
        ("mip_rel_gap", EXACT if exact else GAP),
    ):
        solver.setOptionValue(name, setting)
    return solver


class _Columns:
    """The columns known so far."""

    def __init__(self, problems: Sequence[Problem], room: Room) -> None:
        self.problems = problems
        self.room = room
        self.all: list[_Column] = []
        self.known: set[tuple[int, Counts]] = set()

    def add(self, index: int, counts: Counts) -> bool:
        """Add a column, once; return whether it was new."""
        if (index, counts) in self.known:
            return False
        self.known.add((index, counts))
        problem = self.problems[index]
        self.all.append(
            _Column(
                problem=index,
                counts=counts,
                cost=problem.cost(counts) + problem.penalty(counts),
                usage=usage(problem, counts, self.room),
            )
        )
        return True


class _Relaxation:
    """The linear programme over the columns known so far; it keeps its basis when they grow."""

    def __init__(self, columns: _Columns) -> None:
        self.columns = columns
        self.loaded = 0
        self.rows: dict[Resource, int] = {}
        self.solver = quiet_solver(exact=True)
        for _ in columns.problems:
            self.solver.addRow(1.0, 1.0, 0, np.array([], dtype=np.int32), np.array([]))

    def solve(self) -> bool:
        """Solve it anew with all columns; return whether that went well."""
        fresh = self.columns.all[self.loaded :]
        self.loaded = len(self.columns.all)
        new = sorted({r for column in fresh for r in column.usage} - self.rows.keys())
        for resource in new:
            limit = max(0.0, min(self.columns.room.limit(resource), _INFINITY))
            self.rows[resource] = len(self.columns.problems) + len(self.rows)
            self.solver.addRow(-_INFINITY, limit, 0, np.array([], dtype=np.int32), np.array([]))
        starts, index, value = [0], [], []
        for column in fresh:
            index.append(column.problem)
            value.append(1.0)
            for resource, amount in column.usage.items():
                index.append(self.rows[resource])
                value.append(amount)
            starts.append(len(index))
        size = len(fresh)
        self.solver.addCols(
            size,
            np.array([column.cost for column in fresh]),
            np.zeros(size),
            np.full(size, _INFINITY),
            len(index),
            np.array(starts[:-1], dtype=np.int32),
            np.array(index, dtype=np.int32),
            np.array(value),
        )
        self.solver.run()
        return bool(self.solver.getModelStatus() == highspy.HighsModelStatus.kOptimal)

    @property
    def value(self) -> float:
        """The cost of the last solution."""
        return float(self.solver.getInfo().objective_function_value)

    def duals(self) -> tuple[Vector, dict[Resource, float]]:
        """Return what each deployment and each resource is worth."""
        duals = np.array(self.solver.getSolution().row_dual)
        prices = {r: max(0.0, -float(duals[row])) for r, row in self.rows.items()}
        return duals[: len(self.columns.problems)], prices

    def shares(self) -> Vector:
        """Return how much of each column is taken."""
        return np.array(self.solver.getSolution().col_value)


@dataclass(slots=True)
class _Dual:
    """The best bound so far, and the prices that gave it."""

    bound: float
    prices: dict[Resource, float]
    least: list[float]
    """What each deployment weighs at least, tolls included."""


class _Market:
    """Deployments that are asked under prices of what they share."""

    def __init__(self, problems: Sequence[Problem], room: Room) -> None:
        self.room = room
        self.questions = [Question(problem, room.bounds(problem)) for problem in problems]
        self.numbers: dict[Resource, int] = {}
        self.takes = [self._takes(problem) for problem in problems]

    def _takes(self, problem: Problem) -> tuple[NDArray[np.int32], NDArray[np.int32], Vector]:
        """Return which option takes which resource, and how much of it."""
        option: list[int] = []
        number: list[int] = []
        amount: list[float] = []
        for i, taken in enumerate(unit_usage(problem, self.room)):
            for resource, much in taken:
                option.append(i)
                number.append(self.numbers.setdefault(resource, len(self.numbers)))
                amount.append(much)
        return np.array(option, np.int32), np.array(number, np.int32), np.array(amount, float)

    def tolls(self, index: int, prices: Vector) -> Vector:
        """Return what one added replica of each option pays."""
        option, number, amount = self.takes[index]
        size = len(self.questions[index].problem.options)
        tolls: Vector = np.bincount(option, amount * prices[number], size)[:size].astype(float)
        return tolls

    def ask(self, prices: dict[Resource, float], slack: float | None) -> tuple[list[Cover], _Dual]:
        """Return every deployment's answer at these prices, and the bound that they give."""
        vector = np.array([prices.get(resource, 0.0) for resource in self.numbers])
        covers = [
            question.answer(self.tolls(i, vector), slack)
            for i, question in enumerate(self.questions)
        ]
        paid = math.fsum(
            price * max(0.0, self.room.limit(resource))
            for resource, price in prices.items()
            if price > 0
        )
        least = [cover.bound for cover in covers]
        return covers, _Dual(bound=math.fsum(least) - paid, prices=prices, least=least)


def _balanced(market: _Market) -> dict[Resource, float]:
    """Return prices at which what is shared is about asked for as much as there is of it.

    Each deployment spreads its demand over its options, the more to one the nearer its cost, tolls
    paid, is to the least; what is asked for too much gets dearer, and what is left over cheaper. No
    replica is whole here, so these prices are only where the search for the right ones begins.
    """
    costs: list[Vector] = []
    rates: list[Vector] = []
    owners: list[tuple[int, Vector]] = []
    option: list[NDArray[np.int64]] = []
    number: list[NDArray[np.int32]] = []
    amount: list[Vector] = []
    starts, size = [], 0
    for question, takes in zip(market.questions, market.takes, strict=True):
        if not question.names or question.rest <= 0:
            continue
        index = np.array([entry[0] for entry in question.names])
        place = np.full(len(question.problem.options), -1)
        place[index] = np.arange(len(index))
        mine = place[takes[0]] >= 0
        option.append(place[takes[0]][mine] + size)
        number.append(takes[1][mine])
        amount.append(takes[2][mine])
        # The last option of each is to go without.
        costs.append(np.append(question.costs / question.rates, question.problem.short_cost))
        rates.append(np.append(question.rates, math.inf))
        owners.append((len(index) + 1, np.array([question.rest])))
        starts.append(size)
        size += len(index) + 1
    if not starts:
        return {}
    ratio, rate = np.concatenate(costs), np.concatenate(rates)
    which, what, much = np.concatenate(option), np.concatenate(number), np.concatenate(amount)
    much = much / rate[which]
    lengths = np.array([length for length, _ in owners])
    demand = np.repeat(np.concatenate([rps for _, rps in owners]), lengths)
    limits = np.array([max(0.0, market.room.limit(r)) for r in market.numbers])
    bound = np.isfinite(limits)
    usual = np.bincount(what, weights=ratio[which], minlength=len(limits)) / np.maximum(
        np.bincount(what, weights=much, minlength=len(limits)), 1e-9
    )
    prices = np.zeros(len(limits))
    for step in range(BALANCE_STEPS):
        tolled = ratio + np.bincount(which, weights=prices[what] * much, minlength=size)
        least = np.repeat(np.minimum.reduceat(tolled, starts), lengths)
        weight = np.exp(-(tolled / least - 1.0) / BALANCE_SPREAD)
        weight *= demand / np.repeat(np.add.reduceat(weight, starts), lengths)
        asked = np.bincount(what, weights=weight[which] * much, minlength=len(limits))
        over = np.clip(asked / np.maximum(limits, 1e-9) - 1.0, -1.0, 1.0)
        prices = np.maximum(0.0, prices + usual * over / (2.0 + 0.2 * step)) * bound
    return {
        resource: float(price)
        for resource, price in zip(market.numbers, prices, strict=True)
        if price > 0
    }


def solve(
    problems: Sequence[Problem], room: Room, seeds: Sequence[Sequence[Counts]]
) -> Answer | None:
    """Return the best choice of columns, or None when the solver finds none.

    `seeds` are known answers for each problem, the first of them together a fleet that fits; what
    exists is always one of them, so that a solve starts from the present.
    """
    columns = _Columns(problems, room)
    for index, (problem, known) in enumerate(zip(problems, seeds, strict=True)):
        for counts in (problem.kept, *known):
            columns.add(index, counts)
    market = _Market(problems, room)
    relaxation = _Relaxation(columns)
    dual = _generate(columns, market, relaxation)
    if dual is None:
        return None
    fleet = [known[0] for known in seeds]
    answer, whole = _rounded(columns, market, relaxation, dual, fleet)
    return Answer(counts=tuple(answer), bound=dual.bound, best=whole)


def _generate(columns: _Columns, market: _Market, relaxation: _Relaxation) -> _Dual | None:
    """Add columns until the relaxation is close to its bound; return the best bound."""
    small = len(columns.problems) <= TOGETHER
    covers, best = market.ask({}, None if small else CLOSE)
    for index, cover in enumerate(covers):
        columns.add(index, cover.counts)
    if not small:
        covers, dual = market.ask(_balanced(market), CLOSE)
        for index, cover in enumerate(covers):
            columns.add(index, cover.counts)
        best = max(best, dual, key=lambda dual: dual.bound)
    for _ in range(ROUNDS):
        if not relaxation.solve():
            return None
        worth, raw = relaxation.duals()
        distance = 1.0 - best.bound / relaxation.value if relaxation.value > 0 else 0.0
        if distance <= (EXACT if small else CLOSE):
            return best
        # What is far off need not be known exactly.
        slack = None if small else min(max(0.1 * distance, CLOSE / 5.0), 0.01)
        for centre in (CENTRE, 0.0):
            names = raw.keys() | best.prices.keys()
            prices = {
                r: centre * best.prices.get(r, 0.0) + (1.0 - centre) * raw.get(r, 0.0)
                for r in names
            }
            covers, dual = market.ask(prices, slack)
            if dual.bound > best.bound:
                best = dual
            found = False
            for index, cover in enumerate(covers):
                reduced = _reduced(columns, index, cover.counts, raw, worth)
                if reduced < -_IMPROVES * (1.0 + abs(worth[index])):
                    found = columns.add(index, cover.counts) or found
            if found:
                break
        else:
            return best
    relaxation.solve()
    return best


def _reduced(
    columns: _Columns,
    index: int,
    counts: Counts,
    prices: dict[Resource, float],
    worth: Vector,
) -> float:
    """Return what one unit of a column would change the relaxation by."""
    problem = columns.problems[index]
    taken = usage(problem, counts, columns.room)
    tolls = math.fsum(prices.get(r, 0.0) * amount for r, amount in taken.items())
    return problem.cost(counts) + problem.penalty(counts) + tolls - float(worth[index])


def _rounded(
    columns: _Columns,
    market: _Market,
    relaxation: _Relaxation,
    dual: _Dual,
    fleet: list[Counts],
) -> tuple[list[Counts], bool]:
    """Return whole answers, chosen together wherever there is a choice, and if none is better."""
    problems, room = columns.problems, columns.room
    weight = math.fsum(problems[i].cost(c) + problems[i].penalty(c) for i, c in enumerate(fleet))
    spare = max(0.0, weight - dual.bound) + 1e-6 * abs(weight)
    split = _split(columns, relaxation)
    if len(problems) <= SEVERAL:
        split = set(range(len(problems)))
    pool = _candidates(columns, relaxation, dual, spare)
    short = any(
        problem.shortage(counts) > 0 for problem, counts in zip(problems, fleet, strict=True)
    )
    if short and len(problems) <= TOGETHER:
        spare = math.inf  # the prices are of weighted shortages; priorities go before any weight
    pool, whole = _enumerated(columns, market, dual, (pool, split, spare))
    whole = whole and len(split) == len(problems)
    sizes = Counter(column.problem for column in pool)
    for column in pool:
        if sizes[column.problem] == 1:
            room = room.minus(problems[column.problem], column.counts)
    standing = {column.problem: column.counts for column in pool if sizes[column.problem] == 1}
    pool = [column for column in pool if sizes[column.problem] > 1]
    if not pool:
        return [standing[i] for i in range(len(problems))], whole
    chosen, solved = _choose(problems, room, pool, sorted({column.problem for column in pool}))
    if chosen is None:
        return fleet, False
    counts = [chosen[i] if i in chosen else standing[i] for i in range(len(problems))]
    return counts, whole and solved


def _split(columns: _Columns, relaxation: _Relaxation) -> set[int]:
    """Return the deployments that the relaxation answers with more than one column."""
    shares = relaxation.shares()
    known = columns.all[: relaxation.loaded]
    return {c.problem for share, c in zip(shares, known, strict=True) if _LITTLE < share < _WHOLE}


def _candidates(
    columns: _Columns, relaxation: _Relaxation, dual: _Dual, spare: float
) -> list[_Column]:
    """Return the columns that the relaxation takes, and known ones that a better fleet could have.

    At the best prices a fleet with a column in it weighs no less than the bound and what that
    column weighs more than the best of its deployment.
    """
    shares = relaxation.shares()
    taken = [i for i in range(relaxation.loaded) if shares[i] > _LITTLE]
    excess = [
        column.cost
        + math.fsum(dual.prices.get(r, 0.0) * n for r, n in column.usage.items())
        - dual.least[column.problem]
        for column in columns.all
    ]
    mine = set(taken)
    others = sorted(
        (i for i, more in enumerate(excess) if more <= spare and i not in mine),
        key=lambda i: (excess[i], i),
    )
    return [columns.all[i] for i in (*taken, *others[:SPARE_COLUMNS])]


def _enumerated(
    columns: _Columns,
    market: _Market,
    dual: _Dual,
    known: tuple[Sequence[_Column], set[int], float],
) -> tuple[list[_Column], bool]:
    """Return the known columns, and all others that could matter of those in `split`; if all are.

    Where these are too many, it is those that exceed the best least, and where capacity is short
    those with a replica less: the relaxation has no use for an answer that is a little short;
    sharing what is scarce has.
    """
    pool, split, spare = known
    vector = np.array([dual.prices.get(resource, 0.0) for resource in market.numbers])
    each = max(1, _most_columns(len(columns.problems)) // max(1, len(split)))
    more = _Columns(columns.problems, columns.room)
    mine: dict[int, list[Counts]] = {i: [] for i in split}
    for column in pool:
        more.add(column.problem, column.counts)
    for column in columns.all:
        if column.problem in split:
            mine[column.problem].append(column.counts)
    whole = True
    for index in sorted(split):
        tolls = market.tolls(index, vector)
        every, reach = None, spare
        for _ in range(NARROWER):
            every = market.questions[index].every(tolls, dual.least[index] + reach, each)
            if every is not None:
                break
            whole, reach = False, reach / 2.0
        problem = columns.problems[index]
        scarce = not whole and any(problem.shortage(counts) > 0 for counts in mine[index])
        near = _neighbours(problem, mine[index], each) if scarce else ()
        for counts in (*mine[index], *near, *(every or ())):
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


def _choose(
    problems: Sequence[Problem], room: Room, columns: Sequence[_Column], free: Sequence[int]
) -> tuple[dict[int, Counts] | None, bool]:
    """Return the best whole choice of columns for `free`, by priority where some end up short.

    And whether the solver is sure of it.
    """
    solver = _whole(room, columns, free)
    costs = _costs(columns, lambda column: column.cost)
    chosen, sure = _picked(solver, costs)
    if chosen is None:
        return None, False

    def shortage(column: _Column) -> float:
        return problems[column.problem].shortage(column.counts)

    if any(shortage(columns[i]) > 0 for i in chosen):
        for priority in sorted({problems[i].priority for i in free}, reverse=True):
            worth = _costs(
                columns,
                lambda column, priority=priority: (  # type: ignore[misc]
                    shortage(column) if problems[column.problem].priority == priority else 0.0
                ),
            )
            if not worth.any():
                continue
            found, optimal = _picked(solver, worth)
            sure = sure and optimal
            if found is None:
                break
            chosen = found
            # A tolerance keeps the next solve feasible in spite of rounding.
            least = float(worth[chosen].sum()) * (1.0 + 1e-6) + 1e-6
            used = np.flatnonzero(worth).astype(np.int32)
            solver.addRow(-_INFINITY, least, len(used), used, worth[used])
        else:
            plain = _costs(columns, lambda column: _kept_weight(problems, column))
            found, optimal = _picked(solver, plain)
            chosen, sure = found or chosen, sure and optimal
    return {columns[i].problem: columns[i].counts for i in chosen}, sure


def _kept_weight(problems: Sequence[Problem], column: _Column) -> float:
    """Return what a column weighs once its shortage is settled."""
    problem = problems[column.problem]
    return problem.cost(column.counts) + problem.exposure(column.counts)


def _costs(columns: Sequence[_Column], of: Callable[[_Column], float]) -> Vector:
    return np.array([of(column) for column in columns])


def _whole(room: Room, columns: Sequence[_Column], free: Sequence[int]) -> _Quiet:
    """Return a solver over whole columns, without costs."""
    deployments = {problem: i for i, problem in enumerate(free)}
    resources = sorted({resource for column in columns for resource in column.usage})
    rows = {resource: len(free) + i for i, resource in enumerate(resources)}
    starts, index, value = [0], [], []
    for column in columns:
        index.append(deployments[column.problem])
        value.append(1.0)
        for resource, amount in column.usage.items():
            index.append(rows[resource])
            value.append(amount)
        starts.append(len(index))
    limits = [max(0.0, min(room.limit(r), _INFINITY)) for r in resources]
    size, ones = len(columns), [1.0] * len(free)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = size, len(ones) + len(limits)
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(size), np.zeros(size), np.ones(size)
    lp.row_lower_ = np.array([*ones, *(-_INFINITY for _ in limits)])
    lp.row_upper_ = np.array([*ones, *limits])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.array(starts, dtype=np.int32)
    lp.a_matrix_.index_ = np.array(index, dtype=np.int32)
    lp.a_matrix_.value_ = np.array(value)
    lp.integrality_ = [highspy.HighsVarType.kInteger] * size
    solver = quiet_solver(exact=len(free) <= TOGETHER)
    solver.passModel(lp)
    return solver


def _picked(solver: highspy.Highs, costs: Vector) -> tuple[list[int] | None, bool]:
    """Return the columns of the cheapest choice, None without any, and if the solver is sure."""
    solver.changeColsCost(len(costs), np.arange(len(costs), dtype=np.int32), costs)
    solver.run()
    if solver.getInfo().primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        return None, False
    sure = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    values = solver.getSolution().col_value
    return [i for i, value in enumerate(values) if value > 0.5], sure
