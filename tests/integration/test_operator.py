"""The operator on a real control plane, as its own ServiceAccount: what users rely on."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from trimtab_e2e.audit import writes
from trimtab_e2e.cluster import LocalCluster
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.stack import USER, Stack
from trimtab_e2e.waiting import eventually

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def stack(cluster: LocalCluster) -> Iterator[Stack]:
    stack = Stack(cluster)
    stack.install()
    cluster.add_nodes(make_nodes("l4-gke", 8, start_delay_s=1, name_prefix="operator-l4"))
    stack.start_operator()
    yield stack
    stack.stop_operator()
    cluster.kubectl("delete", "apool", "--all")
    cluster.kubectl("delete", "nodes", "-l", "cloud.google.com/gke-accelerator=nvidia-l4")


def deployment(namespace: str, name: str = "chat", **spec: Any) -> Manifest:
    """An LLMDeployment of a small model that one L4 can serve."""
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "workload": {"inputTokens": 256, "outputTokens": 128, "requestsPerSecond": "0.5"},
        }
        | spec,
    }


def serve(stack: Stack, namespace: str, **spec: Any) -> None:
    """Apply a deployment and wait, as a user does, until it is Ready."""
    stack.cluster.apply(deployment(namespace, **spec))
    stack.cluster.kubectl(
        "wait", "llmd/chat", "-n", namespace, "--for=condition=Ready", "--timeout=60s"
    )


def child(stack: Stack, namespace: str) -> Manifest:
    """The only child Deployment."""
    (found,) = stack.cluster.get("deployments", "-n", namespace)["items"]
    manifest: Manifest = found
    return manifest


def ready(stack: Stack, namespace: str, name: str = "chat") -> tuple[str, str]:
    """Status and reason of the condition Ready."""
    found = stack.condition(namespace, name, "Ready")
    return found.get("status", ""), found.get("reason", "")


def test_a_model_alone_is_served_and_the_answer_is_in_its_status(
    stack: Stack, namespace: str
) -> None:
    serve(stack, namespace)
    table = stack.cluster.kubectl("get", "llmd", "-n", namespace).stdout
    header, row = table.splitlines()
    assert header.split()[:4] == ["NAME", "MODEL", "READY", "REPLICAS"]
    assert row.split()[:5] == ["chat", "Llama-3.1-8B-Instruct", "True", "1/1", "l4:1"]
    status = stack.llmd(namespace, "chat")["status"]
    assert status["observedGeneration"] == 1
    assert float(status["cost"]["perHour"]) > 0
    kinds = "deployments,services,poddisruptionbudgets"
    children = stack.cluster.get(kinds, "-n", namespace)["items"]
    assert sorted(item["kind"] for item in children) == [
        "Deployment",
        "PodDisruptionBudget",
        "Service",
        "Service",
    ]
    uid = stack.llmd(namespace, "chat")["metadata"]["uid"]
    assert all(item["metadata"]["ownerReferences"][0]["uid"] == uid for item in children)
    events = stack.cluster.get("events", "-n", namespace)["items"]
    told = [event for event in events if event["involvedObject"]["kind"] == "LLMDeployment"]
    assert [event["reason"] for event in told] == ["Initial"]


def test_the_users_object_gets_no_finalizer_and_no_annotation(stack: Stack, namespace: str) -> None:
    serve(stack, namespace)
    metadata = stack.llmd(namespace, "chat")["metadata"]
    assert "finalizers" not in metadata
    assert "annotations" not in metadata
    assert metadata["generation"] == 1


@pytest.mark.parametrize(
    "edit",
    [
        ("scale", "deployment/{}", "--replicas=3"),
        ("set", "image", "deployment/{}", "main=example/other:v1"),
        ("label", "deployment/{}", "trimtab.dev/pool=elsewhere", "--overwrite"),
        ("label", "deployment/{}", "app.kubernetes.io/managed-by-"),
        ("delete", "deployment/{}"),
        ("delete", "service/chat"),
        ("delete", "poddisruptionbudget/chat"),
    ],
    ids=["replicas", "image", "label", "unmanaged", "deployment", "service", "budget"],
)
def test_an_edited_or_deleted_child_is_restored_within_ten_seconds(
    stack: Stack, namespace: str, edit: tuple[str, ...]
) -> None:
    serve(stack, namespace)
    kinds = "deployments,services,poddisruptionbudgets"

    def wanted() -> list[Any]:
        items = stack.cluster.get(kinds, "-n", namespace)["items"]
        return [
            (
                item["kind"],
                item["metadata"]["name"],
                item["metadata"]["labels"],
                item["spec"].get("replicas"),
                item["spec"].get("template", {}).get("spec", {}).get("containers"),
            )
            for item in items
        ]

    before, name = wanted(), child(stack, namespace)["metadata"]["name"]
    stack.cluster.kubectl(*(part.format(name) for part in edit), "-n", namespace)
    eventually(lambda: wanted() == before, "the child is as it was", 10)


def test_fields_of_others_survive(stack: Stack, namespace: str) -> None:
    serve(stack, namespace)
    name = child(stack, namespace)["metadata"]["name"]
    where = (f"deployment/{name}", "-n", namespace)
    stack.cluster.kubectl("annotate", *where, "team=search")
    stack.cluster.kubectl("label", *where, "cost-centre=42")
    stack.cluster.kubectl("patch", *where, "-p", '{"spec":{"minReadySeconds":7}}')
    stack.cluster.kubectl(
        "patch", "llmd/chat", "-n", namespace, "--type=merge", "-p",
        '{"spec":{"scaling":{"minReplicas":2}}}',
    )  # fmt: skip
    eventually(lambda: child(stack, namespace)["spec"]["replicas"] == 2, "it is scaled up")
    found = child(stack, namespace)
    assert found["metadata"]["annotations"]["team"] == "search"
    assert found["metadata"]["labels"]["cost-centre"] == "42"
    assert found["spec"]["minReadySeconds"] == 7


def test_a_foreign_object_of_the_same_name_is_not_touched_and_said_so(
    stack: Stack, namespace: str
) -> None:
    stack.cluster.kubectl("create", "service", "clusterip", "chat", "--tcp=80:80", "-n", namespace)
    before = stack.cluster.get("service", "chat", "-n", namespace)
    stack.cluster.apply(deployment(namespace))
    eventually(
        lambda: ready(stack, namespace) == ("False", "ChildRejected"), "the refusal is published"
    )
    message = stack.condition(namespace, "chat", "Ready")["message"]
    assert "Service" in message
    assert "Trimtab did not make it" in message
    assert stack.condition(namespace, "chat", "Stalled")["status"] == "True"
    time.sleep(6)
    assert stack.cluster.get("service", "chat", "-n", namespace) == before
    stack.cluster.kubectl("delete", "service", "chat", "-n", namespace)
    eventually(lambda: ready(stack, namespace) == ("True", "Serving"), "it serves", 90)
    assert stack.condition(namespace, "chat", "Stalled") == {}


def test_a_child_that_the_server_refuses_is_quoted_and_others_go_on(
    stack: Stack, namespace: str
) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "no-more", "namespace": namespace},
        "spec": {"hard": {"count/deployments.apps": "0"}},
    }
    stack.cluster.apply(quota)
    stack.cluster.apply(deployment(namespace))
    eventually(
        lambda: ready(stack, namespace) == ("False", "ChildRejected"), "the refusal is published"
    )
    assert "exceeded quota" in stack.condition(namespace, "chat", "Ready")["message"]
    stack.cluster.kubectl("delete", "resourcequota", "no-more", "-n", namespace)
    eventually(lambda: ready(stack, namespace) == ("True", "Serving"), "it serves", 90)


def test_a_pod_that_gets_no_node_by_the_autoscalers_word_is_placed_elsewhere_at_once(
    stack: Stack, namespace: str
) -> None:
    """No node has the labels of the cheapest pool, and none comes: the patience is ten minutes."""
    pool = {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "AcceleratorPool",
        "metadata": {"name": "nowhere"},
        "spec": {
            "accelerator": "nvidia-l4",
            "resourceName": "nvidia.com/gpu",
            "nodeSelector": {"nobody": "has-this"},
            "devicesPerNode": 1,
            "price": {"perDeviceHour": "0.01"},
            "capacity": {"maxDevices": 4},
            "provisioningTime": "10m",
        },
    }
    stack.cluster.apply(pool)
    stack.cluster.apply(deployment(namespace))

    def waiting() -> list[Manifest]:
        pods: list[Manifest] = stack.cluster.get("pods", "-n", namespace)["items"]
        return [
            pod
            for pod in pods
            if pod["metadata"]["labels"]["trimtab.dev/pool"] == "nowhere"
            and pod["status"].get("conditions", [{}])[0].get("reason") == "Unschedulable"
        ]

    eventually(lambda: len(waiting()) == 1, "the replica waits for a node", 60)
    time.sleep(20)
    (pod,) = waiting()
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    refusal = "pod didn't trigger scale-up: 1 max node group size reached"
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "chat.no-node", "namespace": namespace},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": pod["metadata"]["name"],
            "namespace": namespace,
            "uid": pod["metadata"]["uid"],
        },
        "type": "Normal",
        "reason": "NotTriggerScaleUp",
        "message": refusal,
        "source": {"component": "cluster-autoscaler"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    stack.cluster.apply(event)
    eventually(lambda: ready(stack, namespace) == ("True", "Serving"), "it serves elsewhere", 60)
    told = stack.cluster.get("events", "-n", namespace)["items"]
    moved = [each["message"] for each in told if each["reason"] == "PoolShort"]
    assert any(refusal in message for message in moved), told
    stack.cluster.kubectl("delete", "apool", "nowhere")


def test_a_replica_whose_node_is_to_be_taken_back_has_its_successor_before_it_goes(
    stack: Stack, namespace: str
) -> None:
    """A spot notice as AWS Node Termination Handler writes it, and nobody drains the node."""
    serve(stack, namespace)

    def pods() -> list[Manifest]:
        found: list[Manifest] = stack.cluster.get("pods", "-n", namespace)["items"]
        return found

    def serving() -> dict[str, str]:
        """The nodes of the pods that are Ready and stay, by the pods' names."""
        return {
            pod["metadata"]["name"]: pod["spec"]["nodeName"]
            for pod in pods()
            if "deletionTimestamp" not in pod["metadata"]
            and ("Ready", "True")
            in [(each["type"], each["status"]) for each in pod["status"].get("conditions", [])]
        }

    ((first, node),) = serving().items()
    taint = "aws-node-termination-handler/spot-itn"
    stack.cluster.kubectl("taint", "node", node, f"{taint}=soon:NoSchedule")
    try:
        eventually(lambda: len(serving()) == 2, "a second replica is Ready beside it", 40)
        assert first in serving()
        assert set(serving().values()) - {node}
        told = stack.cluster.get("events", "-n", namespace)["items"]
        why = [each["message"] for each in told if each["reason"] == "NodeNotice"]
        assert any("1 replica stands on a node about to be taken back" in each for each in why), (
            told
        )
        (pool,) = {pod["metadata"]["labels"]["trimtab.dev/pool"] for pod in pods()}
        said = [c["message"] for c in stack.cluster.get("apool", pool)["status"]["conditions"]]
        assert any(f"1 about to go (taint {taint})" in each for each in said), said
    finally:
        stack.cluster.kubectl("taint", "node", node, f"{taint}-")


