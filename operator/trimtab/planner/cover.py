"""The cheapest replicas for one deployment alone: a bounded depth-first search.

Options that another one beats in everything are left out first. The rest is taken by falling
worth, as many as needed first, so what it finds first is the greedy answer. A branch ends where a
lower bound of its cost reaches the best answer: the demand that is left at the best worth left,
with a charge for each replica where their number is scarce.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.problem import COVERED, Bounds, Counts, Option, Problem

Tolls: TypeAlias = NDArray[np.float64]
"""$/h beside the cost of an added replica, one for each option."""

NODES = 5000
"""Most branches looked at; a count and not a time, so that every machine answers alike."""
PATIENCE = 300
"""Branches after which an answer must be better by SLACK to be worth a longer search."""
SLACK = 3e-4
_BETTER = 1e-6
"""An answer counts as better when it costs so much less, as a share of the best one."""
_CHARGE_STEPS = 16
_CACHED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The answer for one deployment."""

    counts: Counts
    weight: float
    """Cost, tolls and penalties, $/h."""
    bound: float
    """What no answer within the bounds weighs less than, $/h."""


class _Item(NamedTuple):
    """Replicas of one option that exist, or that would be added."""

    option: int
    """Number of the option."""
    name: str
    cost: float
    rps: float
    most: int
    new: int
    """1 when it counts as an addition, else 0."""
    takes: tuple[tuple[int, float], ...]
    """What one takes of the room: (number of the resource, amount)."""
    domain: int
    """Number of the domain that it is lost with; -1 when it stays."""


def cheapest(problem: Problem, bounds: Bounds) -> Counts:
    """Return the counts within `bounds` that cost least, shortages at the problem's penalties."""
    return solved(problem, bounds).counts


@lru_cache(maxsize=_CACHED)
def solved(problem: Problem, bounds: Bounds) -> Cover:
    """Return the counts that cost least, and what is proven of them."""
    return Question(problem, bounds).answer()


