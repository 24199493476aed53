"""States of replicas as an outsider tells them, and what they say of a replica's ages."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from trimtab.errors import InvalidInput
from trimtab.simulate.policy import ReplicaView, Variant
from trimtab.simulate.rivals.base import Phase


class Status(StrEnum):
    """How far a replica has come."""

    UNSCHEDULABLE = "unschedulable"
    """Asked for, and there is no node for it. One that merely starts is not."""
    STARTING = "starting"
    """From being asked for, or from having a node, until it serves."""
    READY = "ready"
    STOPPING = "stopping"
    """It finishes its requests and gets no more."""


class ReplicaStatus(NamedTuple):
    """One replica. A plain tuple of its first three fields, or of all four, does as well."""

    name: str
    """The same at every call, and never another's."""
    status: str
    """A word of `Status`."""
    since: float
    """When that began, in seconds on the clock of the calls."""
    variant: str = ""
    """What it runs on, as in the answers; may be left out where there is one possibility."""


Replicas = Sequence[tuple[str, str, float] | tuple[str, str, float, str] | ReplicaStatus]


def began_by(
    before: Mapping[str, Mapping[Status, float]], replicas: Iterable[ReplicaStatus]
) -> dict[str, dict[Status, float]]:
    """Return by name when each of `replicas` came into each state, given what was known before.

    Raises:
        InvalidInput: A status is unknown.
    """
    return {
        each.name: {**before.get(each.name, {}), _status(each): each.since} for each in replicas
    }


def _status(replica: ReplicaStatus) -> Status:
    try:
        return Status(replica.status)
    except ValueError as error:
        raise InvalidInput(
            f"replica {replica.name}",
            f"{replica.status!r} is no status",
            f"Say one of {', '.join(Status)}",
        ) from error


def pod_of(
    variant: Variant, replica: ReplicaStatus, began: Mapping[Status, float], now: float
) -> ReplicaView:
    """Return a replica with the ages that its states tell; what nobody saw is unknown."""
    status = _status(replica)
    placed, ready = began.get(Status.STARTING), began.get(Status.READY)
    made = min(began.values())
    if status is Status.READY:
        phase = Phase.READY
    elif status is Status.STOPPING:
        phase = Phase.LOADING if ready is None else Phase.READY
    else:
        phase = Phase.PENDING if status is Status.UNSCHEDULABLE else Phase.LOADING
    return ReplicaView(
        id=replica.name,
        variant=variant,
        phase=phase,
        age_s=max(0.0, now - made),
        unschedulable=status is Status.UNSCHEDULABLE,
        placed_s=None if placed is None else max(0.0, now - placed),
        ready_s=None if ready is None else max(0.0, now - ready),
        terminating=status is Status.STOPPING,
        scrape=None,
    )
