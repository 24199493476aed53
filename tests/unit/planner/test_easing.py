"""What replicas carried in time needs no more of them, as far as it was seen and while it lasts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cases import memory
from trimtab.models.memory import DeploymentMemory
from trimtab.planner import easing
from trimtab.planner.easing import Carried

NOW = 1e6
WHERE = ("l40s/tp1",)
FULL = Carried(fullness=1.05, late=0.0, allowed=0.01, requests=1000.0, since_s=15.0, where=WHERE)
"""Fuller than replicas are planned to be, and nobody was late."""


def after(carried: Carried, plans: int = 1, start: float = 0.0) -> DeploymentMemory:
    """What is remembered after so many plans in which the same was seen."""
    known = memory(eased=start, eased_at=NOW, eased_where=WHERE)
    for tick in range(plans):
        known = easing.taught(known, carried, NOW + 15.0 * tick)
    return known


def test_all_of_it_is_learnt_in_five_minutes_and_no_more_than_was_seen() -> None:
    assert after(FULL).eased == pytest.approx(easing.MOST / 20)
    assert after(FULL, 10).eased == pytest.approx(easing.MOST / 2, rel=0.05)
    assert after(FULL, 40).eased == pytest.approx(1.0 - 1.0 / (1.1 * 1.05))
    assert after(replace(FULL, fullness=1.3), 40).eased == easing.MOST


@pytest.mark.parametrize("fullness", [0.0, 0.5, 0.9])
def test_replicas_that_are_not_full_show_nothing(fullness: float) -> None:
    idle = replace(FULL, fullness=fullness)
    assert after(idle, 40).eased == 0.0
    assert after(idle, 40, start=0.1) == memory(eased=0.1, eased_at=NOW, eased_where=WHERE)


def test_few_requests_show_little() -> None:
    assert after(replace(FULL, requests=10.0)).eased == pytest.approx(easing.MOST / 100)


def test_half_of_what_may_be_late_changes_nothing_and_more_takes_it_back() -> None:
    assert after(replace(FULL, late=0.005), start=0.05).eased == pytest.approx(0.05)
    assert after(replace(FULL, late=0.005, fullness=0.1), start=0.05).eased == pytest.approx(0.05)
    assert after(replace(FULL, late=0.01), start=0.05).eased < 0.05
    assert after(replace(FULL, late=0.5), start=0.05).eased == 0.0
    assert after(replace(FULL, late=0.01, fullness=0.1), start=0.05).eased < 0.05


def test_it_fades_and_holds_only_where_it_was_seen() -> None:
    known = memory(eased=0.1, eased_at=NOW, eased_where=WHERE)
    assert easing.eased(known, NOW, WHERE) == 0.1
    assert easing.eased(known, NOW + easing.HALF_LIFE_S, WHERE) == pytest.approx(0.05)
    assert easing.eased(known, NOW - 1e5, WHERE) == 0.1  # a clock that went back
    assert easing.eased(known, NOW, ("a100/tp1",)) == 0.0
    assert easing.forgotten(known).eased == 0.0


@given(fullness=st.floats(0.0, 5.0), late=st.floats(0.0, 1.0), start=st.floats(0.0, easing.MOST))
def test_it_is_never_more_than_may_be_let_go_of(fullness: float, late: float, start: float) -> None:
    found = after(replace(FULL, fullness=fullness, late=late), 3, start=start).eased
    assert 0.0 <= found <= easing.MOST
