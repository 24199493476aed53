"""The engine stand-in on a real cluster: real pods get load, a real Prometheus reads of it."""

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab_e2e.cluster import LocalCluster
from trimtab_e2e.errors import ClusterError
from trimtab_e2e.fleet_process import FleetProcess
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.waiting import eventually

CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture
def fleet(cluster: LocalCluster) -> Iterator[FleetProcess]:
    fleet = FleetProcess(cluster)
    fleet.start()
    yield fleet
    fleet.stop()


@pytest.fixture
def nodes(cluster: LocalCluster, namespace: str) -> Iterator[str]:
    """A node with eight H100s for the test's own pods; its value is their node selector."""
    name = f"node-{namespace}"[:50].rstrip("-")
    cluster.add_nodes(make_nodes("h100-gke", 1, start_delay_s=2, name_prefix=name))
    yield f"{name}-0"
    cluster.kubectl("delete", "node", f"{name}-0", "--wait=false")


def serving_deployment(
    namespace: str, *, on: str, replicas: int, model: str = "meta-llama/Llama-3.1-8B-Instruct"
) -> dict[str, Any]:
    labels = {
        "app.kubernetes.io/managed-by": "trimtab",
        "trimtab.dev/deployment": "chat",
        "trimtab.dev/accelerator": "nvidia-h100-sxm",
    }
    container = {
        "name": "main",
        "image": "vllm/vllm-openai:v0.33.0",
        "command": ["vllm", "serve"],
        "args": [model, "--served-model-name=chat", "--max-model-len=16384"],
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
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"trimtab.dev/deployment": "chat"}},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def query(cluster: LocalCluster, promql: str) -> float | None:
    parameters = urllib.parse.urlencode({"query": promql})
    url = f"{cluster.prometheus_url}/api/v1/query?{parameters}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["data"]["result"]
    return float(found[0]["value"][1]) if found else None


def numbers(fleet: FleetProcess, namespace: str) -> dict[str, Any]:
    found: dict[str, Any] = fleet.summary()["deployments"][f"{namespace}/chat"]
    return found


def test_real_pods_get_load_and_prometheus_reads_of_it(
    cluster: LocalCluster, namespace: str, nodes: str, fleet: FleetProcess
) -> None:
    load = {"profile": [[0, 10], [600, 10]], "timeToFirstToken": "1s", "seed": 3}
    fleet.load({f"{namespace}/chat": load})
    cluster.apply(serving_deployment(namespace, on=nodes, replicas=2))
    eventually(lambda: numbers(fleet, namespace)["replicas"] == 2, "both replicas serve")
    mine = f'namespace="{namespace}"'

    def both_report() -> bool:
        return (query(cluster, f"count(vllm:num_requests_running{{{mine}}} > 0)") or 0) == 2

    eventually(both_report, "Prometheus has both pods with running requests")
    pods = {pod["metadata"]["name"] for pod in cluster.get("pods", "-n", namespace)["items"]}
    page = fleet.page(namespace, pods.pop())
    assert 'model_name="chat"' in page
    # Counters agree with what the clients counted, but for what happened since the scrape.
    eventually(
        lambda: (query(cluster, f"sum(vllm:request_success_total{{{mine}}})") or 0) > 50,
        "Prometheus has some answers",
    )
    scraped = query(cluster, f"sum(vllm:request_success_total{{{mine}}})")
    served = numbers(fleet, namespace)["served"]
    assert scraped is not None
    assert 0.3 * served < scraped <= served
    # Ten requests a second of about 1,200 prompt tokens.
    tokens_per_s = f"sum(rate(vllm:prompt_tokens_total{{{mine}}}[30s]))"
    eventually(lambda: (query(cluster, tokens_per_s) or 0) > 5000, "Prometheus has a rate")
    found = numbers(fleet, namespace)
    assert found["attainment"]["all"] > 0.5
    assert found["lost"] == found["rejected"] == found["timed_out"] == 0

    cluster.kubectl("scale", "-n", namespace, "deployment/chat", "--replicas=1")
    eventually(lambda: numbers(fleet, namespace)["replicas"] == 1, "one replica is left")
    before = numbers(fleet, namespace)
    eventually(
        lambda: numbers(fleet, namespace)["served"] > before["arrived"],
        "everything that had come by then is served",
    )
    assert numbers(fleet, namespace)["lost"] == 0


def test_it_outlives_the_api_server(
    cluster: LocalCluster, namespace: str, nodes: str, fleet: FleetProcess
) -> None:
    fleet.load({f"{namespace}/chat": {"profile": [[0, 5], [600, 5]]}})
    cluster.apply(serving_deployment(namespace, on=nodes, replicas=1))
    eventually(lambda: numbers(fleet, namespace)["served"] > 0, "the replica serves")
    cluster.kill_apiserver()
    try:
        before = numbers(fleet, namespace)
        eventually(
            lambda: numbers(fleet, namespace)["served"] > before["arrived"],
            "the replica goes on to serve",
        )
    finally:
        cluster.start_apiserver()
    eventually(
        lambda: cluster.kubectl(
            "scale", "-n", namespace, "deployment/chat", "--replicas=2", check=False
        ).returncode == 0,
        "the API server answers",
    )  # fmt: skip
    eventually(lambda: numbers(fleet, namespace)["replicas"] == 2, "the new replica is seen", 60)
    assert numbers(fleet, namespace)["lost"] == 0


def test_a_model_that_only_its_deployment_knows(
    cluster: LocalCluster, namespace: str, nodes: str, fleet: FleetProcess
) -> None:
    cluster.apply(serving_deployment(namespace, on=nodes, replicas=1, model="example/unheard-of"))

    def problem() -> str:
        problems = fleet.summary()["problems"]
        return " ".join(text for pod, text in problems.items() if pod.startswith(namespace))

    eventually(lambda: "unheard-of" in problem(), "the model is unknown")
    (pod,) = cluster.get("pods", "-n", namespace)["items"]
    with pytest.raises(ClusterError, match="no engine"):
        fleet.page(namespace, pod["metadata"]["name"])

    for path in sorted(CRDS.glob("*.yaml")):
        cluster.apply(path)
    cluster.kubectl("wait", "--for=condition=Established", "crd/llmdeployments.trimtab.dev")
    architecture = {
        "layers": 16,
        "hiddenSize": 2048,
        "attentionHeads": 32,
        "intermediateSize": 8192,
        "vocabSize": 128256,
    }
    cluster.apply(
        {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "chat", "namespace": namespace},
            "spec": {"model": {"name": "example/unheard-of", "architecture": architecture}},
        }
    )
    cluster.kubectl("delete", "pod", "-n", namespace, "--all", "--wait=false")

    def serves() -> bool:
        for pod in cluster.get("pods", "-n", namespace)["items"]:
            if "vllm:cache_config_info" in fleet.page(namespace, pod["metadata"]["name"]):
                return True
        return False

    eventually(serves, "a new pod has an engine")
