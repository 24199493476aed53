"""What the conditions of a deployment say."""

from dataclasses import replace

from fleetworld import fresh_load, running
from trimtab.api.conditions import ConditionType


def test_where_signals_come_from_is_said_beside_what_they_are() -> None:
    there = running(10.0)
    there.set_load(replace(fresh_load(10.0), note="Prometheus is down: pages are read"))
    facts = {fact.type: fact for fact in there.tick().decisions[0].facts}
    fact = facts[ConditionType.METRICS_AVAILABLE]
    assert fact.status is True
    assert fact.message == "All needed signals are fresh (Prometheus is down: pages are read)"
