"""One tick on the way to a wanted fleet: steps, pauses, and what must serve meanwhile."""

from dataclasses import replace

import pytest

from cases import CONFIG, RPS, case, choice, memory, on, option, problem
from trimtab.api.llmdeployment import Mode
from trimtab.models.plan import Verdict
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.problem import COVERED
from trimtab.planner.settle import Settled, settle

NOW = 1e6
FAST = choice("fast", 16.0)
SLOW = choice("slow", 2.0)


def settled(c: Case, *wanted: int, rps: float = 0.0) -> Settled:
    """One tick towards so many replicas at each place of the case, where `rps` are asked for."""
    options = [option(p.name, current=p.supply, rps=p.usable_rps or RPS) for p in c.places]
    asked = problem(*options, rps=rps, minimum=0)
    return settle(c, Fleet(problem=asked, counts=wanted), CONFIG, NOW)


def targets(c: Case, *wanted: int, rps: float = 0.0) -> dict[str, int]:
    return {pool: n for (pool, _), n in settled(c, *wanted, rps=rps).targets.items()}


def test_the_first_fleet_comes_at_once() -> None:
    assert targets(case(), 9) == {"h100": 9}


@pytest.mark.parametrize(("there", "after"), [(1, 3), (2, 4), (3, 6), (8, 9)])
def test_a_fleet_grows_by_as_many_as_there_are_and_always_by_two(there: int, after: int) -> None:
    assert targets(case(on(replicas=there)), 9) == {"h100": after}


@pytest.mark.parametrize(("minimum", "after"), [(3, 3), (4, 4), (5, 5), (9, 9)])
def test_the_minimum_is_met_in_one_step(minimum: int, after: int) -> None:
    assert targets(case(on(replicas=1), minimum=minimum), 9) == {"h100": after}


def test_what_was_asked_for_and_is_not_ready_counts() -> None:
    for mode in (Mode.AUTO, Mode.SCALE_UP_ONLY):
        assert targets(case(on(replicas=3, ready=1), mode=mode), 4) == {"h100": 4}
    rests = case(on(replicas=3, ready=1), memory=memory(last_up_at=NOW))
    assert targets(rests, 1) == {"h100": 3}


def test_the_best_worth_is_added_first() -> None:
    dear_first = (choice("a", usd=8.0), choice("b", usd=4.0), choice("c", usd=4.0))
    there = case(on("a"), choices=dear_first)
    assert targets(there, 2, 1, 2) == {"a": 1, "b": 1, "c": 1}


@pytest.mark.parametrize(("there", "after"), [(2, 1), (3, 2), (7, 6), (8, 6), (12, 9)])
def test_a_fall_is_a_quarter_and_at_least_one(there: int, after: int) -> None:
    assert targets(case(on(replicas=there)), 1) == {"h100": after}


def test_no_more_goes_than_is_not_wanted() -> None:
    assert targets(case(on(replicas=8)), 7) == {"h100": 7}
    assert targets(case(on(replicas=8)), 8) == {"h100": 8}


@pytest.mark.parametrize(
    ("last", "after"), [(NOW + 1, 6), (NOW, 8), (NOW - 59.5, 8), (NOW - 60, 6), (NOW - 61, 6)]
)
def test_a_fall_pauses_for_a_fifth_of_the_window(last: float, after: int) -> None:
    assert targets(case(on(replicas=8), memory=memory(last_down_at=last)), 1) == {"h100": after}


@pytest.mark.parametrize(
    ("last", "after"), [(NOW + 1, 6), (NOW, 8), (NOW - 299.5, 8), (NOW - 300, 6)]
)
def test_nothing_goes_within_a_window_of_an_addition(last: float, after: int) -> None:
    assert targets(case(on(replicas=8), memory=memory(last_up_at=last)), 1) == {"h100": after}


def test_at_the_maximum_all_pauses_and_limits_hold() -> None:
    lately = memory(last_up_at=NOW)
    assert targets(case(on(replicas=8), max_replicas=8, memory=lately), 1) == {"h100": 8}
    assert targets(case(on(replicas=8), max_replicas=8, keep_rps=8 * RPS), 1) == {"h100": 8}


