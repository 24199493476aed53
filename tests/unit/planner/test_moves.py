"""Moves to other pools: who is looked at, what saves enough, and for how long it must."""

from typing import Any

import pytest

from cases import CONFIG, RPS, case, choice, key, memory, on, option, problem
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.moves import MOVE_SPARE, Moves, consider
from trimtab.planner.problem import Room

NOW = 1e6
DEAR, CHEAP = choice("a", usd=8.0), choice("b", usd=4.0)


def considered(c: Case, *counts: int, free: int = 9) -> Moves:
    """What comes of a case of which so many replicas at each running place are wanted."""
    options = [option(p.name, current=p.supply) for p in c.running]
    wanted = counts or tuple(p.supply for p in c.running)
    fleets = {c.state.key: Fleet(problem=problem(*options), counts=wanted)}
    room = Room(free={"a": 9, "b": free})
    return consider([c], fleets, room, config=CONFIG, now=NOW)


def there(*variants: Any, **over: Any) -> Case:
    values: dict[str, Any] = {"choices": (DEAR, CHEAP), "keep_rps": 4.0, "even": False} | over
    return case(*(variants or (on("a"),)), **values)


def move(c: Case, *counts: int, free: int = 9) -> tuple[float | None, str | None, bool]:
    """Since when a move is considered, which, and whether it is made in this tick."""
    found = considered(c, *counts, free=free)
    kept = found.memories[key()]
    names = [o.name for o in found.fleets[key()].problem.options]
    return kept.move_since, kept.move_to, names == ["a/tp1", "b/tp1"]


@pytest.mark.parametrize(
    ("since", "to", "expected"),
    [
        (None, None, (NOW, "b/tp1", False)),
        (NOW - 299.5, "b/tp1", (NOW - 299.5, "b/tp1", False)),
        (NOW - 300.0, "b/tp1", (None, "b/tp1", True)),
        (NOW - 300.0, "c/tp1", (NOW, "b/tp1", False)),
        (NOW + 60.0, "b/tp1", (NOW, "b/tp1", False)),
        (None, "b/tp1", (NOW, "b/tp1", False)),
    ],
)
def test_a_move_is_made_once_it_has_paid_off_for_a_window(
    since: float | None, to: str | None, expected: tuple[float | None, str, bool]
) -> None:
    assert move(there(memory=memory(move_since=since, move_to=to))) == expected


@pytest.mark.parametrize(("now", "moved"), [("a", True), ("b", False)])
def test_growth_that_costs_too_much_gives_way_to_a_move_only_where_something_goes(
    now: str, moved: bool
) -> None:
    c = there(on(now), keep_rps=12.0)
    asked = problem(
        option("a", cost=8.0, current=int(now == "a")),
        option("b", cost=4.0, current=int(now == "b")),
    )
    grown = Fleet(problem=asked, counts=(3, 0) if now == "a" else (2, 1))
    found = consider([c], {key(): grown}, Room(free={"a": 9, "b": 9}), config=CONFIG, now=NOW)
    assert (found.fleets[key()].counts == (0, 2)) == moved
    assert (found.fleets[key()] is grown) != moved
    assert found.memories[key()].move_to == ("b/tp1" if moved else None)


def test_a_move_that_is_made_takes_its_room() -> None:
    ripe = memory(move_since=NOW - 300.0, move_to="b/tp1")
    found = considered(there(memory=ripe))
    assert found.fleets[key()].counts == (0, 1)
    assert found.room.free == {"a": 9, "b": 8}
    assert considered(there()).room.free == {"a": 9, "b": 9}


STEADY = (NOW, "b/tp1", False)
NONE = (None, None, False)


@pytest.mark.parametrize(
    ("c", "counts", "expected"),
    [
        (there(), (), STEADY),
        (there(may_fall=False), (), NONE),
        (there(on("a", 2)), (1,), NONE),
        (there(on("a", 2), keep_rps=12.0), (), STEADY),
        (there(on("a", 2, ready=1), keep_rps=12.0), (), NONE),
        (there(on("a"), on("gone")), (1, 0), NONE),
        (there(on("a"), on("gone", 0, pods=1)), (), STEADY),
        (there(on("a", 0, pods=1)), (), NONE),
    ],
)
def test_only_a_fleet_that_is_complete_and_may_fall_is_moved(
    c: Case, counts: tuple[int, ...], expected: tuple[float | None, str | None, bool]
) -> None:
    assert move(c, *counts) == expected


