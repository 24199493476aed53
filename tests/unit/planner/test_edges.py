"""The search for an edge finds the side on which the answer is the other one, and stays near it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.planner.edges import EDGE, cents, edge, first, round_up

LEVELS = st.floats(min_value=0.01, max_value=100.0)


@given(LEVELS)
def test_an_edge_is_found_from_either_side(level: float) -> None:
    above = edge(0.001, 1000.0, lambda value: value >= level)
    assert above is not None
    assert level <= above <= level * (1.0 + 2.0 * EDGE)
    below = edge(1000.0, 0.001, lambda value: value <= level)
    assert below is not None
    assert level * (1.0 - 2.0 * EDGE) <= below <= level


def test_what_never_holds_has_no_edge() -> None:
    assert edge(1.0, 8.0, lambda _: False) is None
    assert first(1.0, 1.25, lambda _: False) is None


@given(st.floats(min_value=1.01, max_value=200.0))
def test_the_first_other_answer_on_the_way_is_found(level: float) -> None:
    found = first(1.0, 1.25, lambda rate: rate >= level)
    assert found is not None
    assert level <= found <= level * (1.0 + 2.0 * EDGE)


def test_an_island_wider_than_a_step_is_not_jumped_over() -> None:
    found = first(1.0, 1.25, lambda rate: 2.0 <= rate <= 2.6)
    assert found is not None
    assert 2.0 <= found <= 2.6


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.0234, 0.024), (0.8301, 0.84), (0.83, 0.83), (61.2, 62.0)]
)
def test_a_target_is_rounded_to_what_one_would_write_and_never_tighter(
    seconds: float, rounded: float
) -> None:
    assert round_up(seconds) == rounded


@pytest.mark.parametrize(
    ("usd", "down", "rounded"),
    [(2.109, True, 2.10), (2.101, False, 2.11), (0.0729, True, 0.072), (0.5, True, 0.5)],
)
def test_a_price_is_rounded_to_the_side_on_which_it_holds(
    usd: float, down: bool, rounded: float
) -> None:
    assert cents(usd, down=down) == rounded