def test_a_step_beyond_the_maximum_is_one_where_it_may_be() -> None:
    assert targets(case(on(replicas=12), max_replicas=11), 4) == {"h100": 9}


def test_a_move_takes_away_what_it_replaces_and_one_that_is_considered_does_not() -> None:
    under_way = memory(last_up_at=NOW, move_to="x")
    considered = memory(last_up_at=NOW, move_to="x", move_since=NOW)
    assert targets(case(on(replicas=8), memory=under_way), 1) == {"h100": 6}
    assert targets(case(on(replicas=8), memory=considered), 1) == {"h100": 8}


@pytest.mark.parametrize(("maximum", "after"), [(4, 4), (7, 7), (8, 8)])
def test_more_than_the_maximum_goes_at_once_whatever_is_known(maximum: int, after: int) -> None:
    lately = memory(last_up_at=NOW, last_down_at=NOW)
    there = case(on(replicas=8), max_replicas=maximum, may_fall=False, keep_rps=99.0, memory=lately)
    assert targets(there, 4) == {"h100": after}


def test_what_may_not_stay_serves_on_beside_the_maximum_until_it_is_replaced() -> None:
    there = case(on("gone", 2), on("h100", 4), max_replicas=3, may_fall=False)
    assert targets(there, 0, 3) == {"gone": 2, "h100": 3}


def test_at_the_maximum_doubt_still_holds_what_does_not_serve() -> None:
    there = case(on("gone", 1, ready=0), on("h100", 2), max_replicas=2, may_fall=False)
    assert targets(there, 0, 2) == {"gone": 1, "h100": 2}


@pytest.mark.parametrize(
    ("ready", "rps", "after"),
    [(2, 4 * RPS, 3), (2, 4.1 * RPS, 4), (0, 0.1, 4), (0, 0.0, 3)],
)
def test_what_starts_is_waited_for_while_what_serves_is_overloaded(
    ready: int, rps: float, after: int
) -> None:
    there = case(on(replicas=4, ready=ready), grow_rps=rps, keep_rps=16 * RPS)
    assert targets(there, 2) == {"h100": after}


def test_what_is_late_stays_until_what_serves_does_without_it() -> None:
    slow = replace(FAST, state=replace(FAST.state, late=True), refusal=Verdict.POOL_SHORT)
    late = on("fast", 2, ready=0, unschedulable=2)
    there = case(late, on("slow", 4), choices=(slow, SLOW), keep_rps=8.1)
    assert targets(there, 0, 4) == {"fast": 2, "slow": 4}
    assert targets(replace(there, keep_rps=8.0), 0, 4) == {"fast": 1, "slow": 4}


def test_no_step_of_a_move_goes_below_the_minimum() -> None:
    there = case(
        on("a", 1, ready=0),
        choices=(choice("a", usd=8.0), choice("b")),
        minimum=3,
        memory=memory(move_to="b/tp1"),
    )
    assert targets(there, 0, 3) == {"a": 1, "b": 2}


def test_scale_up_only_takes_nothing() -> None:
    assert targets(case(on(replicas=8), mode=Mode.SCALE_UP_ONLY), 1) == {"h100": 8}


def test_where_only_growth_is_allowed_what_is_lost_gives_way_to_what_replaces_it() -> None:
    gone = on("gone", 3, ready=1)
    there = case(on("fast", 2), gone, choices=(FAST,), mode=Mode.SCALE_UP_ONLY, may_fall=False)
    assert targets(there, 4, 0) == {"fast": 4, "gone": 1}
    # Not more goes than comes.
    assert targets(there, 3, 0) == {"fast": 3, "gone": 2}
    assert targets(there, 2, 0) == {"fast": 2, "gone": 3}


@pytest.mark.parametrize(
    ("keep_rps", "after"), [(2 * RPS, 2), (2 * RPS / COVERED, 2), (2 * RPS * 1.001, 3)]
)
def test_what_stays_serves_the_most_of_the_window(keep_rps: float, after: int) -> None:
    assert targets(case(on(replicas=3), keep_rps=keep_rps), 2) == {"h100": after}


