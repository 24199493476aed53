"""The same fleets as others' programmes were asked for: never dearer, and cheaper where known."""

import math
from typing import Any

import pytest

from rivalfleets import README, melange, readme, vectors, wva
from trimtab.planner.allocate import allocate
from trimtab.planner.plan import plan

MELANGE = [case for case in vectors("melange") if case["output"] is not None]
WVA = vectors("wva_optimizer")


def cost(case: dict[str, Any], *, apart: bool) -> float:
    problem, room = melange(case, apart=apart)
    fleet = allocate([problem], room)[problem.key]
    assert not fleet.is_short
    return problem.cost(fleet.counts)


def test_the_readme_fleet_of_melange_costs_30_percent_less() -> None:
    case = next(case for case in MELANGE if case["name"] == README)
    assert case["output"]["cost"] == pytest.approx(6.70)
    assert cost(case, apart=True) == pytest.approx(4.68)
    assert cost(case, apart=False) == pytest.approx(5.69)


def test_a_whole_plan_of_the_readme_fleet_says_where_each_class_goes() -> None:
    snapshot, config = readme(30.0)
    (decision,) = plan(snapshot, config).decisions
    assert decision.usd_per_hour == pytest.approx(4.68)
    assert {t.pool: t.replicas for t in decision.targets} == {"a10g": 1, "a100-80gb": 1}
    # The A10G is best, beside the A100, at the third: 5 of its 15 requests/s are all it can do.
    third = decision.routes[2]
    assert {part.pool: part.share for part in third.parts} == pytest.approx(
        {"a10g": 1 / 3, "a100-80gb": 2 / 3}, rel=1e-3
    )
    others = (part.pool for i in (0, 1, 3) for part in decision.routes[i].parts)
    assert set(others) == {"a100-80gb"}


@pytest.mark.parametrize("case", MELANGE, ids=lambda case: str(case["name"]))
def test_no_fleet_is_dearer_than_melanges_where_the_router_knows_classes(
    case: dict[str, Any],
) -> None:
    assert cost(case, apart=True) <= case["output"]["cost"] + 1e-6


@pytest.mark.parametrize("case", MELANGE, ids=lambda case: str(case["name"]))
def test_no_fleet_is_two_percent_dearer_than_melanges_where_only_theirs_knows_classes(
    case: dict[str, Any],
) -> None:
    assert cost(case, apart=False) <= 1.02 * case["output"]["cost"] + 1e-6


def test_a_device_that_cannot_serve_a_class_is_no_option_and_without_others_it_is_refused() -> None:
    # Theirs divides by zero.
    case = next(case for case in vectors("melange") if case["name"] == "edge-zero-tput")
    problem, room = melange(case, apart=False)
    barred = set(case["input"]["gpu_info"]) - {option.name for option in problem.options}
    assert barred
    assert problem.options
    assert not allocate([problem], room)[problem.key].is_short
    alone = case | {
        "input": case["input"]
        | {"gpu_info": {name: case["input"]["gpu_info"][name] for name in barred}}
    }
    problem, room = melange(alone, apart=False)
    assert allocate([problem], room)[problem.key].short_rps == pytest.approx(problem.rps)
    problem, room = melange(alone, apart=True)
    assert allocate([problem], room)[problem.key].short_rps == pytest.approx(problem.rps)
    problem, room = melange(case, apart=True)
    assert not allocate([problem], room)[problem.key].is_short


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
