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
from trimtab.simulate.demands import (
    LEVELS,
    Horizon,
    Offer,
    Service,
    by_pool,
    crowds,
    groups_of,
    left_at,
    rates_of,
    worst_bursts,
    worth_of,
)
from trimtab.simulate.linear import INFINITY, Programme
from trimtab.simulate.traffic import Floats, Ints

MOST_SLOTS = 120
"""Slots of one programme; with coarser ones the bound is lower, never wrong."""
LEAST_SLOT_S = 10.0
MOST_COLUMNS = 12_000
_LEANINGS = 4
"""Groups of requests by what share of their work is prompt: kinds differ in which they like."""
_SPANS = np.array([0, 1, 2, 4, 8, 16, 32, 64, MOST_SLOTS])
"""Slots that a request may end after the one of its arrival, rounded up to one of these."""
_ALIKE = 1.1
"""Ratio of times to load below which they are one step of the charge."""
_ROUNDING = 1e-6
"""Relative tolerance of the solver, taken off its answer."""


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
    nowhere = [service for service in services if not service.offers]
    if any(misses.get(service.key, 0) < len(service.at_s) for service in nowhere):
        return None
    services = [
        replace(service, offers=by_pool(service.offers)) for service in services if service.offers
    ]
    if not services:
        return Bound(usd=0.0, replica_hours={}, slot_s=horizon.end_s - horizon.start_s)
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


def _grid(services: Sequence[Service], horizon: Horizon) -> Floats:
    """Return the edges of equal slots, as fine as `MOST_COLUMNS` allows."""
    slots = max(1, min(MOST_SLOTS, int((horizon.end_s - horizon.start_s) / LEAST_SLOT_S)))
    while True:
        grid = np.linspace(horizon.start_s, horizon.end_s, slots + 1)
        if slots == 1 or sum(_flows(service, grid) for service in services) <= MOST_COLUMNS:
            return grid
        slots = max(1, int(slots * 0.8))


def _flows(service: Service, grid: Floats) -> int:
    """Return about how many columns the requests of a service take: groups, slots, kinds."""
    begin, span = _reach(service, grid)
    pairs = np.unique(begin * len(_SPANS) + span)
    longest = np.minimum(_SPANS[pairs % len(_SPANS)] + 1, len(grid) - 1 - pairs // len(_SPANS))
    kinds = len(service.offers)
    return int(longest.sum()) * kinds * (_LEANINGS if kinds > 1 else 1)


def _reach(service: Service, grid: Floats) -> tuple[Ints, Ints]:
    """Return the slot of each arrival, and which of `_SPANS` the latest end is within."""
    begin = np.searchsorted(grid, service.at_s, side="right") - 1
    end = np.searchsorted(grid, service.last_s, side="right") - 1
    span = np.searchsorted(_SPANS, end - begin, side="left")
    return begin, np.minimum(span, len(_SPANS) - 1)


def _device_seconds(room: Sequence[tuple[float, int]], grid: Floats, slot: int) -> float:
    """Return device-seconds of a slot; what was had before a limit fell may stay."""
    total, most = 0.0, 0
    edges = [at for at, _ in room[1:]] + [np.inf]
    for (at, devices), until in zip(room, edges, strict=True):
        most = max(most, devices)
        total += most * max(0.0, min(until, grid[slot + 1]) - max(at, grid[slot]))
    return total


def _lucky(loads_s: Floats) -> list[tuple[float, float]]:
    """Return (time that each takes at least, how many such starts there are) of the luckiest on.

    Times that differ by less than `_ALIKE` count as the shortest of them; of the last there are as
    many as one likes.
    """
    parts: list[tuple[float, float]] = []
    begin = 0
    while begin < len(loads_s):
        first = float(loads_s[begin])
        end = int(np.searchsorted(loads_s, first * _ALIKE, side="right"))
        parts.append((first, float(end - begin) if end < len(loads_s) else INFINITY))
        begin = end
    return parts


class _ServicePart:
    """Columns and rows of one service."""

    def __init__(self, programme: Programme, service: Service, grid: Floats) -> None:
        self._programme = programme
        self._service = service
        self._grid = grid
        self._slots = len(grid) - 1
        self._least, self._worth, self._scale = worth_of(service)
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
        Those that can only have begun to load in the scored time are paid for as long as so many
        of the luckiest starts take; those that may have begun before it, as long as the luckiest.
        """
        programme, grid = self._programme, self._grid
        slot_s = float(grid[1] - grid[0])
        usd = offer.usd_per_hour / 3600.0
        shortest, longest = float(offer.loads_s[0]), float(offer.loads_s[-1])
        there = programme.column()
        alive = []
        whole: list[tuple[int, float]] = []
        for slot, column in enumerate(seconds):
            before = float(grid[slot] - grid[0])
            partly = shortest <= before < longest
            started = programme.column(cost=usd * shortest if partly else 0.0)
            if before >= longest:
                whole.append((started, -1.0))
            after = programme.column()
            programme.at_least(0.0, ((there, slot_s), (started, slot_s), (column, -1.0)))
            programme.at_least(0.0, ((there, 1.0), (started, 1.0), (after, -1.0)))
            programme.at_least(0.0, ((column, 1.0), (after, -slot_s), (started, slot_s)))
            alive.append((there, started))
            there = after
        self._alive.append(alive)
        lucky = [
            (programme.column(cost=usd * load_s, most=most), 1.0)
            for load_s, most in _lucky(offer.loads_s)
        ]
        programme.at_least(0.0, [*lucky, *whole])

    def _work(self, misses: int) -> None:
        """Let the work of all requests be done in time, but of those that are dropped."""
        service, programme = self._service, self._programme
        least, worth = self._least, self._worth
        misses -= int(np.count_nonzero(worth == 0))
        begin, span = _reach(service, self._grid)
        left = worth * left_at(float(self._grid[-1]), service)
        dropped: list[int] = []
        counted: list[tuple[int, float]] = []
        taken: dict[tuple[int, int], list[tuple[int, float]]] = {}
        leaning = groups_of(service.leaning, _LEANINGS if len(least) > 1 else 1)
        group = (begin * len(_SPANS) + span) * _LEANINGS + leaning
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
            slot = int(begin[rows[0]])
            last = slot + int(_SPANS[span[rows[0]]])
            if last >= self._slots:  # after the scored time, for nothing
                entries.append((programme.column(most=float(left[rows].sum())), 1.0))
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
        possible = self._worth > 0
        if not possible.any():
            return
        rates = rates_of(service)
        prompts = np.array([offer.prompt_s for offer in service.offers])
        paid = np.min(rates[:, None] * prompts, axis=0) * self._scale
        paid = np.where(possible, paid, 0.0)
        each = [float((row[possible] / paid[possible]).min()) for row in prompts]
        for slot, (work, seconds) in worst_bursts(service, paid, self._grid).items():
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
        for slot, lengths in enumerate(crowds(service, self._grid)):
            if not lengths.any():
                continue
            entries = [(seconds[slot], 1.0) for seconds in self.seconds]
            for level, length in zip(LEVELS, lengths, strict=True):
                if length > 0:
                    column = programme.column(most=float(length))
                    entries.append((column, 1.0))
                    absent.append((column, float(level)))
            programme.at_least(float(lengths.sum()), entries)
        if absent:
            programme.at_most(budget, absent)