def test_only_what_has_been_ready_for_long_enough_stands_in_for_another() -> None:
    for youngest_s, after in ((29.5, 3), (30.0, 2)):
        there = case(on(replicas=3, youngest_ready_s=youngest_s))
        assert targets(there, 1) == {"h100": after}


def test_what_is_not_ready_goes_without_a_replacement() -> None:
    there = case(on(replicas=2, ready=1, youngest_ready_s=10.0), keep_rps=99.0)
    assert targets(there, 1) == {"h100": 1}
    assert targets(case(on(replicas=2, ready=1), may_fall=False), 1) == {"h100": 2}


def test_who_is_short_gives_nothing_away() -> None:
    assert targets(case(on(replicas=3)), 1, rps=99.0) == {"h100": 3}
    assert targets(case(on(replicas=3, ready=1)), 1, rps=99.0) == {"h100": 3}


@pytest.mark.parametrize(("minimum", "gone"), [(2, 0), (3, 1)])
def test_as_many_as_the_minimum_stay_ready(minimum: int, gone: int) -> None:
    there = case(on("gone", 1), on("h100", 2), minimum=minimum)
    assert targets(there, 0, 2) == {"gone": gone, "h100": 2}


def test_a_replica_that_does_not_serve_yet_is_none_of_the_minimum() -> None:
    there = case(on("gone", 1), on("h100", 3, ready=2), minimum=3)
    assert targets(there, 0, 3) == {"gone": 1, "h100": 3}


def test_what_is_lost_goes_first_then_what_may_not_stay_then_what_gives_least() -> None:
    both = (choice("a", usd=8.0), choice("b", usd=4.0))
    assert targets(case(on("a"), on("b"), choices=both), 0, 0) == {"a": 0, "b": 1}
    assert targets(case(on("b"), on("gone"), choices=both[1:]), 0, 0) == {"b": 1, "gone": 0}
    lost = case(on("gone", 1), on("lost", 1, ready=0), on("h100", 1))
    assert targets(lost, 0, 1, 0) == {"gone": 1, "h100": 1, "lost": 0}


@pytest.mark.parametrize(("youngest_s", "after"), [(10.0, 3), (60.0, 2)])
def test_the_fast_ones_of_a_mix_may_do_alone_once_they_are_ready(
    youngest_s: float, after: int
) -> None:
    variants = on("fast", youngest_ready_s=youngest_s), on("slow", 3)
    there = case(*variants, choices=(FAST, SLOW), keep_rps=16.0, even=True)
    assert targets(there, 1, 0) == {"fast": 1, "slow": after}


@pytest.mark.parametrize(("keep_rps", "after"), [(20.0, 2), (21.0, 3)])
def test_a_mix_that_is_shared_by_ability_does_what_all_of_it_can(
    keep_rps: float, after: int
) -> None:
    there = case(on("fast"), on("slow", 3), choices=(FAST, SLOW), keep_rps=keep_rps, even=False)
    assert targets(there, 1, 0) == {"fast": 1, "slow": after}


@pytest.mark.parametrize(("grow_rps", "after"), [(32.0, 0), (32.1, 2)])
def test_what_will_not_do_goes_once_the_rest_serves_what_is_asked_now(
    grow_rps: float, after: int
) -> None:
    slow = replace(SLOW, refusal=Verdict.MISSES_TTFT, usable_rps=0.0, capacity=None)
    # One fast replica is given 16 requests/s, and holds the targets up to 32.
    there = case(on("fast"), on("slow", 2), choices=(FAST, slow), grow_rps=grow_rps, keep_rps=99.0)
    assert targets(there, 3, 0) == {"fast": 3, "slow": after}


def test_of_what_may_not_stay_for_other_reasons_nothing_is_known() -> None:
    there = case(on("fast"), on("gone", 2), choices=(FAST,), keep_rps=99.0)
    assert targets(there, 3, 0) == {"fast": 3, "gone": 2}
