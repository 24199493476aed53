"""The token analyzer of WVA 0.9 counts room and demand as its rule says."""

from dataclasses import replace
from typing import Any

import pytest

from trimtab.simulate.rivals.base import Arrival, Observation
from trimtab.simulate.rivals.wva_tokens import TokensMemory, WvaTokens
from unit.simulate.rivals.builders import observation, pool, replica

WVA = WvaTokens()
# 100,000 tokens of KV cache, of which 80,000 count.
CHEAP: dict[str, Any] = {"price": 1.0, "kv_tokens": 100_000.0}


def decided(seen: Observation, memory: TokensMemory | None = None) -> dict[str, int]:
    memory = TokensMemory() if memory is None else memory
    return dict(WVA.decide(seen, memory, 0.0).replicas)


@pytest.mark.parametrize(
    ("kv_used", "expected"), [(0.67, 2), (0.69, 3), (0.57, 2), (0.5, 2), (0.27, 1)]
)
def test_it_moves_outside_its_band(kv_used: float, expected: int) -> None:
    seen = observation(pool("a", [replica(kv_used=kv_used)] * 2, **CHEAP))
    assert decided(seen) == {"a": expected}


def test_waiting_and_held_prompts_are_demand() -> None:
    waiting = pool("a", [replica(kv_used=0.3, waiting_prompt_tokens=60_000.0)], **CHEAP)
    assert decided(observation(waiting)) == {"a": 2}
    held = observation(
        pool("a", [replica(kv_used=0.3)], **CHEAP),
        arrivals=(Arrival(at=0.0, input_tokens=6000, output_tokens=1),),
        held=10.0,
    )
    assert decided(held) == {"a": 2}


def test_coming_replicas_count_as_room() -> None:
    starting = [replica(kv_used=0.79), replica(phase="pending"), replica(phase="loading")]
    assert decided(observation(pool("a", starting, **CHEAP))) == {"a": 2}
    assert decided(observation(pool("a", starting[:2], **CHEAP))) == {"a": 2}


def test_a_queue_teaches_how_much_really_fits() -> None:
    full = observation(pool("a", [replica(kv_used=0.4, waiting=5.0)], **CHEAP))
    memory = WVA.decide(full, TokensMemory(), 0.0).memory
    assert memory.in_use == {"a": (40_000.0,)}
    calm = observation(pool("a", [replica(kv_used=0.39)], **CHEAP))
    assert decided(calm) == {"a": 1}
    assert decided(calm, memory) == {"a": 2}
    for _ in range(12):
        memory = WVA.decide(full, memory, 0.0).memory
    assert len(memory.in_use["a"]) == 10


def test_a_queue_before_an_empty_cache_teaches_nothing() -> None:
    empty = observation(pool("a", [replica(kv_used=5e-324, waiting=5.0)], **CHEAP))
    assert WVA.decide(empty, TokensMemory(), 0.0).memory.in_use == {}


def test_the_cheapest_room_grows_and_the_dearest_variant_shrinks() -> None:
    big: dict[str, Any] = {"price": 3.0, "kv_tokens": 400_000.0}
    busy = (pool("a", [replica(kv_used=0.79)], **CHEAP), pool("b", [replica(kv_used=0.79)], **big))
    assert decided(observation(*busy)) == {"a": 1, "b": 2}
    idle = (pool("a", [replica()] * 3, **CHEAP), pool("b", [replica()] * 2, **big))
    assert decided(observation(*idle)) == {"a": 1, "b": 0}


def test_a_missing_page_counts_as_idle_and_no_metrics_at_all_hold() -> None:
    blind = replace(replica(), scrape=None)
    seen = pool("a", [replica(kv_used=0.6), blind, blind], **CHEAP)
    assert decided(observation(seen)) == {"a": 2}
    assert decided(observation(seen, metrics="empty")) == {}
    assert decided(observation(seen, metrics="fails")) == {}


def test_the_bounds_hold() -> None:
    busy = pool("a", [replica(kv_used=0.79)], **CHEAP)
    assert decided(observation(busy, maximum=1)) == {}
