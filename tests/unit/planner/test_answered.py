"""What replicas answer while requests wait: what counts, and how long."""

import math
from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, planned, variant_state
from cases import case, choice, on
from fleetworld import fresh_load, running
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import Answered, DeploymentMemory
from trimtab.models.performance import Provenance
from trimtab.models.signals import Fresh, Missing, Partial, Signal, Stale
from trimtab.planner.answered import HALF_LIFE_S, MOST, times, watched
from trimtab.planner.evidence import evidence_of

WINDOW_S = 60.0
BLANK = DeploymentMemory(namespace="assistants", name="chat", uid="u1")


def look(
    memory: DeploymentMemory = BLANK,
    *,
    at: float = 0.0,
    rps: float = 10.0,
    waiting: float | Signal = 100.0,
    in_engines: Signal | None = None,
    **variant: Any,
) -> DeploymentMemory:
    """The memory after a look at two replicas, each with 20 requests in its engine."""
    there = variant_state(**({"replicas": 2, "ready": 2, "youngest_ready_s": 900.0} | variant))
    queue = Fresh(value=waiting) if isinstance(waiting, float | int) else waiting
    load = fresh_load(rps, waiting=queue, running=in_engines or Fresh(value=40.0))
    state = planned(variants=(there,), load=load)
    assert state.policy is not None
    return watched(memory, state, evidence_of(state, state.policy.targets), NOW + at)


def stood(*waiting: float, **over: Any) -> DeploymentMemory:
    """A queue of these lengths, seen every 15 s."""
    memory = BLANK
    for i, requests in enumerate(waiting):
        memory = look(memory, at=15.0 * i, waiting=requests, **over)
    return memory


def rps_of(memory: DeploymentMemory) -> float | None:
    return None if memory.answered is None else memory.answered.rps


def of(left: float) -> float:
    """What each of two did at most, where so many left in a window."""
    return (left + 2.0 * math.sqrt(left)) / WINDOW_S / 2.0


def test_what_came_and_does_not_wait_was_answered() -> None:
    assert rps_of(stood(100, 200, 300, 400, 460)) == pytest.approx(of(600.0 - 360.0))
    assert rps_of(stood(400, 300, 200, 150, 100)) == pytest.approx(of(600.0 + 300.0))
    assert rps_of(stood(100, 100, 100, 100)) is None  # not yet for a whole window


def test_a_queue_that_was_gone_in_between_measures_nothing() -> None:
    assert rps_of(stood(100, 200, 10, 400, 460)) is None
    assert rps_of(stood(100, 200, 11, 400, 460)) is not None


def test_few_requests_tell_nothing() -> None:
    assert rps_of(stood(100, 100, 100, 100, 671)) is None
    assert rps_of(stood(100, 100, 100, 100, 670)) == pytest.approx(of(30.0))


def test_other_replicas_begin_it_anew() -> None:
    memory = stood(100, 200, 300, 400)
    assert rps_of(look(memory, at=60.0, ready=3, replicas=3)) is None
    assert rps_of(look(memory, at=60.0)) is not None
    assert not look(memory, at=60.0, ready=0).standing


@pytest.mark.parametrize(
    "doubt",
    [
        Missing(why="away"),
        Stale(value=40.0, age_s=90.0),
        Partial(value=4.0, reporting=1, expected=2),
    ],
)
def test_doubt_begins_it_anew_and_forgets_nothing(doubt: Signal) -> None:
    memory = stood(100, 200, 300, 400, 460)
    found = look(memory, at=75.0, in_engines=doubt)
    assert not found.standing
    assert found.answered == memory.answered


def test_a_queue_in_doubt_is_none_that_is_gone() -> None:
    memory = stood(100, 200, 300, 400, 460)
    found = look(memory, at=75.0, rps=12.0, waiting=Stale(value=0.0, age_s=90.0))
    assert found.answered == memory.answered


def test_looks_of_more_than_two_windows_ago_are_forgotten() -> None:
    memory = stood(100, 200, 300, 400)
    assert rps_of(look(memory, at=165.0)) is not None
    assert rps_of(look(memory, at=165.5)) is None


def test_a_clock_that_went_back_measures_nothing() -> None:
    assert rps_of(look(stood(100, 200, 300, 400), at=-600.0)) is None


def test_looks_that_follow_each_other_at_once_are_kept_once() -> None:
    memory = stood(100, 200)
    for at in (15.0, 15.5, 16.0):
        assert look(memory, at=at).standing == memory.standing
    assert len(look(memory, at=20.0).standing) == 3


def test_what_comes_and_does_not_wait_is_answered_too() -> None:
    memory = stood(100, 200, 300, 400, 460)
    gone = look(memory, at=75.0, waiting=0.0, rps=4.0)
    assert rps_of(gone) == rps_of(memory)
    for before in (memory, gone):
        assert rps_of(look(before, at=90.0, waiting=0.0, rps=12.0)) == 6.0


def test_what_others_did_is_forgotten() -> None:
    memory = stood(100, 200, 300, 400, 460)
    assert look(memory, at=75.0, waiting=0.0, parallelism=Parallelism(tensor=2)).answered is None


def believed_of(
    rps: float | None,
    *,
    at: float = 0.0,
    pool: str = "h100",
    provenance: Provenance = Provenance.ESTIMATED,
) -> float:
    """How much too much is believed of replicas that are believed to do 20 and did `rps`."""
    known = choice(rps=10.0)
    assert known.capacity is not None
    known = replace(known, capacity=replace(known.capacity, provenance=provenance))
    there = case(on(replicas=2), choices=(known,)).running
    assert [place.largest_rps for place in there] == [20.0]
    seen = rps and Answered(pool=pool, parallelism=Parallelism(), rps=rps, at=NOW)
    return times(replace(BLANK, answered=seen or None), there, NOW + at)


def test_they_are_taken_for_as_much_slower_as_they_were_and_not_for_ever() -> None:
    assert believed_of(None) == believed_of(20.0) == believed_of(25.0) == 1.0
    assert believed_of(10.0) == 2.0
    assert believed_of(10.0, at=HALF_LIFE_S) == 1.5
    assert believed_of(10.0, at=-HALF_LIFE_S) == 2.0
    assert believed_of(1.0) == MOST
    assert believed_of(10.0, pool="gone") == 1.0


@pytest.mark.parametrize(
    ("provenance", "exceeds"),
    [
        (Provenance.GUESSED, 2.0),
        (Provenance.ESTIMATED, 2.0),
        (Provenance.CALIBRATED, 1.0),
        (Provenance.MEASURED, 1.0),
    ],
)
def test_a_speed_that_was_measured_is_believed_beside_any_queue(
    provenance: Provenance, exceeds: float
) -> None:
    assert believed_of(10.0, provenance=provenance) == exceeds


def test_a_fleet_that_falls_behind_grows_by_what_it_was_seen_to_do() -> None:
    """Each replica does half of what would do, and less than that of what is guessed of it."""
    there = running(100.0, profiles=())
    before = there.replicas()
    truth = 100.0 / before / 2.0
    waiting, seen = 0.0, []
    for _ in range(40):
        waiting = max(0.0, waiting + 15.0 * (100.0 - truth * there.ready()))
        there.set_load(fresh_load(100.0, waiting=Fresh(value=waiting), running=Fresh(value=90.0)))
        seen.append(there.tick().decisions[0].message)
    assert waiting == 0.0
    assert 2 * before <= there.replicas() <= 3 * before
    assert any("While requests waited, replicas did" in message for message in seen)
