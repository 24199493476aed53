"""Unknown is not zero: what each kind of signal may be used for."""

import math
from dataclasses import replace
from typing import Any

import pytest

from builders import planned, variant_state
from fleetworld import fresh_load, idle_load
from trimtab.api.conditions import Reason
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.plan import Why
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.planner.evidence import Evidence, _at_least_late, evidence_of

TARGETS = LatencyTargets(ttft_s=0.8, itl_s=0.05)
PARTIAL = Partial(value=7.0, reporting=1, expected=2)


def evidence(load: ObservedLoad, ready: int = 2) -> Evidence:
    variants = (variant_state(replicas=2, ready=ready, pods=2),)
    return evidence_of(planned(variants=variants, load=load), TARGETS)


def test_fresh_signals_may_be_acted_on_both_ways() -> None:
    seen = evidence(fresh_load(7.0, waiting=Fresh(value=3.0)))
    assert seen.fresh
    assert (seen.arrivals, seen.waiting, seen.idle) == (7.0, 3.0, False)


@pytest.mark.parametrize(
    ("signal", "reason", "arrivals"),
    [
        (Missing(why="gone"), Reason.METRICS_MISSING, None),
        (Stale(value=7.0, age_s=90.0), Reason.METRICS_STALE, None),
        (Invalid(why="NaN"), Reason.METRICS_INVALID, None),
        (PARTIAL, Reason.METRICS_PARTIAL, 7.0),
        (Fresh(value=float("nan")), Reason.METRICS_INVALID, None),
        (Fresh(value=float("inf")), Reason.METRICS_INVALID, None),
        (Fresh(value=-1.0), Reason.METRICS_INVALID, None),
        (Fresh(value=7.0, age_s=-5.0), Reason.METRICS_INVALID, None),
        (replace(PARTIAL, value=float("nan")), Reason.METRICS_INVALID, None),
    ],
)
def test_doubtful_arrivals_name_their_defect_and_never_read_as_zero(
    signal: Signal, reason: Reason, arrivals: float | None
) -> None:
    seen = evidence(fresh_load(7.0, arrival_rps=signal))
    assert not seen.fresh
    assert seen.reason is reason
    assert seen.arrivals == arrivals
    assert not seen.idle


@pytest.mark.parametrize("name", ["waiting", "input_tokens", "kv_utilization", "ttft_s", "itl_s"])
@pytest.mark.parametrize("signal", [Stale(value=1.0, age_s=60.0), PARTIAL, Invalid(why="x")])
def test_any_doubtful_signal_in_use_is_doubt(name: str, signal: Signal) -> None:
    over: dict[str, Any] = {name: signal}
    assert not evidence(fresh_load(7.0, **over)).fresh


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "ttft_s", "itl_s", "running"])
def test_what_is_missing_without_traffic_is_no_doubt(name: str) -> None:
    over: dict[str, Any] = {name: Missing(why="no traffic")}
    assert evidence(fresh_load(0.01, **over)).fresh


def test_a_missing_queue_is_doubt() -> None:
    assert evidence(fresh_load(7.0, waiting=Missing(why="renamed"))).reason is (
        Reason.METRICS_MISSING
    )


def test_a_latency_without_a_target_does_not_matter() -> None:
    assert evidence(fresh_load(7.0, e2e_s=Stale(value=1.0, age_s=99.0))).fresh


def test_a_source_that_does_not_answer_makes_all_of_it_doubtful() -> None:
    seen = evidence(fresh_load(7.0, source_error="connection refused"))
    assert seen.reason is Reason.PROMETHEUS_UNAVAILABLE
    assert seen.arrivals is None
    assert "connection refused" in seen.message


def test_without_a_source_nothing_is_known() -> None:
    seen = evidence(ObservedLoad(configured=False))
    assert seen.reason is Reason.NO_METRICS_SOURCE
    assert seen.arrivals is None


def test_without_a_ready_replica_silence_is_no_defect() -> None:
    assert evidence(ObservedLoad(), ready=0).reason is Reason.NO_REPLICAS
    assert evidence(ObservedLoad(), ready=1).reason is Reason.METRICS_MISSING


