"""The integer programme over deployments that contend for pools and budgets, by its columns.

A column is one way to answer one deployment: counts for all its options. The programme picks one
for each deployment, so that together they fit and weigh least.

Columns are generated: the prices of the linear relaxation's pools and budgets are tolls under
which the search of `cover` answers each deployment anew. The sum of these answers, less the room at
its prices, is a bound that no fleet goes below (Lagrange), so the answer says how good it is. What
the relaxation leaves split, `whole` chooses. HiGHS runs on one thread, from one seed and to a
number of nodes, never to a time: equal questions, equal answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.planner.columns import Columns, Relaxation, Vector
from trimtab.planner.market import Dual, Market
from trimtab.planner.problem import Counts, Problem, Room
from trimtab.planner.search import Cover
from trimtab.planner.solver import EXACT
from trimtab.planner.whole import TOGETHER, Frame, whole_answers

ROUNDS = 30
"""Most rounds of new columns."""
CLOSE = 4e-3
"""Relative distance of the relaxation from its bound at which no more columns are sought."""
CENTRE = 0.5
"""Share of the best prices so far in those that columns are sought at: what a single relaxation
says jumps about, and slows the bound (Wentges' smoothing)."""
SINGLES = 5
"""Answers of one option that each deployment begins with."""
_IMPROVES = 1e-7


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Counts for each problem, in order."""

    counts: tuple[Counts, ...]
    bound: float
    """What no answer weighs less than, cost and penalties of all together, $/h."""
    best: bool
    """Whether every answer was weighed that could be better, by priorities too."""


def solve(
    problems: Sequence[Problem], room: Room, seeds: Sequence[Sequence[Counts]]
) -> Answer | None:
    """Return the best choice of columns, or None when the solver finds none.

    `seeds` are known answers for each problem, the first of them together a fleet that fits; what
    exists is always one of them, so that a solve starts from the present.
    """
    market = Market(problems, room)
    columns = Columns(problems, market.resources)
    for index, (problem, known) in enumerate(zip(problems, seeds, strict=True)):
        for counts in (problem.kept, *known):
            columns.add(index, counts)
    fleet = [known[0] for known in seeds]
    relaxation = Relaxation(columns, fleet)
    dual = _generate(columns, market, relaxation)
    if dual is None:
        return None
    frame = Frame(columns=columns, market=market, relaxation=relaxation, dual=dual, fleet=fleet)
    answer, whole = whole_answers(frame)
    return Answer(counts=tuple(answer), bound=dual.bound, best=whole)


def _generate(columns: Columns, market: Market, relaxation: Relaxation) -> Dual | None:
    """Add columns until the relaxation is close to its bound; return the best bound."""
    small = len(columns.problems) <= TOGETHER
    # What is free of tolls each deployment has answered before it came here.
    prices = np.zeros(len(market.limits)) if small else market.balanced()
    if not small:
        # The more is known at first, the better the first prices are.
        for index, question in enumerate(market.questions):
            for counts in question.singles(market.tolls(index, prices), SINGLES):
                columns.add(index, counts)
    covers, best = market.ask(prices, None if small else CLOSE, columns)
    for index, cover in enumerate(covers):
        columns.add(index, cover.counts)
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
            prices = centre * best.prices + (1.0 - centre) * raw
            covers, dual = market.ask(prices, slack, columns)
            if dual.bound > best.bound:
                best = dual
            if _improved(columns, covers, raw, worth):
                break
        else:
            return best
    relaxation.solve()
    return best


def _improved(columns: Columns, covers: Sequence[Cover], prices: Vector, worth: Vector) -> bool:
    """Add the answers that better the relaxation; return whether there are any."""
    found = False
    for index, cover in enumerate(covers):
        if columns.knows(index, cover.counts):
            continue
        column = columns.made(index, cover.counts)
        tolls = sum(float(prices[number]) * amount for number, amount in column.usage)
        mine = float(worth[index])
        if column.cost + tolls - mine < -_IMPROVES * (1.0 + abs(mine)):
            columns.put(column)
            found = True
    return found
