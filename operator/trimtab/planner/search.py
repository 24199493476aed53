"""The bounded depth-first search for the cheapest replicas of one deployment.

Items are taken by falling worth, as many as needed first, so what it finds first is the greedy
answer. A branch ends where a lower bound of its cost reaches the best answer: the demand that is
left at the best worth left, with a charge for each replica where their number is scarce.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from trimtab.planner.problem import COVERED, Counts, Problem

NODES = 5000
"""Most branches looked at; a count and not a time, so that every machine answers alike."""
PATIENCE = 300
"""Branches after which an answer must be better by SLACK to be worth a longer search."""
SLACK = 3e-4
BETTER = 1e-6
"""An answer counts as better when it costs so much less, as a share of the best one."""
_CHARGE_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The answer for one deployment."""

    counts: Counts
    weight: float
    """Cost, tolls and penalties, $/h."""
    bound: float
    """What no answer within the bounds weighs less than, $/h."""


class Item(NamedTuple):
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


class Ground:
    """What a problem gives every search for it, worked out once."""

    __slots__ = (
        "base", "counts", "domains", "exposed_cost", "missing_cost", "need", "outside",
        "problem", "replicas", "rest", "short_cost",
    )  # fmt: skip

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.counts = tuple(option.lower for option in problem.options)
        kept = sum(self.counts)
        self.base = problem.cost(self.counts) if kept else 0.0
        """What the fewest replicas cost, $/h."""
        self.rest = problem.rps * COVERED - (problem.covered(self.counts) if kept else 0.0)
        """Demand that they leave, requests/s."""
        self.need = problem.minimum - kept
        self.replicas = problem.maximum - kept
        self.short_cost = problem.short_cost
        self.missing_cost = problem.missing_cost
        self.exposed_cost = problem.exposed_cost if problem.survive > 0 else 0.0
        self.domains = _domains(problem)
        self.outside = [
            problem.survive * COVERED
            - math.fsum(
                option.rps * n
                for option, n in zip(problem.options, self.counts, strict=True)
                if option.domain != domain
            )
            for domain in self.domains
        ]
        """What is left to cover with each domain lost, requests/s."""


