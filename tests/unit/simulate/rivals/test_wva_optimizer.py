"""The model-based optimizer chooses what llm-d's own code chooses."""

from typing import Any

import pytest

from trimtab.simulate.rivals.base import Arrival
from trimtab.simulate.rivals.wva_optimizer import (
    Candidate,
    Current,
    Profile,
    Server,
    WvaOptimizer,
    candidates,
    limited,
    unlimited,
)
from trimtab.simulate.rivals.wva_queue import Targets
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

CASES = load("wva_optimizer")["vectors"]


def servers(given: dict[str, Any]) -> list[Server]:
    costs = {row["name"]: row["cost"] for row in given["acceleratorData"]["accelerators"]}
    found = []
    for row in given["serverData"]["servers"]:
        (kind,) = [
            k for k in given["serviceClassData"]["serviceClasses"] if k["name"] == row["class"]
        ]
        (target,) = [t for t in kind["modelTargets"] if t["model"] == row["model"]]
        alloc = row["currentAlloc"]
        profiles = tuple(
            Profile(
                accelerator=model["acc"],
                cost=costs[model["acc"]] * model["accCount"],
                devices=model["accCount"],
                max_batch=model["maxBatchSize"],
                at_tokens=model["atTokens"],
                **model["serviceParms"],
            )
            for model in given["modelData"]["models"]
            if model["name"] == row["model"]
        )
        found.append(
            Server(
                name=row["name"],
                priority=kind["priority"],
                profiles=profiles,
                targets=Targets(
                    ttft_ms=target["slo-ttft"], itl_ms=target["slo-itl"], tps=target["slo-tps"]
                ),
                rps=alloc["load"]["arrivalRate"] / 60,
                input_tokens=alloc["load"]["avgInTokens"],
                output_tokens=alloc["load"]["avgOutTokens"],
                minimum=row["minNumReplicas"],
                current=Current(
                    accelerator=alloc["accelerator"] or None,
                    replicas=alloc["numReplicas"],
                    cost=alloc["cost"],
                ),
            )
        )
    return found


def row_of(candidate: Candidate) -> dict[str, Any]:
    return {
        "batch": candidate.batch,
        "cost": candidate.cost,
        "itl_ms": candidate.itl_ms,
        "max_rpm_per_replica": candidate.max_rps * 60,
        "replicas": candidate.replicas,
        "ttft_ms": candidate.ttft_ms,
        "value": candidate.value,
    }


def allocate(given: dict[str, Any]) -> dict[str, Candidate]:
    options = given["optimizerData"]["optimizer"]
    if options["unlimited"]:
        return unlimited(servers(given))
    room = {row["type"]: row["count"] for row in given["capacityData"]["count"]}
    return limited(servers(given), room, best_effort=options["saturationPolicy"] != "None")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_candidates_and_choices_agree(case: dict[str, Any]) -> None:
    chosen = allocate(case["input"])
    for server in servers(case["input"]):
        found = {candidate.accelerator: candidate for candidate in candidates(server)}
        if server.name in chosen:
            # What best effort cuts short is cut in the list of candidates, too.
            found[chosen[server.name].accelerator] = chosen[server.name]
        truth = case["candidates"][server.name]
        assert sorted(found) == [row["acc"] for row in truth]
        for row in truth:
            numbers = {key: value for key, value in row.items() if key != "acc"}
            assert row_of(found[row["acc"]]) == pytest.approx(numbers, rel=1e-4)
    told = {
        name: (row["accelerator"], row["numReplicas"], row["maxBatch"])
        for name, row in case["allocations"].items()
        if row["numReplicas"] > 0
    }
    assert told == {
        name: (best.accelerator, best.replicas, best.batch)
        for name, best in chosen.items()
        if best.replicas > 0
    }


L40S = Profile(
    accelerator="l40s",
    cost=1.2,
    devices=1,
    alpha=14.0,
    beta=0.09,
    gamma=9e-5,
    max_batch=64,
    at_tokens=256,
)
H100 = Profile(
    accelerator="h100",
    cost=7.5,
    devices=1,
    alpha=5.0,
    beta=0.02,
    gamma=2e-5,
    max_batch=256,
    at_tokens=256,
)


@pytest.mark.parametrize(
    ("per_minute", "expected"),
    [
        (300, {"l40s": 1, "h100": 0}),
        # Six L40S cost less than one H100, but not by 10 % of both.
        (1800, {"l40s": 0, "h100": 1}),
    ],
)
def test_it_moves_only_for_more_than_a_tenth_of_both_costs(
    per_minute: int, expected: dict[str, int]
) -> None:
    rival = WvaOptimizer(profiles=(L40S, H100), targets=Targets(ttft_ms=500, itl_ms=24))
    busy = [Arrival(at=0.0, input_tokens=512, output_tokens=128, count=per_minute)]
    pools = (pool("l40s", price=1.2), pool("h100", [replica()], price=7.5))
    assert rival.decide(observation(*pools, arrivals=busy), None, 60.0).replicas == expected


def test_an_unreachable_target_is_answered_with_silence() -> None:
    rival = WvaOptimizer(profiles=(L40S, H100), targets=Targets(itl_ms=1))
    busy = [Arrival(at=0.0, input_tokens=512, output_tokens=128, count=60)]
    seen = observation(pool("l40s"), pool("h100", [replica()]), arrivals=busy)
    assert rival.decide(seen, None, 60.0).replicas == {}


def test_a_pool_without_room_is_passed_over() -> None:
    rival = WvaOptimizer(profiles=(L40S, H100), targets=Targets(itl_ms=24), limited=True)
    busy = [Arrival(at=0.0, input_tokens=512, output_tokens=128, count=60 * 30)]
    pools = (pool("l40s", price=1.2, capacity=2), pool("h100", price=7.5))
    assert rival.decide(observation(*pools, arrivals=busy), None, 60.0).replicas == {
        "l40s": 0,
        "h100": 1,
    }
