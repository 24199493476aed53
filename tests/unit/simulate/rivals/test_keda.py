"""KEDA goes to and from zero by itself, and an empty Prometheus looks idle to it."""

from dataclasses import replace
from typing import Any

import pytest

from trimtab.simulate.rivals.base import Arrival, Observation
from trimtab.simulate.rivals.hpa import HpaMemory
from trimtab.simulate.rivals.keda import Keda, KedaMemory, Trigger, production_stack
from unit.simulate.rivals.builders import observation, pool, replica

KEDA = Keda(pool="a", triggers=(Trigger(read=lambda scrape: scrape.waiting, threshold=5.0),))
ONE = (Arrival(at=0.0, input_tokens=1, output_tokens=1),)


def play(rival: Keda, seen: Observation, seconds: float, memory: KedaMemory | None = None) -> Any:
    """The replicas at every sync when `seen` lasts and what is asked for comes at once."""
    memory = rival.start(seen, 0.0) if memory is None else memory
    asked, page = [], seen.pools[0].replicas[0] if seen.pools[0].replicas else replica()
    for step in range(int(seconds / rival.interval_s) + 1):
        decision = rival.decide(seen, memory, step * rival.interval_s)
        memory = decision.memory
        asked.append(decision.replicas.get("a", seen.pools[0].desired))
        seen = replace(seen, pools=(pool("a", [page] * asked[-1]),))
    return asked


def test_the_threshold_is_for_each_pod_of_the_sum() -> None:
    busy = observation(pool("a", [replica(waiting=12.0)] * 2))
    assert KEDA.decide(busy, KEDA.start(busy, 0.0), 0.0).replicas == {"a": 4}


def test_it_goes_to_zero_once_the_cooldown_is_over_and_only_with_a_minimum_of_zero() -> None:
    idle = observation(pool("a", [replica()]), minimum=0)
    assert play(KEDA, idle, 315.0) == [1] * 20 + [0] * 2
    assert play(KEDA, replace(idle, minimum=1), 600.0) == [1] * 41


def test_an_empty_answer_drains_to_the_minimum_and_to_zero_and_a_failing_server_holds() -> None:
    busy = observation(pool("a", [replica(waiting=5.0)] * 4), metrics="empty", minimum=0)
    assert play(KEDA, busy, 300.0)[-2:] == [4, 0]
    assert play(KEDA, replace(busy, minimum=1), 600.0)[-1] == 1
    failing = observation(pool("a", [replica(waiting=5.0)] * 4), metrics="fails", minimum=0)
    assert play(KEDA, failing, 1200.0) == [4] * 81
    strict = replace(KEDA, triggers=(replace(KEDA.triggers[0], ignore_null=False),))
    assert play(strict, busy, 1200.0) == [4] * 81


def test_a_new_operator_leaves_at_zero_what_is_there_and_idle() -> None:
    idle = observation(pool("a"), minimum=0)
    assert play(KEDA, idle, 60.0) == [0] * 5
    assert play(production_stack("a"), replace(idle, arrivals=ONE), 0.0) == [1]


STACK = production_stack("a")


def test_the_stack_adds_one_pod_a_minute() -> None:
    busy = observation(pool("a", [replica(running=50.0)]))
    assert play(STACK, busy, 120.0) == [2] * 4 + [3] * 4 + [4]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ({"running": 5.4}, 2),
        ({"running": 9.0, "output_tokens_per_s": 90.0}, 3),
        ({"prompt_tokens_per_s": 140.0}, 3),
    ],
)
def test_the_stack_takes_the_worst_of_its_three_triggers(
    page: dict[str, Any], expected: int
) -> None:
    memory = KedaMemory(hpa=HpaMemory(recommendations=()), polled_at=0.0, active_at=0.0)
    seen = observation(pool("a", [replica(**page)] * 2))
    assert STACK.decide(seen, memory, 15.0).replicas == {"a": expected}


def test_the_stack_sleeps_after_half_an_hour_and_a_request_wakes_it_at_the_next_poll() -> None:
    idle = observation(pool("a", [replica()]), minimum=0)
    assert play(STACK, idle, 1815.0)[-3:] == [1, 0, 0]
    zero = observation(pool("a"), minimum=0)
    memory = replace(STACK.start(zero, 0.0), polled_at=0.0, active_at=-3600.0)
    first = STACK.decide(replace(zero, arrivals=ONE), memory, 15.0)
    assert first.replicas == {"a": 0}
    assert STACK.decide(zero, first.memory, 30.0).replicas == {"a": 1}
