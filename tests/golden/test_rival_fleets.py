"""The same fleets as others' programmes were asked for: never dearer, and cheaper where known."""

import math
from typing import Any

import pytest

from classsplit import cheapest_split
from rivalfleets import melange, vectors, wva
from trimtab.planner.allocate import allocate

MELANGE = [case for case in vectors("melange") if case["output"] is not None]
WVA = vectors("wva_optimizer")


def test_the_readme_fleet_of_melange_costs_30_percent_less() -> None:
    case = next(case for case in MELANGE if case["name"] == "readme-example-r30-s1")
    answer = cheapest_split(*melange(case))
    assert answer is not None
    assert case["output"]["cost"] == pytest.approx(6.70)
    assert answer.cost == pytest.approx(4.68)
    assert answer.counts == (1, 1)
    assert answer.bound == pytest.approx(4.68, rel=1e-3)


@pytest.mark.parametrize("case", MELANGE, ids=lambda case: str(case["name"]))
def test_no_fleet_is_dearer_than_melanges(case: dict[str, Any]) -> None:
    answer = cheapest_split(*melange(case))
    assert answer is not None
    assert answer.cost <= case["output"]["cost"] + 1e-6
    assert answer.cost >= case["lp_bound"] - 1e-3


def test_a_class_that_one_device_cannot_serve_goes_to_others_and_is_refused_without() -> None:
    # Theirs divides by zero.
    case = next(case for case in vectors("melange") if case["name"] == "edge-zero-tput")
    rps, options = melange(case)
    assert cheapest_split(rps, options) is not None
    assert cheapest_split(rps, [one for one in options if 0.0 in one.rates]) is None


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
