"""A cluster keeps to itself, survives what it should survive, and is gone after its end."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

from trimtab_e2e import registry
from trimtab_e2e.cluster import Options, select_cluster
from trimtab_e2e.waiting import eventually

BARE = Options(kwok=False, prometheus=False)


def test_two_clusters_at_once_know_nothing_of_each_other() -> None:
    with select_cluster("left", BARE) as left, select_cluster("right", BARE) as right:
        left.kubectl("create", "namespace", "only-left")
        assert left.server != right.server
        assert right.kubectl("get", "namespace", "only-left", check=False).returncode == 1


def test_the_api_server_survives_its_own_death() -> None:
    with select_cluster("killed", BARE) as cluster:
        cluster.kubectl("create", "namespace", "kept")
        cluster.kill_apiserver()
        assert cluster.kubectl("get", "namespace", "kept", check=False).returncode == 1
        cluster.start_apiserver()
        cluster.kubectl("get", "namespace", "kept")


def test_stop_leaves_neither_process_nor_file() -> None:
    with select_cluster("brief", Options()) as cluster:
        folder, pids = cluster.dir, [child.pid for child in cluster.processes]
        assert len(pids) == 6
    assert not folder.exists()
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_cluster_dies_with_the_process_that_made_it(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import sys, time
        from trimtab_e2e.cluster import Options, select_cluster
        with select_cluster("orphan", Options(kwok=False, prometheus=False)) as cluster:
            print(cluster.dir, *[child.pid for child in cluster.processes], flush=True)
            time.sleep(600)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    folder, *pids = parent.stdout.readline().split()
    assert len(pids) == 4
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    eventually(
        lambda: not Path(folder).exists() and not any(is_alive(int(pid)) for pid in pids),
        "the guardian ends the programs and removes the folder",
    )


def test_the_command_line_starts_finds_and_ends_a_cluster() -> None:
    name = f"cli-{os.getpid()}"
    path = cli("up", "--name", name, "--no-kwok", "--no-prometheus", "--quiet").strip()
    try:
        assert cli("up", "--name", name, "--quiet").strip() == path
        (shown,) = [c for c in json.loads(cli("status", "-o", "json")) if c["name"] == name]
        assert shown["running"]
        assert shown["kubeconfig"] == path
        assert "kube-system" in cli("kubectl", "--name", name, "--", "get", "ns", "-o", "name")
    finally:
        cli("down", "--name", name)
    assert name not in [state.name for state in registry.load_all()]
    assert [p["pid"] for p in shown["processes"] if is_alive(p["pid"])] == []


def cli(*args: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "trimtab_e2e.cluster", *args],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def is_alive(pid: int) -> bool:
    """A zombie that its new parent has not reaped yet is dead."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")
