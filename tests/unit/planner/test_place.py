"""A variant as it is or could be: what of it serves, stands in, waits in vain, and may stay."""

import math
from typing import Any

import pytest

from cases import CONFIG, choice, on, pool_state
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import Key
from trimtab.planner.choice import Choice
from trimtab.planner.place import Place, Vacant, places_of, vacant

SHORT = choice(state=pool_state(short=True), refusal=Verdict.POOL_SHORT)


def could_be(*choices: Choice) -> Vacant:
    return vacant(Key(namespace="assistants", name="chat"), choices)


def place(one: Choice | None = None, **variant: Any) -> Place:
    there = could_be() if one is None else could_be(one)
    (found,), _ = places_of([on(**({"replicas": 5} | variant))], there, CONFIG)
    return found


@pytest.mark.parametrize(
    ("ready", "youngest_s", "counts"),
    [(3, 30.0, (3, 3)), (3, 29.5, (3, 0)), (3, None, (3, 0)), (7, 60.0, (5, 5))],
)
def test_ready_replicas_stand_in_for_others_once_the_youngest_is_old_enough(
    ready: int, youngest_s: float | None, counts: tuple[int, int]
) -> None:
    found = place(choice(), ready=ready, youngest_ready_s=youngest_s)
    assert (found.ready, found.stable) == counts


def test_what_waits_on_a_short_pool_counts_no_more() -> None:
    stuck = place(SHORT, ready=3, unschedulable=1)
    assert (stuck.stuck, stuck.supply, stuck.lost) == (1, 4, 1)
    most = place(SHORT, ready=3, unschedulable=9)
    assert (most.stuck, most.supply, most.lost) == (2, 3, 2)
    patient = place(choice(), ready=3, unschedulable=1)
    assert (patient.stuck, patient.supply, patient.lost) == (0, 5, 0)


@pytest.mark.parametrize("one", [None, choice(refusal=Verdict.NOT_ALLOWED), choice(rps=0.0)])
def test_what_may_not_stay_supplies_nothing_and_what_is_not_ready_of_it_is_lost(
    one: Choice | None,
) -> None:
    found = place(one, ready=3)
    assert (found.stays, found.supply, found.lost) == (False, 0, 2)


def test_little_is_enough_to_stay() -> None:
    assert place(choice(rps=0.5)).stays
    assert place(choice(rps=0.5)).ratio == 8.0
    assert place(choice(weight=None)).ratio == math.inf
    assert place(choice(rps=0.0)).ratio == math.inf
    assert place(choice(refusal=Verdict.OVER_BUDGET)).stays


def test_places_are_what_could_be_and_what_is_in_order() -> None:
    empty = could_be(choice("b"), choice("a"), choice("a", parallelism=Parallelism(tensor=2)))
    there, running = places_of([on("gone"), on("b", 2)], empty, CONFIG)
    assert [(p.name, p.replicas) for p in there] == [
        ("a/tp1", 0), ("a/tp2", 0), ("b/tp1", 2), ("gone/tp1", 1),
    ]  # fmt: skip
    assert [p.name for p in running] == ["b/tp1", "gone/tp1"]
    assert {(p.ready, p.stable, p.supply, p.lost) for p in there[:2]} == {(0, 0, 0, 0)}
    _, leaving = places_of([on("a", 0, pods=1)], empty, CONFIG)
    assert [(p.name, p.held) for p in leaving] == [("a/tp1", 1)]
    assert places_of([], empty, CONFIG) == (empty.places, ())


def test_the_best_is_what_serves_at_the_least_for_a_request() -> None:
    dear, cheap = choice("a", usd=8.0), choice("b", usd=4.0, refusal=Verdict.OVER_BUDGET)
    blind = choice("c", rps=0.0, usd=0.0)
    found = could_be(dear, cheap, blind)
    assert found.best is cheap
    assert found.growing is dear
    assert (found.pools, found.widest) == (("a", "b", "c"), 1)
    assert could_be(blind).best is None
    assert could_be(cheap).growing is None
    assert could_be().widest == 0
    slow = choice("a", rps=0.5)
    assert could_be(slow).best is slow