def test_recommend_publishes_and_touches_nothing(stack: Stack, namespace: str) -> None:
    stack.cluster.apply(deployment(namespace, mode="Recommend"))
    eventually(
        lambda: ready(stack, namespace) == ("False", "Recommending"), "the decision is published"
    )
    assert stack.llmd(namespace, "chat")["status"]["summary"]["variants"] == "l4:1"
    kinds = "deployments,services,poddisruptionbudgets"
    assert stack.cluster.get(kinds, "-n", namespace)["items"] == []


def test_a_paused_deployment_is_left_alone_until_it_is_resumed(
    stack: Stack, namespace: str
) -> None:
    serve(stack, namespace)
    stack.cluster.kubectl("annotate", "llmd/chat", "-n", namespace, "trimtab.dev/paused=true")
    time.sleep(2)
    name = child(stack, namespace)["metadata"]["name"]
    stack.cluster.kubectl("scale", f"deployment/{name}", "--replicas=2", "-n", namespace)
    time.sleep(8)
    assert child(stack, namespace)["spec"]["replicas"] == 2
    assert ready(stack, namespace)[1] in ("Serving", "Paused")
    stack.cluster.kubectl("annotate", "llmd/chat", "-n", namespace, "trimtab.dev/paused-")
    stack.cluster.kubectl("set", "image", f"deployment/{name}", "main=x/y:v1", "-n", namespace)
    eventually(
        lambda: "x/y:v1" not in str(child(stack, namespace)["spec"]), "children are kept again", 10
    )


