"""The operator's process: how it starts, stands by, takes over and ends."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trimtab_e2e import probes
from trimtab_e2e.audit import writes
from trimtab_e2e.cluster import LocalCluster, Options, select_cluster
from trimtab_e2e.nodes import make_nodes
from trimtab_e2e.stack import USER, Stack
from trimtab_e2e.waiting import eventually

Process = subprocess.Popen[bytes]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Operator:
    """One `trimtab run` of which the test wants to know the exit code."""

    def __init__(self, stack: Stack, folder: Path, identity: str) -> None:
        self.health = free_port()
        self.log = folder / f"{identity}.log"
        flags = {
            "--identity": identity,
            "--health-port": str(self.health),
            "--metrics-port": str(free_port()),
            "--bind-address": "127.0.0.1",
            "--period": "2s",
        }
        command = [sys.executable, "-m", "trimtab", "run"]
        command += [part for flag in flags.items() for part in flag]
        environment = os.environ | {"KUBECONFIG": str(stack.operator_kubeconfig)}
        with self.log.open("wb") as output:
            self.process: Process = subprocess.Popen(
                command, stdout=output, stderr=output, env=environment
            )

    def ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return probes.answers(f"http://127.0.0.1:{self.health}/readyz")

    def leads(self) -> bool:
        return "lease taken" in self.log.read_text()


@pytest.fixture(scope="module")
def stack(cluster: LocalCluster) -> Iterator[Stack]:
    stack = Stack(cluster)
    stack.install()
    cluster.add_nodes(make_nodes("l4-gke", 4, start_delay_s=1, name_prefix="process-l4"))
    yield stack
    cluster.kubectl("delete", "nodes", "-l", "cloud.google.com/gke-accelerator=nvidia-l4")
    cluster.kubectl("delete", "apool", "--all")


@pytest.fixture
def start(stack: Stack, tmp_path: Path) -> Iterator[Callable[[str], Operator]]:
    """Starts operators and ends those that still run; the lease is free at first."""
    stack.cluster.kubectl(
        "delete", "lease", "trimtab", "-n", "trimtab-system", "--ignore-not-found"
    )
    started: list[Operator] = []

    def start(identity: str) -> Operator:
        started.append(Operator(stack, tmp_path, identity))
        return started[-1]

    yield start
    for operator in started:
        if operator.process.poll() is None:
            operator.process.kill()
        operator.process.wait()


def deployment(namespace: str, replicas: int = 1) -> dict[str, Any]:
    return {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "chat", "namespace": namespace},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "scaling": {"minReplicas": replicas},
        },
    }


def serve(stack: Stack, namespace: str, timeout_s: int = 60) -> None:
    stack.cluster.apply(deployment(namespace))
    stack.cluster.kubectl(
        "wait", "llmd/chat", "-n", namespace, "--for=condition=Ready", f"--timeout={timeout_s}s"
    )


def statuses(stack: Stack) -> dict[str, Any]:
    pools = stack.cluster.get("apool")["items"]
    return {pool["metadata"]["name"]: pool.get("status") for pool in pools}


def holder(stack: Stack) -> str:
    lease = stack.cluster.get("lease", "trimtab", "-n", "trimtab-system")
    return str(lease["spec"].get("holderIdentity", ""))


def test_it_ends_at_once_with_code_zero_and_gives_the_lease_up(
    stack: Stack, namespace: str, start: Callable[[str], Operator]
) -> None:
    operator = start("one")
    eventually(operator.ready, "the operator is ready", 40)
    serve(stack, namespace)
    began = time.monotonic()
    operator.process.send_signal(signal.SIGTERM)
    assert operator.process.wait(15) == 0
    assert time.monotonic() - began < 10
    assert holder(stack) == ""


def test_a_deployment_goes_at_once_while_the_operator_is_down(
    stack: Stack, namespace: str, start: Callable[[str], Operator]
) -> None:
    operator = start("one")
    serve(stack, namespace)
    operator.process.kill()
    operator.process.wait()
    began = time.monotonic()
    stack.cluster.kubectl("delete", "llmd/chat", "-n", namespace, "--timeout=20s")
    assert time.monotonic() - began < 5
    kinds = "deployments,services,poddisruptionbudgets"
    eventually(
        lambda: stack.cluster.get(kinds, "-n", namespace)["items"] == [], "the children are gone"
    )


def test_a_restart_writes_nothing(
    stack: Stack, namespace: str, start: Callable[[str], Operator]
) -> None:
    first = start("one")
    eventually(first.ready, "the operator is ready", 40)
    serve(stack, namespace)
    stack.wait_at_rest()
    pools = statuses(stack)
    first.process.kill()
    first.process.wait()
    began = datetime.now(UTC)
    second = start("one")
    eventually(second.ready, "the operator is ready", 40)
    time.sleep(5)
    assert statuses(stack) == pools
    assert stack.operator_writes(began) == []


def test_a_standby_takes_over_from_a_leader_that_died_and_never_writes_beside_it(
    stack: Stack, namespace: str, start: Callable[[str], Operator]
) -> None:
    leader = start("one")
    eventually(leader.leads, "the first leads", 40)
    standby = start("two")
    eventually(standby.ready, "the second stands by", 40)
    assert not standby.leads()
    serve(stack, namespace)
    died = datetime.now(UTC)
    leader.process.kill()
    leader.process.wait()
    stack.cluster.apply(deployment(namespace, replicas=2))
    eventually(standby.leads, "the second leads", 25)
    stack.cluster.kubectl(
        "wait", "llmd/chat", "-n", namespace, "--for=jsonpath={.status.summary.replicas}=2/2",
        "--timeout=60s",
    )  # fmt: skip
    took_over = [
        write.at
        for write in writes(stack.cluster.audit_log, since=died, user=USER)
        if write.resource == "leases" and write.code == 200
    ]
    after = stack.operator_writes(died)
    assert after
    assert min(write.at for write in after) > took_over[0]
    assert (took_over[0] - died).total_seconds() < 20


def test_a_leader_that_loses_its_lease_ends_and_writes_nothing_more(
    stack: Stack, start: Callable[[str], Operator]
) -> None:
    operator = start("one")
    eventually(operator.leads, "the operator leads", 40)
    patch = '{"spec":{"holderIdentity":"mallory"}}'
    stack.cluster.kubectl(
        "patch", "lease", "trimtab", "-n", "trimtab-system", "--type=merge", "-p", patch
    )
    assert operator.process.wait(15) == 3
    ended = datetime.now(UTC)
    time.sleep(1)
    assert stack.operator_writes(ended) == []


def test_a_leader_that_slept_over_its_lease_ends_when_it_wakes(
    stack: Stack, namespace: str, start: Callable[[str], Operator]
) -> None:
    operator = start("one")
    eventually(operator.ready, "the operator is ready", 40)
    operator.process.send_signal(signal.SIGSTOP)
    stack.cluster.apply(deployment(namespace))
    time.sleep(12)
    woken = datetime.now(UTC)
    operator.process.send_signal(signal.SIGCONT)
    assert operator.process.wait(15) == 3
    assert stack.operator_writes(woken) == []


def test_without_crds_it_says_how_to_install_them(tmp_path: Path) -> None:
    with select_cluster("bare", Options(kwok=False, prometheus=False)) as bare:
        result = subprocess.run(
            [sys.executable, "-m", "trimtab", "run"],
            env=os.environ | {"KUBECONFIG": str(bare.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert re.search(r"does not know .*llmdeployments", result.stderr)
    assert "kubectl apply -f crds/" in result.stderr
    assert "Traceback" not in result.stderr
