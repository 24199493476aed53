"""AIBrix's optimizer buys what its own code buys, and its autoscalers follow within their caps."""

import json
from functools import cache
from typing import Any

import pytest

from trimtab.simulate.rivals.aibrix import (
    Apa,
    ApaMemory,
    GpuOptimizer,
    Profiles,
    apa_replicas,
)
from trimtab.simulate.rivals.base import Arrival
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

VECTORS = load("aibrix_gpu_optimizer")["vectors"]
CASES = [vector for vector in VECTORS if "workload" in vector]


@cache
def profiles(slo: str) -> tuple[Profiles, dict[str, float]]:
    """The profiles that the file gives once for each target, and their costs."""
    (rows,) = [v["profiles"] for v in VECTORS if "profiles" in v and json.dumps(v["slo"]) == slo]
    outputs, inputs = rows[0]["indexes"]
    return (
        Profiles(
            input_tokens=tuple(inputs),
            output_tokens=tuple(outputs),
            throughputs={row["gpu"]: tuple(map(tuple, row["tputs"])) for row in rows},
        ),
        {row["gpu"]: row["cost"] for row in rows},
    )


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{json.dumps(c['slo'])}-{c['workload']}-{c['rate_rps']}" for c in CASES]
)
def test_it_buys_what_aibrix_buys(case: dict[str, Any]) -> None:
    table, costs = profiles(json.dumps(case["slo"]))
    shapes = case["requests_in_out_weight"]
    weights = sum(weight for _, _, weight in shapes)
    arrivals = [
        Arrival(
            at=0.0,
            input_tokens=inputs,
            output_tokens=outputs,
            count=case["rate_rps"] * weight / weights,
        )
        for inputs, outputs, weight in shapes
    ]
    mix = table.mix(costs, table.counts(arrivals))
    assert mix.counts | {"cost": mix.cost} == pytest.approx(case["output"], rel=1e-12)


@pytest.mark.parametrize(
    ("current", "wanted", "replicas"),
    [(10, 11.0, 10), (10, 9.0, 10), (10, 11.1, 12), (10, 8.9, 9), (10, 99.0, 20), (5, 0.0, 2)],
)
def test_a_pool_moves_outside_the_tolerance_and_within_the_caps(
    current: int, wanted: float, replicas: int
) -> None:
    assert apa_replicas(current, wanted) == replicas


APA = Apa(pool="a", read=lambda scrape: scrape.kv_used, target=0.5)


def test_a_move_down_waits_300_s_after_any_move_and_a_move_up_does_not() -> None:
    busy = observation(pool("a", [replica(kv_used=0.9)] * 4))
    idle = observation(pool("a", [replica(kv_used=0.1)] * 4))
    memory = APA.decide(busy, APA.start(busy, 0.0), 0.0).memory
    assert APA.decide(idle, memory, 290.0).replicas == {"a": 4}
    assert APA.decide(idle, memory, 300.0).replicas == {"a": 2}
    assert APA.decide(busy, memory, 10.0).replicas == {"a": 8}


def test_a_metric_that_nobody_reports_changes_nothing() -> None:
    seen = observation(pool("a", [replica(phase="loading")] * 4))
    assert APA.decide(seen, ApaMemory(), 0.0).replicas == {}


def test_it_reads_pods_and_no_prometheus() -> None:
    seen = observation(pool("a", [replica(kv_used=0.9)] * 4), metrics="fails")
    assert APA.decide(seen, ApaMemory(), 0.0).replicas == {"a": 8}


TWO = Profiles(
    input_tokens=(128.0, 1024.0),
    output_tokens=(128.0,),
    throughputs={"small": ((4.0, 0.5),), "large": ((10.0, 5.0),)},
)


def test_the_optimizer_watches_a_window_and_the_pools_follow() -> None:
    rival = GpuOptimizer(profiles=TWO)
    pools = (pool("small", [replica()], price=1.0), pool("large", [replica()], price=4.0))
    memory = rival.start(observation(*pools), 0.0)
    short = Arrival(at=5.0, input_tokens=100, output_tokens=100, count=70)
    decision = rival.decide(observation(*pools, arrivals=(short,)), memory, 10.0)
    # 7 requests/s: two small ones; the large one may at most be halved, to none.
    assert decision.replicas == {"small": 2, "large": 0}
    long = Arrival(at=235.0, input_tokens=1100, output_tokens=100, count=2400)
    later = rival.decide(observation(*pools, arrivals=(long,)), decision.memory, 240.0)
    # 10 requests/s of the window's 240 s: two large ones, and 0.3 short ones fit beside them.
    assert later.reason == "mix {'small': 1, 'large': 2}"
    last = rival.decide(observation(*pools), later.memory, 480.0)
    assert last.reason == "mix {'small': 0, 'large': 0}"


def test_the_minimum_is_kept_in_the_cheapest_pool() -> None:
    rival = GpuOptimizer(profiles=TWO)
    seen = observation(pool("small", price=1.0), pool("large", price=4.0), minimum=1)
    assert rival.decide(seen, rival.start(seen, 0.0), 10.0).replicas == {"small": 1, "large": 0}
