"""The local cluster is what it says: a real control plane, with nodes that behave."""

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from trimtab_e2e import audit, binaries
from trimtab_e2e.cluster import LocalCluster
from trimtab_e2e.nodes import make_nodes, shapes
from trimtab_e2e.waiting import eventually


def test_versions_are_those_of_the_go_module() -> None:
    module = Path(binaries.__file__).parents[1] / "localcluster" / "go.mod"
    assert f"k8s.io/kubernetes v{binaries.KUBERNETES_VERSION}\n" in module.read_text()


def test_every_shape_becomes_a_ready_node_that_keeps_what_the_platform_gave_it(
    cluster: LocalCluster,
) -> None:
    nodes = [node for name in shapes() for node in make_nodes(name, 1, name_prefix=f"shape-{name}")]
    cluster.add_nodes(nodes)
    names = [node["metadata"]["name"] for node in nodes]
    cluster.kubectl("wait", "--for=condition=Ready", "--timeout=30s", "node", *names)
    for wanted in nodes:
        name = wanted["metadata"]["name"]

        def is_untouched(wanted: Any = wanted, name: str = name) -> bool:
            live = cluster.get("node", name)
            return bool(
                wanted["metadata"]["labels"].items() <= live["metadata"]["labels"].items()
                and live["status"]["allocatable"] == wanted["status"]["allocatable"]
                and live["spec"].get("taints", []) == wanted["spec"]["taints"]
            )

        eventually(is_untouched, f"node {name} has its own labels, taints and resources only")
    cluster.kubectl("delete", "node", *names)


def test_a_pod_becomes_ready_after_its_own_nodes_delay(
    cluster: LocalCluster, namespace: str
) -> None:
    slow, fast = f"slow-{namespace}", f"fast-{namespace}"
    cluster.add_nodes(make_nodes("h100-gke", 1, start_delay_s=6, name_prefix=slow))
    cluster.add_nodes(make_nodes("h100-gke", 1, start_delay_s=2, name_prefix=fast))
    for node in (slow, fast):
        cluster.apply(gpu_deployment(namespace, node, on=f"{node}-0"))
    for node in (slow, fast):
        cluster.kubectl(
            "wait", "-n", namespace, "--for=condition=Available", "--timeout=60s", f"deploy/{node}"
        )
    # Kubernetes writes whole seconds, and the pod is seen Ready a moment after it is.
    assert 6 <= seconds_to_ready(cluster, namespace, slow) <= 8
    assert 2 <= seconds_to_ready(cluster, namespace, fast) <= 4
    pod = the_pod(cluster, namespace, slow)
    assert pod["status"]["phase"] == "Running"
    assert pod["status"]["podIP"]
    assert pod["status"]["containerStatuses"][0]["ready"] is True
    cluster.kubectl("delete", "node", f"{slow}-0", f"{fast}-0")


def test_a_change_to_a_starting_pod_does_not_begin_its_delay_anew(
    cluster: LocalCluster, namespace: str
) -> None:
    node = f"patched-{namespace}"
    cluster.add_nodes(make_nodes("l4-gke", 1, start_delay_s=5, name_prefix=node))
    cluster.apply(gpu_deployment(namespace, node, on=f"{node}-0"))

    def is_ready(change: int) -> bool:
        pod = the_pod(cluster, namespace, node)
        name = pod["metadata"]["name"]
        cluster.kubectl("annotate", "pod", "-n", namespace, name, f"c{change}=x", "--overwrite")
        return condition(pod, "Ready")["status"] == "True"

    changes = iter(range(1000))
    eventually(lambda: is_ready(next(changes)), "the pod turns Ready")
    assert 5 <= seconds_to_ready(cluster, namespace, node) <= 7
    cluster.kubectl("delete", "node", f"{node}-0")


def test_a_pod_without_room_stays_pending_and_says_why(
    cluster: LocalCluster, namespace: str
) -> None:
    cluster.apply(gpu_deployment(namespace, "homeless", on="no-such-node"))

    def is_unschedulable() -> bool:
        scheduled = condition(the_pod(cluster, namespace, "homeless"), "PodScheduled")
        return (scheduled["status"], scheduled.get("reason")) == ("False", "Unschedulable")

    eventually(is_unschedulable, "the scheduler reports the pod as unschedulable")


def test_deletion_completes(cluster: LocalCluster, namespace: str) -> None:
    node = f"gone-{namespace}"
    cluster.add_nodes(make_nodes("l4-gke", 1, name_prefix=node))
    cluster.apply(gpu_deployment(namespace, "gone", on=f"{node}-0"))
    cluster.kubectl(
        "wait", "-n", namespace, "--for=condition=Available", "--timeout=60s", "deploy/gone"
    )
    started = time.monotonic()
    cluster.kubectl("delete", "deploy", "gone", "-n", namespace, "--cascade=foreground")
    assert time.monotonic() - started < 10
    assert cluster.get("pods", "-n", namespace)["items"] == []
    cluster.kubectl("delete", "node", f"{node}-0")