class Search:
    """One search; its fields are what the branch in hand has left."""

    __slots__ = (
        "additions", "base", "best", "best_cost", "charge", "charged", "charged_or_short",
        "cheapest", "counts", "exposed_cost", "found", "goal", "items", "left", "limit",
        "missing_cost", "need", "nodes", "outside", "over", "patience", "ratios", "ratios_or_short",
        "replicas", "rest", "short_cost", "slack", "strongest",
    )  # fmt: skip

    def __init__(
        self, ground: Ground, items: list[Item], left: list[float], slack: float | None
    ) -> None:
        """Prepare a search over `items`, of which additions take from `left`.

        An answer that is better by less than a share of `slack` is not sought; without one, by
        less than SLACK after PATIENCE branches.
        """
        self.slack = SLACK if slack is None else slack
        self.patience = PATIENCE if slack is None else 0
        self.rest = ground.rest
        self.need = ground.need
        self.additions = ground.problem.surge
        self.counts = list(ground.counts)
        self.replicas = ground.replicas
        self.short_cost = ground.short_cost
        self.missing_cost = ground.missing_cost
        self.exposed_cost = ground.exposed_cost
        self.nodes = 0
        self.found: set[Counts] = set()
        self.limit = 0
        self.best_cost = math.inf
        self.best = ground.counts
        self.goal = math.inf
        """Cost from which a branch is of no interest."""
        self.over = False
        """Whether enough was looked at."""
        self.base = ground.base
        self.left = left
        self.outside = ground.outside
        self.charge = _charge(items, self.rest, self.replicas)
        charge = self.charge
        items.sort(key=lambda item: ((item.cost + charge) / item.rps, item.cost, item.name))
        self.items = items
        # Each list says the least (or most) of the items from here on.
        self.charged = [(item.cost + charge) / item.rps for item in items]
        self.ratios = _suffix([item.cost / item.rps for item in items])
        short_cost = self.short_cost
        self.charged_or_short = [min(cost, short_cost) for cost in self.charged]
        self.ratios_or_short = [min(cost, short_cost) for cost in self.ratios]
        self.cheapest = _suffix([item.cost for item in items])
        self.strongest = [-rps for rps in _suffix([-item.rps for item in items])]

    def run(self, known: Cover | None = None) -> Cover:
        """Return the best answer, `known` where none is better. The bound is of these items."""
        if known is not None:
            self.best, self.best_cost = known.counts, known.weight - self.base
        self._aim()
        root = self._least(0, self.rest, self.need)
        self._go(0, self.rest, self.need, 0.0)
        least = self.best_cost * (1.0 - BETTER)
        if self.nodes > NODES:
            least = min(least, root)
        elif self.nodes > self.patience:
            least = min(least, max(root, self.best_cost * (1.0 - self.slack)))
        return Cover(counts=self.best, weight=self.base + self.best_cost, bound=self.base + least)

    def all(self, weight: float, limit: int) -> tuple[Counts, ...] | None:
        """Return all answers that weigh at most `weight`; None where they are over `limit`."""
        self.limit = limit
        self.best_cost = weight - self.base
        self.goal = self.best_cost * (1.0 + BETTER)
        self._go(0, self.rest, self.need, 0.0)
        return tuple(sorted(self.found)) if len(self.found) <= limit else None

    def _go(self, index: int, rest: float, need: int, cost: float) -> None:
        """Try every count of the items from `index` on. `rest` is demand, `need` replicas."""
        self.nodes += 1
        if not self.limit:
            self.over = self.nodes > NODES
            self._aim()
        outside = self.outside
        exposed = max(outside) if outside else 0.0
        self._note(cost + self._penalty(rest, need, exposed))
        least = self._least
        for i in range(index, len(self.items)):
            if self.over or cost + least(i, rest, need) >= self.goal:
                return
            item = self.items[i]
            wanted = math.ceil(rest / item.rps) if rest > 0 else 0
            if need > wanted:
                wanted = need
            if exposed > 0:
                wanted = max(wanted, self._wanted_outside(item))
            for count in range(self._fit(item, wanted), 0, -1):
                left, lack, paid = rest - count * item.rps, need - count, cost + count * item.cost
                if paid >= self.goal:
                    continue
                if outside:
                    self._lose(outside, item, count)
                self.counts[item.option] += count
                if left <= 0 and lack <= 0 and (not outside or max(self.outside) <= 0):
                    self._note(paid)
                elif paid + least(i + 1, left, lack) < self.goal:
                    self._take(item, count)
                    self._go(i + 1, left, lack, paid)
                    self._take(item, -count)
                self.counts[item.option] -= count
            self.outside = outside

    def _lose(self, outside: Sequence[float], item: Item, count: int) -> None:
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

    def _wanted_outside(self, item: Item) -> int:
        """Return how many of `item` would cover what the loss of other domains uncovers."""
        short = max((s for i, s in enumerate(self.outside) if i != item.domain), default=0.0)
        return math.ceil(short / item.rps) if short > 0 else 0

    def _note(self, total: float) -> None:
        """Take what is in hand for an answer, if it is one of those that are sought."""
        if self.limit:
            if total <= self.best_cost:
                self.found.add(tuple(self.counts))
                self.over = len(self.found) > self.limit
        elif total < self.best_cost * (1.0 - BETTER) or self.best_cost == math.inf:
            self.best_cost, self.best = total, tuple(self.counts)
            self._aim()

    def _aim(self) -> None:
        """Seek what is better than the best by enough."""
        self.goal = self.best_cost * (1.0 - (self.slack if self.nodes > self.patience else BETTER))

    # The next two are most of a search: they compare by hand, as calls take longer than sums.

    def _least(self, index: int, rest: float, need: int) -> float:
        """Return a lower bound of what the rest costs, covered or short."""
        if index == len(self.items):
            return self._penalty(rest, need, 0.0)
        if rest <= 0:
            return max(need, 0) * min(self.cheapest[index], self.missing_cost)
        charges = self.charge * self.replicas
        reach = self.strongest[index] * self.replicas
        able = rest if rest < reach else reach
        plain = able * self.ratios_or_short[index]
        charged = able * self.charged_or_short[index] - charges
        short = self.missing_cost + (rest - able) * self.short_cost
        short += plain if plain > charged else charged
        if reach < rest:
            return short
        plain, charged = rest * self.ratios[index], rest * self.charged[index] - charges
        whole = plain if plain > charged else charged
        return whole if whole < short else short

    def _fit(self, item: Item, wanted: int) -> int:
        """Return how many of `item` fit, up to `wanted`."""
        fit = min(wanted, item.most, self.replicas)
        if item.new:
            if self.additions < fit:
                fit = self.additions
            for resource, amount in item.takes:
                # Rounding of money must not forbid what just fits.
                room = self.left[resource] / amount + 1e-9
                if room < fit:
                    fit = int(room)
        return fit

    def _take(self, item: Item, count: int) -> None:
        if item.new:
            for resource, amount in item.takes:
                self.left[resource] -= amount * count
            self.additions -= count
        self.replicas -= count


def _domains(problem: Problem) -> list[str]:
    if problem.survive <= 0:
        return []
    return sorted({option.domain for option in problem.options if option.domain})


def _suffix(values: Sequence[float]) -> list[float]:
    """Return the least of all values from each one on."""
    return list(itertools.accumulate(reversed(values), min))[::-1]


def _charge(items: Sequence[Item], rest: float, replicas: int) -> float:
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
