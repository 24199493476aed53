"""`trimtab explain`: the decision and what would change it, from objects, files and records."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from bodies import pool_manifest
from builders import NOW, catalogue_pool, planned
from trimtab.cli.main import app
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Price
from trimtab.models.codec import Record, dump_record
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan

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


SPEC: dict[str, Any] = {
    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
    "latency": {"interTokenLatency": "50ms"},
    "workload": {"inputTokens": 512, "outputTokens": 128, "requestsPerSecond": "2"},
    "placement": {"tensorParallel": [1]},
}


def manifest(status: object = STATUS, name: str = "chat") -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "assistants"},
        "spec": SPEC,
        "status": status,
    }


def pool(name: str, accelerator: str, price: str) -> dict[str, Any]:
    return pool_manifest(name, accelerator, price, devicesPerNode=4)


POOLS = [pool("h100", "nvidia-h100-sxm", "3.00"), pool("l40s", "nvidia-l40s", "1.10")]


def unplanned(**spec: Any) -> dict[str, Any]:
    """A manifest that no cluster has seen."""
    written = manifest()
    del written["status"]
    return written | {"spec": SPEC | spec}


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
    assert load(out) == STATUS | {"whatIf": []}


@pytest.mark.parametrize("status", [None, {}])
def test_without_a_decision_it_says_so(status: object) -> None:
    code, out, _ = explained("chat", "-f", "-", text=yaml.safe_dump(manifest(status)))
    assert code == 0
    assert "no decision has been published yet" in out


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (yaml.safe_dump(manifest(name="other")), "there is no LLMDeployment chat"),
        ("{broken", "standard input"),
        (yaml.safe_dump(manifest({"variants": 5})), "status.variants"),
    ],
)
def test_a_mistake_is_an_error_with_its_remedy_and_no_traceback(text: str, says: str) -> None:
    code, out, err = explained("chat", "-f", "-", text=text)
    assert code == 1
    assert says in err
    assert len(err.strip().splitlines()) >= 2
    assert "Traceback" not in out + err


def test_manifests_without_a_status_are_planned_and_asked_about() -> None:
    text = yaml.safe_dump_all([unplanned(), *POOLS])
    code, out, _ = explained("chat", "-f", "-", "-o", "json", text=text)
    assert code == 0
    answer = json.loads(out)
    assert answer["decision"]["reason"] == "Initial"
    assert [variant["pool"] for variant in answer["variants"]] == ["l40s"]
    levers = {change["lever"] for change in answer["whatIf"]}
    assert levers == {"Price", "Demand"}
    (h100,) = [c for c in answer["whatIf"] if c["field"] == "AcceleratorPool h100"]
    assert 0 < float(h100["value"]) < 3
    assert h100["fleet"].endswith("x h100/tp1")


def test_power_and_carbon_are_said_where_they_decide() -> None:
    wanted, (first, *pools) = unplanned(), POOLS
    wanted["spec"]["cost"] = {"objective": "MinimizeCarbon"}
    clean = first | {"spec": first["spec"] | {"carbonIntensity": 50}}
    text = yaml.safe_dump_all([wanted, clean, *pools])
    _, out, _ = explained("chat", "-f", "-", "--no-what-if", text=text)
    assert " gCO2/h for " in out
    power = next(line.split() for line in out.splitlines() if line.startswith("power"))
    carbon = next(line.split() for line in out.splitlines() if line.startswith("carbon"))
    assert float(carbon[1]) == pytest.approx(float(power[1]) / 1000 * 50, rel=0.01)
    assert "NoCarbon" in out


def test_the_table_says_what_would_change_it_and_none_where_that_is_not_asked() -> None:
    text = yaml.safe_dump_all([unplanned(), *POOLS])
    _, asked, _ = explained("chat", "-f", "-", text=text)
    _, not_asked, _ = explained("chat", "-f", "-", "--no-what-if", text=text)
    assert "h100 would win" in asked
    assert "would win" not in not_asked
    assert "Capacity of h100, l40s taken as unlimited" in asked


def test_live_objects_keep_their_own_answer_and_are_asked_with_their_pools() -> None:
    text = json.dumps({"kind": "List", "items": [manifest(), *POOLS]})
    code, out, _ = explained("chat", "-n", "assistants", "-f", "-", "-o", "json", text=text)
    assert code == 0
    answer = json.loads(out)
    assert answer["decision"] == STATUS["decision"]
    assert answer["whatIf"]


def test_another_namespace_has_no_such_deployment() -> None:
    code, _, err = explained("chat", "-n", "other", "-f", "-", text=yaml.safe_dump(manifest()))
    assert code == 1
    assert "no LLMDeployment chat in namespace other" in err


def test_a_record_of_a_decision_log_is_explained(tmp_path: Path) -> None:
    state = planned(placement={"tensorParallel": [1]})
    pools = (catalogue_pool("h100", "nvidia-h100-sxm", 3.0),)
    log = tmp_path / "decisions.jsonl"
    lines = []
    for usd in (3.0, 2.0):
        price = Price(usd_per_hour=usd, source="Pool")
        snapshot = Snapshot(now=NOW, deployments=(state,), pools=(replace(pools[0], price=price),))
        config = PlannerConfig()
        made = plan(snapshot, config)
        lines.append(dump_record(Record(snapshot=snapshot, config=config, plan=made)))
    log.write_bytes(b"\n".join(lines))
    code, out, _ = explained("chat", "--record", str(log), "-o", "json")
    assert code == 0
    answer = json.loads(out)
    (variant,) = answer["variants"]
    assert float(variant["costPerHour"]) == 2.0 * variant["desired"], "the newest record counts"
    assert {change["lever"] for change in answer["whatIf"]} >= {"Demand"}
    code, _, err = explained("nobody", "--record", str(log))
    assert (code, "no record in" in err) == (1, True)


def test_two_sources_at_once_are_a_mistake(tmp_path: Path) -> None:
    code, _, err = explained("chat", "--record", str(tmp_path / "x"), "-f", "-", text="")
    assert (code, "--file is given too" in err) == (1, True)
