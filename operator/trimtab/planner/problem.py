"""What the solvers are asked, and what they share: the replicas of deployments over their options.

Devices, money and replicas that exist are given; a solution adds to them or does without some.
Only what is added takes from the room, so that nothing is promised twice while something leaves.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from trimtab.models.snapshot import Key
from trimtab.planner.split import split_of

Counts: TypeAlias = tuple[int, ...]
"""Replicas for each option of a problem."""
Resource: TypeAlias = tuple[str, str]
"""("pool", name), in devices; ("pool/4", name), in blocks of 4 devices that lie on one node;
("money", budget), in $/h; ("devices", budget)."""

PENALTY = 3.0
"""Penalty of a shortage over the cost of the dearest way to cover it (research/models.md 5.2)."""
EXPOSED = 2.0
"""The same for demand that the loss of one failure domain would uncover: below PENALTY, as what is
asked now comes first, and above 1, so that every way to keep it is taken."""
COVERED = 1.0 - 1e-6
"""Share of the demand from which it counts as covered: what the solver's tolerance may miss."""
_BLOCKS = "pool/"


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
    rates: tuple[float, ...] = ()
    """Where the router tells classes apart: what one replica may be given of each class alone, and
    last of all of them mixed; 0 where it cannot."""
    domain: str = ""
    """What it may be lost with, at once and unasked, such as the spot nodes of a zone; empty where
    nothing takes it back."""


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
    """Most that additions may cost, $/h; infinite without a cap, below 0 where it is exceeded."""
    switch: float
    """Share of its cost that an added replica weighs more than one that exists."""
    options: tuple[Option, ...]
    weight: float = 1.0
    """Factor on the penalties, for deployments that come before others."""
    survive: float = 0.0
    """Demand that must stay covered when any one domain of the options is lost, requests/s."""
    shares: tuple[float, ...] = ()
    """Share of each class in the demand, where the router tells classes apart; 1 together."""
    pools: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Sorted names of the pools of the options."""
    widest: int = field(init=False, repr=False, compare=False)
    """Most devices of one replica; 0 without options."""
    cheapest_rps: float = field(init=False, repr=False, compare=False)
    """Least cost of a request/s over the options, $/h; 0 without any, as the next three."""
    dearest_rps: float = field(init=False, repr=False, compare=False)
    """That of the dearest way: classes may each be covered elsewhere."""
    cheapest: float = field(init=False, repr=False, compare=False)
    """Least cost of a replica, $/h."""
    dearest: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Look once through the options, of which there are hundreds, for what is asked often."""
        devices = [option.devices for option in self.options]
        ratios = [option.cost / option.rps for option in self.options]
        costs = [option.cost for option in self.options]
        object.__setattr__(self, "pools", tuple(sorted({o.pool for o in self.options})))
        object.__setattr__(self, "widest", max(devices, default=0))
        object.__setattr__(self, "cheapest_rps", min(ratios, default=0.0))
        object.__setattr__(self, "dearest_rps", max(*ratios, self._dearest_apart(), 0.0))
        object.__setattr__(self, "cheapest", min(costs, default=0.0))
        object.__setattr__(self, "dearest", max(costs, default=0.0))

    def _dearest_apart(self) -> float:
        """Return the cost of a request/s where each class is covered in the dearest way, $/h."""
        return math.fsum(
            share * max((o.cost / o.rates[c] for o in self.options if o.rates[c]), default=0.0)
            for c, share in enumerate(self.shares)
        )

    def __hash__(self) -> int:
        # All fields take longer to hash than the search that a cache saves.
        return hash((self.key, self.rps, len(self.options)))

    def added(self, counts: Counts) -> Counts:
        """Return the replicas that `counts` adds, for each option."""
        return tuple(max(0, n - o.current) for o, n in zip(self.options, counts, strict=True))

    def cost(self, counts: Counts) -> float:
        """Return what the solver weighs `counts` at, $/h."""
        pairs = [(o, n) for o, n in zip(self.options, counts, strict=True) if n]
        plain = math.fsum(o.cost * n for o, n in pairs)
        return plain + self.switch * math.fsum(o.cost * max(0, n - o.current) for o, n in pairs)

    def covered(self, counts: Counts) -> float:
        """Return the rate that `counts` may be given, requests/s."""
        if self.shares:
            return self._split(counts, lost=None)
        return math.fsum(o.rps * n for o, n in zip(self.options, counts, strict=True) if n)

    def short_rps(self, counts: Counts) -> float:
        """Return the demand that `counts` leaves uncovered, requests/s."""
        covered = self.covered(counts)
        return 0.0 if covered >= self.rps * COVERED else self.rps - covered

    def exposed_rps(self, counts: Counts) -> float:
        """Return what the loss of the worst domain leaves uncovered of `survive`, requests/s."""
        if self.survive <= 0:
            return 0.0
        if self.shares:
            domains = {option.domain for option in self.options if option.domain}
            left = min(self._split(counts, lost=domain) for domain in (None, *domains))
        else:
            lost: dict[str, float] = {}
            for option, count in zip(self.options, counts, strict=True):
                if option.domain and count:
                    lost[option.domain] = lost.get(option.domain, 0.0) + option.rps * count
            left = self.covered(counts) - max(lost.values(), default=0.0)
        return 0.0 if left >= self.survive * COVERED else self.survive - left

    def _split(self, counts: Counts, *, lost: str | None) -> float:
        """Return what `counts` carry of all classes without what is lost with a domain."""
        kinds = tuple(
            (option.rates, count)
            for option, count in zip(self.options, counts, strict=True)
            if count and (lost is None or option.domain != lost)
        )
        return split_of(self.shares, kinds).rps if kinds else 0.0

    def missing(self, counts: Counts) -> int:
        """Return how many replicas `counts` is below the minimum."""
        return max(0, self.minimum - sum(counts))

    def penalty(self, counts: Counts) -> float:
        """Return what the solver weighs the shortage of `counts` at, $/h."""
        missing = self.missing(counts)
        short = self.short_rps(counts)
        if missing == 0 and short <= 0:
            return self.exposure(counts)
        floor = self.missing_cost if short > 0 else 0.0
        short_cost = short * self.short_cost if short > 0 else 0.0
        return floor + short_cost + missing * self.missing_cost + self.exposure(counts)

    def exposure(self, counts: Counts) -> float:
        """Return what the solver weighs the demand at that the loss of a domain uncovers, $/h."""
        exposed = self.exposed_rps(counts)
        return exposed * self.exposed_cost if exposed > 0 else 0.0

    def shortage(self, counts: Counts) -> float:
        """Return the worth of what `counts` falls short of, in $/h at the cheapest option.

        The larger the share that one deployment lacks, the more each request/s of it weighs, so
        that equals share a shortage alike.
        """
        short = self.short_rps(counts)
        share = short / self.rps if short > 0 else 0.0
        lacking = short * (1.0 + share) * self.cheapest_rps
        return lacking + self.missing(counts) * self.cheapest

    @property
    def short_cost(self) -> float:
        """Penalty of one uncovered request/s: beyond what any option costs, so that all pays."""
        return self.weight * PENALTY * (1.0 + self.switch) * self.dearest_rps

    @property
    def exposed_cost(self) -> float:
        """Penalty of one request/s that the loss of a domain would uncover."""
        return self.short_cost * EXPOSED / PENALTY

    @property
    def missing_cost(self) -> float:
        """Penalty of one replica below the minimum, and of being short by however little."""
        return self.weight * PENALTY * (1.0 + self.switch) * self.dearest

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
    blocks: tuple[tuple[str, int, int], ...] = ()
    """(pool, size, free): blocks of `size` devices on one node, where they are scarce."""

    def free_in(self, pool: str) -> int:
        """Return the devices that are free in `pool`."""
        return next((free for name, free in self.free if name == pool), 0)

    def scatters(self, pool: str, devices: int) -> bool:
        """Return whether so many devices are free in `pool`, but no longer on one node."""
        scarce = any(each == (pool, devices, 0) for each in self.blocks)
        return scarce and self.free_in(pool) >= devices


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRoom:
    """What a FleetBudget leaves to additions."""

    name: str
    members: frozenset[Key]
    money: float
    """$/h; infinite without a cap, below 0 where it is exceeded."""
    devices: float
    """Infinite without a cap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What additions may take: free devices of each pool, and what budgets leave."""

    free: Mapping[str, int]
    budgets: tuple[BudgetRoom, ...] = ()
    blocks: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """Free blocks of so many devices on one node, by pool and size, where that is less than the
    devices allow. Sizes divide each other: then replicas fit on nodes exactly where, for every
    size, those of that size and above take no more blocks than there are."""
    _shared: dict[tuple[tuple[str, ...], int], tuple[tuple[str, int], ...]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """What `_up_to` found: most of thousands of deployments are told the same."""

    def bounds(self, problem: Problem) -> Bounds:
        """Return what `problem` may use alone."""
        return self.left_to(problem, problem.pools, problem.surge * problem.widest)

    def left_to(self, problem: Problem, pools: tuple[str, ...], most: int) -> Bounds:
        """Return what there is for `problem` in sorted `pools`, as far as `most` devices count."""
        mine = [budget for budget in self.budgets if problem.key in budget.members]
        money = min([problem.money, *(budget.money for budget in mine)])
        # Beyond a cap nothing is added, be its price unknown.
        devices = 0 if money < -1e-9 else min([most, *(budget.devices for budget in mine)])
        return Bounds(
            free=self._up_to(pools, most),
            money=max(0.0, money),
            devices=max(0, int(devices)),
            blocks=tuple(
                (pool, size, free)
                for (pool, size), free in sorted(self.blocks.items())
                if pool in pools
            )
            if self.blocks
            else (),
        )

    def _up_to(self, pools: tuple[str, ...], most: int) -> tuple[tuple[str, int], ...]:
        """Return what is free in each of `pools`, as far as `most` devices count."""
        found = self._shared.get((pools, most))
        if found is None:
            found = tuple((pool, min(most, self.free.get(pool, 0))) for pool in pools)
            self._shared[pools, most] = found
        return found

    def minus(self, problem: Problem, counts: Counts) -> "Room":
        """Return the room that is left when `problem` is answered with `counts`."""
        return self._changed(problem, counts, -1)

    def plus(self, problem: Problem, counts: Counts) -> "Room":
        """Return the room with what `counts` takes given back."""
        return self._changed(problem, counts, 1)

    def _changed(self, problem: Problem, counts: Counts, sign: int) -> "Room":
        taken = usage(problem, counts, self)
        if not taken:
            return self
        free, blocks = dict(self.free), dict(self.blocks)
        for (kind, name), amount in taken.items():
            if kind == "pool":
                free[name] = free.get(name, 0) + sign * int(amount)
            elif kind.startswith(_BLOCKS):
                size = int(kind.removeprefix(_BLOCKS))
                blocks[name, size] = blocks.get((name, size), 0) + sign * int(amount)
        budgets = tuple(
            replace(
                budget,
                money=budget.money + sign * taken.get(("money", budget.name), 0.0),
                devices=budget.devices + sign * taken.get(("devices", budget.name), 0.0),
            )
            for budget in self.budgets
        )
        return Room(free=free, budgets=budgets, blocks=blocks)

    def limit(self, resource: Resource) -> float:
        """Return how much of a resource there is."""
        kind, name = resource
        if kind == "pool":
            return self.free.get(name, 0)
        if kind.startswith(_BLOCKS):
            return self.blocks[name, int(kind.removeprefix(_BLOCKS))]
        budget = next(budget for budget in self.budgets if budget.name == name)
        return budget.money if kind == "money" else budget.devices


def usage(problem: Problem, counts: Counts, room: Room) -> dict[Resource, float]:
    """Return what the additions of `counts` take of each shared resource."""
    total: dict[Resource, float] = {}
    mine: list[str] | None = None
    for option, count in zip(problem.options, counts, strict=True):
        new = count - option.current
        if new > 0:
            if mine is None:
                mine = _budgets_of(problem, room)
            for resource, amount in _unit(option, mine, room):
                total[resource] = total.get(resource, 0.0) + new * amount
    return total


def unit_usage(problem: Problem, room: Room) -> list[tuple[tuple[Resource, float], ...]]:
    """Return what one added replica of each option takes of each shared resource."""
    mine = _budgets_of(problem, room)
    return [_unit(option, mine, room) for option in problem.options]


def _budgets_of(problem: Problem, room: Room) -> list[str]:
    return [budget.name for budget in room.budgets if problem.key in budget.members]


def _unit(option: Option, mine: list[str], room: Room) -> tuple[tuple[Resource, float], ...]:
    taken: list[tuple[Resource, float]] = [(("pool", option.pool), float(option.devices))]
    if room.blocks:
        taken += [
            ((f"{_BLOCKS}{size}", pool), float(option.devices // size))
            for pool, size in room.blocks
            if pool == option.pool and size <= option.devices
        ]
    for name in mine:
        taken.append((("money", name), option.price))
        taken.append((("devices", name), float(option.devices)))
    return tuple(taken)
