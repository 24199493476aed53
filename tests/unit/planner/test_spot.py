"""Spot: the floor follows from reclaims, start-up and what may be late; the cost from the same."""

import pytest

from builders import pool
from trimtab.api.policy import CapacityType
from trimtab.planner.spot import Risk, domain_of, interruption_cost, share_down, survive_share


def test_only_spot_is_lost_with_its_domain() -> None:
    assert domain_of(pool(capacity_type=CapacityType.SPOT, failure_domain="zone-a")) == "zone-a"
    assert domain_of(pool(capacity_type=CapacityType.ON_DEMAND, failure_domain="zone-a")) == ""
    assert domain_of(pool(capacity_type=CapacityType.RESERVED, failure_domain="zone-a")) == ""


def test_rare_reclaims_and_fast_starts_need_no_floor() -> None:
    # A reclaim every 20 hours that lasts a minute: 0.08 % of the time, and 5 % may be late.
    assert survive_share(Risk(reclaims_per_hour=0.05, ready_s=60.0), 0.95) == 0.0
    assert survive_share(Risk(reclaims_per_hour=0.0, ready_s=3600.0), 0.99) == 0.0


def test_frequent_reclaims_and_slow_starts_need_more_of_one() -> None:
    # Half an hour lost every five hours: a tenth of the time; 5 % may be late, half of it here.
    slow = Risk(reclaims_per_hour=0.2, ready_s=1800.0)
    assert survive_share(slow, 0.95) == pytest.approx(0.75)
    assert survive_share(slow, 0.99) == pytest.approx(0.95)
    assert survive_share(Risk(reclaims_per_hour=0.2, ready_s=900.0), 0.95) == pytest.approx(0.5)


def test_an_interruption_costs_its_bridge_and_its_own_start() -> None:
    risk = Risk(reclaims_per_hour=0.2, ready_s=1800.0)
    assert interruption_cost(1.0, 3.0, risk) == pytest.approx(0.4)
    assert interruption_cost(1.0, 0.0, risk) == pytest.approx(0.2)
    assert interruption_cost(1.0, 3.0, Risk(reclaims_per_hour=0.0, ready_s=60.0)) == 0.0


def test_a_domain_is_down_for_no_more_than_all_of_the_time() -> None:
    assert share_down(Risk(ready_s=1e6, reclaims_per_hour=5.0)) == 1.0
