"""`trimtab predict`: a point, a curve, a file, a capacity."""

import csv
import json
import re
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner

from bench.accuracy import files
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


def invoked(arguments: list[str]) -> str:
    result = RUN.invoke(app, ["predict", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def answered(folder: Path, rows: list[str]) -> list[dict[str, str]]:
    source, target = folder / "in.csv", folder / "out.csv"
    source.write_text("\n".join([HEADER, *rows]) + "\n")
    invoked(["--batch", str(source), "--output", str(target)])
    with target.open() as file:
        return list(csv.DictReader(file))


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
    rows = answered(tmp_path, ROWS)
    assert list(rows[0]) == [*HEADER.split(","), *RESULTS]
    assert [row["fits"] for row in rows] == ["true", "true", "false", "false", "false"]
    assert float(rows[0]["tpot_ms"]) == pytest.approx(13, rel=0.3)
    assert rows[2]["reason"].startswith("DoesNotFit")
    assert rows[3]["reason"].startswith("model:")
    assert rows[4]["reason"].startswith("tensor_parallel:")
    assert rows[3]["ttft_ms"] == ""


@pytest.mark.parametrize(
    ("option", "written", "meant"),
    [
        ("quantization", "fp8_e4m3", "fp8"),
        ("quantization", "AWQ-Marlin", "awq"),
        ("kv_dtype", "fp8_e5m2", "fp8"),
        ("kv_dtype", "bfloat16", "auto"),
    ],
)
def test_options_understand_the_spellings_that_files_do(
    tmp_path: Path, option: str, written: str, meant: str
) -> None:
    one = [*MODEL, "--concurrency", "8", "--format", "json", f"--{option.replace('_', '-')}"]
    asked = json.loads(invoked([*one, written]))
    assert asked == json.loads(invoked([*one, meant]))
    cells = {"quantization": "", "kv_dtype": "", option: written}
    (row,) = answered(tmp_path, [f"Llama-3.1-8B,h100,{','.join(cells.values())},,,,,,,,8,"])
    assert float(row["tpot_ms"]) == pytest.approx(asked["tpot_ms"], rel=1e-5)
    refused = RUN.invoke(app, ["predict", *one, "fp3"])
    assert refused.exit_code == 1
    assert f"error: {option}: 'fp3' is unknown\nUse one of" in refused.output


def test_capacity_prints_a_rate_or_the_reason_and_exits_accordingly() -> None:
    result = RUN.invoke(app, ["predict", "capacity", *MODEL, "--ttft", "500ms", "--itl", "100ms"])
    assert result.exit_code == 0, result.output
    assert "requests/s (estimated" in result.output
    result = RUN.invoke(app, ["predict", "capacity", *MODEL, "--ttft", "1ms"])
    assert result.exit_code == 2
    assert "MissesTTFT" in result.output


@pytest.mark.parametrize(
    ("model", "quantization"), [("Llama-3.1-8B-Instruct-FP8", "fp8"), ("Llama-3.1-8B", "none")]
)
def test_an_ending_of_the_name_decides_how_the_weights_are_stored(
    tmp_path: Path, model: str, quantization: str
) -> None:
    rows = [
        f"meta-llama/{model},h100,,,,,,,,,,8,",
        f"meta-llama/{model},h100,{quantization},,,,,,,,,8,",
    ]
    implied, stated = answered(tmp_path, rows)
    assert implied["tpot_ms"] == stated["tpot_ms"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("acme/Llama-3.1-Novel,h100,,,,,,,,,,1,", "--config"),
        ("Llama-3.1-8B,h9000,,,,,,,,,,1,", "accelerator: 'h9000' is not in the catalogue. Use one"),
        ("Llama-3.1-8B,h1O0,,,,,,,,,,1,", "names like it: h100"),
        ("Llama-3.1-8B,h100,,,2.5,,,,,,,1,", "tensor_parallel: '2.5' is no whole number"),
        ("Llama-3.1-8B,h100,,,5,,,,,,,1,", "tensor_parallel: 5 does not divide 32 heads. Use one"),
        ("Llama-3.1-8B,h100,,,,,,,inf,,,1,", "input_tokens: inf is out of range"),
        ('Llama-3.1-8B,h100,,,,,,,"1,024",,,1,', "input_tokens: '1,024' is no number"),
        ("Llama-3.1-8B,h100,,,,,,,9e9,,,1,", "input_tokens: 9e+09 is out of range"),
        ("DeepSeek-V3,h200,,,8,,999,,,,,1,", "expert_parallel: 999 is out of range"),
        ("Llama-3.1-8B,h100,,,,,,,,,1.5,1,", "prefix_hit: 1.5 is out of range"),
        ("Llama-3.1-8B,h100,fp3,,,,,,,,,1,", "quantization: 'fp3' is unknown"),
        ("Llama-3.1-8B,h100,,,,,,ollama,,,,1,", "engine: 'ollama' is unknown"),
        ("Llama-3.1-8B,h100,,,,,,,,,,1,1", "concurrency: and request_rate are both given"),
        ("Llama-3.1-8B,h100,,,,,,,,,,,", "concurrency: and request_rate are both given or both"),
        ("Llama-3.1-8B", "accelerator: is missing"),
        (",h100", "model: is missing"),
        ("Llama-3.1-8B,h100,,,,,,,,,,,-3", "request_rate: -3 is out of range"),
    ],
)
def test_a_row_that_makes_no_sense_says_what_to_write(
    tmp_path: Path, row: str, reason: str
) -> None:
    (reply,) = answered(tmp_path, [row])
    assert reply["fits"] == "false"
    assert reason in reply["reason"]


def _answer_is_sound(row: dict[str, str]) -> None:
    assert row["fits"] == "true" or row["reason"].startswith("DoesNotFit:"), row
    if row["fits"] == "true":
        times = ("ttft_ms", "ttft_p95_ms", "tpot_ms", "itl_p95_ms", "e2e_ms", "tokens_per_s")
        assert all(float(row[name]) > 0.0 for name in times), row


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("inferencex_silicon", ("model_path", "system", "gemm_quant_mode", "backend")),
        ("inferencex_silicon", ("model_path", "system", "precision", "backend")),
        ("aic_step_grid", ("model", "system", "precision", None)),
        ("mlperf_v4.1_llm", ("benchmark", "accelerator", None, None)),
        ("openloop_kaito_phi4mini", ("model", "gpu", None, None)),
        ("splitwise_a100_h100", ("model", "hardware", None, None)),
    ],
)
def test_every_name_in_the_measured_files_is_understood_as_it_stands(
    tmp_path: Path, name: str, columns: tuple[str | None, ...]
) -> None:
    asked = {tuple(row[c] if c else "" for c in columns) for row in files.rows(name)}
    replies = answered(
        tmp_path,
        [f"{model},{device},{dtype},,8,,,{engine},,,,4," for model, device, dtype, engine in asked],
    )
    assert len(replies) == len(asked) > 0
    for reply in replies:
        _answer_is_sound(reply)


