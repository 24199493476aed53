"""How figures of a decision read to a person."""

import math
from collections.abc import Mapping

from trimtab.models.plan import DemandSource
from trimtab.planner.case import Case
from trimtab.planner.place import Place, PlaceKey
from trimtab.units import format_money

WORTH_SAYING = 1.1
"""What is expected is said where it is so many times the demand of now."""
_SOURCES = {
    DemandSource.PROMETHEUS: "measured",
    DemandSource.WORKLOAD: "expected by spec.workload",
    DemandSource.UNKNOWN: "known",
}


def rate(rps: float) -> str:
    """Return a rate with three significant digits."""
    return f"{rps:.3g} req/s"


def money(usd: float | None) -> str:
    """Return a price per hour."""
    return "an unknown price" if usd is None else f"${format_money(usd)}/h"


def scattered(free: int, devices: int) -> str:
    """Return why free devices are no room for a replica that needs them on one node."""
    return f"{free} devices are free and no node has {devices} of them"


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


def fleet(case: Case, counts: Mapping[PlaceKey, int]) -> str:
    """Return the replicas of a fleet, such as `3 x h100/tp1 + 2 x l40s/tp2`."""
    parts = [f"{counts[p.key]} x {p.name}" for p in case.places if counts[p.key]]
    return " + ".join(parts) or "no replica"


def price_of(case: Case, counts: Mapping[PlaceKey, int]) -> float | None:
    """Return the $/h of a fleet, None when a part of it has no known price."""
    used: list[tuple[Place, int]] = [(p, counts[p.key]) for p in case.places if counts[p.key]]
    prices = [(place.price, n) for place, n in used]
    if any(price is None for price, _ in prices):
        return None
    return sum(price * n for price, n in prices if price is not None)
