"""Installed with Helm on a real node, seen by a client of a real Service: no request is lost."""

from collections.abc import Callable, Iterator

import pytest

from trimtab.controller.process import Exit
from trimtab_e2e.audit import rights_asked
from trimtab_e2e.localcluster import Manifest
from trimtab_e2e.node import NODES
from trimtab_e2e.node_client import Outcome, problems
from trimtab_e2e.node_engine import DEVICES_VARIABLE, LOAD_VARIABLE
from trimtab_e2e.node_stack import (
    HELM_TIMEOUT,
    NAMESPACE,
    PATIENCE_S,
    RELEASE,
    RELEASES,
    SERVING_IMAGE,
    NodeStack,
    is_ready,
    pools_of,
)
from trimtab_e2e.stack import USER
from trimtab_e2e.waiting import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

TEAM = "assistants"
NAME = "chat"
LEAST = 2000  # requests sent during each change
RATE = 40.0
LARGEST_IMAGE = 300 * 10**6

# The kinds of node that there are: a cheap one with two devices, and a dearer one.
SHAPES = {
    NODES[0]: ("g6.24xlarge", "NVIDIA-L4", 2),
    NODES[1]: ("g6e.24xlarge", "NVIDIA-L40S", 4),
}
ACCOUNT = {"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}
POOLS = {"g6-24xlarge": 2, "g6e-24xlarge": 2}
"""Replicas of four in each of the pools that the operator makes of those nodes."""
BUDGET: Manifest = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "FleetBudget",
    "metadata": {"name": "assistants"},
    "spec": {"maxPerHour": "100", "atCap": "Hold"},
}


def chat(replicas: int, revision: str = "main") -> Manifest:
    """The deployment under test: small answers, so that two replicas do for the load.

    The number of replicas is fixed, because what is held here is that none comes or goes for
    another reason than the test's: on a busy machine answers are late, and a free fleet would
    rightly grow.
    """
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": NAME, "namespace": TEAM},
        "spec": {
            "model": {
                "name": "Qwen/Qwen3-0.6B",
                "servedName": NAME,
                "maxModelLen": 4096,
                "revision": revision,
            },
            "engine": {
                "image": SERVING_IMAGE,
                "cpu": "50m",
                "memory": "128Mi",
                "env": [
                    {"name": DEVICES_VARIABLE, "value": "g6e-=nvidia-l40s,g6-=nvidia-l4"},
                    {"name": LOAD_VARIABLE, "value": "2"},
                ],
            },
            "latency": {"timeToFirstToken": "1s", "interTokenLatency": "50ms"},
            "scaling": {"minReplicas": replicas, "maxReplicas": replicas},
            "workload": {"inputTokens": 256, "outputTokens": 24, "requestsPerSecond": "40"},
        },
    }


@pytest.fixture(scope="module")
def node() -> Iterator[NodeStack]:
    """Trimtab installed, two replicas serving, and a client that asks them all the time."""
    with NodeStack("e2e-real-node") as node:
        for name, (instance, product, devices) in SHAPES.items():
            labels = {
                "node.kubernetes.io/instance-type": instance,
                "nvidia.com/gpu.product": product,
            }
            node.give_devices(name, labels, devices)
        node.install()
        node.namespace(TEAM)
        node.cluster.apply([BUDGET, chat(2)])
        node.wait_serving(TEAM, NAME, count(2), "two replicas serve")
        node.start_client(TEAM, NAME, RATE)
        yield node


def count(number: int) -> Callable[[list[Manifest]], bool]:
    return lambda pods: len(pods) == number


def lost_none(what: str, found: list[Outcome]) -> None:
    """Hold that every request of a phase was answered in full."""
    failed = problems(found)
    slowest = max(outcome.took_s for outcome in found)
    resent = sum(outcome.resent for outcome in found)
    print(
        f"\n{what}: {len(found)} requests, {len(failed)} failed, {resent} sent again, "
        f"slowest {slowest:.2f} s"
    )
    assert not failed, failed[:5]
    assert len(found) >= LEAST


def test_the_operator_runs_as_its_chart_says(node: NodeStack) -> None:
    print("\n" + "\n".join(f"{name}: {size / 1e6:.0f} MB" for name, size in node.sizes.items()))
    assert max(node.sizes.values()) <= LARGEST_IMAGE
    pods = node.operator_pods()
    assert len(pods) == 2
    for pod in pods:
        assert pod["spec"]["serviceAccountName"] == RELEASE
        [container] = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        [status] = pod["status"]["containerStatuses"]
        # One that gets no processor for seconds rightly gives the lease up; none may crash.
        ended = status["lastState"].get("terminated", {"exitCode": Exit.LOST_LEASE})
        assert ended["exitCode"] == Exit.LOST_LEASE


@pytest.mark.parametrize("namespace", [NAMESPACE, TEAM])
def test_where_it_runs_no_privileged_pod_is_let_in(node: NodeStack, namespace: str) -> None:
    pod = ("run", "root", "--image=root", "--privileged", "-n", namespace, "--dry-run=server")
    assert "violates PodSecurity" in node.cluster.kubectl(*pod, check=False).stderr


