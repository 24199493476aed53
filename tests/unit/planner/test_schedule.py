"""What a schedule in the spec asks for: windows of local time, and fleets that are there then."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW, planned
from fleetworld import FleetWorld, decision_for, fresh_load, idle_load, usable_rps, world
from trimtab.api.demand import ScheduledDemand
from trimtab.models.plan import Why
from trimtab.planner.foresight import DECIDE_S
from trimtab.planner.schedule import Hint, hints
from trimtab.planner.starts import INIT_S

BERLIN = "Europe/Berlin"


def entry(**over: Any) -> ScheduledDemand:
    """12 requests/s from 08:30 to 18:00 in UTC, every day."""
    values = {"name": "office", "start": "08:30", "end": "18:00", "requestsPerSecond": "12"}
    return ScheduledDemand.model_validate(values | over)


def at(text: str, zone: str = "UTC") -> float:
    """Unix seconds of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def ahead(seconds: float) -> Callable[[Hint], float]:
    return lambda _: seconds


def asked(one: ScheduledDemand, now: float, horizon_s: float = 0.0) -> float | None:
    """Requests/s that one entry asks for."""
    found = hints([one], now, ahead(horizon_s))
    return found[0].rps if found else None


@pytest.mark.parametrize(
    ("over", "moment", "zone", "holds"),
    [
        ({}, "2026-11-26T08:29:59", "UTC", False),
        ({}, "2026-11-26T08:30", "UTC", True),
        ({}, "2026-11-26T17:59:59", "UTC", True),
        ({}, "2026-11-26T18:00", "UTC", False),
        ({"timeZone": BERLIN}, "2026-11-26T07:30", "UTC", True),
        ({"timeZone": BERLIN}, "2026-07-26T06:30", "UTC", True),
        ({"timeZone": BERLIN}, "2026-07-26T06:29", "UTC", False),
        ({"days": ["Mon", "Fri"]}, "2026-11-27T12:00", "UTC", True),
        ({"days": ["Mon", "Fri"]}, "2026-11-26T12:00", "UTC", False),
        ({"dates": ["2026-12-01"]}, "2026-12-01T12:00", "UTC", True),
        ({"dates": ["2026-12-01"]}, "2026-12-02T12:00", "UTC", False),
        ({"start": "22:00", "end": "06:00", "days": ["Fri"]}, "2026-11-28T05:59", "UTC", True),
        ({"start": "22:00", "end": "06:00", "days": ["Fri"]}, "2026-11-27T05:59", "UTC", False),
        ({"start": "00:00", "end": "00:00", "days": ["Sat"]}, "2026-11-28T23:59", "UTC", True),
        ({"start": "00:00", "end": "00:00", "days": ["Sat"]}, "2026-11-29T00:00", "UTC", False),
        # Clocks go from 02:00 to 03:00 on 29 March: 02:30 is 01:30 before, or 03:30 after.
        (
            {"start": "02:30", "end": "04:00", "timeZone": BERLIN},
            "2026-03-29T01:30",
            BERLIN,
            True,
        ),
        (
            {"start": "01:00", "end": "02:30", "timeZone": BERLIN},
            "2026-03-29T03:29",
            BERLIN,
            True,
        ),
        # And from 03:00 to 02:00 on 25 October: 02:15 comes twice, at 00:15 and 01:15 in UTC.
        (
            {"start": "02:15", "end": "02:45", "timeZone": BERLIN},
            "2026-10-25T00:15",
            "UTC",
            True,
        ),
        (
            {"start": "02:15", "end": "02:45", "timeZone": BERLIN},
            "2026-10-25T01:44",
            "UTC",
            True,
        ),
        (
            {"start": "02:15", "end": "02:45", "timeZone": BERLIN},
            "2026-10-25T01:45",
            "UTC",
            False,
        ),
    ],
)
def test_an_entry_holds_in_its_windows_of_local_time(
    over: dict[str, Any], moment: str, zone: str, holds: bool
) -> None:
    assert (asked(entry(**over), at(moment, zone)) == 12.0) is holds
    assert (asked(entry(**over), at(moment, zone)) is None) is not holds


def test_a_horizon_reaches_the_start_of_a_window_over_midnight_and_weekends() -> None:
    monday = entry(days=["Mon"], start="00:10", end="06:00")
    sunday = at("2026-11-29T23:50")
    assert asked(monday, sunday, 1199.0) is None
    assert asked(monday, sunday, 1200.0) == 12.0
    assert asked(monday, at("2026-11-26T00:00"), 4 * 86_400.0 + 600.0) == 12.0


