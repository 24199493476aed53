"""What the fleet is compared with: the policy's baseline, else the best fixed on-demand fleet."""

import math

from trimtab.api.policy import CapacityType
from trimtab.models.plan import Saving
from trimtab.models.snapshot import Key
from trimtab.planner.case import Case
from trimtab.planner.choice import Choice
from trimtab.planner.kept import Kept


def saving_of(case: Case, usd_per_hour: float | None) -> Saving | None:
    """Return the saving of a fleet at `usd_per_hour`, None where either price is unknown.

    The fixed fleet is the cheapest of one pool and parallelism, on demand, that covers the largest
    demand seen at all times, with the same headroom. It need not be allowed by the policy: it is
    what one would buy without an autoscaler.
    """
    if usd_per_hour is None:
        return None
    peak = max(case.memory.peak_rps, case.need.rps)
    found = _known.answer(
        case.state.key,
        (case.choices, case.policy, peak),
        lambda: _named(case) if case.policy.baseline is not None else _static_peak(case, peak),
    )
    if found is None or found[1] <= 0:
        return None
    name, baseline = found
    return Saving(
        baseline=name,
        baseline_usd_per_hour=baseline,
        saved_share=1.0 - usd_per_hour / baseline,
    )


_known: Kept[Key, tuple[str, float] | None] = Kept()


def _named(case: Case) -> tuple[str, float] | None:
    """Return the policy's baseline with the smallest replica that serves on its pool."""
    baseline = case.policy.baseline
    choices = [
        choice
        for choice in case.choices
        if baseline is not None
        and choice.state.pool.name == baseline.pool
        and choice.price is not None
    ]
    serving = [choice for choice in choices if choice.capacity is not None] or choices
    if baseline is None or not serving:
        return None
    choice = min(serving, key=lambda c: c.parallelism.devices)
    return _text("baseline", baseline.replicas, choice), baseline.replicas * (choice.price or 0.0)


def _static_peak(case: Case, peak: float) -> tuple[str, float] | None:
    fleets = [
        (count * choice.price, count, choice)
        for choice in case.choices
        if choice.price is not None
        and choice.usable_rps > 0
        and (not choice.by_class or all(choice.by_class[:-1]) or choice.by_class[-1] > 0)
        and choice.state.pool.capacity_type is CapacityType.ON_DEMAND
        for count in [max(1, case.policy.min_replicas, math.ceil(peak / choice.usable_rps))]
    ]
    if not fleets:
        return None
    price, count, choice = min(fleets, key=lambda f: (f[0], f[2].state.pool.name, f[1]))
    return _text("static peak", count, choice), price


def _text(kind: str, count: int, choice: Choice) -> str:
    return f"{kind}: {count} x {choice.state.pool.name} (tp{choice.parallelism.tensor})"
