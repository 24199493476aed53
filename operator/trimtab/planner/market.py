"""Deployments that are asked under prices of what they share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.columns import Columns, Resources, Vector
from trimtab.planner.cover import Question
from trimtab.planner.problem import Problem, Room, unit_usage
from trimtab.planner.search import Cover

BALANCE_STEPS = 60
BALANCE_SPREAD = 0.03
"""How much dearer, as a share, an option is that gets 1/e of what the cheapest gets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dual:
    """The best bound so far, and the prices that gave it."""

    bound: float
    prices: Vector
    """$/h of a unit of each resource."""
    least: Vector
    """What each deployment weighs at least, tolls included, $/h."""


class Market:
    """Deployments with their questions, and what an added replica of each takes."""

    def __init__(self, problems: Sequence[Problem], room: Room) -> None:
        self.resources = Resources(room)
        self.questions = [Question(problem, room.bounds(problem)) for problem in problems]
        self.takes = [self._taken(problem) for problem in problems]
        self.limits = self.resources.limits

    def _taken(self, problem: Problem) -> tuple[NDArray[np.int32], NDArray[np.int32], Vector]:
        """Return which option takes which resource, and how much of it."""
        option: list[int] = []
        number: list[int] = []
        amount: list[float] = []
        for i, taken in enumerate(unit_usage(problem, self.resources.room)):
            for resource, much in taken:
                option.append(i)
                number.append(self.resources.number(resource))
                amount.append(much)
        return np.array(option, np.int32), np.array(number, np.int32), np.array(amount, float)

    def tolls(self, index: int, prices: Vector) -> Vector:
        """Return what one added replica of each option pays."""
        option, number, amount = self.takes[index]
        size = len(self.questions[index].problem.options)
        tolls: Vector = np.bincount(option, amount * prices[number], size)[:size].astype(float)
        return tolls

    def ask(
        self, prices: Vector, slack: float | None, columns: Columns
    ) -> tuple[list[Cover], Dual]:
        """Return every deployment's answer at these prices, and the bound that they give.

        Answers known are the start; one that is better by less than a share of `slack` is not
        sought.
        """
        covers = [
            question.answer(self.tolls(i, prices), slack, known)
            for i, (question, known) in enumerate(
                zip(self.questions, columns.best(prices), strict=True)
            )
        ]
        priced = prices > 0
        paid = float(prices[priced] @ self.limits[priced])
        least = np.array([cover.bound for cover in covers])
        return covers, Dual(bound=math.fsum(least) - paid, prices=prices, least=least)

    def balanced(self) -> Vector:
        """Return prices at which what is shared is about asked for as much as there is of it.

        Each deployment spreads its demand over its options, the more to one the nearer its cost,
        tolls paid, is to the least; what is asked for too much gets dearer, and what is left over
        cheaper. No replica is whole here, so these prices are only where the search for the right
        ones begins.
        """
        spread = _Spread.of(self)
        if spread is None:
            return np.zeros(len(self.limits))
        limits = np.maximum(self.limits, 1e-9)
        bound = np.isfinite(self.limits)
        usual = spread.summed(spread.ratio[spread.which]) / np.maximum(
            spread.summed(spread.much), 1e-9
        )
        prices = np.zeros(len(limits))
        for step in range(BALANCE_STEPS):
            asked = spread.summed(spread.taken(prices)[spread.which] * spread.much)
            over = np.clip(asked / limits - 1.0, -1.0, 1.0)
            prices = np.maximum(0.0, prices + usual * over / (2.0 + 0.2 * step)) * bound
        return prices


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """All options of all deployments in one row, after each deployment that of going without."""

    ratio: Vector
    """$/h of a request/s."""
    demand: Vector
    """Requests/s of the deployment of each option."""
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    which: NDArray[np.int64]
    """For each amount that is taken the option that takes it,"""
    what: NDArray[np.int64]
    """the resource,"""
    much: Vector
    """and how much of it a request/s takes."""
    resources: int

    @classmethod
    def of(cls, market: Market) -> "_Spread | None":
        """Return that of a market; None where nobody asks for more."""
        ratio: list[Vector] = []
        rates: list[Vector] = []
        demand, lengths, size = [], [], 0
        which: list[NDArray[np.int64]] = []
        what: list[NDArray[np.int32]] = []
        much: list[Vector] = []
        for question, (option, number, amount) in zip(market.questions, market.takes, strict=True):
            index, rest = question.index, question.ground.rest
            if not len(index) or rest <= 0:
                continue
            place = np.full(len(question.problem.options), -1)
            place[index] = np.arange(len(index))
            mine = place[option] >= 0
            which.append(place[option][mine] + size)
            what.append(number[mine])
            much.append(amount[mine])
            # The last option of each is to go without.
            ratio.append(np.append(question.costs / question.rates, question.ground.short_cost))
            rates.append(np.append(question.rates, math.inf))
            demand.append(rest)
            lengths.append(len(index) + 1)
            size += len(index) + 1
        if not demand:
            return None
        takers = np.concatenate(which)
        return cls(
            ratio=np.concatenate(ratio),
            demand=np.repeat(np.array(demand), lengths),
            starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]),
            lengths=np.array(lengths),
            which=takers,
            what=np.concatenate(what).astype(np.int64),
            much=np.concatenate(much) / np.concatenate(rates)[takers],
            resources=len(market.limits),
        )

    def summed(self, amounts: Vector) -> Vector:
        """Return the sum of `amounts` for each resource."""
        total: Vector = np.bincount(self.what, amounts, self.resources).astype(float)
        return total

    def taken(self, prices: Vector) -> Vector:
        """Return the requests/s of each option at `prices`."""
        tolls = np.bincount(self.which, prices[self.what] * self.much, len(self.ratio))
        tolled = self.ratio + tolls
        least = np.repeat(np.minimum.reduceat(tolled, self.starts), self.lengths)
        weight = np.exp(-(tolled / least - 1.0) / BALANCE_SPREAD)
        total = np.repeat(np.add.reduceat(weight, self.starts), self.lengths)
        shares: Vector = weight * (self.demand / total)
        return shares
