"""Replicas that serve show whether they are fast enough, by requests that were late or not."""

from typing import Any

import pytest

from builders import planned, variant_state
from fleetworld import fresh_load
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import DeploymentMemory
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.planner.demand import SPREAD_REQUESTS
from trimtab.planner.evidence import evidence_of
from trimtab.planner.place import PlaceKey
from trimtab.planner.proven import proven, served, watched

SLOW: PlaceKey = ("slow", Parallelism())
FAST: PlaceKey = ("fast", Parallelism(tensor=2))
FRESH = DeploymentMemory(namespace="ns", name="chat", uid="1")


def test_a_few_requests_in_time_prove_nothing() -> None:
    few = watched(FRESH, [(SLOW, 1)], late=0.0, requests=40.0)
    many = watched(FRESH, [(SLOW, 1)], late=0.0, requests=60.0)
    # 1.5 of 100 that are believed to be late are more than 1 % of 140, and less of 160.
    assert proven(few, 0.99) == frozenset()
    assert proven(many, 0.99) == {SLOW}


def test_late_requests_are_held_against_every_place_that_may_have_served_them() -> None:
    memory = watched(FRESH, [(SLOW, 1), (FAST, 3)], late=10.0, requests=1000.0)
    counts = {(one.pool, one.parallelism): (one.requests, one.late) for one in memory.served}
    assert counts == {SLOW: (250.0, 10.0), FAST: (750.0, 10.0)}
    assert proven(memory, 0.99) == frozenset()
    assert proven(memory, 0.95) == {SLOW, FAST}
    # But no place with more than it can have served.
    memory = watched(FRESH, [(SLOW, 1), (FAST, 3)], late=300.0, requests=1000.0)
    assert {one.late for one in memory.served} == {250.0, 300.0}


def test_late_requests_of_now_outweigh_any_number_that_were_in_time_before() -> None:
    memory = FRESH
    for _ in range(100):
        memory = watched(memory, [(SLOW, 2)], late=0.0, requests=1000.0)
    assert memory.served[0].requests == SPREAD_REQUESTS
    assert proven(memory, 0.99) == {SLOW}
    memory = watched(memory, [(SLOW, 2)], late=15.0, requests=300.0)
    assert proven(memory, 0.99) == frozenset()


def test_what_serves_no_more_is_forgotten() -> None:
    memory = watched(FRESH, [(SLOW, 1), (FAST, 1)], late=0.0, requests=1000.0)
    memory = watched(memory, [(SLOW, 0), (FAST, 1)], late=0.0, requests=10.0)
    assert [one.pool for one in memory.served] == ["fast"]


def test_no_request_teaches_nothing() -> None:
    assert watched(FRESH, [(SLOW, 1)], late=0.0, requests=0.0) is FRESH
    assert watched(FRESH, [], late=0.0, requests=5.0) is FRESH


def test_the_order_in_which_replicas_are_listed_changes_nothing() -> None:
    one = watched(FRESH, [(SLOW, 1), (FAST, 3)], late=1.0, requests=100.0)
    assert watched(FRESH, [(FAST, 3), (SLOW, 1)], late=1.0, requests=100.0) == one


def requests_seen(since_s: float = 15.0, **signals: Any) -> float:
    """Return how many requests are counted of a replica that serves 7/s in time."""
    over = {"slo_attainment": Fresh(value=1.0)} | signals
    there = variant_state(replicas=1, ready=1, youngest_ready_s=900.0)
    state = planned(variants=(there,), load=fresh_load(7.0, **over))
    assert state.policy is not None
    targets = state.policy.targets
    memory = served(FRESH, state, evidence_of(state, targets), targets, since_s)
    return sum(one.requests for one in memory.served)


def test_requests_count_from_plan_to_plan_and_no_longer_than_they_were_measured() -> None:
    assert requests_seen(15.0) == 105.0
    assert requests_seen(0.0) == requests_seen(-15.0) == 0.0
    assert requests_seen(1e6) == 7.0 * fresh_load(7.0).window_s


def test_no_more_than_all_requests_were_in_time() -> None:
    there = variant_state(replicas=1, ready=1, youngest_ready_s=900.0)
    for attained in (1.0, 1.5):
        load = fresh_load(7.0, slo_attainment=Fresh(value=attained))
        state = planned(variants=(there,), load=load)
        assert state.policy is not None
        targets = state.policy.targets
        memory = served(FRESH, state, evidence_of(state, targets), targets, 15.0)
        assert [one.late for one in memory.served] == [0.0]


@pytest.mark.parametrize("name", ["arrival_rps", "waiting", "ttft_s", "running", "slo_attainment"])
@pytest.mark.parametrize(
    "doubt",
    [
        Missing(why="no replica exports it", absent=True),
        Invalid(why="negative"),
        Stale(value=0.1, age_s=90.0),
        Partial(value=0.1, reporting=1, expected=2),
    ],
)
def test_nothing_is_shown_by_what_is_in_doubt(name: str, doubt: Signal) -> None:
    over: dict[str, Any] = {name: doubt}
    assert requests_seen(**over) == 0.0
