"""What the gateway in front of a deployment knows of its demand, beside what its replicas say."""

from dataclasses import dataclass, replace

from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Fresh, Signal, at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a gateway says of one deployment."""

    arrival_rps: Signal
    queued: Signal


def merged(load: ObservedLoad, demand: Demand, *, pods: bool) -> ObservedLoad:
    """Return `load` with what the gateway knows.

    Both count requests that came, so the truth is not below the larger one. A gateway that is not
    fresh leaves the engines' word alone. Without any pod no request waits in one, and the queue is
    the gateway's.
    """
    arrivals, queued = demand.arrival_rps, demand.queued
    if not isinstance(arrivals, Fresh) or not isinstance(queued, Fresh):
        return load if pods else replace(load, arrival_rps=arrivals, waiting=queued)
    counted = at_least(load.arrival_rps)
    if counted is None or counted <= arrivals.value:
        load = replace(load, arrival_rps=arrivals)
    if not pods:
        return replace(load, waiting=queued)
    if isinstance(load.waiting, Fresh) and queued.value > 0:
        total = Fresh(
            value=load.waiting.value + queued.value,
            age_s=max(load.waiting.age_s, queued.age_s),
        )
        return replace(load, waiting=total)
    return load
