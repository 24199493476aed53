"""One deployment as the stages see it: what covers it, alarms, the brake, zero and fallback."""

import math
from dataclasses import replace
from typing import Any

import pytest

from builders import planned
from cases import CONFIG, RPS, case, choice, evidence, memory, on, pool_state
from fleetworld import fresh_load
from trimtab.api.conditions import Reason
from trimtab.models.forecast import ForecastState
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import DeploymentMemory, StartMemory, WantedSample
from trimtab.models.plan import Verdict, Why
from trimtab.models.signals import Fresh, Signal, Stale
from trimtab.planner.case import (
    FALLBACK_AFTER_S,
    Case,
    _falls_back,
    _finish,
    _guarded,
    _is_braked,
    _is_unfit,
    _minimum,
    _unknown_since,
    prepare,
)
from trimtab.planner.demand import DRAIN_S, Need
from trimtab.planner.draft import Draft, World, _ready_s, drafted, waits
from trimtab.planner.evidence import Alarm, is_settling
from trimtab.planner.forecast import warmed
from trimtab.planner.foresight import Foresight, Seen
from trimtab.planner.query import Market, Speeds, query_of
from trimtab.planner.schedule import Hint
from trimtab.planner.starts import Starts

NOW = 1e6
QUEUED = Alarm(why=Why.QUEUE_GREW, message="many wait")
LATE = Alarm(why=Why.OVER_TARGET, message="late")


MARKET = Market(pools={}, speeds=Speeds(()), config=CONFIG)
WORLD = World(now=NOW, market=MARKET, starts=Starts([]), reclaims={})


def draft(c: Case, rps: float = RPS) -> Draft:
    """The case before it is known whether the brake holds, where `rps` are asked for."""
    need = replace(c.need, rps=rps)
    return Draft(
        state=c.state,
        policy=c.policy,
        memory=c.memory,
        evidence=c.evidence,
        need=need,
        minute_rps=rps,
        seen=Seen(now=NOW, rps=rps, window_s=60.0),
        since_s=15.0,
        foresight=c.foresight,
        query=query_of(c.state, c.policy, need.shape, MARKET),
        choices=c.choices,
        places=c.places,
        running=c.running,
    )


@pytest.mark.parametrize(("rps", "covered"), [(20.0, True), (20.1, False)])
def test_what_runs_covers_a_demand_with_half_of_the_headroom(rps: float, covered: bool) -> None:
    assert case(on(replicas=2), grow_rps=rps).is_covered is covered
    assert case(on(replicas=2, ready=1), grow_rps=rps).is_covered is covered
    assert case(on(replicas=2), on("gone", 9), grow_rps=rps).is_covered is covered


def test_what_exists_and_what_counts() -> None:
    there = case(on("gone", 3), on("h100", 2, ready=1))
    assert (there.total, there.supply, there.is_initial) == (5, 2, False)
    assert case(on(replicas=0, pods=1)).is_initial
    both = case(on("a"), choices=(choice("a"), choice("b"), choice("c")))
    keys = {place.pool: place.key for place in both.places}
    found = both.used({keys["a"]: 0, keys["b"]: 2})
    assert [(place.pool, n) for place, n in found] == [("b", 2)]
    assert [(place.pool, n) for place, n in both.used({keys["a"]: 1})] == [("a", 1)]
    assert [(place.pool, n) for place, n in both.used({keys["b"]: 1})] == [("b", 1)]
    assert case(grow_rps=0.0).is_covered


def guarded(rps: float, alarm: Alarm | None = QUEUED, **over: Any) -> tuple[float, bool]:
    """What two replicas, of 8 requests/s each, are asked for while an alarm holds."""
    variant = over.pop("variant", on(replicas=2))
    known = memory(**({"fresh_since": NOW - 1000.0} | over))
    there = case(variant, evidence=evidence(alarm=alarm), memory=known)
    return _guarded(draft(there, rps), rps, NOW, CONFIG)


