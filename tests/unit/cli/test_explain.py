"""`trimtab explain`: the decision record, readable, from a file or a stream."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from trimtab.cli.main import app

STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "conditions": [
        {
            "type": "Ready",
            "status": "True",
            "reason": "Serving",
            "message": "All 5 replicas serve",
            "lastTransitionTime": "2026-11-25T10:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "summary": {"model": "Llama-3.1-70B", "replicas": "5/5", "variants": "h200:3,l40s-s:2"},
    "variants": [
        {
            "name": "chat-h200-tp1",
            "pool": "h200",
            "accelerator": "h200",
            "tensorParallel": 1,
            "desired": 3,
            "ready": 3,
            "costPerHour": "12.40",
        }
    ],
    "observed": {
        "requestsPerSecond": "4.2",
        "inputTokens": 1024,
        "source": "Prometheus",
        "timeToFirstToken": "310ms",
        "slo": "0.99",
    },
    "cost": {
        "perHour": "21.40",
        "baseline": "static peak: 8 x h100",
        "baselinePerHour": "34.50",
        "saved": "38%",
        "priceSource": "Catalogue",
    },
    "decision": {
        "time": "2026-11-25T10:00:00Z",
        "reason": "DemandRose",
        "message": "3 replicas on h200 and 2 on l40s for 4.2 requests/s",
        "rejected": [
            {
                "pool": "a10g",
                "tensorParallel": 2,
                "reason": "MissesITL",
                "message": "[red]71 ms[/] over the target of 50 ms",
            }
        ],
    },
    "history": [
        {"time": "2026-11-25T10:00:00Z", "reason": "DemandRose", "variants": "h200:3,l40s-s:2"},
        {"time": "2026-11-25T08:00:00Z", "reason": "Idle", "variants": ""},
    ],
}


def manifest(status: object = STATUS, name: str = "chat") -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "assistants"},
        "status": status,
    }


def explained(*arguments: str, text: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    result = CliRunner().invoke(app, ["explain", *arguments], input=text, env={"COLUMNS": "160"})
    return result.exit_code, result.stdout, result.stderr


def test_everything_that_decided_is_said(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(yaml.safe_dump(manifest()))
    code, out, _ = explained("chat", "-f", str(path))
    assert code == 0
    for said in (
        "3 replicas on h200 and 2 on l40s for 4.2 requests/s",
        "DemandRose",
        "4.2 requests/s (Prometheus)",
        "1024 in, unknown out",
        "TTFT 310ms",
        "$21.40/h (Catalogue)",
        "38% against static peak: 8 x h100 at $34.50/h",
        "MissesITL",
        "[red]71 ms[/] over the target of 50 ms",
        "All 5 replicas serve",
        "Idle",
    ):
        assert said in out


def test_a_list_on_standard_input_is_searched() -> None:
    other = manifest(name="other")
    text = json.dumps({"kind": "List", "items": [other, manifest()]})
    code, out, _ = explained("chat", "-f", "-", text=text)
    assert (code, out.splitlines()[0]) == (0, f"chat: {STATUS['decision']['message']}")


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_machines_get_the_status_as_it_is(form: str, load: Any) -> None:
    code, out, _ = explained("chat", "-f", "-", "-o", form, text=yaml.safe_dump(manifest()))
    assert code == 0
    assert load(out) == STATUS


@pytest.mark.parametrize("status", [None, {}])
def test_without_a_decision_it_says_so(status: object) -> None:
    code, out, _ = explained("chat", "-f", "-", text=yaml.safe_dump(manifest(status)))
    assert code == 0
    assert "no decision has been published yet" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (yaml.safe_dump(manifest(name="other")), "has no LLMDeployment chat"),
        ("{broken", "--file"),
        (yaml.safe_dump(manifest({"variants": 5})), "status of chat"),
    ],
)
def test_a_mistake_is_an_error_with_its_remedy_and_no_traceback(text: str, says: str) -> None:
    code, out, err = explained("chat", "-f", "-", text=text)
    assert code == 1
    assert says in err
    assert len(err.strip().splitlines()) >= 2
    assert "Traceback" not in out + err