def test_who_is_no_longer_steady_forgets_what_was_considered_and_keeps_what_is_under_way() -> None:
    considering = memory(move_since=NOW - 60.0, move_to="b/tp1")
    assert move(there(may_fall=False, memory=considering)) == NONE
    under_way = memory(move_to="b/tp1")
    assert move(there(may_fall=False, memory=under_way)) == (None, "b/tp1", False)


def test_a_move_is_over_once_nothing_better_is_left() -> None:
    arrived = there(choices=(DEAR, choice("b", usd=8.0)), memory=memory(move_to="b/tp1"))
    assert move(arrived) == NONE


@pytest.mark.parametrize(
    ("usd", "free", "keep_rps", "expected"),
    [
        (7.1, 9, 4.0, STEADY),
        (7.3, 9, 4.0, NONE),
        (4.0, 0, 4.0, NONE),
        (4.0, 9, RPS / MOVE_SPARE * 0.99, STEADY),
        (3.7, 9, RPS / MOVE_SPARE * 1.01, NONE),
        (3.4, 9, RPS / MOVE_SPARE * 1.01, STEADY),
    ],
)
def test_a_move_saves_enough_also_at_a_little_more_demand(
    usd: float, free: int, keep_rps: float, expected: tuple[float | None, str | None, bool]
) -> None:
    # With a fifth more demand two cheap ones are needed, where that is more than one can do.
    rival = choice("b", usd=usd)
    c = there(choices=(DEAR, rival), keep_rps=keep_rps)
    assert move(c, free=free) == expected


BEGUN = memory(move_to="b/tp1", move_fleet=(("b/tp1", 4),))


def test_the_fleet_that_a_move_wants_is_remembered_when_it_is_begun() -> None:
    ripe = memory(move_since=NOW - 300.0, move_to="b/tp1")
    dear = choice("a", usd=24.0), CHEAP
    found = considered(there(on("a", 2), choices=dear, keep_rps=32.0, memory=ripe))
    assert found.fleets[key()].counts == (0, 4)
    assert found.memories[key()] == BEGUN


@pytest.mark.parametrize("keep_rps", [8.0, 24.0, 32.0])
def test_a_move_of_more_than_a_step_goes_on_to_the_same_fleet(keep_rps: float) -> None:
    halfway = there(on("a", 4), on("b", 2, ready=0), keep_rps=keep_rps, memory=BEGUN)
    found = considered(halfway, 4, 0)
    assert found.fleets[key()].counts == (0, 4)
    assert found.memories[key()] == BEGUN
    assert found.room.free == {"a": 9, "b": 7}


@pytest.mark.parametrize(
    ("over", "free"),
    [
        ({"keep_rps": 40.0}, 9),
        ({"keep_rps": 24.0}, 1),
        ({"keep_rps": 24.0, "choices": (DEAR,)}, 9),
        ({"keep_rps": 24.0, "max_replicas": 3}, 9),
    ],
)
def test_a_move_whose_fleet_will_not_do_any_more_is_not_gone_on_with(
    over: dict[str, Any], free: int
) -> None:
    halfway = there(on("a", 4), on("b", 2, ready=0), memory=BEGUN, **over)
    found = considered(halfway, 4, 0, free=free)
    assert found.fleets[key()].counts == (4, 0)
    assert found.memories[key()].move_fleet == ()


def test_a_move_that_has_all_that_it_adds_is_gone_on_with_no_more() -> None:
    there_now = there(on("a", 4), on("b", 4, ready=0), keep_rps=24.0, memory=BEGUN)
    found = considered(there_now, 4, 0)
    assert found.fleets[key()].counts == (4, 0)
    assert found.memories[key()] == memory(move_to="b/tp1")


def test_a_move_ends_where_all_may_go() -> None:
    idle = there(on("a", 4), on("b", 2, ready=0), keep_rps=0.0, minimum=0, memory=BEGUN)
    found = considered(idle, 0, 0)
    assert found.fleets[key()].counts == (0, 0)
    assert found.memories[key()] == memory()


def test_doubt_holds_a_move_up_and_does_not_end_it() -> None:
    doubtful = there(on("a", 4), on("b", 2, ready=0), may_fall=False, memory=BEGUN)
    found = considered(doubtful, 4, 2)
    assert found.fleets[key()].counts == (4, 2)
    assert found.memories[key()] == BEGUN