MORE: Any = pytest.approx(20.0 * (1.0 + 1e-6), rel=1e-9)
"""A little more than what runs may be asked before it grows."""


@pytest.mark.parametrize(
    ("rps", "asked", "learnt"),
    [(4.0, MORE, True), (3.9, 16.0, False), (10.0, MORE, True), (20.0, MORE, True),
     (25.0, 25.0, False)],
)  # fmt: skip
def test_an_alarm_adds_to_what_should_have_been_enough_up_to_a_limit(
    rps: float, asked: float, learnt: bool
) -> None:
    assert guarded(rps) == (asked, learnt)
    assert guarded(rps, None) == (rps, False)


@pytest.mark.parametrize(("before", "learnt"), [(12.0, True), (9.0, True), (2.0, False)])
def test_what_is_late_in_a_climb_teaches_nothing(before: float, learnt: bool) -> None:
    # 12 a minute ago is half a window's worth behind: from 2, demand is 22 by now, for two that
    # may be asked 20. From 9, chance alone may be what has changed.
    shape = case().need.shape
    samples = (WantedSample(at=NOW - 30.0, rps=before, shape=shape),)
    assert guarded(12.0, samples=samples) == (MORE, learnt)


@pytest.mark.parametrize(
    ("last", "waits"), [(NOW + 1, False), (NOW, True), (NOW - 59.5, True), (NOW - 60, False)]
)
def test_what_was_added_must_show_first(last: float, waits: bool) -> None:
    expected = (16.0, False) if waits else (MORE, True)
    assert guarded(10.0, last_up_at=last) == expected
    assert guarded(10.0, fresh_since=last) == expected
    assert guarded(17.0, last_up_at=NOW) == (17.0, False)
    assert guarded(10.0, last_up_at=NOW - 100.0, fresh_since=NOW) == (MORE, True)
    assert guarded(10.0, fresh_since=None) == (16.0, False)


@pytest.mark.parametrize(("last", "waits"), [(NOW - 599.5, True), (NOW - 600, False)])
def test_a_replica_that_is_to_come_holds_the_guard_back_for_so_long(
    last: float, waits: bool
) -> None:
    starting = on(replicas=2, ready=1)
    expected = (16.0, False) if waits else (MORE, True)
    assert guarded(10.0, variant=starting, last_up_at=last) == expected
    none_yet = on(replicas=2, ready=0, youngest_ready_s=None)
    asked = (16.0, False) if waits else (MORE, False)
    assert guarded(10.0, variant=none_yet, last_up_at=last) == asked


def test_what_is_on_its_way_out_lets_no_alarm_ask_for_more() -> None:
    fast = choice("fast", 100.0, refusal=Verdict.NOT_ALLOWED)
    there = case(
        on(replicas=2),
        on("fast"),
        choices=(choice(), fast),
        evidence=evidence(alarm=QUEUED),
        memory=memory(fresh_since=NOW - 1000.0),
    )
    assert _guarded(draft(there, 3.9), 3.9, NOW, CONFIG) == (16.0, False)


@pytest.mark.parametrize(
    ("age_s", "of_queue", "of_latency"),
    [
        (59.5, (16.0, False), (16.0, False)),
        (60.0, (MORE, False), (16.0, False)),
        (89.5, (MORE, False), (16.0, False)),
        (90.0, (MORE, True), (MORE, True)),
    ],
)
def test_latencies_of_before_are_no_alarm_of_now_and_a_queue_that_stays_is(
    age_s: float, of_queue: tuple[float, bool], of_latency: tuple[float, bool]
) -> None:
    new = on(replicas=2, youngest_ready_s=age_s)
    assert guarded(10.0, QUEUED, variant=new) == of_queue
    assert guarded(10.0, LATE, variant=new) == of_latency


@pytest.mark.parametrize(("age_s", "settling"), [(89.5, True), (90.0, False)])
def test_a_replica_is_new_for_one_and_a_half_windows(age_s: float, settling: bool) -> None:
    state = case(on("a", youngest_ready_s=age_s), on("b")).state
    assert is_settling(state) is settling
    assert is_settling(case(on(ready=0, youngest_ready_s=None)).state)


