"""The cheapest replicas for one deployment alone: a bounded depth-first search.

Options are taken by falling worth, as many as needed first, so what it finds first is the greedy
answer. A branch ends where a lower bound of its cost reaches the best answer: the demand that is
left at the best worth left, with a charge for each replica where their number is scarce.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from trimtab.planner.problem import COVERED, Bounds, Counts, Option, Problem

NODES = 5000
"""Most branches looked at; a count and not a time, so that every machine answers alike."""
_BETTER = 1.0 - 1e-6
"""An answer counts as better when it costs less than this share of the best one."""
_CHARGE_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Item:
    """Replicas of one option that exist, or that would be added."""

    index: int
    name: str
    cost: float
    rps: float
    most: int
    devices: int
    """Devices that one takes from the room."""
    price: float
    """$/h that one takes from the room."""
    pool: str
    new: int
    """1 when it counts as an addition, else 0."""


@lru_cache(maxsize=16384)
def cheapest(problem: Problem, bounds: Bounds, tolls: tuple[float, ...] | None = None) -> Counts:
    """Return the counts within `bounds` that cost least, shortages at the problem's penalties.

    `tolls` are added to the cost of each added replica, one for each option.
    """
    return _Search(problem, bounds, tolls or (0.0,) * len(problem.options)).run()


class _Search:
    """One search; its fields are what the branch in hand has left."""

    __slots__ = (
        "additions", "best", "best_cost", "charge", "charged", "cheapest", "counts", "devices",
        "free", "items", "missing_cost", "money", "nodes", "problem", "ratios", "replicas",
        "short_cost", "strongest",
    )  # fmt: skip

    def __init__(self, problem: Problem, bounds: Bounds, tolls: tuple[float, ...]) -> None:
        self.problem = problem
        self.free = dict(bounds.free)
        self.money = bounds.money
        self.devices = bounds.devices
        self.additions = problem.surge
        self.counts = [option.lower for option in problem.options]
        self.replicas = problem.maximum - sum(self.counts)
        self.short_cost = problem.short_cost
        self.missing_cost = problem.missing_cost
        self.nodes = 0
        self.best_cost = math.inf
        self.best = tuple(self.counts)
        items = _items(problem, tolls)
        self.charge = _charge(items, self._rest(), self.replicas)
        self.items = sorted(
            items, key=lambda item: ((item.cost + self.charge) / item.rps, item.cost, item.name)
        )
        # Each list says the least (or most) of the items from here on.
        suffixes = [self.items[i:] for i in range(len(items))]
        self.charged = [(item.cost + self.charge) / item.rps for item in self.items]
        self.ratios = [min(item.cost / item.rps for item in rest) for rest in suffixes]
        self.cheapest = [min(item.cost for item in rest) for rest in suffixes]
        self.strongest = [max(item.rps for item in rest) for rest in suffixes]

    def run(self) -> Counts:
        self.go(0, self._rest(), self.problem.minimum - sum(self.counts), 0.0)
        return self.best

    def _rest(self) -> float:
        return self.problem.rps * COVERED - self.problem.covered(tuple(self.counts))

    def go(self, index: int, rest: float, need: int, cost: float) -> None:
        """Try every count of item `index`, most first. `rest` is demand, `need` replicas."""
        self.nodes += 1
        total = cost + max(need, 0) * self.missing_cost
        if rest > 0:
            total += self.missing_cost + rest * self.short_cost
        if total < self.best_cost * _BETTER:
            self.best_cost, self.best = total, tuple(self.counts)
        if (rest <= 0 and need <= 0) or index == len(self.items) or self.nodes > NODES:
            return
        if cost + self._least(index, rest, need) >= self.best_cost * _BETTER:
            return
        item = self.items[index]
        wanted = max(need, math.ceil(rest / item.rps) if rest > 0 else 0)
        for count in range(min(wanted, self._fit(item)), -1, -1):
            self.counts[item.index] += count
            self._take(item, count)
            self.go(index + 1, rest - count * item.rps, need - count, cost + count * item.cost)
            self._take(item, -count)
            self.counts[item.index] -= count

    def _least(self, index: int, rest: float, need: int) -> float:
        """Return a lower bound of what the rest costs, covered or short."""
        if rest <= 0:
            return need * min(self.cheapest[index], self.missing_cost)
        charges = self.charge * self.replicas
        reach = self.strongest[index] * self.replicas
        able = min(rest, reach)
        short = (
            self.missing_cost
            + (rest - able) * self.short_cost
            + max(
                able * min(self.ratios[index], self.short_cost),
                able * min(self.charged[index], self.short_cost) - charges,
            )
        )
        if reach < rest:
            return short
        return min(short, max(rest * self.ratios[index], rest * self.charged[index] - charges))

    def _fit(self, item: _Item) -> int:
        """Return how many of `item` fit."""
        fit = min(item.most, self.replicas)
        if item.new:
            fit = min(fit, self.additions)
            fit = min(fit, self.free[item.pool] // item.devices, self.devices // item.devices)
            if item.price > 0 and not math.isinf(self.money):
                fit = min(fit, int(self.money / item.price * (1 + 1e-12)))
        return max(0, fit)

    def _take(self, item: _Item, count: int) -> None:
        self.free[item.pool] -= item.devices * count
        self.money -= item.price * count
        self.devices -= item.devices * count
        self.additions -= item.new * count
        self.replicas -= count


def _items(problem: Problem, tolls: tuple[float, ...]) -> list[_Item]:
    items = []
    for index, option in enumerate(problem.options):
        if option.current > option.lower and option.upper > option.lower:
            most = min(option.current, option.upper) - option.lower
            items.append(_item(index, option, most=most, cost=option.cost, new=0))
        if option.upper > option.current:
            cost = option.cost * (1.0 + problem.switch) + tolls[index]
            most = option.upper - option.current
            items.append(_item(index, option, most=most, cost=cost, new=1))
    return items


def _item(index: int, option: Option, *, most: int, cost: float, new: int) -> _Item:
    return _Item(
        index=index,
        name=option.name,
        cost=cost,
        rps=option.rps,
        most=most,
        devices=option.devices * new,
        price=option.price * new,
        pool=option.pool,
        new=new,
    )


def _charge(items: list[_Item], rest: float, replicas: int) -> float:
    """Return the charge for each replica at which the root's lower bound is highest.

    The bound rest * min((cost + charge) / rps) - charge * replicas is concave in the charge.
    """
    if not items or rest <= 0 or replicas <= 0:
        return 0.0
    costs, rates = [item.cost for item in items], [item.rps for item in items]
    low, high = 0.0, 4.0 * max(costs)

    def bound(charge: float) -> float:
        least = min([(cost + charge) / rps for cost, rps in zip(costs, rates, strict=True)])
        return rest * least - charge * replicas

    if bound(high * 1e-6) <= bound(0.0):
        return 0.0
    for _ in range(_CHARGE_STEPS):
        left, right = low + 0.382 * (high - low), low + 0.618 * (high - low)
        if bound(left) < bound(right):
            low = left
        else:
            high = right
    return low