@pytest.mark.parametrize("blanks", [",,,,,,,,,", "nan,NaN,,N/A,,null,,,,", " , , , , , , , , ,"])
def test_what_programs_write_into_an_empty_cell_is_blank(tmp_path: Path, blanks: str) -> None:
    meta = " META-llama/LLAMA_3.1-8b-instruct , H100 SXM ,"
    plain, odd = answered(tmp_path, ["Llama-3.1-8B,h100,,,,,,,,,,4,", f"{meta}{blanks}4,NaN"])
    assert {name: odd[name] for name in RESULTS} == {name: plain[name] for name in RESULTS}


def test_whole_numbers_may_be_written_with_a_point(tmp_path: Path) -> None:
    plain, odd = answered(
        tmp_path,
        [
            "DeepSeek-V3,h200,,,8,1,8,,1024,,0.5,4,",
            "DeepSeek-V3,h200,,,8.0,1.0,8.0,,1024.0,,.5,4.0,",
        ],
    )
    assert {name: odd[name] for name in RESULTS} == {name: plain[name] for name in RESULTS}


def test_beyond_saturation_the_queue_has_no_end_and_tokens_stay_what_is_served(
    tmp_path: Path,
) -> None:
    rates = (1, 10, 1000, 100000)
    replies = answered(tmp_path, [f"Llama-3.1-8B,h100,,,,,,,2048,256,,,{rate}" for rate in rates])
    assert [reply["reason"] for reply in replies] == ["", "", "Saturated", "Saturated"]
    waits = [float(reply["ttft_p95_ms"]) for reply in replies]
    assert waits[0] < waits[1] < waits[2] == waits[3] == float("inf")
    assert replies[2]["tokens_per_s"] == replies[3]["tokens_per_s"]
    assert float(replies[3]["tokens_per_s"]) > float(replies[1]["tokens_per_s"])


def test_cached_prompts_are_never_slower(tmp_path: Path) -> None:
    hits = (0, 0.25, 0.5, 0.75, 1)
    replies = answered(tmp_path, [f"Llama-3.1-8B,h100,,,,,,,4096,64,{h},,4" for h in hits])
    for name in ("ttft_ms", "ttft_p95_ms", "tpot_ms", "e2e_ms"):
        values = [float(reply[name]) for reply in replies]
        assert values == sorted(values, reverse=True)


def test_a_model_of_nobody_s_list_is_guessed_from_the_size_in_its_name(tmp_path: Path) -> None:
    rows = answered(tmp_path, ["acme/Novel-14B-Instruct,h100,,,,,,,,,,4,", *ROWS[:1]])
    assert [row["provenance"] for row in rows] == ["guessed", "estimated"]
    assert rows[0]["fits"] == "true"
    assert rows[0]["reason"].startswith("Guessed:")
    assert 8 < float(rows[0]["tpot_ms"]) < 30