class Question:
    """What is asked for one deployment; prepared once, answered under many tolls."""

    __slots__ = ("ample", "bounds", "costs", "kept", "names", "problem", "rates", "rest", "takes")

    def __init__(self, problem: Problem, bounds: Bounds) -> None:
        self.problem = problem
        self.bounds = bounds
        lower = tuple(option.lower for option in problem.options)
        self.rest = problem.rps * COVERED - (problem.covered(lower) if any(lower) else 0.0)
        domains = {domain: i for i, domain in enumerate(_domains(problem))}
        self.kept: list[_Item] = []
        """Replicas that exist and may stay or go."""
        self.names: list[tuple[int, str, int, int]] = []
        """Index, name, most and domain of what may be added."""
        rates, costs = [], []
        for index, option in enumerate(problem.options):
            domain = domains.get(option.domain, -1) if domains else -1
            name, rps, cost = option.name, option.rps, option.cost
            if option.current > option.lower and option.upper > option.lower:
                most = min(option.current, option.upper) - option.lower
                self.kept.append(_Item(index, name, cost, rps, most, 0, (), domain))
            if option.upper > option.current:
                self.names.append((index, name, option.upper - option.current, domain))
                rates.append(rps)
                costs.append(cost)
        self.rates = np.array(rates)
        self.costs = np.array(costs) * (1.0 + problem.switch)
        self.takes = _Takes(bounds)
        self.ample = self._ample()

    def answer(self, tolls: Tolls | None = None, slack: float | None = None) -> Cover:
        """Return the counts that cost least.

        `tolls` are added to the cost of each added replica, one for each option. An answer that is
        better by less than a share of `slack` is not sought; without one, by less than SLACK after
        PATIENCE branches.
        """
        return _Search(self, self._items(tolls, prune=True), slack).run()

    def every(self, tolls: Tolls | None, weight: float, limit: int) -> tuple[Counts, ...] | None:
        """Return all counts worth a thought that weigh at most `weight`; None for over `limit`.

        What holds a replica that it could do without, at no loss, is not worth one.
        """
        return _Search(self, self._items(tolls, prune=False), None).all(weight, limit)

    def _ample(self) -> NDArray[np.bool_]:
        """Return whether an addition takes only what cannot run out, whatever else is added."""
        if not self.names:
            return np.zeros(0, dtype=bool)
        problem, bounds = self.problem, self.bounds
        # An answer that could do without any replica is not the best. So all of its replicas but
        # one carry less than what is asked, or they are as few as may be.
        wanted = max(self.rest, 0.0) + 2.0 * problem.survive

        def most(amounts: Iterable[tuple[float, float]]) -> float:
            """Return how much is taken at most, of amounts and rates of single replicas."""
            pairs = list(amounts)
            largest = max(amount for amount, _ in pairs)
            per_rps = max(amount / rps for amount, rps in pairs)
            return max(per_rps * wanted + largest, problem.minimum * largest) + 1e-9

        pools: dict[str, list[tuple[float, float]]] = {}
        for option in problem.options:
            pools.setdefault(option.pool, []).append((float(option.devices), option.rps))
        free = {
            pool
            for pool, there in bounds.free
            if pool not in self.takes.blocks and most(pools[pool]) <= there
        }
        replicas = most((1.0, option.rps) for option in problem.options)
        if (
            most((option.price, option.rps) for option in problem.options) > bounds.money
            or most(pair for pairs in pools.values() for pair in pairs) > bounds.devices
        ):
            free = set()
        return np.array(
            [
                domain < 0 and room >= replicas and problem.options[index].pool in free
                for index, _, room, domain in self.names
            ]
        )

    def _items(self, tolls: Tolls | None, *, prune: bool) -> list[_Item]:
        """Return what may be kept and what may be added.

        With `prune` additions are left out that another one always stands in for: it costs no
        more, carries as much, and takes only what cannot run out.
        """
        items = list(self.kept)
        if not self.names:
            return items
        costs = self.costs
        if tolls is not None:
            costs = costs + tolls[[entry[0] for entry in self.names]]
        chosen = np.arange(len(costs))
        if prune:
            order = np.argsort(costs, kind="stable")
            rates = self.rates[order]
            best = np.maximum.accumulate(np.where(self.ample[order], rates, 0.0))
            before = np.concatenate([[0.0], best[:-1]])
            chosen = order[rates > before]
        for i in chosen.tolist():
            index, name, room, domain = self.names[i]
            takes = self.takes.of(self.problem.options[index])
            items.append(
                _Item(index, name, float(costs[i]), float(self.rates[i]), room, 1, takes, domain)
            )
        return items


