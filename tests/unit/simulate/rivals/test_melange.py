"""Mélange's programme has the answers of its own code."""

from typing import Any

import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.rivals.melange import Gpu, Mix, cheapest_mix, loads
from unit.simulate.rivals.vectors import load

CASES = load("melange")["vectors"]


def answer(given: dict[str, Any]) -> Mix:
    gpus = [
        Gpu(
            name=name,
            cost=gpu["cost"],
            loads=loads([throughput for row in gpu["tputs"] for throughput in row]),
        )
        for name, gpu in given["gpu_info"].items()
    ]
    shares = [share for row in given["workload_distribution"] for share in row]
    rates = [given["total_request_rate"] * share for share in shares]
    return cheapest_mix(gpus, rates, given["slice_factor"])


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["output"]], ids=[c["name"] for c in CASES if c["output"]]
)
def test_it_buys_what_melange_buys(case: dict[str, Any]) -> None:
    truth = dict(case["output"])
    cost = truth.pop("cost")
    mix = answer(case["input"])
    assert mix.counts == truth
    assert mix.cost == pytest.approx(cost, abs=1e-9)


def test_a_bucket_that_is_not_served_is_an_error_as_there() -> None:
    (case,) = [case for case in CASES if case["output"] is None]
    assert case["error"].startswith("ZeroDivisionError")
    with pytest.raises(InvalidInput, match="throughputs"):
        answer(case["input"])


def test_the_solver_writes_nothing_between_the_lines_of_a_table(
    capfd: pytest.CaptureFixture[str],
) -> None:
    cheapest_mix([Gpu(name="a", cost=1.0, loads=(0.1,))], [3.0], 4)

    assert capfd.readouterr() == ("", "")
