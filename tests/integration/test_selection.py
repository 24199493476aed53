"""How a cluster is chosen: the order, and what a person is told when a way is closed."""

import os
from pathlib import Path

import pytest

from trimtab_e2e import binaries, selection
from trimtab_e2e.binaries import Binaries
from trimtab_e2e.cluster import (
    ClusterError,
    ClusterUnavailable,
    LocalCluster,
    Options,
    select_cluster,
)
from trimtab_e2e.nodes import make_nodes


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (
        selection.KUBECONFIG_VARIABLE, selection.ASSETS_VARIABLE, selection.KIND_VARIABLE,
    ):  # fmt: skip
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder as the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def choose(given: Path | None = None) -> tuple[str, list[str]]:
    said: list[str] = []
    return selection.choose_provider(given, said.append).name, said


def executable(path: Path, script: str = "#!/bin/sh\nexit 0\n") -> None:
    path.write_text(script)
    path.chmod(0o755)


def test_without_cache_docker_and_go_the_remedy_is_named(empty_cache: Path, path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match=r"install Go 1\.26 or newer"):
        choose()


def test_a_build_that_fails_shows_the_compilers_last_words(empty_cache: Path, path: Path) -> None:
    executable(path / "go", "#!/bin/sh\necho no such host\nexit 1\n")
    with pytest.raises(ClusterUnavailable, match="no such host"):
        choose()
    assert [entry.name for entry in (empty_cache / "bin").iterdir()] == [".lock"]


def test_the_users_kubeconfig_is_not_touched_unless_named_on_purpose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    production = tmp_path / "production.yaml"
    production.write_text("{}")
    monkeypatch.setenv("KUBECONFIG", str(production))
    assert choose()[0] == "own"
    monkeypatch.setenv("TRIMTAB_KUBECONFIG", str(production))
    assert choose()[0] == "given"


def test_a_kubeconfig_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRIMTAB_KUBECONFIG", str(tmp_path / "none.yaml"))
    with pytest.raises(ClusterUnavailable, match="correct or unset TRIMTAB_KUBECONFIG"):
        choose()


def test_prepared_programs_are_used_only_if_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    for name in ("etcd", "kube-apiserver", "kubectl"):
        executable(tmp_path / name)
    provider, said = choose()
    assert provider == "own"
    assert "lacks kube-controller-manager, kube-scheduler" in said[0]

    for name in ("kube-controller-manager", "kube-scheduler"):
        executable(tmp_path / name)
    chosen = selection.choose_provider(None, said.append)
    assert chosen.binaries.program("etcd") == str(tmp_path / "etcd")


@pytest.mark.parametrize(("docker_status", "expected"), [(0, "kind"), (1, "own")])
def test_kind_is_used_when_docker_answers_and_nothing_is_built(
    docker_status: int,
    expected: str,
    empty_cache: Path,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executable(path / "kind")
    executable(path / "docker", f"#!/bin/sh\nexit {docker_status}\n")

    def build(*, control_plane: bool = True, progress: object = None) -> Binaries:
        return Binaries(path if control_plane else None, kwok=path, prometheus=path)

    monkeypatch.setattr(binaries, "build", build)
    assert choose()[0] == expected


def test_kind_is_used_when_asked_for_and_refused_when_it_cannot_be(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_KIND", "1")
    executable(path / "kind")
    executable(path / "docker", "#!/bin/sh\nexit 1\n")
    with pytest.raises(ClusterUnavailable, match="install and start both"):
        choose()
    executable(path / "docker")
    assert choose()[0] == "kind"


def test_a_given_cluster_gets_nodes_and_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with select_cluster("host", Options(kwok=False, prometheus=False)) as host:
        monkeypatch.setenv(
            "PATH", f"{Path(host.kubectl_path).parent}{os.pathsep}{os.environ['PATH']}"
        )
        before = inventory(host)
        with select_cluster("guest", kubeconfig=host.kubeconfig) as guest:
            guest.add_nodes(make_nodes("l4-gke", 1))
            guest.kubectl("wait", "--for=condition=Ready", "--timeout=30s", "node/l4-gke-0")
            guest.kubectl("delete", "node", "l4-gke-0")
            with pytest.raises(ClusterError, match="not ours to kill"):
                guest.kill_apiserver()
        host.kubectl("wait", "--for=delete", "--timeout=60s", "namespace/trimtab-e2e")
        assert inventory(host) == before


def inventory(cluster: LocalCluster) -> str:
    kinds = "namespaces,nodes,customresourcedefinitions,clusterroles,clusterrolebindings"
    return cluster.kubectl("get", kinds, "-o", "name").stdout
