"""What requests ask of replicas, as the numbers of a bound: who, by when, how much, on what."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.models.snapshot import Key
from trimtab.simulate.traffic import Floats, Ints

LEVELS = np.array([1, 2, 4, 8, 16, 32, 64])
"""How many requests need a replica at the same time, rounded down."""
_BURSTS = (0.0, 0.5, 2.0, 8.0)
"""Lengths of bursts, relative to the longest wait for a first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Replicas of one kind for one service."""

    name: str
    pool: str
    devices: int
    usd_per_hour: float
    """Of one replica."""
    loads_s: Floats
    """Times between a replica's being paid for and its serving, of the luckiest start, the next and
    so on; ascending, shape (m,)."""
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
    rest_s: Floats
    """The least time from the first to the last token of each."""
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


def by_pool(offers: Sequence[Offer]) -> list[Offer]:
    """Return one offer for each pool, which does for each request what its best one does there.

    Its replicas are as large as the smallest; a larger one counts as several, which load at once.
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
                loads_s=np.repeat(
                    np.min([offer.loads_s for offer in found], axis=0), math.ceil(parts.max())
                ),
                prompt_s=(parts * np.array([offer.prompt_s for offer in found])).min(axis=0),
                least_s=(parts * np.array([offer.least_s for offer in found])).min(axis=0),
            )
        )
    return merged


def rates_of(service: Service) -> Floats:
    """Return what a replica-second of each offer costs, or 1 where one has no price."""
    rates = np.array([offer.usd_per_hour for offer in service.offers])
    return rates if rates.all() else np.ones(len(rates))


def worth_of(service: Service) -> tuple[Floats, Floats, float]:
    """Return least seconds, shape (offers, n), a measure of each request's work, and its scale.

    The measure is the money a request takes where it takes the least, times the scale: 1 in the
    mean; 0 where it can meet its targets nowhere.
    """
    least = np.array([offer.least_s for offer in service.offers]).reshape(-1, len(service.at_s))
    paid = np.min(rates_of(service)[:, None] * least, axis=0, initial=np.inf)
    possible = np.isfinite(paid)
    if not possible.any():
        return least, np.zeros(len(paid)), 1.0
    scale = 1.0 / float(paid[possible].mean())
    return least, np.where(possible, paid, 0.0) * scale, scale


def worst_bursts(service: Service, work: Floats, grid: Floats) -> dict[int, tuple[float, float]]:
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


def left_at(end_s: float, service: Service) -> Floats:
    """Return the largest share of each request's work that may be left at a time, shape (n,).

    Of a request that has begun to answer, no more than the tokens that can still come in time. The
    last share x of its tokens is at most 2x - x^2 of its work, for what a token costs grows no
    faster than the context, which grows evenly.
    """
    tokens = (service.last_s - end_s) / np.maximum(service.rest_s, 1e-9)
    share = np.clip(tokens, 0.0, 1.0)
    begun = service.at_s + service.first_by_s <= end_s
    left: Floats = np.where(begun, share * (2.0 - share), 1.0)
    return left


def groups_of(values: Floats, groups: int) -> Ints:
    """Return for each value in which of equally large groups it is."""
    if groups == 1 or not len(values):
        return np.zeros(len(values), dtype=np.int64)
    edges = np.quantile(values, np.arange(1, groups) / groups)
    return np.searchsorted(edges, values, side="right").astype(np.int64)


def crowds(service: Service, grid: Floats) -> Floats:
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
    level = np.searchsorted(LEVELS, crowd[:-1], side="right") - 1
    seconds = np.zeros((slots, len(LEVELS)))
    counted = (length > 0) & (level >= 0)
    np.add.at(seconds, (slot[counted], level[counted]), length[counted])
    return seconds
