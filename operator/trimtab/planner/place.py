"""The places of one deployment: where replicas run, and where they could."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from sys import intern
from typing import TypeAlias

from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import Key, VariantState
from trimtab.planner.choice import MISSED, Choice, degree, order
from trimtab.planner.kept import Kept
from trimtab.planner.shortage import held_pods

PlaceKey: TypeAlias = tuple[str, Parallelism]

_INDICES = 1024
"""Sets of places that are kept numbered: deployments differ in few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A variant, as it is or as it could be."""

    pool: str
    parallelism: Parallelism
    choice: Choice | None
    """None when its pool is gone."""
    replicas: int
    ready: int
    """Ready replicas, at most `replicas`."""
    stable: int
    """Those of them that count as replacements: all that stay, once the youngest is Ready long
    enough."""
    held: int
    """Pods for which devices are promised."""
    stuck: int
    """Replicas that wait in vain on a short pool."""
    late: int
    """Replicas that have waited for a node for longer than one takes; it may still come."""
    going: int
    """Replicas whose node is about to be taken back: they serve, and count for nothing to come."""
    stays: bool
    """Whether replicas may stay here."""
    supply: int
    """Replicas that serve or will serve, and may stay."""
    lost: int
    """Replicas that do not serve and will not: they can be replaced without a break."""

    key: PlaceKey
    """Pool and parallelism."""
    name: str
    """Name for messages and for breaking ties."""
    ratio: float
    """Weight of one request/s; infinite when unknown. A reserved device may cost nothing."""

    @property
    def usable_rps(self) -> float:
        """Rate that one replica is given; 0 when unknown."""
        return 0.0 if self.choice is None else self.choice.usable_rps

    @property
    def largest_rps(self) -> float:
        """Rate at which one replica still holds the targets, nothing kept free; 0 when unknown."""
        capacity = None if self.choice is None else self.choice.capacity
        return 0.0 if capacity is None else capacity.max_rps

    @property
    def is_unfit(self) -> bool:
        """Whether it is too slow, whatever the load."""
        return self.choice is not None and self.choice.refusal in MISSED

    @property
    def price(self) -> float | None:
        """$/h of one replica; None when unknown."""
        return None if self.choice is None else self.choice.price

    @property
    def weight(self) -> float | None:
        """What the programme weighs one replica at, in $/h: its price, where cost decides."""
        return None if self.choice is None else self.choice.weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacant:
    """The places that choices give where nothing runs, and what follows from choices alone."""

    places: tuple[Place, ...]
    """Sorted by pool and parallelism."""
    index: Mapping[PlaceKey, int]
    """Where each is among them."""
    pools: tuple[str, ...]
    """Sorted names of the pools."""
    widest: int
    """Most devices of one replica."""
    best: Choice | None
    """The choice that is best for requests of now; None where none serves."""
    growing: Choice | None
    """The best of those to which replicas may be added."""


def vacant(key: Key, choices: tuple[Choice, ...]) -> Vacant:
    """Return the places of the deployment's `choices`; kept for as long as it has the same."""
    return _vacant.answer(key, choices, lambda: _vacancy(choices))


_vacant: Kept[Key, Vacant] = Kept()


def _vacancy(choices: tuple[Choice, ...]) -> Vacant:
    places = sorted((_place(_key(*c.key), None, c, math.inf) for c in choices), key=_order)
    able = [p for p in places if p.usable_rps > 0]
    growing = [p for p in able if p.choice is not None and p.choice.grows]
    return Vacant(
        places=tuple(places),
        index=_index(tuple(place.key for place in places)),
        pools=tuple(sorted({place.pool for place in places})),
        widest=max((place.parallelism.devices for place in places), default=0),
        best=min(able, key=_worth).choice if able else None,
        growing=min(growing, key=_worth).choice if growing else None,
    )


@cache
def _key(pool: str, parallelism: Parallelism) -> PlaceKey:
    """Return one pair for all deployments: there are hundreds for each."""
    return pool, parallelism


@lru_cache(maxsize=_INDICES)
def _index(keys: tuple[PlaceKey, ...]) -> Mapping[PlaceKey, int]:
    """Return where each of `keys` is among them: the same for most of thousands of deployments."""
    return {key: i for i, key in enumerate(keys)}


def _order(place: Place) -> tuple[str, tuple[int, int, int, int]]:
    return place.pool, order(place.parallelism)


def _worth(place: Place) -> tuple[float, str]:
    return place.ratio, place.name


def places_of(
    variants: Iterable[VariantState], there: Vacant, config: PlannerConfig
) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """Return every place, and those with replicas or pods, by pool and parallelism.

    Those that are `there` without replicas are places, too: hundreds that nobody need look at.
    """
    places, gone, used = list(there.places), [], []
    for variant in variants:
        key = variant.pool, variant.parallelism
        at = there.index.get(key)
        choice = None if at is None else there.places[at].choice
        place = _place(key, variant, choice, config.ready_stability_s)
        if at is None:
            gone.append(place)
        else:
            places[at] = place
        if place.replicas or place.held:
            used.append(place)
    every = sorted(places + gone, key=_order) if gone else places
    return tuple(every), tuple(sorted(used, key=_order))


def _place(
    key: PlaceKey, variant: VariantState | None, choice: Choice | None, stability_s: float
) -> Place:
    pool, parallelism = key
    replicas = variant.replicas if variant else 0
    ready = min(variant.ready, replicas) if variant else 0
    youngest = variant.youngest_ready_s if variant else None
    old = youngest is not None and youngest >= stability_s
    short = choice is not None and choice.state.short
    waiting = min(variant.unschedulable, replicas - ready) if variant else 0
    stuck = waiting if short else 0
    late = waiting if choice is not None and choice.state.late else 0
    going = min(variant.going, replicas - waiting) if variant else 0
    stays = choice is not None and choice.stays and choice.usable_rps > 0
    return Place(
        pool=pool,
        parallelism=parallelism,
        choice=choice,
        replicas=replicas,
        ready=ready,
        stable=max(0, ready - going) if old else 0,
        held=held_pods(variant) if variant else 0,
        stuck=stuck,
        late=late,
        going=going,
        stays=stays,
        supply=replicas - stuck - late - going if stays else 0,
        lost=stuck if stays else replicas - ready,
        key=key,
        # One string for all deployments: there are hundreds for each.
        name=intern(f"{pool}/{degree(parallelism)}"),
        ratio=_ratio(choice),
    )


def _ratio(choice: Choice | None) -> float:
    if choice is None or choice.weight is None or choice.usable_rps <= 0:
        return math.inf
    return choice.weight / choice.usable_rps
