"""What one of several replicas sustains that share their requests evenly in time."""

from dataclasses import replace

from trimtab.models.performance import Infeasible
from trimtab.performance.arrivals import MOST_PHASES
from trimtab.performance.capacity import CapacityRequest, replica_capacity


def together(request: CapacityRequest, rps: float) -> CapacityRequest:
    """Return `request` for one of the replicas that `rps` requests/s are dealt out to in turn.

    Each doubling of their number makes arrivals more even. It is taken as the largest power of two
    of which twice as many are needed, given what one of so many sustains: replicas come and go, and
    at the edge of a target the model is up to a tenth too hopeful (docs/control.md).
    """
    phases, found = 1, request
    while phases < MOST_PHASES:
        phases *= 2
        more = replace(request, variation=1.0 / phases)
        answer = replica_capacity(more)
        if isinstance(answer, Infeasible) or (2 * phases - 1) * answer.max_rps >= rps:
            break
        found = more
    return found
