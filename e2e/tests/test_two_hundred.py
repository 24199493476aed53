"""200 LLMDeployments: all children within a minute of the last create, then silence."""

import time
from datetime import UTC, datetime

import pytest

from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.stack import Stack
from trimtab_e2e.waiting import eventually

COUNT = 200
NAMESPACES = ("team-a", "team-b", "team-c", "team-d")
MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B", "mistralai/Mistral-7B-v0.1")
CHILDREN_EACH = 4  # a Deployment, two Services, a PodDisruptionBudget


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_hundred_deployments_are_written_in_a_minute(stack: Stack) -> None:
    cluster = stack.cluster
    for namespace in NAMESPACES:
        cluster.kubectl("create", "namespace", namespace)
    cluster.add_nodes(make_nodes("h100-gke", 30, start_delay_s=1, name_prefix="many"))
    stack.start_operator()
    cluster.apply(
        {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": f"m{i}", "namespace": NAMESPACES[i % len(NAMESPACES)]},
            "spec": {
                "model": {"name": MODELS[i % len(MODELS)]},
                "latency": {"timeToFirstToken": "2s"},
            },
        }
        for i in range(COUNT)
    )
    last_create = time.monotonic()

    def children() -> int:
        names = cluster.kubectl(
            "get",
            "deployments,services,poddisruptionbudgets",
            *("-A", "-l", "app.kubernetes.io/managed-by=trimtab", "-o", "name"),
        ).stdout.split()
        return len(names)

    eventually(lambda: children() >= CHILDREN_EACH * COUNT, "all children are written", 60)
    written = time.monotonic() - last_create

    def all_ready() -> bool:
        states = cluster.kubectl(
            "get",
            "llmd",
            "-A",
            *("-o", 'jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'),
        ).stdout.split()
        return states == ["True"] * COUNT

    eventually(all_ready, "all deployments serve", 180)
    time.sleep(20)
    rest = datetime.now(UTC)
    time.sleep(60)
    writes = [f"{w.verb} {w.resource} {w.name}" for w in stack.operator_writes(since=rest)]
    print(
        f"\n{COUNT} deployments: {CHILDREN_EACH * COUNT} children {written:.1f} s after the last "
        f"create; operator RSS {stack.operator.rss_mib():.0f} MiB; "
        f"{len(writes)} writes in the minute after"
    )
    assert writes == []
