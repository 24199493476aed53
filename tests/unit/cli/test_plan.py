"""`trimtab plan`: the decision from files, without a cluster."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from bodies import pool_manifest
from builders import NOW
from fleetworld import fresh_load
from trimtab.cli.main import app
from trimtab.cli.manifests import read
from trimtab.cli.plan import NO_FLEET
from trimtab.config import PlannerConfig
from trimtab.models.codec import Record, dump_record
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import VariantState
from trimtab.planner.offline import UNLIMITED, snapshot_of
from trimtab.planner.plan import plan
from trimtab.planner.spot import RECLAIMS_PER_HOUR
from trimtab.planner.starts import INIT_S

EXAMPLES = Path(__file__).parents[3] / "examples"

POOL = pool_manifest(
    "h100",
    "nvidia-h100-sxm",
    "2.50",
    nodeSelector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
)
SPEED: dict[str, Any] = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "PerformanceProfile",
    "metadata": {"name": "h100"},
    "spec": {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "accelerator": "nvidia-h100-sxm",
        "points": [
            {
                "inputTokens": 1024,
                "outputTokens": 256,
                "requestsPerSecond": rate,
                "timeToFirstToken": "100ms",
                "interTokenLatency": latency,
            }
            for rate, latency in (("10", "20ms"), ("30", "80ms"))
        ],
    },
}
"""20 requests/s at the target, of which 17 are given."""
CHAT: dict[str, Any] = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "LLMDeployment",
    "metadata": {"name": "chat", "namespace": "assistants"},
    "spec": {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "latency": {"timeToFirstToken": "800ms", "interTokenLatency": "50ms"},
        "placement": {"tensorParallel": [1]},
        "workload": {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "40"},
    },
}


def run(*arguments: str, stdin: str | None = None, columns: int = 180) -> Result:
    environment = {"COLUMNS": str(columns)}
    return CliRunner().invoke(app, ["plan", *arguments], input=stdin, env=environment)


def decisions(result: Result, code: int = 0) -> list[dict[str, Any]]:
    assert result.exit_code == code, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["decisions"]
    return found


def write(folder: Path, *documents: dict[str, Any]) -> str:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(documents))
    return str(folder)


def test_a_folder_of_manifests_becomes_a_fleet_with_its_price(tmp_path: Path) -> None:
    result = run("-f", write(tmp_path, POOL, SPEED, CHAT), "-o", "json")
    (decision,) = decisions(result)
    (target,) = decision["targets"]
    assert (target["pool"], target["replicas"]) == ("h100", 3)
    assert decision["usd_per_hour"] == pytest.approx(7.5)
    assert decision["demand"]["source"] == "Workload"
    assert "taken as unlimited" in json.loads(result.stdout)["notes"][0]


def test_the_same_comes_from_standard_input_and_as_yaml(tmp_path: Path) -> None:
    text = yaml.safe_dump_all([POOL, SPEED, CHAT])
    answer = run("-f", "-", "-o", "yaml", stdin=text)
    assert answer.exit_code == 0
    assert yaml.safe_load(answer.stdout)["decisions"][0]["targets"][0]["replicas"] == 3


def test_the_table_names_fleet_price_saving_and_losers(tmp_path: Path) -> None:
    dear = json.loads(json.dumps(POOL))
    dear["metadata"]["name"] = "dear"
    dear["spec"]["price"]["perDeviceHour"] = "9"
    answer = run("-f", write(tmp_path, POOL, dear, SPEED, CHAT))
    assert answer.exit_code == 0
    for part in ("assistants/chat", "h100", "7.50", "REJECTED", "dear", "Dearer", "static peak"):
        assert part in answer.stdout


def test_the_maximum_of_a_pool_is_its_capacity(tmp_path: Path) -> None:
    small = json.loads(json.dumps(POOL))
    small["spec"]["capacity"] = {"maxDevices": 2}
    result = run("-f", write(tmp_path, small, SPEED, CHAT), "-o", "json")
    (decision,) = decisions(result)
    assert decision["targets"][0]["replicas"] == 2
    assert json.loads(result.stdout)["notes"] == []
    assert any(fact["reason"] == "CapacityShort" for fact in decision["facts"])


def test_every_example_can_be_planned() -> None:
    result = run("-f", str(EXAMPLES), "-o", "json")
    found = decisions(result)
    assert found
    assert "Namespace" not in json.loads(result.stdout)["notes"][0]


def test_a_policy_reference_to_nothing_is_said(tmp_path: Path) -> None:
    chat = json.loads(json.dumps(CHAT))
    chat["spec"]["policyRef"] = "gone"
    (decision,) = decisions(run("-f", write(tmp_path, POOL, chat), "-o", "json"), NO_FLEET)
    assert decision["why"] == "Invalid"
    assert "no ServingPolicy is called gone in namespace assistants" in decision["message"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("kind: [", "it is no YAML"),
        ("- just\n- a list\n", "no object"),
        ("{}\n", "no LLMDeployment"),
        ("", "no LLMDeployment"),
        ("apiVersion: apps/v1\nkind: Deployment\n", "Skipped objects of other kinds: Deployment"),
        ("apiVersion: trimtab.dev/v1alpha1\nkind: LLMDeploymnt\n", "Did you mean LLMDeployment?"),
        ("apiVersion: trimtab.dev/v1\nkind: LLMDeployment\n", "Write trimtab.dev/v1alpha1"),
        ("kind: AcceleratorPool\n", "apiVersion: it is missing"),
        (yaml.safe_dump_all([CHAT, POOL, CHAT]), "two objects in it have this name"),
        (yaml.safe_dump(CHAT | {"spec": {"modl": {}}}), "LLMDeployment chat: spec.modl"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_remedy(
    tmp_path: Path, text: str, field: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    answer = run("-f", str(tmp_path / "bad.yaml"))
    assert answer.exit_code == 1
    assert field in answer.stderr


def test_a_wrong_field_is_named_with_its_file(tmp_path: Path) -> None:
    pool = json.loads(json.dumps(POOL))
    pool["spec"]["devicesPerNode"] = 0
    answer = run("-f", write(tmp_path, pool, CHAT))
    assert answer.exit_code == 1
    assert "all.yaml: AcceleratorPool h100: spec.devicesPerNode" in answer.stderr


def test_of_one_name_in_two_files_the_last_counts_and_is_said(tmp_path: Path) -> None:
    other = json.loads(json.dumps(CHAT))
    other["spec"]["workload"]["requestsPerSecond"] = "20"
    (tmp_path / "later.yaml").write_text(yaml.safe_dump(other))
    result = run("-f", write(tmp_path, POOL, SPEED, CHAT), "-o", "json")
    assert decisions(result)[0]["demand"]["rps"] == 20.0
    assert "later.yaml: the last counts" in json.loads(result.stdout)["notes"][0]


def test_a_plan_without_pools_says_where_to_find_some(tmp_path: Path) -> None:
    result = run("-f", write(tmp_path, CHAT))
    assert "examples/pools.yaml" in result.stdout
    assert "NoCandidate" in result.stdout


def test_who_gets_no_fleet_is_said_to_the_person_and_to_the_script(tmp_path: Path) -> None:
    lost = json.loads(json.dumps(CHAT))
    lost["metadata"]["name"] = "lost"
    lost["spec"]["placement"]["pools"] = ["gone"]
    result = run("-f", write(tmp_path, POOL, SPEED, CHAT, lost), "-o", "json")
    assert [len(each["targets"]) for each in decisions(result, NO_FLEET)] == [1, 0]
    assert result.stderr == "1 of 2 get no fleet: assistants/lost\n"


def test_a_fleet_that_is_short_or_not_needed_is_an_answer_like_others(tmp_path: Path) -> None:
    small = json.loads(json.dumps(POOL))
    small["spec"]["capacity"] = {"maxDevices": 1}
    assert run("-f", write(tmp_path, small, SPEED, CHAT)).exit_code == 0
    paused = json.loads(json.dumps(CHAT))
    paused["metadata"]["annotations"] = {"trimtab.dev/paused": "true"}
    assert run("-f", write(tmp_path, POOL, SPEED, paused)).exit_code == 0


def test_on_a_narrow_terminal_no_word_of_the_fleet_is_broken(tmp_path: Path) -> None:
    long = json.loads(json.dumps(CHAT))
    long["metadata"] = {"name": "summarise", "namespace": "specialists"}
    pool = json.loads(json.dumps(POOL))
    pool["metadata"]["name"] = "g6e-12xlarge-spot"
    fleet = run("-f", write(tmp_path, pool, SPEED, long), columns=80).stdout.partition("\n\n")[0]
    assert max(map(len, fleet.splitlines())) <= 80
    assert {"specialists/", "summarise", "g6e-12xlarge-spot"} <= set(fleet.split())


def test_nothing_to_plan_and_nothing_to_read_are_refused(tmp_path: Path) -> None:
    assert "--snapshot" in run().stderr
    assert run("-f", str(tmp_path)).exit_code == 1
    assert run("-f", str(tmp_path / "none.yaml")).exit_code == 1
    assert run("--snapshot", str(tmp_path / "none.json")).exit_code == 1


def test_a_recorded_snapshot_is_planned_again_and_a_change_is_tried_on_it(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    written, _ = read([write(folder, POOL, SPEED, CHAT)])
    world, _ = snapshot_of(written, NOW)
    assert world.pools[0].max_devices == UNLIMITED
    variant = VariantState(pool="h100", parallelism=Parallelism(), replicas=2, ready=2, pods=2)
    running = replace(world.deployments[0], variants=(variant,), load=fresh_load(20.0))
    world = replace(world, deployments=(replace(running, created=NOW - 3600.0),))
    record = tmp_path / "log.json"
    line = dump_record(
        Record(snapshot=world, config=PlannerConfig(), plan=plan(world, PlannerConfig()))
    )
    record.write_bytes(b"an older line\n" + line + b"\n")
    (decision,) = decisions(run("--snapshot", str(record), "-o", "json"))
    assert decision["targets"][0]["replicas"] == 2
    chat = json.loads(json.dumps(CHAT))
    chat["spec"]["scaling"] = {"minReplicas": 5}
    change = write(tmp_path, chat)
    (changed,) = decisions(run("--snapshot", str(record), "-f", f"{change}/all.yaml", "-o", "json"))
    assert changed["targets"][0]["replicas"] == 5
    assert changed["why"] == "Bounds"


ASKED = 88.0
"""Requests/s; what must outlast a domain is then more than half a replica beyond a whole number:
less than half of one is not worth a replica that is dear."""


def spot_pool(name: str, usd: str, provisioning: str, **spec: Any) -> dict[str, Any]:
    """A pool of spot H100 in a zone of its own, or of others with `spec`."""
    made: dict[str, Any] = json.loads(json.dumps(POOL))
    made["metadata"]["name"] = name
    made["spec"] |= {
        "capacityType": "Spot",
        "failureDomain": name,
        "price": {"perDeviceHour": usd},
        "provisioningTime": provisioning,
        "nodeSelector": {"example.com/pool": name},
    } | spec
    return made


def spread(tmp_path: Path, percentile: int, *pools: dict[str, Any]) -> tuple[float, dict[str, int]]:
    """Requests/s that one replica is given, and replicas by pool for ASKED requests/s."""
    wanted = json.loads(json.dumps(CHAT))
    wanted["spec"]["latency"]["percentile"] = percentile
    wanted["spec"]["cost"] = {"capacityTypes": ["Spot", "OnDemand"]}
    wanted["spec"]["scaling"] = {"maxReplicas": 40}
    wanted["spec"]["workload"]["requestsPerSecond"] = str(ASKED)
    result = run("-f", write(tmp_path, *pools, SPEED, wanted), "-o", "json")
    (decision,) = decisions(result)
    rate = re.search(r"one replica serves ([\d.]+) req/s", decision["candidates"][0]["message"])
    assert rate is not None
    return float(rate[1]), {e["pool"]: e["replicas"] for e in decision["targets"] if e["replicas"]}


def floor_rps(percentile: float) -> float:
    """What must outlast a domain that is taken back once in 20 h and comes back after 45 min.

    While it is down, for 3.9 % of the time, what it carried is late; half of the slack is for that.
    """
    down = RECLAIMS_PER_HOUR * (45 * 60 + INIT_S) / 3600.0
    return ASKED * (1.0 - 0.5 * (1.0 - percentile) / down)


def test_spot_keeps_a_floor_from_reclaims_time_to_ready_and_slack(tmp_path: Path) -> None:
    base = POOL | {"spec": POOL["spec"] | {"price": {"perDeviceHour": "3.00"}}}
    # Where nodes are back within minutes, 5 % that may be late are slack enough for all of it.
    rate, quick = spread(tmp_path, 95, base, spot_pool("z1", "1.00", "2m"))
    assert quick == {"z1": math.ceil(ASKED / rate)}
    floors = []
    for percentile in (95, 99):
        rate, found = spread(tmp_path, percentile, base, spot_pool("z1", "1.00", "45m"))
        floors.append(found["h100"])
        assert found["h100"] == math.ceil(floor_rps(percentile / 100) / rate)
        assert found["h100"] + found["z1"] == math.ceil(ASKED / rate)
    assert floors[0] < floors[1]


def test_spot_is_spread_so_that_the_largest_domain_may_go(tmp_path: Path) -> None:
    base = POOL | {"spec": POOL["spec"] | {"price": {"perDeviceHour": "9.00"}}}
    zones = [spot_pool(f"z{i}", f"1.0{i}", "45m") for i in range(3)]
    rate, found = spread(tmp_path, 99, base, *zones)
    assert rate * (sum(found.values()) - max(found.values())) >= floor_rps(0.99)
    assert found.keys() == {"z0", "z1", "z2"}
    # Pools that fail as one are one domain, whatever they are called.
    together = [zone | {"spec": zone["spec"] | {"failureDomain": "east"}} for zone in zones]
    rate, found = spread(tmp_path, 99, base, *together)
    assert rate * found["h100"] >= floor_rps(0.99)
