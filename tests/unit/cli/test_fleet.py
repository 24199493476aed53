"""`trimtab status` and `trimtab top`: every deployment in a line, what is wrong first."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.main import app


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-11-25T10:00:00Z",
        "observedGeneration": 1,
    }


WELL = (
    condition("Ready", "True", "Serving", "All 2 replicas serve"),
    condition("MetricsAvailable", "True", "MetricsFresh"),
    condition("CapacityAvailable", "True", "CapacityFound"),
    condition("SLOMet", "True", "WithinTargets"),
    condition("Optimized", "True", "Optimal"),
)


def deployment(name: str, usd: str = "4.00", *wrong: dict[str, Any], **spec: Any) -> dict[str, Any]:
    kinds = {each["type"] for each in wrong}
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "assistants"},
        "spec": {"model": {"name": "Qwen/Qwen3-8B"}, "latency": {"timeToFirstToken": "500ms"}}
        | spec,
        "status": {
            "observedGeneration": 1,
            "conditions": [*wrong, *(each for each in WELL if each["type"] not in kinds)],
            "summary": {"model": "Qwen3-8B", "replicas": "2/2", "variants": "l40s:2"},
            "observed": {"source": "Prometheus", "timeToFirstToken": "310ms", "slo": "0.99"},
            "cost": {"perHour": usd},
            "decision": {
                "time": "2026-11-25T10:00:00Z", "reason": "Steady", "message": "2 x l40s, enough",
            },
        },
    }  # fmt: skip


def run(tmp_path: Path, command: list[str], *objects: object, columns: int = 200) -> str:
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump_all(objects))
    environment = {"COLUMNS": str(columns)}
    result = CliRunner().invoke(app, [*command, "-f", str(path)], env=environment)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_deployment_that_is_well_shows_its_last_decision(tmp_path: Path) -> None:
    out = run(tmp_path, ["status"], deployment("chat"), deployment("other", "1.50"))
    (row,) = [line for line in out.splitlines() if " chat " in line]
    for said in (
        "assistants", "2/2", "l40s:2", "4.00", "TTFT p95 310ms/500ms", "0.99", "Serving",
        "2 x l40s, enough",
    ):  # fmt: skip
        assert said in row
    assert out.splitlines()[-1].split() == ["total", "5.50"]


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ((condition("SLOMet", "False", "OverTarget", "p95 TTFT is late"),), "p95 TTFT is late"),
        ((condition("MetricsAvailable", "Unknown", "NoReplicas", "none"),), "none"),
        (
            (
                condition("SLOMet", "False", "OverTarget", "late"),
                condition("CapacityAvailable", "False", "CapacityShort", "no device left"),
            ),
            "no device left",
        ),
        (
            (
                condition("Ready", "False", "ChildRejected", "0 of 2"),
                condition("Stalled", "True", "ChildRejected", "quota"),
            ),
            "quota",
        ),
    ],
)
def test_what_is_wrong_is_said_and_the_gravest_of_it(
    tmp_path: Path, wrong: tuple[dict[str, Any], ...], first: str
) -> None:
    out = run(tmp_path, ["status", "-o", "json"], deployment("chat", "4.00", *wrong))
    (line,) = json.loads(out)
    assert (line["healthy"], line["why"]) == (False, first)


def test_the_target_of_a_policy_counts_and_what_is_unknown_is_not_met(tmp_path: Path) -> None:
    policy = {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "ServingPolicy",
        "metadata": {"name": "strict", "namespace": "assistants"},
        "spec": {
            "latency": {
                "percentile": 99, "timeToFirstToken": "300ms", "interTokenLatency": "40ms",
            }
        },
    }  # fmt: skip
    late = deployment("chat", "4.00", latency=None, policyRef="strict")
    (line,) = json.loads(run(tmp_path, ["status", "-o", "json"], late, policy))
    assert line["percentile"] == 99
    found = {each["name"]: (each["measured"], each["met"]) for each in line["latencies"]}
    assert found == {"TTFT": ("310ms", False), "ITL": (None, None)}


def test_what_no_operator_has_seen_waits(tmp_path: Path) -> None:
    young = deployment("chat")
    del young["status"]
    (line,) = json.loads(run(tmp_path, ["status", "-o", "json"], young))
    assert (line["condition"], line["healthy"]) == ("Pending", False)


def test_a_namespace_hides_the_others(tmp_path: Path) -> None:
    out = run(tmp_path, ["status", "-n", "coding", "-o", "yaml"], deployment("chat"))
    assert yaml.safe_load(out) == []


@pytest.mark.parametrize("command", [["status"], ["top", "--once"]])
def test_that_there_is_none_is_said_and_not_shown_as_an_empty_table(
    tmp_path: Path, command: list[str]
) -> None:
    out = run(tmp_path, [*command, "-n", "coding"], deployment("chat"))
    assert "There is no LLMDeployment in namespace coding" in out
    assert "CONDITION" not in out


@pytest.mark.parametrize("command", [["status"], ["top", "--once"]])
def test_on_a_narrow_terminal_the_reason_is_a_sentence_below(
    tmp_path: Path, command: list[str]
) -> None:
    why = "TTFT p95 is 310 ms"
    late = deployment("chat", "4.00", condition("SLOMet", "False", "OverTarget", why))
    out = run(tmp_path, command, late, columns=80)
    assert f"assistants/chat: {why}" in out.splitlines()
    assert "WHY" not in out
    assert "WHY" in run(tmp_path, command, late, columns=140)


def test_top_once_lists_the_dearest_first(tmp_path: Path) -> None:
    slow = deployment("slow", "1.00", condition("SLOMet", "False", "OverTarget", "late"))
    out = run(tmp_path, ["top", "--once"], slow, deployment("dear", "9.00"))
    head, *rows = out.splitlines()
    assert "2 deployments, 1 well, $10.00/h" in head
    order = [line.split()[1] for line in rows if line.startswith("assistants")]
    assert order == ["dear", "slow"]


@pytest.mark.parametrize("command", [["status"], ["top", "--once"]], ids=" ".join)
def test_what_is_only_recommended_is_not_on_the_bill(tmp_path: Path, command: list[str]) -> None:
    trial = deployment("trial", "30.00", condition("Ready", "False", "Recommending", "0 of 3"))
    out = run(tmp_path, command, trial, deployment("chat", "4.00"))
    assert "30.00" in out, "what it would cost is said all the same"
    assert next(line for line in out.splitlines() if line.startswith("total")).split()[1] == "4.00"


def test_top_for_a_program_looks_once_and_lists_the_dearest_first(tmp_path: Path) -> None:
    out = run(tmp_path, ["top", "-o", "json"], deployment("a", "1.00"), deployment("b", "9.00"))
    assert [line["name"] for line in json.loads(out)] == ["b", "a"]


def test_an_interval_that_is_none_is_refused(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["top", "--interval", "soon", "-f", "-"], input="")
    assert result.exit_code == 1
    assert "--interval" in result.stderr
