"""How figures of a decision read to a person."""

import math
from collections.abc import Iterable, Mapping

from trimtab.api.policy import Objective
from trimtab.models.plan import DemandSource, Verdict
from trimtab.planner.case import Case
from trimtab.planner.choice import POWERED, Choice
from trimtab.planner.place import PlaceKey
from trimtab.units import format_money

WORTH_SAYING = 1.1
"""What is expected is said where it is so many times the demand of now."""
_SOURCES = {
    DemandSource.PROMETHEUS: "measured",
    DemandSource.WORKLOAD: "expected by spec.workload",
    DemandSource.UNKNOWN: "known",
}
_VERBS = {Objective.MINIMIZE_ENERGY: "draw", Objective.MINIMIZE_CARBON: "emit"}


def rate(rps: float) -> str:
    """Return a rate with three significant digits."""
    return f"{rps:.3g} req/s"


def money(usd: float | None) -> str:
    """Return a price per hour."""
    return "an unknown price" if usd is None else f"${format_money(usd)}/h"


def scattered(free: int, devices: int) -> str:
    """Return why free devices are no room for a replica that needs them on one node."""
    return f"{free} devices are free and no node has {devices} of them"


def power(watts: float | None) -> str:
    """Return what is drawn."""
    if watts is None:
        return "an unknown power"
    return f"{watts:.3g} W" if watts < 999.5 else f"{watts / 1e3:.3g} kW"


def carbon(grams: float | None) -> str:
    """Return what is emitted in an hour."""
    if grams is None:
        return "unknown emissions"
    return f"{grams:.3g} gCO2/h" if grams < 999.5 else f"{grams / 1e3:.3g} kgCO2/h"


def counted(case: Case) -> Objective:
    """Return the objective that decides: cost, where nothing is known of energy or carbon."""
    objective = case.policy.objective
    if objective in POWERED and all(c.burden(objective) is None for c in case.choices):
        return Objective.MINIMIZE_COST
    return objective


def verb(objective: Objective) -> str:
    """Return what several replicas do to what `objective` counts."""
    return _VERBS.get(objective, "cost")


def unknown(objective: Objective, choice: Choice) -> tuple[Verdict, str]:
    """Return what `objective` lacks to weigh `choice`, and the remedy."""
    if choice.power is None:
        return Verdict.NO_POWER, "its power is unknown: set spec.hardware of the pool with watts"
    return Verdict.NO_CARBON, "set spec.carbonIntensity of the pool"


def figure(objective: Objective, value: float | None) -> str:
    """Return what `objective` counts: a price, W or gCO2/h."""
    match objective:
        case Objective.MINIMIZE_ENERGY:
            return power(value)
        case Objective.MINIMIZE_CARBON:
            return carbon(value)
        case _:
            return money(value)


def demand(case: Case) -> str:
    """Return the demand, where it comes from, for what requests, and what it is expected to be."""
    need, ahead = case.need, case.foresight
    shape = f"of {need.shape.input_tokens:.0f} + {need.shape.output_tokens:.0f} tokens"
    if need.source is DemandSource.UNKNOWN:
        known = f"an unknown demand {shape}"
    else:
        known = f"{rate(need.rps)} {shape} ({_SOURCES[need.source]})"
    hint = ahead.hint
    if hint is not None and hint.rps > need.rps:
        return f"{known}, {rate(hint.rps)} by the schedule's {hint.name}"
    if need.source is DemandSource.UNKNOWN:
        return known
    if ahead.rps is None or ahead.rps < WORTH_SAYING * need.rps or case.minimum == 0:
        return known
    minutes = math.ceil(ahead.horizon_s / 60.0)
    return f"{known}, up to {rate(ahead.rps)} within {minutes} min"


def by_class(case: Case, choice: Choice) -> str:
    """Return what one replica serves of each class alone, such as `short 12/s, long none`."""
    pairs = zip(case.policy.classes, choice.by_class[:-1], strict=True)
    return ", ".join(f"{one.name} {rate(rps) if rps > 0 else 'none'}" for one, rps in pairs)


def fleet(case: Case, counts: Mapping[PlaceKey, int]) -> str:
    """Return the replicas of a fleet, such as `3 x h100/tp1 + 2 x l40s/tp2`."""
    parts = [f"{n} x {place.name}" for place, n in case.used(counts)]
    return " + ".join(parts) or "no replica"


def price_of(case: Case, counts: Mapping[PlaceKey, int]) -> float | None:
    """Return the $/h of a fleet, None when a part of it has no known price."""
    return _total((place.price, n) for place, n in case.used(counts))


def burden_of(case: Case, counts: Mapping[PlaceKey, int]) -> float | None:
    """Return what the objective counts of a fleet: $/h, W or gCO2/h; None when in part unknown."""
    objective = counted(case)
    return _total(
        (place.choice.burden(objective) if place.choice else None, n)
        for place, n in case.used(counts)
    )


def _total(parts: Iterable[tuple[float | None, int]]) -> float | None:
    used = list(parts)
    if any(value is None for value, _ in used):
        return None
    return sum(value * n for value, n in used if value is not None)