def test_of_several_entries_the_largest_counts_and_all_are_known() -> None:
    now = at("2026-11-26T12:00")
    noon = entry(name="noon", start="11:30", end="13:00", requestsPerSecond="30")
    same = entry(name="all", start="00:00", end="00:00", requestsPerSecond="30")
    found = hints([entry(), noon, same], now, ahead(0.0))
    assert [(hint.name, hint.rps) for hint in found] == [
        ("all", 30.0),
        ("noon", 30.0),
        ("office", 12.0),
    ]


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)),
    st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
    st.integers(0, 23 * 60 + 59),
    st.integers(0, 23 * 60 + 59),
)
def test_what_a_clock_on_the_wall_says_is_in_the_window_holds(
    moment: datetime, zone: str, start: int, end: int
) -> None:
    one = entry(start=clock(start), end=clock(end), timeZone=zone)
    now = moment.replace(tzinfo=ZoneInfo("UTC"))
    wall = now.astimezone(ZoneInfo(zone))
    minute = wall.hour * 60 + wall.minute
    inside = start <= minute < end if start < end else minute >= start or minute < end
    if inside:
        assert asked(one, now.timestamp()) == 12.0
    elif all(same_offset(wall, hours) for hours in (-3, 3)):
        assert asked(one, now.timestamp()) is None


def clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def same_offset(wall: datetime, hours: int) -> bool:
    """Whether no change of summer time is near: that makes windows longer, never shorter."""
    other = (wall.astimezone(ZoneInfo("UTC")) + timedelta(hours=hours)).astimezone(wall.tzinfo)
    return other.utcoffset() == wall.utcoffset()


# What a fleet makes of it. NOW is 2026-09-21T14:13:20Z, a Monday.
PEAK_RPS = 60.0
START_S = at("2026-09-21T14:32") - NOW
END_S = at("2026-09-21T14:38") - NOW
PEAK = {
    "name": "peak",
    "start": "14:32",
    "end": "14:38",
    "requestsPerSecond": f"{PEAK_RPS:g}",
}


def fleet(rps: float, **over: Any) -> FleetWorld:
    """The deployment chat with the schedule, which has served `rps` for ten minutes."""
    there = world(planned(demand={"schedule": [PEAK]}, **over), start_s=60.0)
    there.set_load(fresh_load(rps) if rps else idle_load())
    there.run(600.0)
    return there


def until(there: FleetWorld, second: float) -> list[int]:
    """Run until `second` after NOW; return the replicas of each tick."""
    counts = []
    while there.now < NOW + second:
        there.tick()
        counts.append(there.replicas())
    return counts


def test_replicas_are_ready_by_the_time_and_named_after_it_and_go_after_its_end() -> None:
    there = fleet(10.0)
    before = there.replicas()
    needed = -(-PEAK_RPS // usable_rps(there))
    assert before < needed
    asked_at = None
    while there.now < NOW + START_S:
        decision = decision_for(there.tick(), "chat")
        if there.replicas() > before and asked_at is None:
            asked_at = there.now
            assert decision.why is Why.SCHEDULED
            assert "60 req/s by the schedule's peak" in decision.message
            assert decision.demand.foreseen_rps == PEAK_RPS
    assert asked_at is not None
    # Not long before it is needed either: the prior of a start is 75 s and 16 for the weights.
    assert NOW + START_S - asked_at < 120.0 + INIT_S + DECIDE_S - 15.0
    assert there.ready() >= needed
    # It never comes, and nobody takes the word of the schedule back before its end.
    assert min(until(there, END_S - 15.0)) >= needed
    until(there, END_S + 420.0)
    assert there.replicas() == before


def test_what_was_asked_for_stays_where_it_came_sooner_than_was_thought() -> None:
    there = fleet(10.0)
    there.start_s = 1.0
    counts = until(there, START_S)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


def test_nodes_that_have_to_come_are_asked_for_as_much_earlier() -> None:
    there = fleet(10.0)
    there.pools = [
        replace(pool, nodes=0, devices=0, max_devices=16, provisioning_s=120.0)
        for pool in there.pools
    ]
    before = there.replicas()
    until(there, START_S - 120.0 - INIT_S - DECIDE_S)
    assert there.replicas() > before


def test_a_schedule_that_asks_for_less_than_is_asked_changes_nothing() -> None:
    busy, plain = fleet(PEAK_RPS), world(planned(), start_s=60.0)
    plain.set_load(fresh_load(PEAK_RPS))
    plain.run(600.0)
    assert until(busy, END_S + 420.0) == until(plain, END_S + 420.0)


def test_what_sleeps_is_woken_for_it_and_sleeps_again() -> None:
    there = fleet(0.0, scaling={"maxReplicas": 20, "scaleToZeroAfter": "5m"})
    assert there.replicas() == 0
    until(there, START_S)
    assert there.ready() >= -(-PEAK_RPS // 13.6)
    until(there, END_S + 420.0)
    assert there.replicas() == 0


def test_it_counts_while_nothing_is_measured() -> None:
    there = fleet(10.0)
    there.set_load(replace(fresh_load(10.0), source_error="Prometheus does not answer"))
    before = there.replicas()
    until(there, START_S)
    assert there.ready() > before


def test_bounds_hold_whatever_a_schedule_asks_for() -> None:
    there = fleet(10.0, scaling={"maxReplicas": 3})
    assert max(until(there, START_S)) == 3
