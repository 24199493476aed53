"""What the signals of one deployment may be used for: to scale both ways, or up only."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from trimtab.api.conditions import Reason
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.plan import Why
from trimtab.models.signals import (
    Fresh,
    Invalid,
    Missing,
    Partial,
    Signal,
    Stale,
    at_least,
    describe,
    fresh_value,
)
from trimtab.models.snapshot import DeploymentState
from trimtab.units import format_duration

KV_SATURATED = 0.9
"""Share of KV blocks in use from which a replica is about to queue or preempt."""
QUEUED_PER_REPLICA = 5.0
"""Waiting requests for each ready replica that no capacity in hand explains; WVA's figure for a
saturated replica (research/rival-rules.md)."""
BY_CHANCE = 0.05
"""As many late requests as chance alone brings with this probability are no alarm."""
EXACT_REQUESTS = 1000
ECHO = 1.5
"""Windows of the latencies, and scrapes, until those of a time with fewer replicas are out."""

_DOUBTS = (
    # Worst first: the first kind that a signal shows is what is reported.
    (Invalid, Reason.METRICS_INVALID),
    (Missing, Reason.METRICS_MISSING),
    (Stale, Reason.METRICS_STALE),
    (Partial, Reason.METRICS_PARTIAL),
)
_FIELDS = tuple(field.name for field in fields(ObservedLoad))
_read = attrgetter(*_FIELDS)
_VALUES = Fresh, Partial
_LATENCIES = (("ttft_s", "TTFT"), ("itl_s", "ITL"), ("e2e_s", "E2E"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The fleet is overloaded now, whatever the arrival rate says."""

    why: Why
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known of the load of one deployment."""

    reason: Reason
    """METRICS_FRESH, or what is wrong with the worst signal."""
    message: str
    arrivals: float | None
    """Requests/s that the truth is not below; None when unknown."""
    waiting: float
    """Waiting requests that the truth is not below; 0 when unknown."""
    idle: bool
    """Whether fresh signals say that no request arrived, waits or runs."""
    alarm: Alarm | None

    @property
    def fresh(self) -> bool:
        """Whether it may be acted on in both directions."""
        return self.reason is Reason.METRICS_FRESH


def evidence_of(state: DeploymentState, targets: LatencyTargets) -> Evidence:
    """Return what the signals of `state` say, and how far they can be trusted.

    Arrivals and queue must be fresh. The others may be missing, as they are without traffic, but
    not stale, partial or invalid.
    """
    load = checked(state.load)
    needed = (("arrivals", load.arrival_rps), ("queue", load.waiting))
    others = [("prompt length", load.input_tokens), ("answer length", load.output_tokens)]
    others += [("KV use", load.kv_utilization), ("batch", load.running)]
    for field, name in _LATENCIES:
        if getattr(targets, field) is not None:
            others.append((name, getattr(load, field)))
    # Without traffic there is none; what replicas do not export at all is another matter.
    present = [
        (name, signal)
        for name, signal in others
        if not isinstance(signal, Missing) or signal.absent
    ]
    reason, message = _judge(load, needed, present, ready=sum(v.ready for v in state.variants))
    arrivals, waiting = at_least(load.arrival_rps), at_least(load.waiting)
    usable = load.configured and load.source_error is None
    return Evidence(
        reason=reason,
        message=message,
        arrivals=arrivals if usable else None,
        waiting=(waiting or 0.0) if usable else 0.0,
        idle=(
            reason is Reason.METRICS_FRESH
            and arrivals == 0
            and waiting == 0
            and fresh_value(load.running) in (0.0, None)
        ),
        alarm=_alarm(state, load, targets) if usable else None,
    )


def is_settling(state: DeploymentState) -> bool:
    """Return whether a replica got Ready so lately that rates and latencies are of before.

    What they will be of is not known where none is.
    """
    return (newest_ready_s(state) or 0.0) < ECHO * state.load.window_s


def newest_ready_s(state: DeploymentState) -> float | None:
    """Return for how long the newest replica has been Ready; None where none is."""
    ages = [v.youngest_ready_s for v in state.variants if v.youngest_ready_s is not None]
    return min(ages, default=None)


def checked(load: ObservedLoad) -> ObservedLoad:
    """Return `load` with every fresh or partial value that cannot be true marked invalid.

    Values are finite and not negative; nothing was measured in the future.
    """
    found: dict[str, Any] = {
        name: Invalid(why=f"{value.value:g} is no usable value")
        for name, value in zip(_FIELDS, _read(load), strict=True)
        if isinstance(value, _VALUES) and not is_possible(value)
    }
    return replace(load, **found) if found else load


def believed(signal: Signal) -> float | None:
    """Return the value of a fresh signal that can be true, or None: as of `checked`, but of one."""
    return signal.value if isinstance(signal, Fresh) and is_possible(signal) else None


def is_possible(signal: Fresh | Partial) -> bool:
    """Return whether the value can be true: finite, not negative, not of the future."""
    aged = not isinstance(signal, Fresh) or signal.age_s >= 0
    return aged and math.isfinite(signal.value) and signal.value >= 0


def _judge(
    load: ObservedLoad,
    needed: Iterable[tuple[str, Signal]],
    others: Iterable[tuple[str, Signal]],
    *,
    ready: int,
) -> tuple[Reason, str]:
    if not load.configured:
        return Reason.NO_METRICS_SOURCE, "No Prometheus is configured: only the workload counts"
    if load.source_error is not None:
        return Reason.PROMETHEUS_UNAVAILABLE, f"Prometheus: {load.source_error}"
    needed = tuple(needed)
    if ready == 0 and all(isinstance(signal, Missing) for _, signal in needed):
        return Reason.NO_REPLICAS, "No replica serves yet, so nothing is measured"
    for kind, reason in _DOUBTS:
        for name, signal in (*needed, *others):
            if isinstance(signal, kind):
                return reason, f"{name}: {describe(signal)}"
    return Reason.METRICS_FRESH, "All needed signals are fresh"


def _alarm(state: DeploymentState, load: ObservedLoad, targets: LatencyTargets) -> Alarm | None:
    ready = sum(variant.ready for variant in state.variants)
    waiting, used = at_least(load.waiting), at_least(load.kv_utilization)
    if waiting is not None and waiting > QUEUED_PER_REPLICA * max(1, ready):
        text = f"{waiting:.0f} requests wait on {ready} replicas"
        return Alarm(why=Why.QUEUE_GREW, message=text)
    if used is not None and used > KV_SATURATED:
        text = f"{used:.0%} of the KV cache of the fullest replica is in use"
        return Alarm(why=Why.QUEUE_GREW, message=text)
    late = over_target(load, targets)
    return Alarm(why=Why.OVER_TARGET, message="; ".join(late)) if late else None


def over_target(load: ObservedLoad, targets: LatencyTargets) -> list[str]:
    """Return one phrase for each fresh latency that is over its target, and not by chance.

    At p95, one request in twenty may be late. One late request of fifteen puts the measured
    percentile over the target and says nothing about the fleet.
    """
    late = []
    for field, name in _LATENCIES:
        target, value = getattr(targets, field), believed(getattr(load, field))
        if target is not None and value is not None and value > target:
            percentile = f"p{targets.percentile * 100:.0f}"
            late.append(
                f"{percentile} {name} {format_duration(value)} over {format_duration(target)}"
            )
    return [] if late and _is_chance(load, targets.percentile) else late


def _is_chance(load: ObservedLoad, percentile: float) -> bool:
    """Return whether a fleet that just meets its targets would often show as many late requests.

    The one-sided binomial test of the share that was late against the share that may be. Without
    a count of requests or of late ones nothing is put down to chance.
    """
    arrivals, attainment = believed(load.arrival_rps), believed(load.slo_attainment)
    if arrivals is None or attainment is None:
        return False
    requests = round(arrivals * load.window_s)
    late = round((1.0 - attainment) * requests)
    return _at_least_late(late, requests, 1.0 - percentile) > BY_CHANCE


def _at_least_late(late: int, requests: int, share: float) -> float:
    """Return the probability of `late` or more of `requests` when each is late with `share`.

    Exact while the terms can be represented, else the normal approximation.
    """
    if requests > EXACT_REQUESTS:
        mean = requests * share
        return 0.5 * math.erfc((late - 0.5 - mean) / math.sqrt(2.0 * mean * (1.0 - share)))
    fewer = 0.0
    term = (1.0 - share) ** requests
    for k in range(late):
        fewer += term
        term *= (requests - k) / (k + 1) * share / (1.0 - share)
    return 1.0 - fewer