def finished(there: Case, rps: float = RPS, *, brake: bool = False) -> Case:
    """The case of a deployment that is asked for `rps`, from what is known of it before."""
    return _finish(draft(there, rps), WORLD, recall_s=CONFIG.scale_down_window_s, brake=brake)


def watched_since(at: float, **over: Any) -> DeploymentMemory:
    """A load that has been steady and fresh for so long."""
    shape = case().policy.shape
    samples = tuple(WantedSample(at=when, rps=RPS, shape=shape) for when in (at, NOW - 15.0))
    return memory(samples=samples, fresh_since=at, **over)


def test_few_requests_teach_that_more_is_needed_as_many_do_and_none_teach_nothing() -> None:
    late = {"evidence": evidence(alarm=QUEUED), "memory": memory(fresh_since=NOW - 1000.0)}
    assert finished(case(on(), **late), 20.0 / 1024.0).memory.margin > 0
    assert finished(case(on(), **late), 0.0).memory.margin == 0


def asked_of(ready: int = 2, age_s: float = 3600.0) -> Need:
    """What is asked of two replicas where 10 requests/s arrive and 600 wait; 90/s were expected."""
    state = planned(
        variants=(on(replicas=2, ready=ready),),
        load=fresh_load(10.0, waiting=Fresh(value=600.0)),
        created=NOW - age_s,
        workload={"inputTokens": 1000, "outputTokens": 250, "requestsPerSecond": "90"},
    )
    assert state.policy is not None
    return prepare([(state, state.policy, memory())], WORLD)[0].need


@pytest.mark.parametrize(("since_s", "counts_s"), [(15.0, 15.0), (60.0, 60.0), (600.0, 60.0)])
def test_rates_tell_of_no_more_than_their_window(since_s: float, counts_s: float) -> None:
    state = planned(variants=(on(),), load=fresh_load(10.0))
    assert state.policy is not None
    before = memory(forecast=ForecastState(at=NOW - since_s))
    assert drafted((state, state.policy, before), before, state.load, WORLD).since_s == counts_s


def test_what_waits_is_demand_once_all_that_was_asked_for_serves() -> None:
    assert asked_of(ready=2).rps == 10.0 + 600.0 / DRAIN_S
    assert asked_of(ready=1).rps == 10.0


def test_what_was_expected_counts_for_as_long_as_the_window_is() -> None:
    assert asked_of(age_s=CONFIG.scale_down_window_s - 0.5).rps == 90.0
    assert asked_of(age_s=CONFIG.scale_down_window_s).rps < 90.0


def test_the_window_remembers_what_an_alarm_asked_for_and_no_forecast() -> None:
    late = case(on(replicas=2), evidence=evidence(alarm=QUEUED), memory=watched_since(NOW - 600.0))
    assert finished(late, 10.0).memory.samples[-1].rps == MORE
    more = Foresight(horizon_s=150.0, rps=50.0, margin=0.0)
    found = finished(case(on(), foresight=more, memory=watched_since(NOW - 600.0)))
    assert (found.grow_rps, found.memory.samples[-1].rps) == (50.0, RPS)


@pytest.mark.parametrize("least", [0, 1, 3])
def test_what_sleeps_is_woken_by_a_schedule_and_not_by_a_forecast(least: int) -> None:
    asleep = {
        "memory": watched_since(NOW - 900.0, idle_since=NOW - 900.0, last_down_at=NOW - 500.0),
        "evidence": evidence(arrivals=0.0, idle=True),
        "scale_to_zero_after_s": 360.0,
        "min_replicas": least,
    }
    more = Foresight(horizon_s=150.0, rps=50.0, margin=0.0)
    found = finished(case(foresight=more, **asleep), 0.0)
    assert (found.minimum, found.grow_rps) == (0, 0.0)
    told = replace(more, hint=Hint(name="office", rps=50.0))
    found = finished(case(foresight=told, **asleep), 0.0)
    assert (found.minimum, found.grow_rps) == (max(1, least), 50.0)