class _Search:
    """One search; its fields are what the branch in hand has left."""

    __slots__ = (
        "additions", "base", "best", "best_cost", "charge", "charged", "cheapest", "counts",
        "exposed_cost", "found", "items", "left", "limit", "missing_cost", "nodes",
        "outside", "patience", "problem", "ratios", "replicas", "rest", "short_cost", "slack",
        "strongest",
    )  # fmt: skip

    def __init__(self, question: Question, items: list[_Item], slack: float | None) -> None:
        problem = question.problem
        self.slack = SLACK if slack is None else slack
        self.patience = PATIENCE if slack is None else 0
        self.problem = problem
        self.rest = question.rest
        self.additions = problem.surge
        self.counts = [option.lower for option in problem.options]
        self.replicas = problem.maximum - sum(self.counts)
        self.short_cost = problem.short_cost
        self.missing_cost = problem.missing_cost
        self.exposed_cost = problem.exposed_cost if problem.survive > 0 else 0.0
        self.nodes = 0
        self.found: set[Counts] = set()
        self.limit = 0
        self.best_cost = math.inf
        self.best = tuple(self.counts)
        self.base = problem.cost(self.best) if any(self.best) else 0.0
        self.left = _left(question.bounds)
        self.outside = self._outside()
        self.charge = _charge(items, self.rest, self.replicas)
        charge = self.charge
        items.sort(key=lambda item: ((item.cost + charge) / item.rps, item.cost, item.name))
        self.items = items
        # Each list says the least (or most) of the items from here on.
        self.charged = [(item.cost + charge) / item.rps for item in items]
        self.ratios = _suffix([item.cost / item.rps for item in items])
        self.cheapest = _suffix([item.cost for item in items])
        self.strongest = [-rps for rps in _suffix([-item.rps for item in items])]

    def run(self) -> Cover:
        need = self.problem.minimum - sum(self.counts)
        root = self._least(0, self.rest, need)
        self.go(0, self.rest, need, 0.0)
        least = self.best_cost * (1.0 - _BETTER)
        if self.nodes > NODES:
            least = min(least, root)
        elif self.nodes > self.patience:
            least = min(least, max(root, self.best_cost * (1.0 - self.slack)))
        return Cover(counts=self.best, weight=self.base + self.best_cost, bound=self.base + least)

    def all(self, weight: float, limit: int) -> tuple[Counts, ...] | None:
        self.limit = limit
        self.best_cost = weight - self.base
        self.go(0, self.rest, self.problem.minimum - sum(self.counts), 0.0)
        return tuple(sorted(self.found)) if len(self.found) <= limit else None

    def _outside(self) -> list[float]:
        """Return what is left to cover with each domain lost."""
        if self.problem.survive <= 0:
            return []
        domains = _domains(self.problem)
        wanted = self.problem.survive * COVERED
        return [
            wanted
            - math.fsum(
                option.rps * n
                for option, n in zip(self.problem.options, self.counts, strict=True)
                if option.domain != domain
            )
            for domain in domains
        ]

    def go(self, index: int, rest: float, need: int, cost: float) -> None:
        """Try every count of the items from `index` on. `rest` is demand, `need` replicas."""
        self.nodes += 1
        outside = self.outside
        exposed = max(outside) if outside else 0.0
        self._note(cost + self._penalty(rest, need, exposed))
        for i in range(index, len(self.items)):
            if self._is_over() or cost + self._least(i, rest, need) >= self._goal():
                return
            item = self.items[i]
            wanted = math.ceil(rest / item.rps) if rest > 0 else 0
            if need > wanted:
                wanted = need
            if exposed > 0:
                wanted = max(wanted, self._wanted_outside(item))
            for count in range(min(wanted, self._fit(item)), 0, -1):
                left, lack, paid = rest - count * item.rps, need - count, cost + count * item.cost
                if paid >= self._goal():
                    continue
                if outside:
                    self._lose(outside, item, count)
                self.counts[item.option] += count
                if left <= 0 and lack <= 0 and (not outside or max(self.outside) <= 0):
                    self._note(paid)
                elif paid + self._least(i + 1, left, lack) < self._goal():
                    self._take(item, count)
                    self.go(i + 1, left, lack, paid)
                    self._take(item, -count)
                self.counts[item.option] -= count
            self.outside = outside

    def _lose(self, outside: Sequence[float], item: _Item, count: int) -> None:
        """Take off what `count` of an item cover with each domain lost but its own."""
        given = count * item.rps
        self.outside = [
            short if domain == item.domain else short - given
            for domain, short in enumerate(outside)
        ]

    def _penalty(self, rest: float, need: int, exposed: float) -> float:
        total = max(need, 0) * self.missing_cost
        if rest > 0:
            total += self.missing_cost + rest * self.short_cost
        return total + max(exposed, 0.0) * self.exposed_cost

    def _wanted_outside(self, item: _Item) -> int:
        """Return how many of `item` would cover what the loss of other domains uncovers."""
        short = max((s for i, s in enumerate(self.outside) if i != item.domain), default=0.0)
        return math.ceil(short / item.rps) if short > 0 else 0

    def _note(self, total: float) -> None:
        if self.limit:
            if total <= self.best_cost:
                self.found.add(tuple(self.counts))
        elif total < self.best_cost * (1.0 - _BETTER) or self.best_cost == math.inf:
            self.best_cost, self.best = total, tuple(self.counts)

    def _is_over(self) -> bool:
        return len(self.found) > self.limit if self.limit else self.nodes > NODES

    def _goal(self) -> float:
        """Return the cost from which a branch is of no interest."""
        if self.limit:
            return self.best_cost * (1.0 + _BETTER)
        return self.best_cost * (1.0 - (self.slack if self.nodes > self.patience else _BETTER))

    def _least(self, index: int, rest: float, need: int) -> float:
        """Return a lower bound of what the rest costs, covered or short."""
        if index == len(self.items):
            return self._penalty(rest, need, 0.0)
        if rest <= 0:
            return max(need, 0) * min(self.cheapest[index], self.missing_cost)
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
            for resource, amount in item.takes:
                # Rounding of money must not forbid what just fits.
                fit = min(fit, int(self.left[resource] / amount + 1e-9))
        return max(fit, 0)

    def _take(self, item: _Item, count: int) -> None:
        if item.new:
            for resource, amount in item.takes:
                self.left[resource] -= amount * count
            self.additions -= count
        self.replicas -= count


