"""What a fleet draws and emits under the demand of now, where that is the objective."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.planner.case import Case
from trimtab.planner.choice import POWERED
from trimtab.planner.classes import carried_by
from trimtab.planner.place import Place, PlaceKey
from trimtab.planner.power import grams


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Of the accelerators of all replicas; None where a part of it is unknown."""

    watts: float | None
    grams_per_hour: float | None
    """Of CO2."""


def drawn_by(case: Case, counts: Mapping[PlaceKey, int]) -> Drawn | None:
    """Return what `counts` draw; None where the objective does not ask."""
    if case.policy.objective not in POWERED:
        return None
    used = case.used(counts)
    watts = [_watts(case, place, used) for place, _ in used]
    emitted = [
        grams(each, place.choice.state.pool.carbon_g_per_kwh if place.choice else None)
        for each, (place, _) in zip(watts, used, strict=True)
    ]
    return Drawn(watts=_sum(watts, used), grams_per_hour=_sum(emitted, used))


def _watts(case: Case, place: Place, used: Sequence[tuple[Place, int]]) -> float | None:
    """Return what one replica at `place` draws: all are loaded alike, or all get the same."""
    if place.choice is None or place.choice.power is None:
        return None
    even = case.policy.even
    kinds = ((each.choice, each.usable_rps, n) for each, n in used if each.choice is not None)
    given = carried_by(case.policy, kinds)
    if given <= 0:
        return None
    pace = min(each.usable_rps for each, _ in used) if even else place.usable_rps
    load = min(1.0, case.need.rps / given)
    return place.choice.power.at(load * pace / place.usable_rps)


def _sum(values: Sequence[float | None], used: Sequence[tuple[Place, int]]) -> float | None:
    known = [value * n for value, (_, n) in zip(values, used, strict=True) if value is not None]
    return math.fsum(known) if len(known) == len(values) else None
