"""The places of one deployment: where replicas run, and where they could."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import VariantState
from trimtab.planner.candidates import Choice, degree, order
from trimtab.planner.shortage import held_pods

PlaceKey: TypeAlias = tuple[str, Parallelism]


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
    """Those of them that count as replacements: all, once the youngest is Ready long enough."""
    held: int
    """Pods for which devices are promised."""
    stuck: int
    """Replicas that wait in vain on a short pool."""
    stays: bool
    """Whether replicas may stay here."""
    supply: int
    """Replicas that serve or will serve, and may stay."""
    lost: int
    """Replicas that do not serve and will not: they can be replaced without a break."""

    @property
    def key(self) -> PlaceKey:
        """Pool and parallelism."""
        return self.pool, self.parallelism

    @property
    def name(self) -> str:
        """Name for messages and for breaking ties."""
        return f"{self.pool}/{degree(self.parallelism)}"

    @property
    def usable_rps(self) -> float:
        """Rate that one replica is given; 0 when unknown."""
        return 0.0 if self.choice is None else self.choice.usable_rps

    @property
    def price(self) -> float | None:
        """$/h of one replica; None when unknown."""
        return None if self.choice is None else self.choice.price

    @property
    def weight(self) -> float | None:
        """What the programme weighs one replica at, in $/h: its price, where cost decides."""
        return None if self.choice is None else self.choice.weight

    @property
    def ratio(self) -> float:
        """Weight of one request/s; infinite when unknown. A reserved device may cost nothing."""
        if self.weight is None or self.usable_rps <= 0:
            return math.inf
        return self.weight / self.usable_rps


def places_of(
    variants: Iterable[VariantState], choices: Iterable[Choice], config: PlannerConfig
) -> tuple[Place, ...]:
    """Return every place, sorted by pool and parallelism."""
    by_key = {choice.key: choice for choice in choices}
    running = {(v.pool, v.parallelism): v for v in variants}
    keys = sorted({*by_key, *running}, key=lambda key: (key[0], order(key[1])))
    return tuple(_place(key, running.get(key), by_key.get(key), config) for key in keys)


def _place(
    key: PlaceKey, variant: VariantState | None, choice: Choice | None, config: PlannerConfig
) -> Place:
    pool, parallelism = key
    replicas = variant.replicas if variant else 0
    ready = min(variant.ready, replicas) if variant else 0
    youngest = variant.youngest_ready_s if variant else None
    old = youngest is not None and youngest >= config.ready_stability_s
    short = choice is not None and choice.state.short
    stuck = min(variant.unschedulable, replicas - ready) if variant and short else 0
    stays = choice is not None and choice.stays and choice.usable_rps > 0
    return Place(
        pool=pool,
        parallelism=parallelism,
        choice=choice,
        replicas=replicas,
        ready=ready,
        stable=ready if old else 0,
        held=held_pods(variant) if variant else 0,
        stuck=stuck,
        stays=stays,
        supply=replicas - stuck if stays else 0,
        lost=stuck if stays else replicas - ready,
    )
