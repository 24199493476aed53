"""Arrays of states are kept between plans, and are those of the very states that are asked for."""

from dataclasses import replace

import numpy as np
import pytest

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast import look, observe
from trimtab.planner.forecast.opened import FIELDS, forget, opened


def learnt(rps: float) -> ForecastState:
    state = ForecastState()
    for minute in range(40):
        state = observe(state, now=60.0 * minute, rps=rps + minute % 7)
    return state


STATES = learnt(3.0), learnt(50.0), learnt(0.0)


def check(*states: ForecastState) -> None:
    for name, array in zip(FIELDS, opened(states), strict=True):
        assert np.array_equal(array, np.array([getattr(state, name) for state in states]))


@pytest.mark.parametrize("kept", [True, False])
def test_in_any_order_every_state_gets_its_own(kept: bool) -> None:
    forget()
    if kept:
        look(STATES)
    check(*STATES)
    check(STATES[2], STATES[0])
    check(STATES[1], learnt(7.0))


def test_a_state_that_shares_a_part_only_is_another() -> None:
    look(STATES)
    losses = tuple(tuple(2.0 * loss for loss in row) for row in STATES[1].losses)
    check(STATES[0], replace(STATES[1], losses=losses))


def test_what_is_opened_may_be_changed() -> None:
    look(STATES)
    for array in opened(STATES):
        array += 1.0
    check(*STATES)


def test_states_that_were_kept_apart_are_opened_together() -> None:
    older = replace(STATES[0], at=2350.0)
    look([older, *STATES[1:]])
    check(older, STATES[1])