def test_prometheus_finds_serving_pods_and_scrapes_them_at_the_stand_in(
    cluster: LocalCluster, namespace: str
) -> None:
    node = f"scraped-{namespace}"
    cluster.add_nodes(make_nodes("l4-gke", 1, name_prefix=node))
    cluster.apply(gpu_deployment(namespace, "scraped", on=f"{node}-0"))
    eventually(lambda: targets(cluster, namespace) != [], "Prometheus discovers the pod")
    (target,) = targets(cluster, namespace)
    pod = the_pod(cluster, namespace, "scraped")
    assert target["labels"] == {
        "job": "trimtab-system/trimtab-serving",
        "namespace": namespace,
        "pod": pod["metadata"]["name"],
        "container": "main",
        "endpoint": "http",
        "instance": f"{pod['status']['podIP']}:8000",
    }
    path = f"/pods/{namespace}/{pod['metadata']['name']}/metrics"
    assert target["scrapeUrl"] == f"http://127.0.0.1:{cluster.fleet_port}{path}"
    cluster.kubectl("delete", "deploy", "scraped", "-n", namespace, "--cascade=foreground")
    eventually(lambda: targets(cluster, namespace) == [], "Prometheus forgets the deleted pod")
    cluster.kubectl("delete", "node", f"{node}-0")


def test_prometheus_comes_back_with_its_data(cluster: LocalCluster) -> None:
    itself = cluster.prometheus_url.removeprefix("http://")
    cluster.scrape_operator(itself)
    eventually(lambda: query(cluster, 'up{job="trimtab"}') != [], "there is a first sample")
    before = datetime.now().timestamp()
    cluster.stop_prometheus()
    with pytest.raises(urllib.error.URLError, match="refused"):
        query(cluster, "up")
    cluster.start_prometheus()
    assert query(cluster, 'up{job="trimtab"}', at=before) != []


def test_a_service_account_has_the_rights_that_rbac_gives_it_and_no_others(
    cluster: LocalCluster, namespace: str
) -> None:
    cluster.kubectl("create", "serviceaccount", "reader", "-n", namespace)
    cluster.kubectl(
        *("create", "role", "reader", "-n", namespace, "--verb=get,list", "--resource=pods")
    )
    cluster.kubectl(
        *("create", "rolebinding", "reader", "-n", namespace, "--role=reader"),
        f"--serviceaccount={namespace}:reader",
    )
    kubeconfig = cluster.kubeconfig_for_service_account(namespace, "reader")
    as_reader = [cluster.kubectl_path, f"--kubeconfig={kubeconfig}", "-n", namespace]

    allowed = subprocess.run([*as_reader, "get", "pods"], capture_output=True, text=True)
    refused = subprocess.run([*as_reader, "get", "secrets"], capture_output=True, text=True)
    whoami = subprocess.run([*as_reader, "auth", "whoami"], capture_output=True, text=True)

    assert allowed.returncode == 0, allowed.stderr
    assert refused.returncode == 1
    assert "Forbidden" in refused.stderr
    assert f"system:serviceaccount:{namespace}:reader" in whoami.stdout


def test_the_audit_log_tells_who_wrote_what(cluster: LocalCluster, namespace: str) -> None:
    cluster.kubectl("create", "configmap", "noted", "-n", namespace)
    cluster.kubectl("get", "configmap", "noted", "-n", namespace)
    ours = [
        write
        for write in audit.writes(cluster.audit_log, user="trimtab-admin")
        if write.namespace == namespace and write.resource == "configmaps"
    ]
    assert [(write.verb, write.name, write.code) for write in ours] == [("create", "noted", 201)]


def test_an_unsafe_pod_is_refused_where_the_namespace_is_restricted(
    cluster: LocalCluster, namespace: str
) -> None:
    cluster.kubectl(
        "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted"
    )
    eventually(
        lambda: bool(cluster.get("serviceaccount", "default", "-n", namespace)),
        "the namespace has its service account",
    )
    refused = cluster.kubectl(
        *("run", "unsafe", "-n", namespace, "--image=example", "--privileged"), check=False
    )
    assert refused.returncode == 1
    assert "violates PodSecurity" in refused.stderr


def gpu_deployment(namespace: str, name: str, *, on: str) -> dict[str, Any]:
    labels = {"app": name, "app.kubernetes.io/managed-by": "trimtab"}
    container = {
        "name": "main",
        "image": "vllm/vllm-openai:v0.33.0",
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
    }
    pod = {
        "nodeSelector": {"kubernetes.io/hostname": on},
        "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def the_pod(cluster: LocalCluster, namespace: str, app: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def exists() -> bool:
        found[:] = cluster.get("pods", "-n", namespace, "-l", f"app={app}")["items"]
        return found != []

    eventually(exists, f"a pod of {app} exists")
    return found[0]


def condition(pod: dict[str, Any], kind: str) -> dict[str, str]:
    found: list[dict[str, str]] = [
        c for c in pod["status"].get("conditions", []) if c["type"] == kind
    ]
    return found[0] if found else {"status": "Unknown"}


def seconds_to_ready(cluster: LocalCluster, namespace: str, app: str) -> float:
    pod = the_pod(cluster, namespace, app)
    started = datetime.fromisoformat(pod["status"]["startTime"])
    ready = datetime.fromisoformat(condition(pod, "Ready")["lastTransitionTime"])
    return (ready - started).total_seconds()


def targets(cluster: LocalCluster, namespace: str) -> list[dict[str, Any]]:
    active = ask(cluster, "/api/v1/targets?state=active")["data"]["activeTargets"]
    return [target for target in active if target["labels"].get("namespace") == namespace]


def query(cluster: LocalCluster, promql: str, *, at: float | None = None) -> list[dict[str, Any]]:
    parameters = {"query": promql} | ({} if at is None else {"time": str(at)})
    answer = ask(cluster, f"/api/v1/query?{urllib.parse.urlencode(parameters)}")
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def ask(cluster: LocalCluster, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(cluster.prometheus_url + path, timeout=5) as response:
        document: dict[str, Any] = json.load(response)
    return document
