"""The three queueing models agree with llm-d's own code to 1e-4."""

from typing import Any

import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.rivals.wva_queue import (
    ChunkedPrefill,
    FourParameters,
    Queue,
    Service,
    Targets,
    ThreeParameters,
    Unreachable,
)
from unit.simulate.rivals.vectors import load

FILES = ("wva_queue_2025_4param", "wva_queue", "inferno_queue_analysis")
ALL = [(file, case) for file in FILES for case in load(file)["vectors"]]
CASES = [(file, case) for file, case in ALL if "error" not in case]
IDS = [f"{file}-{case['input']['Name']}" for file, case in CASES]
RELATIVE = 1e-4


def service(file: str, given: dict[str, Any]) -> Service:
    common = {
        "alpha": given["Alpha"],
        "beta": given["Beta"],
        "gamma": given["Gamma"],
        "input_tokens": given["In"],
        "output_tokens": given["Out"],
    }
    if file == "wva_queue_2025_4param":
        return FourParameters(**common, delta=given["Delta"])
    if file == "wva_queue":
        return ThreeParameters(**common)
    return ChunkedPrefill(**common, max_batched_tokens=given["MaxNumTokens"])


def queue(file: str, given: dict[str, Any]) -> Queue:
    return Queue(service(file, given), given["MaxBatch"], given["MaxQueue"])


@pytest.mark.parametrize(("file", "case"), CASES, ids=IDS)
def test_latencies_at_a_rate_agree(file: str, case: dict[str, Any]) -> None:
    model = queue(file, case["input"])
    assert [model.lowest_rps, model.highest_rps] == pytest.approx(
        case["rate_range_rps"], rel=RELATIVE
    )
    for row in case["analyze"]:
        state = model.at(row["frac_of_max"] * model.highest_rps)
        found = {
            "itl_ms": state.itl_ms,
            "num_in_serv": state.in_service,
            "prefill_ms": state.prefill_ms,
            "rate": state.throughput_rps,
            "resp_ms": state.response_ms,
            "rho": state.rho,
            "ttft_ms": state.ttft_ms,
        }
        truth = {key: row["throughput" if key == "rate" else key] for key in found}
        assert found == pytest.approx(truth, rel=RELATIVE)
        # The wait is a difference of two times in single precision there.
        assert state.wait_ms == pytest.approx(
            row["wait_ms"], rel=RELATIVE, abs=1e-6 * row["resp_ms"]
        )


@pytest.mark.parametrize(("file", "case"), CASES, ids=IDS)
def test_the_rate_under_targets_agrees(file: str, case: dict[str, Any]) -> None:
    model = queue(file, case["input"])
    for row in case["size"]:
        sized = model.size(
            Targets(
                ttft_ms=row["target_ttft_ms"], itl_ms=row["target_itl_ms"], tps=row["target_tps"]
            )
        )
        if "error" in row:
            assert isinstance(sized, Unreachable)
            assert f"lambdaStar{sized.target.upper()}" in row["error"]
            continue
        assert not isinstance(sized, Unreachable)
        found = {
            "rate_for_ttft": sized.ttft_rps,
            "rate_for_itl": sized.itl_rps,
            "rate_for_tps": sized.tps_rps,
            "throughput": sized.state.throughput_rps,
            "itl_ms": sized.state.itl_ms,
            "ttft_ms": sized.state.ttft_ms,
            "rho": sized.state.rho,
        }
        assert found == pytest.approx({key: row[key] for key in found}, rel=RELATIVE)


@pytest.mark.parametrize(("file", "case"), [pair for pair in ALL if "error" in pair[1]])
def test_a_replica_without_a_batch_is_refused_as_there(file: str, case: dict[str, Any]) -> None:
    assert case["error"].startswith("invalid configuration")
    with pytest.raises(InvalidInput, match="max_batch"):
        queue(file, case["input"])
