"""What the solvers are asked, and what they share: the replicas of deployments over their options.

Devices, money and replicas that exist are given; a solution adds to them or does without some.
Only what is added takes from the room, so that nothing is promised twice while something leaves.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from trimtab.models.snapshot import Key

Counts: TypeAlias = tuple[int, ...]
"""Replicas for each option of a problem."""
Resource: TypeAlias = tuple[str, str]
"""("pool", name), in devices; ("money", budget), in $/h; ("devices", budget)."""

PENALTY = 3.0
"""Penalty of a shortage over the cost of the dearest way to cover it (research/models.md 5.2)."""
COVERED = 1.0 - 1e-6
"""Share of the demand from which it counts as covered: what the solver's tolerance may miss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One way to place replicas of one deployment. Rates are requests/s, costs $/h."""

    name: str
    """Breaks ties; unique within a problem."""
    pool: str
    devices: int
    """Devices of one replica."""
    rps: float
    """What one replica may be given, headroom taken off; above 0."""
    cost: float
    """What the solver weighs one replica at; above 0."""
    price: float
    """What one replica counts against budgets; 0 when unknown."""
    current: int
    """Replicas that exist."""
    lower: int
    """Fewest replicas of the answer; at most `current`."""
    upper: int
    """Most replicas of the answer; at least `lower`."""

    @property
    def ratio(self) -> float:
        """Cost of one request/s, for one hour."""
        return self.cost / self.rps


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The question for one deployment."""

    key: Key
    priority: int
    rps: float
    """Demand to cover, requests/s."""
    minimum: int
    """Fewest replicas over all options."""
    maximum: int
    """Most replicas over all options."""
    surge: int
    """Most replicas that may be added."""
    money: float
    """Most that additions may cost, $/h; infinite without a cap."""
    switch: float
    """Share of its cost that an added replica weighs more than one that exists."""
    options: tuple[Option, ...]
    weight: float = 1.0
    """Factor on the penalties, for deployments that come before others."""

    def added(self, counts: Counts) -> Counts:
        """Return the replicas that `counts` adds, for each option."""
        return tuple(max(0, n - o.current) for o, n in zip(self.options, counts, strict=True))

    def cost(self, counts: Counts) -> float:
        """Return what the solver weighs `counts` at, $/h."""
        plain = math.fsum(o.cost * n for o, n in zip(self.options, counts, strict=True))
        new = zip(self.options, self.added(counts), strict=True)
        return plain + self.switch * math.fsum(o.cost * n for o, n in new)

    def covered(self, counts: Counts) -> float:
        """Return the rate that `counts` may be given, requests/s."""
        return math.fsum(o.rps * n for o, n in zip(self.options, counts, strict=True))

    def short_rps(self, counts: Counts) -> float:
        """Return the demand that `counts` leaves uncovered, requests/s."""
        covered = self.covered(counts)
        return 0.0 if covered >= self.rps * COVERED else self.rps - covered

    def missing(self, counts: Counts) -> int:
        """Return how many replicas `counts` is below the minimum."""
        return max(0, self.minimum - sum(counts))

    def penalty(self, counts: Counts) -> float:
        """Return what the solver weighs the shortage of `counts` at, $/h."""
        missing = self.missing(counts)
        short = self.short_rps(counts)
        floor = self.missing_cost if short > 0 else 0.0
        return floor + short * self.short_cost + missing * self.missing_cost

    def shortage(self, counts: Counts) -> float:
        """Return the worth of what `counts` falls short of, in $/h at the cheapest option.

        The larger the share that one deployment lacks, the more each request/s of it weighs, so
        that equals share a shortage alike.
        """
        if not self.options:
            return 0.0
        cheapest = min(option.ratio for option in self.options)
        replica = min(option.cost for option in self.options)
        short = self.short_rps(counts)
        share = short / self.rps if short > 0 else 0.0
        return short * (1.0 + share) * cheapest + self.missing(counts) * replica

    @property
    def short_cost(self) -> float:
        """Penalty of one uncovered request/s: beyond what any option costs, so that all pays."""
        dearest = max((option.ratio for option in self.options), default=0.0)
        return self.weight * PENALTY * (1.0 + self.switch) * dearest

    @property
    def missing_cost(self) -> float:
        """Penalty of one replica below the minimum, and of being short by however little."""
        dearest = max((option.cost for option in self.options), default=0.0)
        return self.weight * PENALTY * (1.0 + self.switch) * dearest

    @property
    def kept(self) -> Counts:
        """Return the replicas that exist, cut to the bounds."""
        return tuple(max(o.lower, min(o.current, o.upper)) for o in self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The room that one deployment may use."""

    free: tuple[tuple[str, int], ...]
    """Devices free in each pool of its options, sorted by pool."""
    money: float
    """$/h, its own cap included."""
    devices: int
    """Devices that the budgets leave to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRoom:
    """What a FleetBudget leaves to additions."""

    name: str
    members: frozenset[Key]
    money: float
    """$/h; infinite without a cap."""
    devices: float
    """Infinite without a cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What additions may take: free devices of each pool, and what budgets leave."""

    free: Mapping[str, int]
    budgets: tuple[BudgetRoom, ...] = ()

    def bounds(self, problem: Problem) -> Bounds:
        """Return what `problem` may use alone."""
        mine = [budget for budget in self.budgets if problem.key in budget.members]
        most = problem.surge * max((option.devices for option in problem.options), default=0)
        pools = sorted({option.pool for option in problem.options})
        return Bounds(
            free=tuple((pool, min(most, self.free.get(pool, 0))) for pool in pools),
            money=max(0.0, min([problem.money, *(budget.money for budget in mine)])),
            devices=max(0, int(min([most, *(budget.devices for budget in mine)]))),
        )

    def minus(self, problem: Problem, counts: Counts) -> "Room":
        """Return the room that is left when `problem` is answered with `counts`."""
        return self._changed(problem, counts, -1)

    def plus(self, problem: Problem, counts: Counts) -> "Room":
        """Return the room with what `counts` takes given back."""
        return self._changed(problem, counts, 1)

    def _changed(self, problem: Problem, counts: Counts, sign: int) -> "Room":
        taken = usage(problem, counts, self.budgets)
        if not taken:
            return self
        free = dict(self.free)
        for (kind, name), amount in taken.items():
            if kind == "pool":
                free[name] = free.get(name, 0) + sign * int(amount)
        budgets = tuple(
            replace(
                budget,
                money=budget.money + sign * taken.get(("money", budget.name), 0.0),
                devices=budget.devices + sign * taken.get(("devices", budget.name), 0.0),
            )
            for budget in self.budgets
        )
        return Room(free=free, budgets=budgets)

    def limit(self, resource: Resource) -> float:
        """Return how much of a resource there is."""
        kind, name = resource
        if kind == "pool":
            return self.free.get(name, 0)
        budget = next(budget for budget in self.budgets if budget.name == name)
        return budget.money if kind == "money" else budget.devices


def usage(problem: Problem, counts: Counts, budgets: Iterable[BudgetRoom]) -> dict[Resource, float]:
    """Return what the additions of `counts` take of each shared resource."""
    total: dict[Resource, float] = {}
    added = problem.added(counts)
    if not any(added):
        return total
    for new, taken in zip(added, unit_usage(problem, tuple(budgets)), strict=True):
        if new:
            for resource, amount in taken.items():
                total[resource] = total.get(resource, 0.0) + new * amount
    return total


@lru_cache(maxsize=16384)
def unit_usage(
    problem: Problem, budgets: tuple[BudgetRoom, ...]
) -> tuple[Mapping[Resource, float], ...]:
    """Return what one added replica of each option takes of each shared resource."""
    mine = [budget.name for budget in budgets if problem.key in budget.members]
    return tuple(
        {
            ("pool", option.pool): float(option.devices),
            **{("money", name): option.price for name in mine},
            **{("devices", name): float(option.devices) for name in mine},
        }
        for option in problem.options
    )
