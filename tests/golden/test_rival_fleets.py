"""The same fleets as others' programmes were asked for: never dearer, and cheaper where known."""

import math
from typing import Any

import pytest

from rivalfleets import melange, vectors, wva
from trimtab.planner.allocate import allocate

MELANGE = [case for case in vectors("melange") if case["output"] is not None]
WVA = vectors("wva_optimizer")


def cost(case: dict[str, Any]) -> float:
    problem, room = melange(case)
    fleet = allocate([problem], room)[problem.key]
    assert not fleet.is_short
    return problem.cost(fleet.counts)


def test_the_readme_fleet_of_melange_costs_15_percent_less() -> None:
    case = next(case for case in MELANGE if case["name"] == "readme-example-r30-s1")
    assert case["output"]["cost"] == pytest.approx(6.70)
    assert cost(case) == pytest.approx(5.69)


@pytest.mark.parametrize("case", MELANGE, ids=lambda case: str(case["name"]))
def test_no_fleet_is_two_percent_dearer_than_melanges_although_its_router_knows_classes(
    case: dict[str, Any],
) -> None:
    assert cost(case) <= 1.02 * case["output"]["cost"] + 1e-6


def test_a_device_that_cannot_serve_a_class_is_no_option_and_without_others_it_is_refused() -> None:
    # Theirs divides by zero.
    case = next(case for case in vectors("melange") if case["name"] == "edge-zero-tput")
    problem, room = melange(case)
    barred = set(case["input"]["gpu_info"]) - {option.name for option in problem.options}
    assert barred
    assert problem.options
    assert not allocate([problem], room)[problem.key].is_short
    alone = case | {
        "input": case["input"]
        | {"gpu_info": {name: case["input"]["gpu_info"][name] for name in barred}}
    }
    problem, room = melange(alone)
    assert allocate([problem], room)[problem.key].short_rps == pytest.approx(problem.rps)


@pytest.mark.parametrize("case", WVA, ids=lambda case: str(case["name"]))
def test_no_system_of_wva_is_dearer_or_serves_fewer(case: dict[str, Any]) -> None:
    problems, room = wva(case)
    fleets = allocate(problems, room)
    theirs = case["allocations"]
    served = {
        problem.key.name
        for problem in problems
        if sum(fleets[problem.key].counts) >= problem.minimum and not fleets[problem.key].short_rps
    }
    rates = {problem.key.name: problem.rps for problem in problems}
    covered = {
        name
        for name, one in theirs.items()
        for candidate in case["candidates"].get(name, ())
        if candidate["acc"] == one["accelerator"]
        and one["numReplicas"] * candidate["max_rpm_per_replica"] >= rates[name]
    }
    assert len(served) >= len(covered)
    if covered == set(rates):
        assert served == covered
        cost = math.fsum(p.cost(fleets[p.key].counts) for p in problems)
        assert cost <= math.fsum(one["cost"] for one in theirs.values()) * (1 + 1e-6)
