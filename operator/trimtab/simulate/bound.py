"""The least that any policy pays which misses no more requests than stated: a proven bound.

A linear programme over slots of time. In every slot, replicas of a kind are charged no more work
than their seconds (`leastwork`), a request's work is done between its arrival and the latest end
at which it still meets its targets, and devices are limited by their pool. It knows all arrivals,
may hold fractions of replicas, splits requests over kinds as it likes, never waits for a node and
never loses one, and drops the requests that cost most. Every schedule of a real policy is one of
its solutions at the real cost or less, so its least cost is below that of any policy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trimtab.models.snapshot import Key
from trimtab.simulate.linear import Programme
from trimtab.simulate.traffic import Floats, Ints

MOST_SLOTS = 120
"""Slots of one programme; with coarser ones the bound is lower, never wrong."""
LEAST_SLOT_S = 10.0
MOST_COLUMNS = 12_000
_LEANINGS = 4
"""Groups of requests by what share of their work is prompt: kinds differ in which they like."""
_SPANS = np.array([0, 1, 2, 4])
"""Slots that a request may end after the one of its arrival; beyond, it may end at any time."""
_USUAL_FLOWS = 6
"""Flows of one group to one kind: a few spans, each with a few slots."""
_BURSTS = (0.0, 0.5, 2.0, 8.0)
"""Lengths of bursts, relative to the longest wait for a first token."""
_LEVELS = np.array([1, 2, 4, 8, 16, 32, 64])
"""How many requests need a replica at the same time, rounded down."""
_ROUNDING = 1e-6
"""Relative tolerance of the solver, taken off its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Replicas of one kind for one service."""

    name: str
    pool: str
    devices: int
    usd_per_hour: float
    """Of one replica."""
    load_s: float
    """Least time between a replica's being paid for and its serving."""
    prompt_s: Floats
    """Least replica-seconds of each prompt, shape (n,)."""
    least_s: Floats
    """The same of each whole request; infinite where it can meet no target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The requests of one deployment that arrive in the scored time; arrays (n,), by arrival."""

    key: Key
    at_s: Floats
    first_by_s: float
    """The longest that any may wait for its first token, if it meets its targets."""
    last_s: Floats
    """The latest end of each at which it meets its targets; may be infinite."""
    held_from_s: Floats
    held_to_s: Floats
    """Between these each must have a replica, if it meets its targets; nothing where from >= to."""
    leaning: Floats
    """Any number that orders requests by what they are made of."""
    offers: Sequence[Offer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Horizon:
    """What is paid for, and what there is."""

    start_s: float
    end_s: float
    room: Mapping[str, Sequence[tuple[float, int]]]
    """By pool: from when on, no more than so many devices are in use. The first begins at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What no policy undercuts."""

    usd: float
    replica_hours: Mapping[Key, float]
    """Those of the cheapest solution, of all kinds; not a bound of their own."""
    slot_s: float


def lower_bound(
    services: Sequence[Service], horizon: Horizon, misses: Mapping[Key, int]
) -> Bound | None:
    """Return the bound for policies that miss at most `misses` requests of each service.

    None where no policy can miss so few.
    """
    services = [replace(service, offers=_by_pool(service.offers)) for service in services]
    grid = _grid(services, horizon)
    programme = Programme()
    seconds: dict[tuple[Key, int], list[int]] = {}
    used: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for service in services:
        part = _ServicePart(programme, service, grid)
        part.build(misses.get(service.key, 0))
        for number, offer in enumerate(service.offers):
            for slot, column in enumerate(part.seconds[number]):
                used.setdefault((offer.pool, slot), []).append((column, float(offer.devices)))
            seconds[service.key, number] = part.seconds[number]
    for (pool, slot), entries in used.items():
        programme.at_most(_device_seconds(horizon.room[pool], grid, slot), entries)
    solution = programme.solve()
    if solution is None:
        return None
    return Bound(
        usd=max(0.0, solution.bound * (1.0 - _ROUNDING)),
        replica_hours={
            service.key: sum(
                float(solution.columns[seconds[service.key, number]].sum()) / 3600.0
                for number in range(len(service.offers))
            )
            for service in services
        },
        slot_s=float(grid[1] - grid[0]),
    )


def _by_pool(offers: Sequence[Offer]) -> list[Offer]:
    """Return one offer for each pool, which does for each request what its best one does there.

    Its replicas are as large as the smallest; a larger one counts as several.
    """
    pools: dict[str, list[Offer]] = {}
    for offer in offers:
        pools.setdefault(offer.pool, []).append(offer)
    merged = []
    for pool, found in pools.items():
        unit = min(found, key=lambda offer: offer.devices)
        parts = np.array([offer.devices / unit.devices for offer in found])[:, None]
        merged.append(
            Offer(
                name=pool,
                pool=pool,
                devices=unit.devices,
                usd_per_hour=float(
                    min(
                        offer.usd_per_hour / part
                        for offer, part in zip(found, parts[:, 0], strict=True)
                    )
                ),
                load_s=min(offer.load_s for offer in found),
                prompt_s=(parts * np.array([offer.prompt_s for offer in found])).min(axis=0),
                least_s=(parts * np.array([offer.least_s for offer in found])).min(axis=0),
            )
        )
    return merged


def _grid(services: Sequence[Service], horizon: Horizon) -> Floats:
    """Return the edges of equal slots."""
    length = horizon.end_s - horizon.start_s
    flows = sum(
        _USUAL_FLOWS * len(service.offers) * (_LEANINGS if len(service.offers) > 1 else 1)
        for service in services
    )
    slots = max(1, min(MOST_SLOTS, MOST_COLUMNS // max(1, flows), int(length / LEAST_SLOT_S)))
    return np.linspace(horizon.start_s, horizon.end_s, slots + 1)


def _device_seconds(room: Sequence[tuple[float, int]], grid: Floats, slot: int) -> float:
    """Return device-seconds of a slot; what was had before a limit fell may stay."""
    total, most = 0.0, 0
    edges = [at for at, _ in room[1:]] + [np.inf]
    for (at, devices), until in zip(room, edges, strict=True):
        most = max(most, devices)
        total += most * max(0.0, min(until, grid[slot + 1]) - max(at, grid[slot]))
    return total


class _ServicePart:
    """Columns and rows of one service."""

    def __init__(self, programme: Programme, service: Service, grid: Floats) -> None:
        self._programme = programme
        self._service = service
        self._grid = grid
        self._slots = len(grid) - 1
        self._least, self._worth, self._scale = _worth(service)
        self.seconds: list[list[int]] = []
        """By offer and slot: the column of replica-seconds."""
        self._alive: list[list[tuple[int, int]]] = []
        """By offer and slot: columns that add up to all replicas that exist in the slot."""
        self._dropped: dict[int, list[int]] = {}
        """By slot: columns of dropped work."""

    def build(self, misses: int) -> None:
        """Add everything, for at most so many misses."""
        for offer in self._service.offers:
            usd = offer.usd_per_hour / 3600.0
            self.seconds.append([self._programme.column(cost=usd) for _ in range(self._slots)])
            self._loads(self.seconds[-1], offer)
        self._work(misses)
        self._bursts()
        self._presence(misses)

    def _loads(self, seconds: Sequence[int], offer: Offer) -> None:
        """Charge the loading of replicas that are started.

        `n` replicas at a slot's begin and `a` that start in it give at most (n + a) slots of
        seconds; those that are there at its end and did not start in it were there throughout.
        """
        programme, grid = self._programme, self._grid
        slot_s = float(grid[1] - grid[0])
        first_paid_s = float(grid[0]) + offer.load_s
        load_usd = offer.usd_per_hour / 3600.0 * offer.load_s
        there = programme.column()
        alive = []
        for slot, column in enumerate(seconds):
            started = programme.column(cost=load_usd if grid[slot] >= first_paid_s else 0.0)
            after = programme.column()
            programme.at_least(0.0, ((there, slot_s), (started, slot_s), (column, -1.0)))
            programme.at_least(0.0, ((there, 1.0), (started, 1.0), (after, -1.0)))
            programme.at_least(0.0, ((column, 1.0), (after, -slot_s), (started, slot_s)))
            alive.append((there, started))
            there = after
        self._alive.append(alive)

    def _work(self, misses: int) -> None:
        """Let the work of all requests be done in time, but of those that are dropped."""
        service, programme = self._service, self._programme
        least, worth = self._least, self._worth
        misses -= int(np.count_nonzero(worth == 0))
        begin = np.searchsorted(self._grid, service.at_s, side="right") - 1
        end = np.searchsorted(self._grid, service.last_s, side="right") - 1
        span = np.searchsorted(_SPANS, end - begin, side="left")
        dropped: list[int] = []
        counted: list[tuple[int, float]] = []
        taken: dict[tuple[int, int], list[tuple[int, float]]] = {}
        leaning = _quantile_groups(service.leaning, _LEANINGS if len(least) > 1 else 1)
        group = (begin * (len(_SPANS) + 1) + span) * _LEANINGS + leaning
        order = np.argsort(group, kind="stable")
        order = order[worth[order] > 0]
        for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
            if not len(rows):
                continue
            total, most = float(worth[rows].sum()), float(worth[rows].max())
            drop = programme.column(most=total)
            dropped.append(drop)
            self._dropped.setdefault(int(begin[rows[0]]), []).append(drop)
            counted.append((drop, 1.0 / most))
            entries = [(drop, 1.0)]
            slot, reach = int(begin[rows[0]]), int(span[rows[0]])
            last = slot + int(_SPANS[reach]) if reach < len(_SPANS) else self._slots
            if last >= self._slots:
                entries.append((programme.column(), 1.0))  # after the scored time, for nothing
            for number in range(len(least)):
                each = least[number][rows] / worth[rows]
                if not np.isfinite(each).any():
                    continue
                seconds = float(each[np.isfinite(each)].min())
                for when in range(slot, min(last + 1, self._slots)):
                    flow = programme.column()
                    entries.append((flow, 1.0))
                    taken.setdefault((number, when), []).append((flow, seconds))
            programme.at_least(total, entries)
        for (number, when), flows in taken.items():
            column = self.seconds[number][when]
            programme.at_least(0.0, ((column, 1.0), *((flow, -each) for flow, each in flows)))
        if dropped:
            largest = np.sort(worth)[::-1][: max(misses, 0)]
            programme.at_most(float(largest.sum()), ((column, 1.0) for column in dropped))
            programme.at_most(float(misses), counted)

    def _bursts(self) -> None:
        """Let prompts that come together be computed together, by replicas that exist then.

        Those that arrive within some time are computed within it and the wait that their targets
        allow. What exists for a burst only must have been started for it.
        """
        service, programme = self._service, self._programme
        rates = _rates(service)
        prompts = np.array([offer.prompt_s for offer in service.offers]).reshape(len(rates), -1)
        possible = self._worth > 0
        if not possible.any() or not len(rates):
            return
        paid = np.min(rates[:, None] * prompts, axis=0) * self._scale
        paid = np.where(possible, paid, 0.0)
        each = [float((prompts[number] / paid)[possible].min()) for number in range(len(rates))]
        for slot, (work, seconds) in _worst_bursts(service, paid, self._grid).items():
            entries = [(drop, 1.0) for drop in self._dropped.get(slot, ())]
            for number in range(len(rates)):
                entries += [(n, seconds / each[number]) for n in self._alive[number][slot]]
            programme.at_least(work, entries)

    def _presence(self, misses: int) -> None:
        """Let a replica be there while any request that is not dropped must have one.

        While none is there, all requests are dropped that need one then: the time that requests
        need, summed over time without a replica, is at most what the dropped ones need.
        """
        service, programme = self._service, self._programme
        needed = np.maximum(service.held_to_s - service.held_from_s, 0.0)
        budget = float(np.sort(needed)[::-1][: max(misses, 0)].sum())
        absent: list[tuple[int, float]] = []
        for slot, lengths in enumerate(_crowds(service, self._grid)):
            if not lengths.any():
                continue
            entries = [(seconds[slot], 1.0) for seconds in self.seconds]
            for level, length in zip(_LEVELS, lengths, strict=True):
                if length > 0:
                    column = programme.column(most=float(length))
                    entries.append((column, 1.0))
                    absent.append((column, float(level)))
            programme.at_least(float(lengths.sum()), entries)
        if absent:
            programme.at_most(budget, absent)


def _rates(service: Service) -> Floats:
    """Return what a replica-second of each offer costs, or 1 where one has no price."""
    rates = np.array([offer.usd_per_hour for offer in service.offers])
    return rates if rates.all() else np.ones(len(rates))


def _worth(service: Service) -> tuple[Floats, Floats, float]:
    """Return least seconds, shape (offers, n), a measure of each request's work, and its scale.

    The measure is the money a request takes where it takes the least, times the scale: 1 in the
    mean; 0 where it can meet its targets nowhere.
    """
    least = np.array([offer.least_s for offer in service.offers]).reshape(-1, len(service.at_s))
    paid = np.min(_rates(service)[:, None] * least, axis=0, initial=np.inf)
    possible = np.isfinite(paid)
    if not possible.any():
        return least, np.zeros(len(paid)), 1.0
    scale = 1.0 / float(paid[possible].mean())
    return least, np.where(possible, paid, 0.0) * scale, scale


def _worst_bursts(service: Service, work: Floats, grid: Floats) -> dict[int, tuple[float, float]]:
    """Return by slot the work that must be done in the fewest seconds for it, and those seconds.

    Only bursts that must be worked off within their slot count.
    """
    at, total = service.at_s, np.concatenate([[0.0], np.cumsum(work)])
    slot = np.searchsorted(grid, at, side="right") - 1
    worst: dict[int, tuple[float, float]] = {}
    for factor in _BURSTS:
        span = factor * service.first_by_s
        until = at + span + service.first_by_s
        inside = np.flatnonzero((slot >= 0) & (until <= grid[np.minimum(slot + 1, len(grid) - 1)]))
        behind = np.searchsorted(at, at[inside] + span, side="right")
        seconds = span + service.first_by_s
        for row, end in zip(inside.tolist(), behind.tolist(), strict=True):
            burst = float(total[end] - total[row])
            known = worst.get(int(slot[row]))
            if known is None or burst / seconds > known[0] / known[1]:
                worst[int(slot[row])] = (burst, seconds)
    return worst


def _quantile_groups(values: Floats, groups: int) -> Ints:
    """Return for each value in which of equally large groups it is."""
    if groups == 1 or not len(values):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.quantile(values, np.arange(1, groups) / groups)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def _crowds(service: Service, grid: Floats) -> Floats:
    """Return by slot and level: seconds in which at least so many requests must have a replica.

    Shape (slots, levels); a second counts at the highest level that it reaches.
    """
    slots = len(grid) - 1
    begin = np.clip(service.held_from_s, grid[0], grid[-1])
    end = np.clip(service.held_to_s, grid[0], grid[-1])
    real = end > begin
    at = np.concatenate([begin[real], end[real], grid])
    change = np.concatenate([np.ones(real.sum()), -np.ones(real.sum()), np.zeros(len(grid))])
    order = np.argsort(at, kind="stable")
    at, crowd = at[order], np.cumsum(change[order])
    length = np.diff(at)
    slot = np.clip(np.searchsorted(grid, at[:-1], side="right") - 1, 0, slots - 1)
    level = np.searchsorted(_LEVELS, crowd[:-1], side="right") - 1
    seconds = np.zeros((slots, len(_LEVELS)))
    counted = (length > 0) & (level >= 0)
    np.add.at(seconds, (slot[counted], level[counted]), length[counted])
    return seconds