def test_what_is_late_on_hardware_that_never_meets_the_target_teaches_no_margin() -> None:
    unfit = choice(capacity=None)
    assert _is_unfit(case(on(), choices=(unfit,)).running)
    assert not _is_unfit(case(on()).running)
    assert not _is_unfit(case(on(ready=0), choices=(unfit,)).running)
    assert not _is_unfit(case(on("gone")).running)
    known = watched_since(NOW - 600.0, margin=0.5)
    assert finished(case(on(), choices=(unfit,), memory=known)).memory.margin == 0.0
    assert finished(case(on(), memory=known)).memory.margin == 0.5


def test_nothing_may_go_while_a_new_replica_is_silent_though_the_window_stays() -> None:
    new = on(replicas=2, youngest_ready_s=10.0)
    known = watched_since(NOW - 600.0)
    assert finished(case(new, memory=known)).may_fall
    partial = evidence(reason=Reason.METRICS_PARTIAL)
    found = finished(case(new, memory=known, evidence=partial))
    assert found.memory.samples == known.samples
    assert not found.may_fall
    assert not finished(case(new, memory=known), brake=True).may_fall


def carrying(rps: float, attained: Signal, **over: Any) -> Case:
    """The case of two replicas that are given 16 requests/s and may be asked 20, and get `rps`."""
    known = memory(eased=0.1, eased_at=NOW, eased_where=("h100/tp1",))
    seen: dict[str, Any] = {"evidence": evidence(arrivals=rps), "memory": known} | over
    there = case(seen.pop("variant", on(replicas=2)), **seen)
    state = replace(there.state, load=replace(there.state.load, slo_attainment=attained))
    return finished(replace(there, state=state), rps)


ALL, HALF = Fresh(value=1.0, age_s=1.0), Fresh(value=0.5, age_s=1.0)
MORE_THAN_ALL = Fresh(value=1.5, age_s=1.0)


def test_full_replicas_that_are_in_time_are_added_to_later() -> None:
    found = carrying(21.0, ALL)
    assert found.memory.eased > 0.1
    assert found.is_covered  # 21 are more than the 20 that two may be asked
    assert found.grow_rps == pytest.approx(21.0 * (1.0 - found.memory.eased))
    assert carrying(21.0, MORE_THAN_ALL).memory == found.memory
    assert not carrying(21.0, HALF).is_covered
    assert not carrying(24.0, ALL).is_covered


def test_where_nothing_is_asked_to_run_nothing_was_carried() -> None:
    ending = on(replicas=0, ready=1, pods=1, youngest_ready_s=900.0)
    assert carrying(5.0, ALL, variant=ending).memory.eased <= 0.1


def test_what_was_carried_removes_nothing() -> None:
    known = watched_since(NOW - 600.0, eased=0.1, eased_at=NOW, eased_where=("h100/tp1",))
    found = carrying(1.0, ALL, memory=known)
    assert found.keep_rps == RPS


@pytest.mark.parametrize(
    "over",
    [
        {"evidence": evidence(arrivals=18.0, reason=Reason.METRICS_STALE)},
        {"variant": on(replicas=2, ready=1)},
        {"variant": on(replicas=2, youngest_ready_s=10.0)},
        {"attained": Stale(value=1.0, age_s=300.0)},
        {"attained": Fresh(value=float("nan"), age_s=1.0)},
    ],
)
def test_what_is_in_doubt_or_not_all_there_shows_nothing(over: dict[str, Any]) -> None:
    known: dict[str, Any] = {"attained": ALL} | over
    assert carrying(18.0, **known).memory.eased == 0.1
    assert carrying(18.0, ALL).memory.eased > 0.1