def test_idle_needs_fresh_zeros_everywhere() -> None:
    assert evidence(idle_load()).idle
    assert not evidence(replace(idle_load(), running=Fresh(value=1.0))).idle
    assert not evidence(replace(idle_load(), waiting=Fresh(value=1.0))).idle
    assert not evidence(replace(idle_load(), arrival_rps=Missing(why="?"))).idle
    some = Partial(value=0.0, reporting=1, expected=2)
    assert not evidence(replace(idle_load(), arrival_rps=some)).idle


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ({"waiting": Fresh(value=11.0)}, Why.QUEUE_GREW),
        ({"kv_utilization": Fresh(value=0.95)}, Why.QUEUE_GREW),
        ({"kv_utilization": Partial(value=0.95, reporting=1, expected=2)}, Why.QUEUE_GREW),
        ({"ttft_s": Fresh(value=0.9)}, Why.OVER_TARGET),
        ({"itl_s": Fresh(value=0.051)}, Why.OVER_TARGET),
    ],
)
def test_overload_raises_an_alarm(over: dict[str, Signal], why: Why) -> None:
    alarm = evidence(fresh_load(7.0, **over)).alarm
    assert alarm is not None
    assert alarm.why is why
    assert any(figure.isdigit() for figure in alarm.message)


@pytest.mark.parametrize(("waiting", "alarms"), [(5.0, False), (6.0, True)])
def test_requests_that_wait_while_nothing_serves_raise_one_too(
    waiting: float, alarms: bool
) -> None:
    none = evidence(fresh_load(7.0, waiting=Fresh(value=waiting)), ready=0)
    assert (none.alarm is not None) is alarms


@pytest.mark.parametrize(
    ("rps", "attainment", "alarms"),
    [
        (0.25, 14 / 15, False),  # one late of 15: every second such window of a good fleet
        (0.25, 12 / 15, True),  # three of 15
        (7.0, 0.94, False),  # 25 of 420, where 21 may be late
        (7.0, 0.92, True),  # 34 of 420
        (70.0, 0.945, False),
        (70.0, 0.92, True),
    ],
)
def test_late_requests_raise_an_alarm_only_beyond_chance(
    rps: float, attainment: float, alarms: bool
) -> None:
    late = Fresh(value=0.9)
    load = fresh_load(rps, ttft_s=late, slo_attainment=Fresh(value=attainment))
    assert (evidence(load).alarm is not None) is alarms


@pytest.mark.parametrize(
    "over",
    [
        {"waiting": Fresh(value=10.0)},
        {"kv_utilization": Fresh(value=0.9)},
        {"ttft_s": Fresh(value=0.8)},
        {"ttft_s": Stale(value=9.0, age_s=60.0)},
        {"ttft_s": Partial(value=9.0, reporting=1, expected=2)},
        {"e2e_s": Fresh(value=99.0)},
    ],
)
def test_no_alarm_within_limits_without_a_target_or_on_doubt(over: dict[str, Signal]) -> None:
    assert evidence(fresh_load(7.0, **over)).alarm is None


def test_few_requests_are_counted_exactly() -> None:
    # Two late of eight are chance in 5.7 % of windows; by the normal approximation in 3.7 %.
    load = fresh_load(8.0 / 60.0, ttft_s=Fresh(value=0.9), slo_attainment=Fresh(value=0.75))
    assert evidence(load).alarm is None
    share = 1.0 - TARGETS.percentile
    exact = 1.0 - math.fsum(
        math.comb(1000, k) * share**k * (1.0 - share) ** (1000 - k) for k in range(60)
    )
    assert _at_least_late(60, 1000, share) == pytest.approx(exact, rel=1e-9)
    assert _at_least_late(60, 1001, share) != pytest.approx(exact, rel=1e-3)


def test_more_than_all_on_time_is_no_alarm() -> None:
    late = Fresh(value=0.9)
    for rps in (1.0, 100.0):
        load = fresh_load(rps, ttft_s=late, slo_attainment=Fresh(value=1.5))
        assert evidence(load).alarm is None
