"""Events: one per transition, bad news as warnings, no news where nothing happened."""

from typing import Any

import pytest

import builders
from trimtab.actuate.events import Allowance, transitions

STATE = builders.deployment_state()


def status(*conditions: tuple[str, str, str], fleet: str = "h100:2") -> dict[str, Any]:
    """A published status with these conditions (type, status, reason)."""
    return {
        "conditions": [
            {"type": kind, "status": is_, "reason": reason, "message": f"{reason}!"}
            for kind, is_, reason in conditions
        ],
        "decision": {"reason": "DemandRose", "message": "More load"},
        "history": [{"time": "t", "reason": "DemandRose", "variants": fleet}],
    }


def told(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["reason"]) for event in transitions(STATE, old, new, 0.0)]


FRESH = ("MetricsAvailable", "True", "MetricsFresh")
STALE = ("MetricsAvailable", "False", "MetricsStale")
UNKNOWN = ("MetricsAvailable", "Unknown", "Pending")
SHORT = ("CapacityAvailable", "False", "CapacityShort")
STALLED = ("Stalled", "True", "ChildRejected")


@pytest.mark.parametrize(
    ("old", "new", "events"),
    [
        (status(FRESH), status(FRESH), []),
        ({}, status(FRESH), [("Normal", "DemandRose")]),
        (status(), status(fleet="h100:3"), [("Normal", "DemandRose")]),
        (status(FRESH), status(STALE), [("Warning", "MetricsStale")]),
        (status(STALE), status(FRESH), [("Normal", "MetricsFresh")]),
        (status(UNKNOWN), status(STALE), []),
        (status(), status(STALE), []),
        (status(STALE), status(UNKNOWN), []),
        (status(UNKNOWN), status(FRESH), []),
        (status(), status(SHORT), [("Warning", "CapacityShort")]),
        (status(), status(STALLED), [("Warning", "ChildRejected")]),
        (status(STALLED), status(), [("Normal", "ChildRejected")]),
    ],
)
def test_each_transition_is_told_once(
    old: dict[str, Any], new: dict[str, Any], events: list[tuple[str, str]]
) -> None:
    assert told(old, new) == events


def test_the_same_transition_has_the_same_name_and_another_has_another() -> None:
    def name(new: dict[str, Any], now: float) -> str:
        (event,) = transitions(STATE, status(FRESH), new, now)
        return str(event["metadata"]["name"])

    assert name(status(STALE), 5.0) == name(status(STALE), 5.4)
    assert len({name(status(STALE), 5.0), name(status(STALE), 6.0)}) == 2


def test_an_event_fits_what_the_api_server_takes() -> None:
    new = status(STALE)
    new["conditions"][0]["message"] = "m" * 5000
    (event,) = transitions(STATE, status(FRESH), new, 0.0)
    assert len(event["message"]) == 1024
    assert event["involvedObject"]["uid"] == STATE.uid
    assert event["metadata"]["namespace"] == STATE.key.namespace


def test_a_flapping_deployment_runs_out_of_events_and_others_do_not() -> None:
    now = 0.0
    allowance = Allowance(clock=lambda: now)
    assert sum(allowance.take("a") for _ in range(100)) == 20
    assert allowance.take("b")
    now = 3600.0
    assert sum(allowance.take("a") for _ in range(100)) == 10
    allowance.keep(frozenset())
    assert sum(allowance.take("a") for _ in range(100)) == 20