def _left(bounds: Bounds) -> list[float]:
    """Return what there is of each resource: pools, blocks of nodes, money, devices."""
    free = [float(free) for _, free in bounds.free]
    return [*free, *(float(n) for _, _, n in bounds.blocks), bounds.money, float(bounds.devices)]


class _Takes:
    """What one added replica takes of the room, by numbers of resources."""

    def __init__(self, bounds: Bounds) -> None:
        self.pools = {pool: i for i, (pool, _) in enumerate(bounds.free)}
        self.blocks: dict[str, list[tuple[int, int]]] = {}
        for i, (pool, size, _) in enumerate(bounds.blocks):
            self.blocks.setdefault(pool, []).append((len(self.pools) + i, size))
        self.money = len(self.pools) + len(bounds.blocks)
        self.capped = bounds.money < math.inf

    def of(self, option: Option) -> tuple[tuple[int, float], ...]:
        """Return what one replica of `option` takes."""
        devices = float(option.devices)
        takes = [(self.pools[option.pool], devices), (self.money + 1, devices)]
        takes += [
            (number, float(option.devices // size))
            for number, size in self.blocks.get(option.pool, ())
            if size <= option.devices
        ]
        if self.capped and option.price > 0:
            takes.append((self.money, option.price))
        return tuple(takes)


def _domains(problem: Problem) -> list[str]:
    if problem.survive <= 0:
        return []
    return sorted({option.domain for option in problem.options if option.domain})


def _suffix(values: Sequence[float]) -> list[float]:
    """Return the least of all values from each one on."""
    least, found = math.inf, []
    for value in reversed(values):
        least = min(least, value)
        found.append(least)
    return found[::-1]


def _charge(items: Sequence[_Item], rest: float, replicas: int) -> float:
    """Return the charge for each replica at which the root's lower bound is highest.

    The bound rest * min((cost + charge) / rps) - charge * replicas is concave in the charge.
    """
    if not items or rest <= 0 or replicas <= 0:
        return 0.0
    pairs = [(item.cost, item.rps) for item in items]
    low, high = 0.0, 4.0 * max(cost for cost, _ in pairs)

    def bound(charge: float) -> float:
        return rest * min([(cost + charge) / rps for cost, rps in pairs]) - charge * replicas

    if bound(high * 1e-6) <= bound(0.0):
        return 0.0
    for _ in range(_CHARGE_STEPS):
        left, right = low + 0.382 * (high - low), low + 0.618 * (high - low)
        if bound(left) < bound(right):
            low = left
        else:
            high = right
    return low
