"""What one of several replicas sustains that share their requests evenly in time."""

from dataclasses import replace

from trimtab.models.performance import Infeasible
from trimtab.performance.arrivals import MOST_PHASES
from trimtab.performance.capacity import CapacityRequest, replica_capacity


def together(request: CapacityRequest, rps: float) -> CapacityRequest:
    """Return `request` for one of the replicas that `rps` requests/s are dealt out to in turn.

    Their number is the largest power of two of which all are needed, given what one of so many
    sustains; each doubling makes arrivals more even.
    """
    phases, found = 1, request
    while phases < MOST_PHASES:
        phases *= 2
        more = replace(request, variation=1.0 / phases)
        answer = replica_capacity(more)
        if isinstance(answer, Infeasible) or (phases - 1) * answer.max_rps >= rps:
            break
        found = more
    return found
