"""`trimtab predict`: a point, a curve, a file, a capacity."""

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from trimtab.cli.main import app

RUN = CliRunner()
MODEL = ["--model", "meta-llama/Llama-3.1-8B", "--accelerator", "h100"]
HEADER = (
    "model,accelerator,quantization,kv_dtype,tensor_parallel,pipeline_parallel,expert_parallel,"
    "engine,input_tokens,output_tokens,prefix_hit,concurrency,request_rate"
)
ROWS = [
    "meta-llama/Llama-3.1-70B,h100_sxm,fp8,,4,,,vllm,1024,1024,,16,",
    "openai/gpt-oss-120b,b200_sxm,mxfp4,,1,1,1,trtllm,1024,1024,0,,20",
    "meta-llama/Llama-3.1-405B,l40s,fp8,,8,,,vllm,1024,1024,,16,",
    "acme/unknown,h100,,,,,,,,,,1,",
    "meta-llama/Llama-3.1-8B,h100,,,many,,,,,,,1,",
]
RESULTS = [
    "ttft_ms", "ttft_p95_ms", "tpot_ms", "itl_p95_ms", "e2e_ms", "tokens_per_s", "kv_utilization",
    "fits", "reason", "provenance",
]  # fmt: skip


def test_one_point_prints_every_figure() -> None:
    result = RUN.invoke(app, ["predict", *MODEL, "--request-rate", "2"])
    assert result.exit_code == 0, result.output
    for name in RESULTS:
        assert name in result.output


def test_without_a_load_it_draws_the_way_to_saturation() -> None:
    result = RUN.invoke(app, ["predict", *MODEL])
    assert result.exit_code == 0, result.output
    assert "saturates at" in result.output
    assert result.output.count("█") > 10


def test_a_file_keeps_its_columns_and_a_bad_row_stops_no_other(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("\n".join([HEADER, *ROWS]) + "\n")
    result = RUN.invoke(app, ["predict", "--batch", str(source), "--output", str(target)])
    assert result.exit_code == 0, result.output
    with target.open() as file:
        reader = csv.DictReader(file)
        assert list(reader.fieldnames or []) == [*HEADER.split(","), *RESULTS]
        rows = list(reader)
    assert [row["fits"] for row in rows] == ["true", "true", "false", "false", "false"]
    assert float(rows[0]["tpot_ms"]) == pytest.approx(13, rel=0.3)
    assert rows[2]["reason"].startswith("DoesNotFit")
    assert rows[3]["reason"].startswith("model:")
    assert rows[4]["reason"].startswith("tensor_parallel:")
    assert rows[3]["ttft_ms"] == ""


def test_capacity_prints_a_rate_or_the_reason_and_exits_accordingly() -> None:
    result = RUN.invoke(app, ["predict", "capacity", *MODEL, "--ttft", "500ms", "--itl", "100ms"])
    assert result.exit_code == 0, result.output
    assert "requests/s (estimated" in result.output
    result = RUN.invoke(app, ["predict", "capacity", *MODEL, "--ttft", "1ms"])
    assert result.exit_code == 2
    assert "MissesTTFT" in result.output


def test_a_profile_makes_the_answer_calibrated(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("""
apiVersion: trimtab.dev/v1alpha1
kind: PerformanceProfile
metadata: {name: llama}
spec:
  model: meta-llama/Llama-3.1-8B
  accelerator: nvidia-h100-sxm
  points:
    - {inputTokens: 512, outputTokens: 256, requestsPerSecond: "4",
       timeToFirstToken: 60ms, interTokenLatency: 20ms}
""")
    plain = RUN.invoke(app, ["predict", *MODEL, "--request-rate", "4"])
    learnt = RUN.invoke(app, ["predict", *MODEL, "--request-rate", "4", "--profile", str(profile)])
    assert "estimated" in plain.output
    assert "calibrated" in learnt.output


def test_an_unknown_model_is_answered_from_its_config(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "num_hidden_layers": 24,
                "hidden_size": 2048,
                "num_attention_heads": 16,
                "intermediate_size": 8192,
                "vocab_size": 64000,
            }
        )
    )
    asked = ["predict", "--model", "acme/new", "--accelerator", "l4", "--concurrency", "4"]
    assert RUN.invoke(app, asked).exit_code == 1
    result = RUN.invoke(app, [*asked, "--config", str(config)])
    assert result.exit_code == 0, result.output


def test_a_question_without_a_model_is_refused_with_a_remedy() -> None:
    result = RUN.invoke(app, ["predict", "--request-rate", "1"])
    assert result.exit_code == 1
    assert "--model" in result.output
