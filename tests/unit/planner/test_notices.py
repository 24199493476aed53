"""Replicas on nodes that are about to be taken back: others come before they go."""

from dataclasses import replace

from fleetworld import CHEAP, DEAR, FleetWorld, fresh_load, running
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import Why


def serving(rps: float = 40.0) -> FleetWorld:
    """Three replicas of 13.6 requests/s, Ready for long, all on the cheap pool."""
    there = running(rps, pools=(CHEAP, DEAR))
    assert there.ready(pool="cheap") == there.replicas() == 3
    return there


def least_ready(there: FleetWorld, seconds: float) -> int:
    """The fewest Ready replicas of that time, seen before each plan."""
    least = there.ready()
    for _ in range(int(seconds / 15.0)):
        there.tick()
        least = min(least, there.ready())
    return least


def test_others_come_before_what_has_notice_goes() -> None:
    there = serving()
    there.announce("cheap", 2, in_s=120.0)
    decision = there.tick(0.0).decisions[0]
    assert decision.why is Why.NODE_NOTICE
    assert "2 replicas stand on nodes about to be taken back" in decision.message
    assert there.replicas() == 5
    assert there.tick().decisions[0].why is Why.NODE_NOTICE
    assert there.replicas() == 5
    assert least_ready(there, 300.0) == 3


def test_without_notice_the_same_loss_is_felt() -> None:
    there = serving()
    there.announce("cheap", 2, in_s=0.0)
    there.pass_time(1.0)
    assert least_ready(there, 300.0) == 1


def test_what_replaced_them_goes_again_after_a_window() -> None:
    there = serving()
    there.announce("cheap", 2, in_s=120.0)
    there.run(3600.0)
    assert there.replicas() == there.ready() == 3


def test_where_all_have_notice_all_are_replaced_and_none_is_removed() -> None:
    there = serving()
    there.announce("cheap", 3, in_s=120.0)
    there.tick(0.0)
    assert there.replicas() >= 5
    assert least_ready(there, 300.0) == 3


def test_they_are_replaced_although_nothing_is_measured() -> None:
    there = serving()
    there.set_load(ObservedLoad())
    there.announce("cheap", 1, in_s=120.0)
    there.tick(0.0)
    assert there.replicas() == 4
    assert least_ready(there, 300.0) == 3


def test_it_stays_within_the_maximum() -> None:
    there = serving()
    (key,) = there.deployments
    policy = there.deployments[key].policy
    assert policy is not None
    there.deployments[key] = replace(there.deployments[key], policy=replace(policy, max_replicas=4))
    there.announce("cheap", 3, in_s=120.0)
    for _ in range(20):
        there.tick()
        assert there.replicas() <= 4


def test_a_lower_maximum_counts_them_for_they_are_still_there() -> None:
    there = serving()
    (key,) = there.deployments
    policy = there.deployments[key].policy
    assert policy is not None
    there.announce("cheap", 2, in_s=120.0)
    there.tick(0.0)
    assert there.replicas() == 5
    there.deployments[key] = replace(there.deployments[key], policy=replace(policy, max_replicas=3))
    there.tick(0.0)
    assert there.replicas() == 3


def test_nothing_else_is_taken_meanwhile_for_what_goes_serves_no_longer() -> None:
    there = serving()
    there.set_load(fresh_load(20.0))
    there.run(240.0)
    before = there.replicas()
    there.announce("cheap", 1, in_s=600.0)
    for _ in range(38):
        there.tick()
        staying = there.ready() - sum(v.going for v in there.snapshot().deployments[0].variants)
        assert staying >= 2
    assert before == 3