@pytest.mark.parametrize(("refusal", "shows"), [(None, True), (Verdict.NOT_ALLOWED, False)])
def test_beside_replicas_that_are_to_go_nothing_is_shown(
    refusal: Verdict | None, shows: bool
) -> None:
    # What they carry until then is not what the others were given.
    known = memory(eased=0.1, eased_at=NOW, eased_where=("a/tp1", "b/tp1"))
    there = case(
        *(on("a", 2), on("b")),
        choices=(choice("a"), choice("b", refusal=refusal)),
        evidence=evidence(arrivals=27.0),
        memory=known,
    )
    state = replace(there.state, load=replace(there.state.load, slo_attainment=ALL))
    found = finished(replace(there, state=state), 27.0)
    assert (found.memory.eased > 0.1) is shows


@pytest.mark.parametrize("alarm", [QUEUED, LATE])
def test_an_alarm_takes_back_what_was_carried(alarm: Alarm) -> None:
    found = carrying(18.0, ALL, evidence=evidence(arrivals=18.0, alarm=alarm))
    assert found.memory.eased == 0.0
    assert found.grow_rps >= 18.0


def losing(name: str, rps: float = 0.99, before: float = 10.0, **over: Any) -> Draft:
    shape = case().policy.shape
    samples = (WantedSample(at=NOW, rps=before, shape=shape),)
    return draft(case(name=name, memory=memory(name, samples=samples), **over), rps)


def test_the_brake_holds_where_many_lose_nearly_all_at_once() -> None:
    lost = [losing(f"l{i}") for i in range(5)]
    calm = [losing(f"c{i}", 1.01) for i in range(6)]
    assert _is_braked(lost)
    assert not _is_braked(lost[:4])
    assert _is_braked(lost + calm[:5])
    assert not _is_braked(lost + calm)
    assert _is_braked(lost + [losing("z", 0.0, 0.0) for _ in range(6)])
    doubtful = evidence(reason=Reason.METRICS_STALE)
    assert not _is_braked([*lost[:4], losing("d", evidence=doubtful)])
    assert not _is_braked([*lost[:4], draft(case(name="new"))])
    assert _is_braked([losing(f"s{i}", 0.04, 0.5) for i in range(5)])


@pytest.mark.parametrize(
    ("rates", "named", "kept"),
    [
        # Nothing has come back for an hour.
        ((50.0,) * 30 + (10.0,) * 30, False, False),
        # Every third minute does, and so would a lull of three minutes; ten minutes tell nothing.
        ((50.0, 10.0, 10.0) * 20, False, True),
        ((50.0, 50.0, 50.0, 10.0, 10.0, 10.0) * 10, False, True),
        ((10.0,) * 10, False, True),
        # Who names a window gets all of it.
        ((50.0,) * 30 + (10.0,) * 30, True, True),
    ],
)
def test_what_was_asked_is_kept_for_as_long_as_it_comes_back(
    rates: tuple[float, ...], named: bool, kept: bool
) -> None:
    state = planned(variants=(on(replicas=5),), load=fresh_load(10.0))
    assert state.policy is not None
    policy = replace(state.policy, scale_down_window_s=300.0 if named else None)
    samples = tuple(
        WantedSample(at=NOW - ago, rps=rps, shape=policy.shape)
        for ago, rps in ((310.0, 50.0), (150.0, 50.0), (75.0, 10.0), (15.0, 10.0))
    )
    past = warmed([(NOW - 60.0 * ago, rps) for ago, rps in enumerate(reversed(rates))])
    before = memory(samples=samples, fresh_since=NOW - 310.0, forecast=past)
    (found,) = prepare([(state, policy, before)], WORLD)
    assert (found.keep_rps == 50.0) is kept
    assert (found.keep_rps == found.grow_rps < 20.0) is not kept
    assert found.may_fall


@pytest.mark.parametrize(
    ("since", "expected"), [(None, NOW), (NOW - 60, NOW - 60), (NOW, NOW), (NOW + 60, NOW)]
)
def test_since_when_nothing_is_known(since: float | None, expected: float) -> None:
    blind = evidence(reason=Reason.METRICS_STALE, arrivals=None)
    before = memory(unknown_since=since)
    assert _unknown_since(blind, before, NOW) == expected
    assert _unknown_since(replace(blind, arrivals=0.0), before, NOW) is None
    assert _unknown_since(replace(blind, reason=Reason.NO_REPLICAS), before, NOW) is None