def test_helm_test_finds_that_it_answers(node: NodeStack) -> None:
    assert "Succeeded" in node.helm("test", RELEASE, f"--timeout={HELM_TIMEOUT}")


def test_scale_up_over_two_pools(node: NodeStack) -> None:
    def scale_up() -> None:
        node.cluster.apply(chat(4))
        pods = node.wait_serving(TEAM, NAME, count(4), "four replicas serve")
        assert pools_of(pods) == POOLS

    lost_none("scale-up from 2 to 4", node.during(scale_up, LEAST))


def test_rollout_of_a_new_revision_across_variants(node: NodeStack) -> None:
    before = {pod["metadata"]["uid"] for pod in node.serving_pods(TEAM, NAME)}
    served = set(before)
    fewest = len(before)

    def new(pods: list[Manifest]) -> bool:
        nonlocal fewest
        served.update(pod["metadata"]["uid"] for pod in pods if is_ready(pod))
        staying = {
            pod["metadata"]["uid"] for pod in pods if "deletionTimestamp" not in pod["metadata"]
        }
        fewest = min(fewest, len(served & staying))
        uids = {pod["metadata"]["uid"] for pod in pods}
        return len(pods) == 4 and not uids & before

    def roll_out() -> None:
        node.cluster.apply(chat(4, "v2"))
        node.wait_serving(TEAM, NAME, new, "four replicas of the new revision serve")

    found = node.during(roll_out, LEAST)
    pods = node.serving_pods(TEAM, NAME)
    for pod in pods:
        assert "--revision=v2" in pod["spec"]["containers"][0]["args"]
    lost_none("rollout of a new revision", found)
    # A successor that waits for its predecessor's device is no shortage: nothing moves.
    assert pools_of(pods) == POOLS
    # A replica goes when its successor serves, but in a pool that is full one goes first.
    assert fewest >= 3


def test_operator_upgrade_and_rollback(node: NodeStack) -> None:
    before = {pod["metadata"]["uid"] for pod in node.serving_pods(TEAM, NAME)}
    lost_none("operator upgrade", node.during(node.upgrade, LEAST))
    assert images_of(node) == {RELEASES[1]}
    lost_none("operator rollback", node.during(node.rollback, LEAST))
    assert images_of(node) == {RELEASES[0]}
    assert {pod["metadata"]["uid"] for pod in node.serving_pods(TEAM, NAME)} == before


def images_of(node: NodeStack) -> set[str]:
    """Give the tags of the operator's pods that are not ending."""
    return {
        pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        for pod in node.operator_pods()
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_drain_on_scale_down(node: NodeStack) -> None:
    def scale_down() -> None:
        node.cluster.apply(chat(2, "v2"))
        node.wait_serving(TEAM, NAME, count(2), "two replicas are left")

    lost_none("scale-down from 4 to 2", node.during(scale_down, LEAST))


def test_it_uses_every_right_that_it_has_and_no_other(node: NodeStack) -> None:
    # A pool that is emptied loses its variant: that is when children are deleted.
    def one_pool() -> bool:
        deployments = node.cluster.get("deployments", "-n", TEAM)["items"]
        return len(deployments) == 1

    eventually(one_pool, "the empty variant's children are deleted", PATIENCE_S)
    asked = {
        # Never requested: the API server asks for it where OwnerReferencesPermissionEnforcement
        # is on, as it is here.
        ("trimtab.dev", "llmdeployments/finalizers", "update"),
        # Of replicas that wait for a node, which none does here: tests/integration/test_operator.py
        # has one, and the same rights.
        ("", "events", "list"),
        *rights_asked(node.cluster.audit_log, USER),
    }
    assert asked == granted(node)


def granted(node: NodeStack) -> set[tuple[str, str, str]]:
    """Give the (group, resource, verb) of all roles that are bound to the operator's account."""
    found = set()
    for kind in ("clusterrolebindings", "rolebindings"):
        for binding in node.cluster.get(kind, "-A")["items"]:
            if ACCOUNT in binding.get("subjects", []):
                found |= rights_of(node, binding)
    return found


def rights_of(node: NodeStack, binding: Manifest) -> set[tuple[str, str, str]]:
    """Give what the role that is bound there grants."""
    role = binding["roleRef"]
    where = ("-n", binding["metadata"]["namespace"]) if role["kind"] == "Role" else ()
    return {
        (group, resource, verb)
        for rule in node.cluster.get(role["kind"], role["name"], *where)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_uninstall_leaves_the_workloads_running(node: NodeStack) -> None:
    before = {pod["metadata"]["uid"] for pod in node.serving_pods(TEAM, NAME)}
    lost_none("uninstall", node.during(node.uninstall, LEAST))
    assert not node.cluster.get("deployments", "-n", NAMESPACE)["items"]
    assert {pod["metadata"]["uid"] for pod in node.serving_pods(TEAM, NAME)} == before
