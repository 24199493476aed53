"""Knative's autoscaler decides as its own code does."""

from typing import Any

import pytest

from trimtab.simulate.rivals.kpa import Kpa, KpaSettings, record, restarted, scale
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

FILE = load("kpa")
CASES = list(zip(FILE["input"], FILE["output"], strict=True))


@pytest.mark.parametrize(("case", "truth"), CASES, ids=[case["Name"] for case, _ in CASES])
def test_it_decides_as_knative_does(case: dict[str, Any], truth: dict[str, Any]) -> None:
    settings = KpaSettings(
        target=case["Target"],
        stable_s=case["StableS"],
        panic_share=case["PanicPct"] / 100,
        panic_threshold=case["PanicThresholdPct"] / 100,
        max_up=case["MaxUp"],
        max_down=case["MaxDown"],
        down_delay_s=case["ScaleDownDelayS"],
    )
    ready, ticks, desired = case["Start"], truth["ready_every_2s"], []
    memory = restarted(ready, 0.0)
    for second, value in enumerate(case["Values"]):
        memory = record(memory, second, value, settings)
        if second % 2:
            wanted, memory = scale(memory, ready, settings, float(second))
            assert wanted is not None
            desired.append(min(wanted, case["Max"] or wanted))
            ready = ticks[second // 2]
    assert desired == truth["desired_every_2s"]


def test_it_goes_to_zero_after_a_window_and_a_grace_and_comes_back_for_one_held_request() -> None:
    kpa = Kpa(pool="a")
    one = pool("a", [replica()])
    memory = kpa.start(observation(one, minimum=0), 0.0)
    decided = []
    for tick in range(1, 61):
        busy = 1.0 if tick <= 5 else 0.0
        decision = kpa.decide(observation(one, ongoing=busy, minimum=0), memory, 2.0 * tick)
        memory = decision.memory
        decided.append(decision.replicas["a"])
    # Work until 10 s, an empty window at 70 s, the end of the grace at 100 s.
    assert decided == [1] * 49 + [0] * 11
    empty = pool("a", [])
    assert kpa.decide(observation(empty, ongoing=1.0, minimum=0), memory, 122.0).replicas == {
        "a": 1
    }


def test_the_bounds_hold_last() -> None:
    kpa = Kpa(pool="a")
    two = observation(pool("a", [replica()] * 2), minimum=2, maximum=8, ongoing=1000.0)
    assert kpa.decide(two, kpa.start(two, 0.0), 2.0).replicas == {"a": 8}
    idle = observation(pool("a", [replica()] * 2), minimum=2, maximum=8)
    assert kpa.decide(idle, restarted(0, 0.0), 2.0).replicas == {"a": 2}