def test_a_spec_that_cannot_be_followed_is_said_so_and_its_neighbour_serves(
    stack: Stack, namespace: str
) -> None:
    stack.cluster.apply(deployment(namespace, name="broken", policyRef="missing"))
    serve(stack, namespace)
    eventually(
        lambda: ready(stack, namespace, "broken") == ("False", "InvalidSpec"), "it is said so"
    )
    assert "missing" in stack.condition(namespace, "broken", "Ready")["message"]
    assert stack.condition(namespace, "broken", "Stalled")["status"] == "True"


def test_a_budget_says_what_its_deployments_hold(stack: Stack, namespace: str) -> None:
    budget = {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "FleetBudget",
        "metadata": {"name": namespace},
        "spec": {"namespaces": [namespace], "maxDevices": 4},
    }
    stack.cluster.apply(budget)
    serve(stack, namespace)
    eventually(
        lambda: stack.cluster.get("budget", namespace).get("status", {}).get("devices") == 1,
        "the device is counted",
    )
    stack.cluster.kubectl("wait", f"budget/{namespace}", "--for=condition=WithinBudget")
    stack.cluster.kubectl("delete", "budget", namespace)


def test_a_users_field_in_a_discovered_pool_wins(stack: Stack, namespace: str) -> None:
    serve(stack, namespace)
    (pool,) = stack.llmd(namespace, "chat")["status"]["variants"]
    name = pool["pool"]
    assert stack.cluster.get("apool", name)["metadata"]["labels"]["trimtab.dev/discovered"]
    patch = yaml.safe_dump({"spec": {"devicesPerNode": 3, "price": {"perDeviceHour": "9.99"}}})
    stack.cluster.kubectl("patch", "apool", name, "--type=merge", "-p", patch)
    eventually(
        lambda: (
            stack.cluster.get("apool", name)["status"].get("price", {}).get("perDeviceHour")
            == "9.99"
        ),
        "the price of the user is in force",
    )
    time.sleep(6)
    assert stack.cluster.get("apool", name)["spec"]["devicesPerNode"] == 3
    eventually(
        lambda: stack.llmd(namespace, "chat")["status"]["cost"]["perHour"] == "9.99",
        "the cost follows",
        90,
    )