def test_the_fallback_counts_after_three_minutes() -> None:
    assert not _falls_back(memory(), NOW)
    assert not _falls_back(memory(unknown_since=NOW - FALLBACK_AFTER_S + 0.5), NOW)
    assert _falls_back(memory(unknown_since=NOW - FALLBACK_AFTER_S), NOW)


@pytest.mark.parametrize(
    ("idle_s", "over", "awake", "whole", "fewest"),
    [
        (360.0, {}, True, True, 0),
        (359.5, {}, True, True, 1),
        (360.0, {}, True, False, 1),
        (360.0, {"zero_refused": True}, True, True, 1),
        (0.0, {}, False, False, 0),
        (None, {}, False, True, 1),
    ],
)
def test_it_sleeps_after_the_idle_time_and_while_it_is_idle(
    idle_s: float | None, over: dict[str, Any], awake: bool, whole: bool, fewest: int
) -> None:
    known = memory(idle_since=None if idle_s is None else NOW - idle_s, **over)
    for least in (0, 1, 3):
        policy = case(scale_to_zero_after_s=360.0, min_replicas=least).policy
        found = _minimum(policy, known, NOW, awake=awake, whole=whole)
        assert found == (0 if fewest == 0 else max(1, least))
    never = case(scale_to_zero_after_s=None, min_replicas=0).policy
    assert _minimum(never, known, NOW, awake=awake, whole=whole) == 1


QUICK = Starts(
    [
        StartMemory(pool=pool, model=None, log_mean=6.0, log_var=0.0, count=1, last=0.0)
        for pool in ("h100", "a")
    ]
)
"""A node takes minutes to come, so that it shows whether one is waited for."""


def ready_s(rps: float, *variants: Any, promised: int = 0, size: int = 1) -> float:
    large = choice(state=pool_state(promised=promised), parallelism=Parallelism(tensor=size))
    there = case(*variants, choices=(large,))
    found = draft(there)
    return _ready_s(found.query, found.choices, found.running, QUICK, rps)


def test_a_node_is_waited_for_where_what_is_asked_does_not_fit_on_those_there_are() -> None:
    at_hand = ready_s(0.0)
    assert at_hand > 0
    assert ready_s(16 * RPS) == at_hand
    assert ready_s(16 * RPS + 0.5) > at_hand
    assert ready_s(8 * RPS, size=2) == at_hand
    assert ready_s(8 * RPS + 0.5, size=2) > at_hand
    assert ready_s(18 * RPS, on(replicas=2, ready=1)) == at_hand
    assert ready_s(18 * RPS + 0.5, on(replicas=2, ready=1)) > at_hand
    assert ready_s(0.0, promised=16) > at_hand
    assert ready_s(0.0, promised=15) == at_hand
    found = draft(case(choices=()))
    assert _ready_s(found.query, (), (), QUICK, 99.0) == 0.0


def test_requests_wait_where_those_that_serve_are_overloaded() -> None:
    choices = choice("a"), choice("b"), choice("closed", refusal=Verdict.OVER_BUDGET)
    there = case(on("a", 2, ready=1), on("gone"), choices=choices)
    assert waits(draft(there, 16.0), QUICK) == {}
    found = waits(draft(there, 16.5), QUICK)
    assert list(found) == ["a/tp1", "b/tp1"]
    assert all(seconds > 0 for seconds in found.values())
    assert waits(draft(case(on("a", ready=0), choices=choices), 99.0), QUICK) == {}
    last = choice("a", state=pool_state("a", promised=15))
    wait_s = waits(draft(case(on("a"), choices=(last,)), 99.0), QUICK)["a/tp1"]
    assert wait_s < math.exp(6.0)  # the device for one is there, so that no node is waited for
    blind = case(on("a"), choices=(choice("a", capacity=None),))
    assert waits(draft(blind, 99.0), QUICK) == {}
