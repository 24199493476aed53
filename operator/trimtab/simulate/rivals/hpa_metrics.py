"""How many replicas one metric asks a HorizontalPodAutoscaler for.

Source: kubernetes v1.34.4, pkg/controller/podautoscaler (its ReplicaCalculator), as
research/rival-rules.md states it. Resource (CPU) metrics are left out, as they have no bearing on a
model server, and with them the readiness delay and the CPU initialisation period.

Kubernetes counts a metric in whole thousandths and cuts off what is left of a mean over pods, so
that pods with exactly the load of 29 get 29, and never a 30th for a rounding error.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.simulate.rivals.base import Observation, Phase, Pool, Scrape, Source

TOLERANCE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsReading:
    """What the pods of one deployment report of one metric."""

    values: tuple[float, ...]
    """Of the running pods that report one."""
    missing: int
    """Running pods that report none."""
    pending: int
    """Pods of phase Pending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodsMetric:
    """A metric of type Pods: its mean over the pods is held at `target`."""

    read: Callable[[Scrape], float]
    target: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalMetric:
    """A metric of type External (Object counts alike): one number for the whole deployment."""

    read: Callable[[Observation], float | None]
    """None when the metrics server gives an error."""
    target: float
    average: bool = True
    """AverageValue, a target for each pod, or else Value, a target for the whole."""


Metric = PodsMetric | ExternalMetric


def pods_replicas(
    reading: PodsReading, current: int, target: float, tolerance: float = TOLERANCE
) -> int | None:
    """Return what a Pods metric asks for, or None when no pod reports it."""
    if not reading.values:
        return None
    values = [_milli(value) for value in reading.values]
    aim = round(target * 1000.0)
    ratio = sum(values) // len(values) / aim
    up_with_pending = reading.pending > 0 and ratio > 1.0
    if not up_with_pending and reading.missing == 0:
        if _within(ratio, tolerance):
            return current
        return math.ceil(ratio * len(values))
    # Pods without a value are taken to speak against the move.
    if ratio != 1.0:
        values += [aim if ratio < 1.0 else 0] * reading.missing
    if up_with_pending:
        values += [0] * reading.pending
    again = sum(values) // len(values) / aim
    if _within(again, tolerance) or (ratio - 1.0) * (again - 1.0) < 0.0:
        return current
    replicas = math.ceil(again * len(values))
    if (again < 1.0 and replicas > current) or (again > 1.0 and replicas < current):
        return current
    return replicas


def external_average_replicas(
    total: float, existing: int, target: float, tolerance: float = TOLERANCE
) -> int:
    """Return what an External AverageValue asks for; it does not ask who is ready."""
    usage, aim = _milli(total), round(target * 1000.0)
    if existing > 0 and _within(usage / (aim * existing), tolerance):
        return existing
    return math.ceil(usage / aim)


def external_value_replicas(
    total: float, pool: tuple[int, int], target: float, tolerance: float = TOLERANCE
) -> int:
    """Return what an External Value asks for; `pool` is (current replicas, ready ones)."""
    current, ready = pool
    ratio = _milli(total) / round(target * 1000.0)
    if current == 0:
        return math.ceil(ratio)
    return current if _within(ratio, tolerance) else math.ceil(ratio * ready)


def combine(proposals: Sequence[int | None], current: int) -> int | None:
    """Return the highest proposal; None, which keeps what is, on an error that could hide more."""
    known = [proposal for proposal in proposals if proposal is not None]
    if not known or (len(known) < len(proposals) and max(known) < current):
        return None
    return max(known)


def read_pods(
    pool: Pool, read: Callable[[Scrape], float], through: Source = Source.ANSWERS
) -> PodsReading:
    """Return what the pods of `pool` report.

    Args:
        pool: The pool.
        read: The metric, of a pod's own page.
        through: The metrics server that is asked for it, if it is one and not the pods themselves.
    """
    running = [replica for replica in pool.replicas if replica.phase is not Phase.PENDING]
    scrapes = [replica.scrape for replica in running if replica.scrape is not None]
    if through is not Source.ANSWERS:
        scrapes = []
    return PodsReading(
        values=tuple(read(scrape) for scrape in scrapes),
        missing=len(running) - len(scrapes),
        pending=len(pool.replicas) - len(running),
    )


def _milli(value: float) -> int:
    return int(value * 1000.0)


def _within(ratio: float, tolerance: float) -> bool:
    return 1.0 - tolerance <= ratio <= 1.0 + tolerance
