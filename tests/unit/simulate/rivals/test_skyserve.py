"""SkyServe's target is its own code's, and its replicas lie where its rule puts them."""

from typing import Any

import pytest

from trimtab.simulate.rivals.base import Arrival, Observation, Pool
from trimtab.simulate.rivals.skyserve import (
    WINDOW_S,
    Patience,
    SkyServe,
    SkyServeMemory,
    Spot,
    patient,
    raw_target,
)
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

CASES = load("skyserve_autoscaler")["vectors"]


@pytest.mark.parametrize("case", CASES, ids=[f"delay{c['upscale_delay_s']}" for c in CASES])
def test_it_decides_as_skyserve_does(case: dict[str, Any]) -> None:
    patience = Patience(target=0)
    delays = (case["upscale_delay_s"], case["downscale_delay_s"])
    for at, qps, raw_truth, target_truth in case["rows"]:
        raw = raw_target(qps * WINDOW_S, case["target_qps_per_replica"])
        assert raw == raw_truth, at
        patience = patient(patience, max(case["min"], min(case["max"], raw)), delays)
        assert patience.target == target_truth, at


def one_rps(until: float, seconds: int = 5) -> list[Arrival]:
    return [Arrival(at=until - s, input_tokens=1, output_tokens=1) for s in range(seconds)]


def test_it_reads_every_20_s_and_every_5_s_at_zero() -> None:
    rival = SkyServe(target_qps=0.1, up_delay_s=40.0)
    memory = SkyServeMemory(patience=Patience(target=0))
    targets = []
    for call in range(1, 21):
        now = 5.0 * call
        seen = observation(pool("a"), arrivals=one_rps(now), minimum=0)
        decision = rival.decide(seen, memory, now)
        memory = decision.memory
        targets.append(decision.replicas["a"])
    # 1 at once for 5 requests. At 25 s 25 of them want 5, and at 45 s the second reading in a row
    # wants 8; likewise 10 at 65 and 85 s.
    assert targets == [1] * 8 + [8] * 8 + [10] * 4


SPOT = SkyServe(target_qps=1.0, spot=Spot(dynamic_ondemand=True))


def spot_pool(name: str, ready: int, price: float, **fields: Any) -> Pool:
    return pool(name, [replica() for _ in range(ready)], spot=True, price=price, **fields)


def decided(
    rival: SkyServe, target: int, seen: Observation, avoided: frozenset[str] = frozenset()
) -> tuple[dict[str, int], frozenset[str]]:
    memory = SkyServeMemory(patience=Patience(target=target), read_at=0.0, avoided=avoided)
    decision = rival.decide(seen, memory, 5.0)
    return dict(decision.replicas), decision.memory.avoided


def test_spot_goes_to_unused_locations_first_and_then_to_the_cheapest() -> None:
    pools = [spot_pool("a", 0, 1.0), spot_pool("b", 0, 2.0), spot_pool("c", 0, 3.0)]
    rival = SkyServe(target_qps=1.0, spot=Spot())
    assert decided(rival, 2, observation(*pools))[0] == {"a": 1, "b": 1, "c": 0}
    assert decided(rival, 5, observation(*pools))[0] == {"a": 3, "b": 1, "c": 1}


def test_a_location_that_lost_one_is_avoided_until_one_other_remains() -> None:
    a = spot_pool("a", 0, 1.0, desired=1, lost=1)
    b, c = spot_pool("b", 1, 2.0), spot_pool("c", 0, 3.0)
    rival = SkyServe(target_qps=1.0, spot=Spot())
    replicas, avoided = decided(rival, 2, observation(a, b, c))
    assert replicas == {"a": 0, "b": 1, "c": 1}
    assert avoided == {"a"}
    # With b lost as well one location would be left: all are open again.
    a, b = spot_pool("a", 0, 1.0), spot_pool("b", 0, 2.0, desired=1, lost=1)
    replicas, avoided = decided(rival, 2, observation(a, b, spot_pool("c", 1, 3.0)), avoided)
    assert replicas == {"a": 1, "b": 0, "c": 1}
    assert avoided == frozenset()


def test_ondemand_stands_in_for_spot_that_is_not_ready_but_never_for_spares() -> None:
    spare = SkyServe(target_qps=1.0, spot=Spot(dynamic_ondemand=True, overprovision=2))
    od = pool("od", price=5.0)
    assert decided(SPOT, 3, observation(od, spot_pool("a", 1, 1.0)))[0] == {"a": 3, "od": 2}
    assert decided(SPOT, 3, observation(od, spot_pool("a", 3, 1.0)))[0] == {"a": 3, "od": 0}
    assert decided(spare, 3, observation(od, spot_pool("a", 3, 1.0)))[0] == {"a": 5, "od": 0}


def test_ondemand_fails_over_to_the_next_cheapest() -> None:
    a, b = pool("a", [], price=1.0, desired=1, lost=1), pool("b", price=2.0)
    assert decided(SkyServe(target_qps=1.0), 1, observation(a, b))[0] == {"a": 0, "b": 1}
