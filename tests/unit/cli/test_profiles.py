"""`trimtab profile import`: every tool's file becomes the same manifest, or says what it lacks."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from toolfiles import CSV, INFERENCE_PERF, STEPS, VLLM
from trimtab.cli.main import app

RUN = CliRunner()

ONLY_SINGLE_GAPS = {
    **INFERENCE_PERF["successes"],
    "latency": {
        name: summary
        for name, summary in INFERENCE_PERF["successes"]["latency"].items()
        if name != "time_per_output_token"
    },
}
GENAI_PERF: dict[str, Any] = {
    "request_throughput": {"unit": "requests/sec", "avg": 3.9},
    "request_latency": {"unit": "ms", "avg": 2300.0},
    "time_to_first_token": {"unit": "ms", "avg": 50.0, "p50": 45.5, "p95": 90.0, "p99": 120.25},
    "inter_token_latency": {"unit": "us", "avg": 9000, "p50": 8500, "p95": 20000, "p99": 31500},
    "output_sequence_length": {"unit": "tokens", "avg": 256.0},
    "input_sequence_length": {"unit": "tokens", "avg": 512.0},
    "input_config": {"model": ["meta-llama/Llama-3.1-8B-Instruct"]},
}


def successful(mean: float, **percentiles: float) -> dict[str, Any]:
    return {"successful": {"mean": mean, "median": mean, "percentiles": percentiles}}


GUIDELLM: dict[str, Any] = {
    "benchmarks": [
        {
            "metrics": {
                "requests_per_second": successful(3.9),
                "prompt_token_count": successful(512.0),
                "output_token_count": successful(256.0),
                "time_to_first_token_ms": successful(50.0, p05=30.0, p95=90.0, p99=120.25),
                "inter_token_latency_ms": successful(9.0, p05=7.0, p95=20.0, p99=31.5),
            }
        }
    ]
}
CSV_OF_REQUESTS = """isl,osl,rps,ttft_p95_ms,itl_p95_s,ttft_mean_ms,itl_mean_s,e2e_mean_s
512,256,3.9,90,2.4,50,2.3,2.35
"""
AIC = """model,isl,osl,concurrency,tpot,ttft,seq/s,tp,pp,system,backend,version
meta-llama/Llama-3.1-8B-Instruct,512,256,8,8.5,45.5,3.9,1,1,h100_sxm,vllm,0.19
meta-llama/Llama-3.1-8B-Instruct,512,256,8,8.5,45.5,3.9,1,2,h100_sxm,vllm,0.19
"""
OF = ["--model", "meta-llama/Llama-3.1-8B-Instruct", "--accelerator", "h100", "--tp", "1"]


def imported(path: Path, *options: str) -> dict[str, Any]:
    result = RUN.invoke(app, ["profile", "import", str(path), *options])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = yaml.safe_load(result.stdout)
    return document


def refused(path: Path, *options: str) -> str:
    result = RUN.invoke(app, ["profile", "import", str(path), *options])
    assert result.exit_code == 1, result.output
    return result.output


def written(folder: Path, content: Mapping[str, Any] | str, name: str = "result") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "content",
    [VLLM, INFERENCE_PERF, GENAI_PERF, GUIDELLM, CSV],
    ids=["vllm", "inference-perf", "genai-perf", "guidellm", "csv"],
)
def test_every_tool_says_the_same_of_the_same_run(
    tmp_path: Path, content: Mapping[str, Any] | str
) -> None:
    document = imported(written(tmp_path, content), *OF, "--percentile", "99")
    assert document["kind"] == "PerformanceProfile"
    assert document["spec"]["model"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert document["spec"]["accelerator"] == "nvidia-h100-sxm"
    assert document["spec"]["points"] == [
        {
            "inputTokens": 512,
            "outputTokens": 256,
            "requestsPerSecond": "3.9",
            "percentile": 99,
            "timeToFirstToken": "120.25ms",
            "interTokenLatency": "31.5ms",
        }
    ]


def test_rows_of_users_keep_undivided_replicas_and_what_they_are_of(tmp_path: Path) -> None:
    spec = imported(written(tmp_path, AIC))["spec"]
    assert spec["engine"] == "vllm/0.19"
    assert spec["tensorParallel"] == 1
    (point,) = spec["points"]
    assert (point["percentile"], point["requestsPerSecond"]) == (50, "3.9")
    assert (point["timeToFirstToken"], point["interTokenLatency"]) == ("45.5ms", "8.5ms")


def test_without_a_rate_the_users_tell_it(tmp_path: Path) -> None:
    without = AIC.replace(",seq/s", "").replace(",3.9", "")
    (point,) = imported(written(tmp_path, without))["spec"]["points"]
    assert float(point["requestsPerSecond"]) == pytest.approx(8 / (0.0455 + 255 * 0.0085), rel=1e-5)


def test_saved_requests_give_the_percentile_that_the_planner_asks_for(tmp_path: Path) -> None:
    detailed = {
        **VLLM,
        "ttfts": [i / 1000 for i in range(1, 101)] + [0.0] * 20,
        "itls": [[0.010] * 9 + [0.030] for _ in range(100)] + [[]] * 20,
    }
    (point,) = imported(written(tmp_path, detailed), *OF)["spec"]["points"]
    assert (point["percentile"], point["timeToFirstToken"]) == (95, "95.05ms")
    assert point["interTokenLatency"] == "12ms"  # a request's mean, which a target is for
    two_at_a_time = {**detailed, "output_lens": [21] * 100 + [0] * 20}
    (point,) = imported(written(tmp_path, two_at_a_time), *OF)["spec"]["points"]
    assert point["interTokenLatency"] == "6ms"


@pytest.mark.parametrize(
    ("content", "gap"),
    [
        (CSV.replace("itl_p99_s", "itl_p99_s,tpot_p99_s").replace("0.0315", "0.0315,0.012"), "12"),
        ({**VLLM, "p99_tpot_ms": None}, "80"),
        ({**INFERENCE_PERF, "successes": ONLY_SINGLE_GAPS}, "80"),
    ],
    ids=["both in a table", "vllm without means", "inference-perf without means"],
)
def test_a_request_s_mean_gap_is_taken_where_it_is_there(
    tmp_path: Path, content: Mapping[str, Any] | str, gap: str
) -> None:
    (point,) = imported(written(tmp_path, content), *OF, "--percentile", "99")["spec"]["points"]
    assert point["interTokenLatency"] == f"{gap}ms"


def test_steps_become_the_loads_that_keep_these_batches(tmp_path: Path) -> None:
    path = written(tmp_path, STEPS)
    assert "--output-tokens: is missing" in refused(path)
    spec = imported(path, "--output-tokens", "256")["spec"]
    assert spec["quantization"] == "fp8"
    (point,) = spec["points"]
    gap_s = 0.010 + 8 / 256 * 0.020
    assert float(point["requestsPerSecond"]) == pytest.approx(8 / (256 * gap_s), rel=1e-5)
    assert (point["timeToFirstToken"], point["interTokenLatency"]) == ("30ms", "10ms")


@pytest.mark.parametrize(
    ("gemm", "option", "meant"),
    [
        ("fp8_block", [], "fp8"),
        ("bfloat16", [], "none"),
        ("int4_wo", ["--quantization", "w4a16"], "int4"),
        ("", ["--quantization", "fp8_e4m3"], "fp8"),
    ],
)
def test_a_quantization_is_understood_as_predict_does(
    tmp_path: Path, gemm: str, option: list[str], meant: str
) -> None:
    header, *lines = AIC.splitlines()[:2]
    table = "\n".join([f"{header},gemm", *(f"{line},{gemm}" for line in lines)])
    assert imported(written(tmp_path, table), *option)["spec"]["quantization"] == meant


def test_several_files_make_one_profile_that_predict_learns_from(tmp_path: Path) -> None:
    files = [
        written(tmp_path, {**VLLM, "request_throughput": rate, "request_rate": rate,
                           "p99_tpot_ms": gap}, f"run-{rate}.json")
        for rate, gap in ((4.0, 15.0), (8.0, 45.0))
    ]  # fmt: skip
    manifest = tmp_path / "profile.yaml"
    result = RUN.invoke(app, ["profile", "import", *map(str, files), *OF])
    manifest.write_text(result.stdout)
    asked = ["predict", "capacity", "--model", "Llama-3.1-8B", "--accelerator", "h100"]
    answer = RUN.invoke(
        app,
        [*asked, "--itl", "30ms", "--percentile", "99", "--profile", str(manifest), "-o", "json"],
    )
    found = json.loads(answer.stdout)
    assert found["provenance"] == "measured"
    assert found["max_rps"] == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("content", "options", "told"),
    [
        ("", OF, "holds no measurement"),
        ("a,b\n1,2\n", OF, "is of no format that is known"),
        ({"some": "object"}, OF, "is of no format that is known"),
        (CSV, ["--format", "guidellm", *OF], "it is no guidellm"),
        (CSV, ["--format", "steps", *OF], "needs phase (prefill or decode), batch_size"),
        (CSV.replace("_ms", "").replace("_s,", ","), OF, "has no unit"),
        (CSV.replace("0.020", "20").replace("0.0315", "31.5"), OF, "Check the unit"),
        (CSV.replace(",90,", ",0.09,"), OF, "Check the unit"),
        (CSV.replace("3.9", "many"), OF, "requests_per_second: is missing or no number"),
        (CSV.replace("3.9", "0"), OF, "requests per second: is 0"),
        (CSV, ["--percentile", "90", *OF], "has p95, p99, not p90"),
        (CSV, ["--accelerator", "h100"], "--model: is in no file"),
        (CSV, ["--model", "acme/new"], "--accelerator: is in no file"),
        (VLLM, ["--model", "Qwen/Qwen3-8B", "--accelerator", "h100"], "is not what was measured"),
        ({**VLLM, "request_rate": "inf"}, OF, "all requests came at once"),
        ({**VLLM, "completed": 0}, OF, "no request was answered"),
        (AIC.replace("1,1,h100_sxm", "2,1,h100_sxm") + AIC.split("\n")[1], [], "Say which one"),
        (AIC.replace(",1,1,", ",1,4,"), [], "no measurement of one replica"),
        ({**GENAI_PERF, "inter_token_latency": {"unit": "parsec"}}, OF, "has the unit 'parsec'"),
        ({"benchmarks": 3}, OF, "is no sound guidellm file"),
        ({**VLLM, "mean_e2el_ms": 9.0}, OF, "makes 2.37 s of a request with 256 tokens"),
        (CSV_OF_REQUESTS, OF, "not the time of a request"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_impossible_is_refused_with_a_remedy(
    tmp_path: Path, content: Mapping[str, Any] | str, options: list[str], told: str
) -> None:
    assert told in refused(written(tmp_path, content), *options)


def test_a_saturated_run_is_kept_and_said(tmp_path: Path) -> None:
    path = written(tmp_path, {**VLLM, "request_rate": 40.0})
    result = RUN.invoke(app, ["profile", "import", str(path), *OF])
    assert result.exit_code == 0
    assert "note: Saturated: result" in result.stderr


def test_a_fixed_number_of_users_is_no_saturation(tmp_path: Path) -> None:
    path = written(tmp_path, {**VLLM, "request_rate": "inf", "max_concurrency": 16})
    result = RUN.invoke(app, ["profile", "import", str(path), *OF])
    assert result.exit_code == 0, result.output
    assert "Saturated" not in result.stderr


@pytest.mark.parametrize("output", ["json", "table"])
def test_it_is_printed_for_machines_and_for_eyes(tmp_path: Path, output: str) -> None:
    result = RUN.invoke(app, ["profile", "import", str(written(tmp_path, CSV)), *OF, "-o", output])
    assert result.exit_code == 0, result.output
    if output == "json":
        assert json.loads(result.stdout)["kind"] == "PerformanceProfile"
    else:
        assert "nvidia-h100-sxm" in result.stdout


def test_the_help_has_an_example() -> None:
    result = RUN.invoke(app, ["profile", "import", "--help"])
    assert "trimtab profile import result.json --accelerator h100" in result.output
