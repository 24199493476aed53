"""What one of several replicas sustains that share their requests evenly in time."""

from dataclasses import replace

from trimtab.models.performance import Infeasible
from trimtab.performance.arrivals import MOST_PHASES
from trimtab.performance.capacity import CapacityRequest, replica_capacity

_HALVINGS = 12
"""Steps to the number of phases: far finer than rates are known."""


def together(request: CapacityRequest, rps: float) -> CapacityRequest:
    """Return `request` for one of the replicas that `rps` requests/s are dealt out to in turn.

    Arrivals are taken to be as even as if half as many shared them: replicas come and go, and at
    the edge of a target the model is up to a tenth too hopeful (docs/control.md). What a replica
    does, and with it how many are needed, is looked up for each doubling of their number and is
    straight in the logarithm between: in steps, a fleet would grow and shrink by a fifth where the
    demand hardly changes.
    """
    phases, rate = 1.0, _rate(request)
    if rate is None:
        return request
    while phases < MOST_PHASES and 2.0 * phases * rate < rps:
        above = _rate(_dealt(request, 2.0 * phases))
        if above is None:
            break
        if 4.0 * phases * above >= rps:
            return _dealt(request, _between(phases, (rate, above), rps))
        phases, rate = 2.0 * phases, above
    return _dealt(request, phases)


def _between(phases: float, rates: tuple[float, float], rps: float) -> float:
    """Return of how many phases, up to twice `phases`, twice as many replicas sustain `rps`."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = 0.5 * (low + high)
        rate = rates[0] + share * (rates[1] - rates[0])
        if 2.0 * phases * 2.0**share * rate < rps:
            low = share
        else:
            high = share
    return float(phases * 2.0**low)


def _dealt(request: CapacityRequest, phases: float) -> CapacityRequest:
    return replace(request, variation=1.0 / phases)


def _rate(request: CapacityRequest) -> float | None:
    answer = replica_capacity(request)
    return None if isinstance(answer, Infeasible) else answer.max_rps
