"""A fleet that was planned in advance, by somebody who knows the traffic: plan, and policy."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from trimtab.models.snapshot import Key
from trimtab.simulate.demands import Horizon, Offer, Service
from trimtab.simulate.linear import Programme
from trimtab.simulate.policy import Choice, FleetView, Reason, Variant
from trimtab.simulate.traffic import Floats, Ints

NODES = 20
"""Branches of the integer programme; its relaxation is nearly whole."""
GAP = 2e-3
_NOTHING_S = 1e-6
"""Replica-seconds that are rounding."""
_STRETCH = 2.0
"""How much longer than alone a request stays on a replica that is well used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Replicas of each variant in slots of equal length."""

    slot_s: float
    counts: Mapping[Variant, Ints]
    """Arrays of one shape (slots,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one deployment needs over time."""

    key: Key
    offers: Sequence[Offer]
    variants: Sequence[Variant]
    loads: Floats
    """Replica-seconds that each offer would need at least in each slot, shape (offers, slots)."""


def task_of(
    service: Service, variants: Sequence[Variant], kept: Container[Variant], edges: Floats
) -> Task:
    """Return the work of `service` in the slots between `edges`, spread over each request's stay.

    `variants` are those of the service's offers; only those that are `kept` are planned with.
    """
    chosen = [number for number, variant in enumerate(variants) if variant in kept]
    stay = np.maximum(service.held_to_s - service.at_s, 1e-3) * _STRETCH
    loads = [
        _spread(service.at_s, stay, _finite(service.offers[number].least_s), edges)
        for number in chosen
    ]
    return Task(
        key=service.key,
        offers=[service.offers[number] for number in chosen],
        variants=[variants[number] for number in chosen],
        loads=np.array(loads).reshape(len(chosen), len(edges) - 1),
    )


def _finite(least: Floats) -> Floats:
    """Return the times with those that are infinite at the mean of the others."""
    finite = np.isfinite(least)
    return np.where(finite, least, float(least[finite].mean()) if finite.any() else 0.0)


def _spread(at: Floats, stay: Floats, work: Floats, edges: Floats) -> Floats:
    """Return the work in each slot, shape (slots,): evenly over each request's stay."""
    rate = work / stay
    # The work done until an edge is a sum over ramps: those that begin less those that end.
    order, ends = np.argsort(at), np.sort(at + stay)
    begun = _ramps(at[order], rate[order], edges)
    ended = _ramps(ends, rate[np.argsort(at + stay)], edges)
    done: Floats = np.diff(begun - ended)
    done[-1] += float(work.sum()) - float((begun - ended)[-1])
    return np.maximum(done, 0.0)


def _ramps(starts: Floats, rates: Floats, edges: Floats) -> Floats:
    """Return at each edge the sum of rate * (edge - start) over starts before it."""
    count = np.searchsorted(starts, edges, side="left")
    rate = np.concatenate([[0.0], np.cumsum(rates)])[count]
    moment = np.concatenate([[0.0], np.cumsum(rates * starts)])[count]
    total: Floats = rate * edges - moment
    return total


def planned(
    tasks: Sequence[Task], needs: Mapping[Key, Floats | float], horizon: Horizon, edges: Floats
) -> Schedule:
    """Return the cheapest schedule that gives each task its loads times `needs`, if room allows.

    The tasks come in order of importance: what an earlier one takes, a later one cannot have.
    """
    slot_s = float(edges[1] - edges[0])
    room = {
        pool: np.array([_devices(steps, at) for at in edges[:-1]], dtype=float)
        for pool, steps in horizon.room.items()
    }
    counts: dict[Variant, Ints] = {}
    for task in tasks:
        need = np.broadcast_to(needs[task.key], len(edges) - 1)
        found = _cheapest(task, need, room, slot_s)
        for variant, offer, column in zip(task.variants, task.offers, found, strict=True):
            counts[variant] = column
            room[offer.pool] = np.maximum(room[offer.pool] - column * offer.devices, 0.0)
    return Schedule(slot_s=slot_s, counts=counts)


def _devices(steps: Sequence[tuple[float, int]], at: float) -> int:
    return [devices for since, devices in steps if since <= at][-1]


def _cheapest(task: Task, need: Floats, room: Mapping[str, Floats], slot_s: float) -> list[Ints]:
    """Return the replicas of each offer, shape (slots,); short slots are as full as can be."""
    programme = Programme()
    slots = len(need)
    counts: list[list[int]] = []
    dearest = max((offer.usd_per_hour for offer in task.offers), default=0.0)
    for offer in task.offers:
        usd = offer.usd_per_hour / 3600.0
        load_usd = usd * float(np.mean(offer.loads_s))
        column = [
            programme.column(
                cost=usd * slot_s, most=float(room[offer.pool][slot] // offer.devices), whole=True
            )
            for slot in range(slots)
        ]
        for before, after in pairwise(column):
            started = programme.column(cost=load_usd)
            programme.at_least(0.0, ((started, 1.0), (before, 1.0), (after, -1.0)))
        counts.append(column)
    for slot in range(slots):
        loads = np.maximum(task.loads[:, slot], 0.0) * need[slot]
        if loads.max(initial=0.0) < _NOTHING_S:
            continue
        # What is short costs more than any replica that could be had.
        short = programme.column(cost=100.0 * dearest, most=1.0)
        shares = [
            (counts[number][slot], slot_s / max(float(loads[number]), _NOTHING_S))
            for number in range(len(task.offers))
        ]
        programme.at_least(1.0, [*shares, (short, 1.0)])
        programme.at_least(
            1.0, [*((counts[number][slot], 1.0) for number in range(len(shares))), (short, 1.0)]
        )
    for pool in {offer.pool for offer in task.offers}:
        mine = [n for n, offer in enumerate(task.offers) if offer.pool == pool]
        if len(mine) > 1:
            for slot in range(slots):
                programme.at_most(
                    float(room[pool][slot]),
                    [(counts[n][slot], float(task.offers[n].devices)) for n in mine],
                )
    found = programme.solve(nodes=NODES, gap=GAP)
    if found is None:
        return [np.zeros(slots, dtype=np.int64) for _ in task.offers]
    return [np.rint(found.columns[column]).astype(np.int64) for column in counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePolicy:
    """Follows a schedule, and asks for replicas as long before as they take to be Ready."""

    schedule: Schedule
    leads_s: Mapping[str, float]
    """By pool."""
    name: str = "clairvoyant"
    debounce_s: float | None = None
    _reason: Reason = field(
        default=Reason(why="Foreseen", message="The schedule knows all requests in advance"),
        init=False,
        repr=False,
    )

    @property
    def interval_s(self) -> float:
        """As often as the schedule changes."""
        return self.schedule.slot_s

    def decide(self, view: FleetView) -> Choice:
        """Return the most that is needed of each variant until what is asked for now is Ready."""
        slot_s = self.schedule.slot_s
        first = int(view.now / slot_s + 1e-6)
        replicas = {}
        for variant, counts in self.schedule.counts.items():
            last = int((view.now + self.leads_s.get(variant.pool, 0.0)) / slot_s + 1e-6)
            ahead = counts[first : last + 1]
            replicas[variant] = int(ahead.max()) if len(ahead) else int(counts[-1])
        return Choice(
            replicas=replicas, reasons={variant.deployment: self._reason for variant in replicas}
        )