def test_a_file_from_a_spreadsheet_with_columns_of_its_own_is_answered(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("\ufeffid,model,accelerator,concurrency\n7,Qwen3-8B,h100,4,,,extra\n\n")
    result = RUN.invoke(app, ["predict", "--batch", str(source), "--output", str(target)])
    assert result.exit_code == 0, result.output
    (row,) = csv.DictReader(target.read_text().splitlines())
    assert (row["id"], row["fits"]) == ("7", "true")


def test_columns_may_be_capitalised_and_cells_say_nothing_in_many_ways(tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(
        "Model,Accelerator,Engine,Quantization,Tensor_Parallel,Expert_Parallel,Concurrency\n"
        "Qwen3-8B,h100,None,None,0,0,4\nQwen3-8B,h100,vllm,bf16,1,1,4\n"
    )
    invoked(["--batch", str(source), "--output", str(target)])
    blank, full = csv.DictReader(target.read_text().splitlines())
    assert blank["fits"] == "true"
    assert [blank[name] for name in RESULTS] == [full[name] for name in RESULTS]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "has no header"),
        ("\n\n", "has no header"),
        ("model;accelerator\nQwen3-8B;h100\n", "has no column model"),
        ("model,gpu\nQwen3-8B,h100\n", "has no column accelerator"),
    ],
)
def test_a_file_without_its_header_is_refused(tmp_path: Path, text: str, what: str) -> None:
    source = tmp_path / "in.csv"
    source.write_text(text)
    result = RUN.invoke(app, ["predict", "--batch", str(source)])
    assert result.exit_code == 1
    assert what in result.output


def test_ten_thousand_rows_take_seconds(tmp_path: Path) -> None:
    """Half are sweeps over users, as benchmarks publish them; half differ in everything."""
    rows = [
        f"Qwen3-8B,{device},,,1,,,,{100 + i},{50 + i},,,{0.1 + i / 5000:.4f}"
        for i in range(1250)
        for device in ("h100", "a100", "l40s", "mi300x")
    ]
    rows += [
        f"{model},{device},,,{tensor},,,,{prompt},256,,{users},"
        for model in ("Llama-3.1-8B", "Qwen3-32B", "gpt-oss-120b", "Gemma-3-27B", "Mixtral-8x7B")
        for device in ("h100", "h200", "b200", "mi300x")
        for tensor in (1, 2, 4, 8)
        for prompt in (512, 4096)
        for users in range(1, 33)
    ]
    before = time.process_time()
    replies = answered(tmp_path, rows)
    assert len(replies) == len(rows) > 10_000
    assert all(reply["tpot_ms"] or reply["fits"] == "false" for reply in replies)
    assert time.process_time() - before < 10.0


@pytest.mark.parametrize("shape", ["json", "yaml"])
def test_every_answer_is_also_there_for_machines(shape: str) -> None:
    read = json.loads if shape == "json" else yaml.safe_load
    point = read(invoked([*MODEL, "--request-rate", "2", "-o", shape]))
    assert list(point) == RESULTS
    curve = read(invoked([*MODEL, "-o", shape]))
    rates = [one["request_rate"] for one in curve["points"]]
    assert rates == sorted(rates)
    assert rates[-1] < curve["saturates_at_rps"]
    found = read(invoked(["capacity", *MODEL, "--ttft", "500ms", "-o", shape]))
    assert 0 < found["max_rps"] < curve["saturates_at_rps"] * 1.5


def test_what_is_saturated_has_no_time_in_json() -> None:
    point = json.loads(invoked([*MODEL, "--request-rate", "10000", "-o", "json"]))
    assert (point["reason"], point["ttft_p95_ms"]) == ("Saturated", None)


def test_a_curve_is_drawn_into_a_file(tmp_path: Path) -> None:
    drawing = tmp_path / "curve.svg"
    invoked([*MODEL, "--svg", str(drawing)])
    root = ElementTree.parse(drawing).getroot()
    assert root.tag.endswith("svg")
    texts = {text.text for text in root.iter() if text.tag.endswith("text")}
    assert {"p95 TTFT", "p95 ITL", "req/s"} <= texts
    times = {text for text in texts if text and re.fullmatch(r"\S+ m?s", text)}
    assert {"100 ms", "1 s"} <= times, "saturation is in it, where the first token takes seconds"
    assert max(len(text) for text in times) <= 6, "what is longer begins left of the picture"


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--output", "json"), "--output"),
        (("--svg", "curve.svg", "--concurrency", "2"), "--svg"),
        (("--batch", "in.csv"), "--batch"),
        (("--request-rate", "1", "--concurrency", "2"), "concurrency"),
    ],
)
def test_an_option_that_would_go_unheard_is_refused(options: tuple[str, ...], named: str) -> None:
    result = RUN.invoke(
        app, ["predict", "--model", "Qwen/Qwen3-8B", "--accelerator", "h100", *options]
    )
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {named}")