def test_at_rest_nothing_is_written(stack: Stack, namespace: str) -> None:
    serve(stack, namespace)
    stack.wait_at_rest()
    began = datetime.now(UTC)
    version = stack.llmd(namespace, "chat")["metadata"]["resourceVersion"]
    time.sleep(70)
    assert stack.operator_writes(began) == []
    assert stack.llmd(namespace, "chat")["metadata"]["resourceVersion"] == version


def doctor(stack: Stack, *more: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run `trimtab doctor`; return its exit code, and level and message by subject."""
    result = subprocess.run(
        [sys.executable, "-m", "trimtab", "doctor", "-o", "json", *more],
        env=os.environ | {"KUBECONFIG": str(stack.cluster.kubeconfig)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = json.loads(result.stdout)
    return result.returncode, {each["subject"]: (each["level"], each["message"]) for each in found}


def test_doctor_finds_nothing_wrong_where_nothing_is_and_says_who_leads(
    stack: Stack, namespace: str
) -> None:
    serve(stack, namespace)
    code, found = doctor(stack, "--prometheus-url", stack.cluster.prometheus_url)
    assert code == 0, found
    assert found["API server"][0] == "ok"
    assert found["Lease trimtab-system/trimtab"] == ("ok", "e2e leads")
    assert found["Prometheus"] == ("ok", "it answers")
    assert found["AcceleratorPool gke-l4"] == ("ok", "8 nodes with 8 devices")
    # Nobody plays the engines here, so Prometheus has no page of theirs.
    level, message = found[f"LLMDeployment {namespace}/chat"]
    assert (level, message.partition(":")[0]) == ("warning", "MetricsMissing")


def test_doctor_fails_where_nobody_leads_or_prometheus_is_away(stack: Stack) -> None:
    away = "http://127.0.0.1:9"
    code, found = doctor(stack, "--namespace", "default", "--prometheus-url", away)
    assert code == 1
    assert found["Lease default/trimtab"][0] == "failed"
    assert found["Prometheus"][0] == "failed"


def test_no_request_was_forbidden(stack: Stack, namespace: str) -> None:
    serve(stack, namespace)
    done = writes(stack.cluster.audit_log, user=USER)
    mine = [write for write in done if write.namespace in (namespace, "")]
    assert len(mine) > 5
    assert [write for write in mine if write.code in (401, 403)] == []
    command = ("auth", "can-i", "--list", f"--as={USER}", "-n", namespace)
    listed = stack.cluster.kubectl(*command).stdout
    assert "secrets" not in listed
    assert not [line for line in listed.splitlines() if line.startswith("*")]
