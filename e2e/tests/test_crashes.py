"""Kill -9 the operator after each of its writes: the end is the same as undisturbed."""

import json
import os
import signal
from typing import Any

import pytest

from trimtab_e2e.apiproxy import ApiProxy, Write
from trimtab_e2e.stack import Stack
from trimtab_e2e.waiting import eventually

NAMESPACE = "crashes"


def deployment(name: str, *, minimum: int = 1) -> dict[str, Any]:
    """A deployment that needs no traffic: its bounds alone say what it gets."""
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "latency": {"timeToFirstToken": "2s"},
            "scaling": {"minReplicas": minimum, "maxReplicas": 8},
        },
    }


@pytest.fixture(autouse=True, scope="module")
def namespace(stack: Stack) -> None:
    stack.cluster.kubectl("create", "namespace", NAMESPACE)


class Killer:
    """Kills the operator right after its k-th write has landed, before it hears of it."""

    def __init__(self, stack: Stack, at: int) -> None:
        self._stack = stack
        self._at = at
        self.armed = False
        self.seen = 0
        self.killed_after: Write | None = None

    def __call__(self, write: Write) -> None:
        # What the operator does for pools and for itself is not the creation under test.
        if not self.armed or self.killed_after is not None or f"/{NAMESPACE}/" not in write.path:
            return
        self.seen += 1
        if self.seen == self._at:
            self.killed_after = write
            os.kill(self._stack.operator.pid, signal.SIGKILL)


def end_state(stack: Stack, name: str) -> dict[str, Any]:
    """What is left of a deployment once it rests: children as written, status without times."""
    listed = stack.cluster.get(
        "deployments,services,poddisruptionbudgets",
        *("-n", NAMESPACE, "-l", f"app.kubernetes.io/name={name}"),
    )
    children = {
        f"{child['kind']}/{child['metadata']['name'].replace(name, 'X')}": _anonymous(
            child["spec"], name
        )
        for child in listed["items"]
    }
    status = stack.llmd(NAMESPACE, name)["status"]
    return {
        "children": children,
        "variants": _anonymous(status["variants"], name),
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]},
    }


def _anonymous(document: Any, name: str) -> Any:
    """Take out what differs between two deployments by its nature."""
    text = json.dumps(document, sort_keys=True).replace(name, "X")
    result = json.loads(text)
    for key in ("clusterIP", "clusterIPs"):
        if isinstance(result, dict):
            result.pop(key, None)
    return result


def _rests(stack: Stack, name: str, replicas: int) -> bool:
    llmd = stack.llmd(NAMESPACE, name)
    status = llmd.get("status", {})
    ready = [c for c in status.get("conditions", []) if c["type"] == "Ready"]
    return (
        status.get("observedGeneration") == llmd["metadata"]["generation"]
        and bool(ready)
        and ready[0]["status"] == "True"
        and sum(v["ready"] for v in status.get("variants", [])) == replicas
    )


def _run(stack: Stack, name: str, *, kill_at: int, scale_up: bool) -> tuple[Killer, dict[str, Any]]:
    """Create (or scale up) one deployment with the operator killed at its k-th write."""
    killer = Killer(stack, kill_at)
    with ApiProxy(stack.operator_kubeconfig, stack.cluster.dir / "proxy", on_write=killer) as proxy:
        stack.start_operator(kubeconfig=proxy.kubeconfig)
        if scale_up:
            stack.cluster.apply(deployment(name))
            eventually(lambda: _rests(stack, name, 1), f"{name} serves", 60)
        killer.armed = True
        stack.cluster.apply(deployment(name, minimum=3 if scale_up else 2))
        wanted = 3 if scale_up else 2

        def done() -> bool:
            return killer.killed_after is not None or _rests(stack, name, wanted)

        eventually(done, f"{name} is written, or the operator killed", 60)
        if killer.killed_after is not None:
            stack.kill_operator()
            before = stack.replicas(NAMESPACE, name)
            stack.start_operator(kubeconfig=proxy.kubeconfig)
            eventually(lambda: _rests(stack, name, wanted), f"{name} serves after the crash", 60)
            after = stack.replicas(NAMESPACE, name)
            lost = {pool: n for pool, n in before.items() if after.get(pool, 0) < n}
            assert not lost, f"replicas lost over the crash: {before} -> {after}"
        stack.stop_operator()
    return killer, end_state(stack, name)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scale_up", [False, True], ids=["creation", "scale-up"])
def test_killed_after_every_write_it_ends_as_undisturbed(stack: Stack, scale_up: bool) -> None:
    prefix = "up" if scale_up else "new"
    undisturbed, reference = _run(stack, f"{prefix}-0", kill_at=0, scale_up=scale_up)
    assert undisturbed.killed_after is None
    writes = undisturbed.seen
    # A creation writes a Deployment, two Services, a budget and status at the least.
    assert writes >= (2 if scale_up else 5)
    stack.cluster.kubectl("delete", "llmd", "--all", "-n", NAMESPACE)
    for k in range(1, writes + 1):
        name = f"{prefix}-{k}"
        killer, found = _run(stack, name, kill_at=k, scale_up=scale_up)
        if killer.killed_after is not None:
            print(f"killed after write {k} of {writes}: {killer.killed_after.path}")
        assert found == reference
        stack.cluster.kubectl("delete", "llmd", "--all", "-n", NAMESPACE)

    def nothing_left() -> bool:
        return not stack.cluster.get(
            "deployments,services,poddisruptionbudgets",
            *("-n", NAMESPACE, "-l", "app.kubernetes.io/managed-by=trimtab"),
        )["items"]

    eventually(nothing_left, "no orphan is left once the deployments are deleted")
