"""The cheapest replicas for one deployment alone, asked once or under many tolls.

What cannot be part of an answer that is worth having is left out first: an option of which even
one replica, with the rest of the demand at the best worth there is, costs more than an answer that
is known. So is one that another beats in everything. The rest is searched.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from trimtab.planner.problem import Bounds, Counts, Option, Problem
from trimtab.planner.search import BETTER, Cover, Ground, Item, Search
from trimtab.planner.sized import Terms, cheapest_sized

Vector: TypeAlias = NDArray[np.float64]
Tolls: TypeAlias = Vector
"""$/h beside the cost of an added replica, one for each option."""

_CACHED = 4096
_MANY = 8
"""Options from which it pays to look for those that others beat."""
_TRIED = 8
"""Options, the cheapest, of which one alone is tried as the answer to begin with."""


def cheapest(problem: Problem, bounds: Bounds) -> Counts:
    """Return the counts within `bounds` that cost least, shortages at the problem's penalties."""
    return solved(problem, bounds).counts


@lru_cache(maxsize=_CACHED)
def solved(problem: Problem, bounds: Bounds) -> Cover:
    """Return the counts that cost least, and what is proven of them."""
    return Question(problem, bounds).answer()


class Question:
    """What is asked for one deployment; prepared once, answered under many tolls."""

    __slots__ = (
        "_ample", "_takes", "bounds", "costs", "ground", "index", "kept", "problem", "rates",
    )  # fmt: skip

    def __init__(self, problem: Problem, bounds: Bounds) -> None:
        self.problem = problem
        self.bounds = bounds
        self.ground = Ground(problem)
        domains = {domain: i for i, domain in enumerate(self.ground.domains)}
        self.kept = [
            Item(
                i, o.name, o.cost, o.rps, min(o.current, o.upper) - o.lower, 0, (),
                domains.get(o.domain, -1),
            )
            for i, o in enumerate(problem.options)
            if o.current > o.lower and o.upper > o.lower
        ]  # fmt: skip
        """Replicas that exist and may stay or go."""
        added = [i for i, o in enumerate(problem.options) if o.upper > o.current]
        options = [problem.options[i] for i in added]
        self.index = np.array(added, dtype=np.int64)
        """Numbers of the options that may be added to; the arrays below are in their order."""
        self.rates = np.array([o.rps for o in options])
        self.costs = np.array([o.cost for o in options]) * (1.0 + problem.switch)
        self._takes = _Takes(bounds)
        self._ample: NDArray[np.bool_] | None = None

    def answer(
        self, tolls: Tolls | None = None, slack: float | None = None, known: Cover | None = None
    ) -> Cover:
        """Return the counts that cost least.

        `tolls` are added to the cost of each added replica, one for each option. An answer that is
        better by less than a share of `slack` is not sought; without one, by less than `SLACK` of
        the search after its patience. `known` is an answer at these tolls, to better.
        """
        if self.problem.shares:
            return self._sized(tolls, known)
        ground, costs = self.ground, self._costs(tolls)
        if known is None:
            simple = next(self._singles(costs), None)
            goal = math.inf if simple is None else simple[0] * (1.0 + 2.0 * BETTER)
        else:
            goal = (known.weight - ground.base) * (1.0 - (BETTER if slack is None else slack))
        worth = self._worth(costs)
        floor = max(ground.rest, 0.0) * worth
        if known is not None and goal <= floor:
            bound = min(known.weight, ground.base + floor)
            return Cover(counts=known.counts, weight=known.weight, bound=bound)
        chosen = self._unbeaten(costs, self._below(costs, worth, goal))
        items = [*self.kept, *self._items(costs, chosen)]
        found = Search(ground, items, _left(self.bounds), slack).run(known)
        # What was left out is in no answer below the goal, and no answer is below the floor.
        bound = max(min(found.bound, ground.base + goal), ground.base + floor)
        return Cover(counts=found.counts, weight=found.weight, bound=min(bound, found.weight))

    def _sized(self, tolls: Tolls | None, known: Cover | None) -> Cover:
        """Return the answer where the router tells classes apart."""
        options = self.problem.options
        terms = Terms(
            takes=[self._takes.of(option) for option in options],
            left=_left(self.bounds),
            tolls=[0.0] * len(options) if tolls is None else tolls.tolist(),
        )
        found = cheapest_sized(self.problem, terms)
        if known is not None and known.weight <= found.weight:
            return replace(known, bound=min(known.weight, found.bound))
        return found

    def every(self, tolls: Tolls | None, weight: float, limit: int) -> tuple[Counts, ...] | None:
        """Return all counts worth a thought that weigh at most `weight`; None for over `limit`.

        What holds a replica that it could do without, at no loss, is not worth one.
        """
        if self.problem.shares:
            return None  # the integer programme gives one answer
        costs = self._costs(tolls)
        goal = (weight - self.ground.base) * (1.0 + 2.0 * BETTER)
        chosen = self._below(costs, self._worth(costs), goal)
        items = [*self.kept, *self._items(costs, chosen)]
        return Search(self.ground, items, _left(self.bounds), None).all(weight, limit)

    def _costs(self, tolls: Tolls | None) -> Vector:
        return self.costs if tolls is None else self.costs + tolls[self.index]

    def _worth(self, costs: Vector) -> float:
        """Return the least that a request/s costs, going without it included, $/h."""
        least = min((item.cost / item.rps for item in self.kept), default=math.inf)
        return float(np.min(costs / self.rates, initial=min(least, self.ground.short_cost)))

    def _below(self, costs: Vector, worth: float, goal: float) -> NDArray[np.int64]:
        """Return the additions that can be part of an answer that costs less than `goal`."""
        least = costs + np.maximum(self.ground.rest - self.rates, 0.0) * worth
        return np.flatnonzero(least < goal)

    def singles(self, tolls: Tolls, most: int) -> list[Counts]:
        """Return the answers with replicas of one option that cost least, at most so many."""
        found = []
        for _, number, count in itertools.islice(self._singles(self._costs(tolls)), most):
            counts = list(self.ground.counts)
            counts[number] += count
            found.append(tuple(counts))
        return found

    def _singles(self, costs: Vector) -> Iterator[tuple[float, int, int]]:
        """Yield what answers of one option cost, its number and the replicas, the cheapest first.

        Only the first few options are looked at.
        """
        ground = self.ground
        if not len(costs):
            return
        count = np.maximum(np.ceil(ground.rest / self.rates), max(ground.need, 0))
        total = costs * count
        if ground.outside:
            exposed = np.full(len(costs), max(ground.outside))
            for i, number in enumerate(self.index.tolist()):
                if not self.problem.options[number].domain:
                    exposed[i] -= count[i] * self.rates[i]
            total = total + ground.exposed_cost * np.maximum(exposed, 0.0)
        left = _left(self.bounds)
        for i in np.argsort(total, kind="stable")[:_TRIED].tolist():
            number = int(self.index[i])
            if count[i] <= self._most(self.problem.options[number], left):
                yield float(total[i]), number, int(count[i])

    def _most(self, option: Option, left: Sequence[float]) -> int:
        """Return how many replicas of `option` may be added where it is the only one."""
        fit = min(int(left[number] / amount) for number, amount in self._takes.of(option))
        most = min(option.upper - option.current, self.ground.replicas, self.problem.surge)
        return min(fit, most)

    def _unbeaten(self, costs: Vector, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of `chosen` that no other always stands in for.

        One does that costs no more, carries as much, and takes only what cannot run out.
        """
        if len(chosen) <= _MANY:
            return chosen
        if self._ample is None:
            self._ample = self._unlimited()
        order = chosen[np.argsort(costs[chosen], kind="stable")]
        rates = self.rates[order]
        best = np.maximum.accumulate(np.where(self._ample[order], rates, 0.0))
        return order[rates > np.concatenate([[0.0], best[:-1]])]

    def _unlimited(self) -> NDArray[np.bool_]:
        """Return whether an addition takes only what cannot run out, whatever else is added."""
        problem, bounds = self.problem, self.bounds
        added = max(0, min(problem.surge, self.ground.replicas))
        # An answer that could do without any replica is not the best. So all of its replicas but
        # one carry less than what is asked, or they are as few as may be.
        wanted = max(self.ground.rest, 0.0) + 2.0 * problem.survive

        def most(per_rps: float, largest: float) -> float:
            """Return how much is taken at most, of what a request/s and a replica take."""
            taken = max(per_rps * wanted + largest, problem.minimum * largest) + 1e-9
            return min(taken, added * largest)

        # What may have no replica takes nothing, however slow it is.
        options = [option for option in problem.options if option.upper > 0]
        per: dict[str, float] = {}
        large: dict[str, int] = {}
        for o in options:
            rate = o.devices / o.rps
            if rate > per.get(o.pool, 0.0):
                per[o.pool] = rate
            if o.devices > large.get(o.pool, 0):
                large[o.pool] = o.devices
        free = {
            pool
            for pool, there in bounds.free
            if pool in per
            and pool not in self._takes.blocks
            and most(per[pool], float(large[pool])) <= there
        }
        devices = most(max(per.values()), float(max(large.values())))
        if devices > bounds.devices or (
            self._takes.capped
            and most(max(o.price / o.rps for o in options), max(o.price for o in options))
            > bounds.money
        ):
            free = set()
        replicas = most(1.0 / min([o.rps for o in options]), 1.0)
        lost = set(self.ground.domains)
        return np.array(
            [
                o.pool in free and o.upper - o.current >= replicas and o.domain not in lost
                for o in (problem.options[i] for i in self.index.tolist())
            ]
        )

    def _items(self, costs: Vector, chosen: NDArray[np.int64]) -> list[Item]:
        """Return additions to search, at `costs`."""
        options, takes = self.problem.options, self._takes
        domains = {domain: i for i, domain in enumerate(self.ground.domains)}
        return [
            Item(
                number, o.name, cost, o.rps, o.upper - o.current, 1, takes.of(o),
                domains.get(o.domain, -1),
            )
            for number, cost in zip(
                self.index[chosen].tolist(), costs[chosen].tolist(), strict=True
            )
            for o in (options[number],)
        ]  # fmt: skip


def _left(bounds: Bounds) -> list[float]:
    """Return what there is of each resource: pools, blocks of nodes, money, devices."""
    free = [float(free) for _, free in bounds.free]
    return [*free, *(float(n) for _, _, n in bounds.blocks), bounds.money, float(bounds.devices)]


@lru_cache(maxsize=_CACHED)
def _numbered(pools: tuple[str, ...]) -> Mapping[str, int]:
    """Return the number of each of `pools`: the same for most of thousands of deployments."""
    return {pool: i for i, pool in enumerate(pools)}


class _Takes:
    """What one added replica takes of the room, by numbers of resources."""

    def __init__(self, bounds: Bounds) -> None:
        self.pools = _numbered(tuple([pool for pool, _ in bounds.free]))
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
