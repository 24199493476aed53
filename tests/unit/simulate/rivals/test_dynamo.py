"""Dynamo's planner reads its profiles as its own code does, and its loops do what it says."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from trimtab.simulate.rivals.base import Arrival, Observation, Source
from trimtab.simulate.rivals.dynamo import Dynamo, DynamoMemory, estimate
from trimtab.simulate.rivals.dynamo_profile import DecodeSweep, PrefillSweep, engines, spline
from trimtab.simulate.rivals.surface import Surface
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

CASES = load("dynamo_planner")["static"]
PROFILES = load("dynamo_measured_profiles")["profiles"]


@cache
def sweeps(name: str) -> tuple[PrefillSweep, DecodeSweep]:
    prefill, decode = PROFILES[name]["prefill"], PROFILES[name]["decode"]
    room = decode["max_kv_tokens"]
    # KV uses are rounded in the file; the sweep ran whole requests.
    points = [
        (round(used * room / context), context)
        for used, context in zip(decode["x_kv_usage"], decode["y_context_length"], strict=True)
    ]
    return (
        PrefillSweep(
            input_tokens=tuple(prefill["prefill_isl"]),
            ttft_ms=tuple(prefill["prefill_ttft"]),
            tokens_per_s_gpu=tuple(prefill["prefill_thpt_per_gpu"]),
        ),
        DecodeSweep(room, points, decode["z_itl"], decode["z_thpt_per_gpu"]),
    )


@pytest.mark.parametrize(
    "case", CASES, ids=[f"{c['profile']}-{c['isl']}-{c['osl']}-{c['itl_slo_ms']}" for c in CASES]
)
def test_it_reads_a_profile_as_dynamo_does(case: dict[str, Any]) -> None:
    prefill, decode = sweeps(case["profile"])
    gpus = PROFILES[case["profile"]]["gpus_per_engine"]
    speed = prefill.speed_at(case["isl"])
    best = decode.best(case["itl_slo_ms"], case["isl"] + case["osl"] / 2)
    # The file gives two, three or four decimals, of measurements with seven digits.
    assert prefill.ttft_at(case["isl"]) == pytest.approx(case["ttft_ms"], rel=1e-6, abs=6e-4)
    assert speed == pytest.approx(case["prefill_tok_s_gpu"], rel=1e-6, abs=6e-3)
    assert best.tokens_per_s_gpu == pytest.approx(case["decode_tok_s_gpu"], rel=1e-6, abs=6e-3)
    assert best.itl_ms == pytest.approx(case["itl_at_best_ms"], rel=1e-6, abs=6e-4)
    assert best.kv_used == pytest.approx(case["kv_usage"], rel=1e-6, abs=6e-5)
    for rps in (1, 10, 50):
        assert case[f"replicas_at_{rps}rps"] == [
            engines(rps * case["isl"], speed * gpus),
            engines(rps * case["osl"], best.tokens_per_s_gpu * gpus),
        ]


def test_the_spline_is_exact_for_a_cubic() -> None:
    xs = [0.0, 1.0, 2.5, 4.0, 7.0]
    ys = [x**3 - 2 * x**2 + x - 5 for x in xs]
    for x in (0.0, 0.3, 3.1, 6.9, 7.0):
        assert spline(xs, ys, x) == pytest.approx(x**3 - 2 * x**2 + x - 5, abs=1e-9)


def test_the_surface_meets_its_points_and_is_exact_for_a_plane() -> None:
    xs = [0.1, 0.5, 0.9, 0.2, 0.7, 0.3, 0.5]
    ys = [0.0, 0.0, 0.0, 100.0, 100.0, 200.0, 200.0]
    bumpy = [1.0, 3.0, 2.0, 5.0, 4.0, 0.0, 7.0]
    for x, y, z in zip(xs, ys, bumpy, strict=True):
        assert Surface(xs, ys, bumpy).along(np.array([x]), y) == pytest.approx([z])
    plane = Surface(xs, ys, [2 * x - y / 100 for x, y in zip(xs, ys, strict=True)])
    inside = np.array([0.3, 0.45, 0.6])
    assert plane.along(inside, 130.0) == pytest.approx(2 * inside - 1.3)


PLANNER = Dynamo(pool="a", capacity=lambda inputs, outputs: 1000.0 / (inputs + outputs), gpus=1)
SLOW: dict[str, Any] = {"ttft_s": 0.9, "itl_s": 0.02}
FAST: dict[str, Any] = {"ttft_s": 0.3, "itl_s": 0.02}


def engines_of(count: int, **page: Any) -> Observation:
    return observation(pool("a", [replica(**page) for _ in range(count)]))


def run(seen: list[Observation], rival: Dynamo = PLANNER) -> tuple[list[int | None], DynamoMemory]:
    memory, decided = rival.start(seen[0], 0.0), []
    memory = replace(memory, floor=1)
    for call, one in enumerate(seen, start=1):
        decision = rival.decide(one, memory, 5.0 * call)
        memory = decision.memory
        decided.append(decision.replicas.get("a"))
    return decided, memory


def test_the_fit_needs_five_samples_and_is_a_least_squares_line() -> None:
    assert estimate(((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)), 9.0) is None
    line = ((0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0), (4.0, 5.0))
    assert estimate(line, 9.0) == pytest.approx(10.0)
    assert estimate(((1.0, 1.0),) * 3 + ((1.0, 3.0),) * 3, 7.0) == pytest.approx(2.0)


def test_all_engines_must_miss_for_one_more_and_all_be_well_within_for_one_less() -> None:
    # Two engines give two samples at each call: five at the third.
    assert run([engines_of(2, **SLOW)] * 4)[0] == [2, 2, 3, 3]
    assert run([engines_of(2, **FAST)] * 4)[0] == [2, 2, 1, 1]
    low: dict[str, Any] = {"waiting_prompt_tokens": 0.0, "ttft_s": 0.1, "itl_s": 0.02}
    high: dict[str, Any] = {"waiting_prompt_tokens": 1000.0, "ttft_s": 0.9, "itl_s": 0.02}
    mixed = observation(pool("a", [replica(**low), replica(**high)]))
    assert run([mixed] * 4)[0] == [2, 2, 2, 2]


def test_the_forecast_is_a_floor_every_180_s() -> None:
    busy = (Arrival(at=0.0, input_tokens=300, output_tokens=200, count=40),)
    seen = replace(engines_of(2, **FAST), arrivals=busy)
    decided, memory = run([seen] * 36)
    # 8 requests/s, of which an engine serves 2.
    assert decided[-2:] == [1, 4]
    assert memory.floor == 4


def test_a_failed_prometheus_reads_as_no_request() -> None:
    busy = (Arrival(at=0.0, input_tokens=300, output_tokens=200, count=40),)
    seen = replace(observation(pool("a", [replica()] * 3), metrics="fails"), arrivals=busy)
    _, memory = run([seen] * 36)
    assert memory.floor == 1


def test_the_fast_loop_reads_engines_and_no_prometheus() -> None:
    assert run([replace(engines_of(2, **SLOW), metrics=Source.FAILS)] * 4)[0] == [2, 2, 3, 3]


def test_it_holds_while_engines_start_and_keeps_to_the_budget() -> None:
    starting = observation(pool("a", [replica(**SLOW)] * 2 + [replica(phase="loading")]))
    assert run([starting] * 4)[0] == [None] * 4
    two_each = replace(PLANNER, gpus=4)
    assert run([engines_of(2, **SLOW)] * 4, two_each)[0] == [2, 2, 2, 2]
