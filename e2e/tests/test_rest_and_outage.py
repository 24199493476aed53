"""At rest nothing is written; without Prometheus nothing falls; both under real traffic."""

import subprocess
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trimtab_e2e.stack import Stack
from trimtab_e2e.waiting import eventually

NAMESPACE = "outage"
REST_S = 120


def deployment(name: str, **scaling: Any) -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct", "maxModelLen": 8192},
            "latency": {"timeToFirstToken": "2s", "interTokenLatency": "80ms"},
            "scaling": {"minReplicas": 1, "maxReplicas": 10, "scaleDownWindow": "20s", **scaling},
            "workload": {"inputTokens": 1024, "outputTokens": 200, "requestsPerSecond": "1"},
        },
    }


@pytest.fixture(autouse=True, scope="module")
def namespace(stack: Stack) -> None:
    stack.cluster.kubectl("create", "namespace", NAMESPACE)


def _load(rps: float, name: str) -> dict[str, Any]:
    return {f"{NAMESPACE}/{name}": {"profile": [[0, rps], [3600, rps]], "seed": 7}}


def _metrics(stack: Stack, name: str) -> tuple[str, str]:
    found = stack.condition(NAMESPACE, name, "MetricsAvailable")
    return found.get("status", ""), found.get("reason", "")


@pytest.mark.timeout(600)
def test_prometheus_outage_under_load_lowers_nothing(stack: Stack) -> None:
    stack.cluster.apply(deployment("busy"))
    stack.fleet.start()
    stack.fleet.load(_load(12.0, "busy"))
    stack.start_operator()
    eventually(lambda: sum(stack.replicas(NAMESPACE, "busy").values()) >= 2, "scaled up", 120)
    eventually(lambda: _metrics(stack, "busy")[0] == "True", "metrics are fresh", 60)
    before = sum(stack.replicas(NAMESPACE, "busy").values())

    stack.cluster.stop_prometheus()
    stopped = time.monotonic()
    lowest = before
    while time.monotonic() - stopped < 60 and _metrics(stack, "busy")[0] != "False":
        lowest = min(lowest, sum(stack.replicas(NAMESPACE, "busy").values()))
        time.sleep(1)
    assert _metrics(stack, "busy") == ("False", "PrometheusUnavailable")
    # Long past the scale-down window, still nothing falls.
    for _ in range(45):
        lowest = min(lowest, sum(stack.replicas(NAMESPACE, "busy").values()))
        time.sleep(1)
    assert lowest >= before

    stack.cluster.start_prometheus()
    eventually(lambda: _metrics(stack, "busy")[0] == "True", "recovers", 60)
    assert sum(stack.replicas(NAMESPACE, "busy").values()) >= before
    stack.cluster.kubectl("delete", "llmd", "busy", "-n", NAMESPACE)


@pytest.mark.timeout(900)
def test_at_rest_nothing_is_written_and_nothing_moves(stack: Stack) -> None:
    stack.cluster.apply([deployment("idle"), deployment("fixed", minReplicas=2)])
    stack.fleet.start()  # the pods report, and nobody asks them anything
    stack.start_operator()
    _settle(stack, {"idle": 1, "fixed": 2})

    started = datetime.now(UTC)
    watch = subprocess.Popen(
        [
            stack.cluster.kubectl_path,
            f"--kubeconfig={stack.cluster.kubeconfig}",
            *("get", "llmd", "-A", "-w", "--no-headers"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(REST_S)
    watch.terminate()
    lines = watch.communicate(timeout=10)[0].splitlines()
    assert len(lines) == 2, f"kubectl get -w showed a change at rest: {lines}"
    written = [f"{w.verb} {w.resource} {w.name}" for w in stack.operator_writes(since=started)]
    assert written == []


def _settle(stack: Stack, replicas: dict[str, int]) -> None:
    """Wait until the deployments serve as wanted and no child was written for a minute."""
    for name, count in replicas.items():
        eventually(
            lambda name=name, count=count: (  # type: ignore[misc]
                stack.condition(NAMESPACE, name, "Optimized").get("status") == "True"
                and sum(stack.replicas(NAMESPACE, name).values()) == count
            ),
            f"{name} runs {count} replicas as decided",
            240,
        )
    eventually(
        lambda: (
            not any(
                w.resource != "llmdeployments/status"
                for w in stack.operator_writes(since=datetime.now(UTC) - timedelta(seconds=60))
            )
        ),
        "no child was written for a minute",
        300,
    )
