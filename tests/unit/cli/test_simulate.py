"""`trimtab simulate`: scenarios, one's own log, a Prometheus, and decisions made again."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from typer.testing import CliRunner, Result

import builders
from bodies import pool_manifest
from trimtab.cli import prometheus
from trimtab.cli.main import app
from trimtab.config import PlannerConfig
from trimtab.errors import InvalidInput, Unavailable
from trimtab.models.codec import Record, dump_record
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan
from trimtab.simulate.inputs.spec import PrometheusHistory

POOL = pool_manifest("h100", "nvidia-h100-sxm", "2.50", capacity={"maxDevices": 8})
CHAT: dict[str, Any] = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "chat", "namespace": "assistants"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "latency": {"timeToFirstToken": "1s"},
        "placement": {"tensorParallel": [1]},
    },
}
SCENARIO: dict[str, Any] = {
    "name": "tiny",
    "about": "Two minutes of little.",
    "duration": "2m",
    "manifests": [POOL, CHAT],
    "traffic": [
        {
            "deployment": "assistants/chat",
            "source": {
                "synthetic": {
                    "shape": "steady",
                    "rate": 2,
                    "inputTokens": {"mean": 200},
                    "outputTokens": {"mean": 20},
                }
            },
        }
    ],
}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments])


def scenario(folder: Path, **changes: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**SCENARIO, **changes}))
    return str(path)


def manifests(folder: Path, *documents: dict[str, Any]) -> str:
    path = folder / "manifests.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_a_scenario_gives_a_row_for_each_policy_and_one_for_hindsight(tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    result = run(
        scenario(tmp_path), "--policy", "trimtab,static-peak", "--seeds", "1", "--jobs", "1",
        "-o", "json", "--report", str(page),
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    rows = {row["policy"]: row for row in json.loads(result.stdout)}
    assert list(rows) == ["trimtab", "static-peak", "clairvoyant"]
    for row in rows.values():
        # One H100 for two minutes, and never less than nothing.
        assert 0.0 < row["figures"]["usd"]["mean"] <= 2.5 * 8 / 30
        assert row["figures"]["usd_to_bound"]["mean"] >= 1.0
    assert rows["static-peak"]["figures"]["attainment"]["mean"] > 0.99
    assert "3/3 tiny: hindsight, seed 0 done" in result.stderr
    text = page.read_text()
    assert "Two minutes of little." in text
    assert "trimtab" in text


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_the_answer_is_the_same_in_json_and_yaml(
    tmp_path: Path, form: str, read: Callable[[str], Any]
) -> None:
    result = run(
        scenario(tmp_path), "--policy", "static-peak", "--seeds", "1", "--jobs", "1",
        "--no-hindsight", "-o", form,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    (row,) = read(result.stdout)
    assert (row["scenario"], row["policy"], row["seeds"]) == ("tiny", "static-peak", 1)
    assert row["figures"]["usd"]["mean"] > 0.0


def test_ones_own_log_is_read_with_its_notes(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(
        "when,prompt_tokens,completion_tokens\n"
        + "".join(f"{i * 500},200,20\n" for i in range(240))
    )
    result = run(
        "-f", manifests(tmp_path, POOL, CHAT), "--trace", str(log), "--policy", "static-peak",
        "--column", "timestamp=when", "--column", "unit=ms", "--seeds", "1", "--jobs", "1",
        "--no-hindsight", "-o", "csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "240 requests in 120 s; timestamp=when, input=prompt_tokens" in result.stderr
    header, row = result.stdout.splitlines()
    assert header.startswith("scenario,policy,seeds,usd")
    assert row.startswith("own-traffic,static-peak,1,")


def test_several_deployments_get_the_rows_of_their_models(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("t_s,input,output,model\n0,1,1,x\n1,1,1,x\n")
    other = {**CHAT, "metadata": {"name": "other", "namespace": "assistants"}}
    result = run("-f", manifests(tmp_path, POOL, CHAT, other), "--trace", str(log))
    assert result.exit_code == 1
    assert "no row is of model meta-llama/Llama-3.1-8B-Instruct" in result.stderr


def test_one_deployment_gets_the_rows_of_its_model_where_the_log_has_several(
    tmp_path: Path,
) -> None:
    log, (mine, other) = tmp_path / "log.csv", (CHAT["spec"]["model"]["name"], "other")
    rows = "".join(f"{i},200,20,{other if i % 3 else mine}\n" for i in range(90))
    log.write_text("t_s,input,output,model\n" + rows)
    result = run(
        "-f", manifests(tmp_path, POOL, CHAT), "--trace", str(log), "--policy", "static-peak",
        "--seeds", "1", "--jobs", "1", "--no-hindsight", "-o", "csv",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "30 requests in 90 s" in result.stderr


def test_a_log_of_one_moment_does_not_tell_how_long_it_lasts(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("t_s,input,output\n5,200,20\n")
    result = run("-f", manifests(tmp_path, POOL, CHAT), "--trace", str(log))
    assert result.exit_code == 1
    assert "Say --duration" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "nothing to simulate"),
        (("gone.yaml",), "gone.yaml: cannot read it"),
        (("{chat}",), "Give manifests with -f"),
        (("--policy", "hpa", "x.yaml"), "there is no policy hpa"),
        (("-f", "{pool}", "--trace", "azure-conv"), "no LLMDeployment is in it"),
        (("-f", "{chat}", "--trace", "azure-conv"), "no AcceleratorPool is in it"),
        (("-f", "{both}", "--trace", "gone.csv"), "cannot read it"),
        (("-f", "{both}", "--trace", "azure-conv", "--column", "size=x"), "names no column"),
        (("-f", "{both}", "--trace", "azure-conv", "--column", "unit=h"), "unit=s or unit=ms"),
        (("-f", "{both}", "--trace", "azure-conv", "--duration", "2"), "is not a duration"),
        (("x.yaml", "--trace", "azure-conv"), "names its own manifests"),
        (("--record", "gone.jsonl"), "cannot read it"),
        (("--record", "gone.jsonl", "steady.yaml"), "Give one of them"),
    ],
)
def test_a_mistake_is_one_line_and_a_remedy(
    tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    files = {}
    for name, documents in (("pool", [POOL]), ("chat", [CHAT]), ("both", [POOL, CHAT])):
        files[name] = str(tmp_path / f"{name}.yaml")
        Path(files[name]).write_text(yaml.safe_dump_all(documents))
    result = run(*(argument.format(**files) for argument in arguments))
    assert result.exit_code == 1
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def record() -> Record:
    snapshot = Snapshot(
        now=builders.NOW,
        deployments=(builders.deployment_state(variants=(builders.variant_state(),)),),
        pools=(builders.pool(),),
    )
    config = PlannerConfig(headroom=0.2)
    return Record(snapshot=snapshot, config=config, plan=plan(snapshot, config))


def test_decisions_made_again_are_equal(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_bytes((dump_record(record()) + b"\n") * 3)
    result = run("--record", str(path))
    assert result.exit_code == 0
    assert "3 decisions made again, all equal" in result.stdout


def test_the_first_decision_that_differs_is_named(tmp_path: Path) -> None:
    right = record()
    decision = right.plan.decisions[0]
    wrong = replace(
        right, plan=replace(right.plan, decisions=(replace(decision, usd_per_hour=1.25),))
    )
    path = tmp_path / "decisions.jsonl"
    path.write_bytes(b"\n".join((dump_record(right), dump_record(wrong), dump_record(wrong))))
    result = run("--record", str(path))
    assert result.exit_code == 1
    assert f"line 2 of {path}" in result.stderr
    assert f"decisions.0[{decision.key}].usd_per_hour differs" in result.stderr
    assert "recorded: 1.25" in result.stderr
    assert f"decided:  {decision.usd_per_hour}" in result.stderr


def test_a_log_of_another_version_is_told_from_a_difference(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text('{"snapshot": {}}\n')
    result = run("--record", str(path))
    assert result.exit_code == 1
    assert "line 1" in result.stderr
    assert "Replay it with the version that wrote it" in result.stderr


class _Prometheus(BaseHTTPRequestHandler):
    """Answers range queries: a rate of 3 that is missing for one point."""

    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        self.asked.append(query)
        start, end, step = (float(query[name][0]) for name in ("start", "end", "step"))
        points = [[start + i * step, "3"] for i in range(round((end - start) / step) + 1) if i != 2]
        result = [{"metric": {}, "values": points}]
        text = query["query"][0]
        if text == "two":
            result *= 2
        if text == "young":
            result[0]["values"] = points[4:]
        if text == "histogram":
            result = [{"metric": {}, "histograms": []}]
        document: dict[str, Any] = {
            "status": "success",
            "data": {"resultType": "matrix", "result": [] if text == "none" else result},
        }
        if text == "sum(":
            document = {"status": "error", "error": "parse error"}
        body = b"<html>" if text == "html" else json.dumps(document).encode()
        self.send_response(400 if text == "sum(" else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Prometheus) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def history(url: str, query: str = "sum(rate(x[1m]))", **changes: str) -> PrometheusHistory:
    return PrometheusHistory.model_validate(
        {
            "url": url,
            "query": query,
            "last": "10m",
            "until": "2026-11-25T12:00:00Z",
            "inputTokens": {"mean": 100},
            "outputTokens": {"mean": 10},
            **changes,
        }
    )


def test_a_history_is_asked_for_as_it_is_meant_and_its_gap_is_told(server: str) -> None:
    found, note = prometheus.fetch(history(server), 0.0)
    asked = _Prometheus.asked[-1]
    assert asked["end"] == ["1795608000.000"]
    assert asked["start"] == ["1795607400.000"]
    assert found.at_s.tolist() == [60.0 * i for i in range(11)]
    assert found.rps.tolist() == [3.0] * 11
    assert "10 points, 1 more were missing" in note


def test_before_its_first_point_a_history_is_not_made_up(server: str) -> None:
    found, note = prometheus.fetch(history(server, "young"), 0.0)
    assert found.at_s.tolist() == [60.0 * i for i in range(6)]
    assert note.endswith(": 6 points; there are 300 of 600 s, which are taken alone")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("two", "2 series"),
        ("none", "nothing for that time"),
        ("sum(", "parse error"),
        ("histogram", "0 points"),
    ],
)
def test_a_query_that_gives_no_rate_is_refused(server: str, query: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        prometheus.fetch(history(server, query), 0.0)


def test_what_is_no_prometheus_is_told_so(server: str) -> None:
    with pytest.raises(Unavailable, match="nothing that Prometheus would"):
        prometheus.fetch(history(server, "html"), 0.0)
    with pytest.raises(Unavailable, match="does not answer"):
        prometheus.fetch(history("http://127.0.0.1:9"), 0.0)


def test_a_scenario_asks_the_prometheus_itself(server: str, tmp_path: Path) -> None:
    spec = history(server).model_dump(mode="json", by_alias=True, exclude={"last_s", "step_s"})
    source = {"prometheus": {**spec, "last": "10m", "step": "60s"}, "repeat": False}
    entry = {"deployment": "assistants/chat", "source": source}
    result = run(
        scenario(tmp_path, traffic=[entry]), "--policy", "static-peak", "--seeds", "1",
        "--jobs", "1", "-o", "json",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "10 points" in result.stderr
    goodput = json.loads(result.stdout)[0]["figures"]["goodput_rps"]["mean"]
    assert goodput == pytest.approx(3.0, rel=0.15)
