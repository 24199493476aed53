"""The cluster's programs: found in the cache, or built there once from pinned Go modules."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from trimtab_e2e.errors import BuildFailed, ClusterUnavailable

KUBERNETES_VERSION = "1.34.4"  # as in e2e/localcluster/go.mod; a test compares the two
HELM_VERSIONS = {3: "3.19.0", 4: "4.3.1"}
"""By the major version: users have both."""
KWOK_VERSION = "0.8.0"
LUA_VERSION = "1.1.1"
MONITORING_VERSION = "0.85.0"  # the Prometheus operator, for its kinds
PROMETHEUS_VERSION = "0.316.0"  # Prometheus 3.16.0 calls its Go module so

CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
NODE = ("kubelet", "kube-proxy")  # of a real node; the same binary
PAUSE = "pause"

_MODULE = Path(__file__).resolve().parents[1] / "localcluster"
_GOBIN = "GOBIN"  # stands for the folder that a build fills
_HEARTBEAT_S = 15.0

Progress = Callable[[str], None]


def print_progress(line: str) -> None:
    """Show one line of progress; on stderr, because stdout carries a command's answer."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def cache_dir() -> Path:
    """Give the folder that holds everything of ours outside the repository."""
    return Path(os.environ.get("TRIMTAB_CACHE") or Path.home() / ".cache" / "trimtab")


@dataclass(frozen=True)
class Binaries:
    """Where each program lies."""

    control_plane: Path | None  # none where another cluster's control plane is used
    kwok: Path
    prometheus: Path

    def program(self, name: str) -> str:
        """Give the path of one of Kubernetes' programs."""
        if self.control_plane is None or not (self.control_plane / name).exists():
            raise ClusterUnavailable(f"this cluster does not run a {name} of its own")
        return str(self.control_plane / name)

    def kubectl(self) -> str:
        """Give the path of kubectl: ours, or else the user's."""
        if self.control_plane is not None:
            return self.program("kubectl")
        found = shutil.which("kubectl")
        if found is None:
            raise ClusterUnavailable("a given cluster needs kubectl on the PATH: install it")
        return found


@dataclass(frozen=True)
class _Tool:
    """One `go build` or `go install`, and where its product goes in the cache."""

    key: str  # the folder's name: a new key means a new build
    title: str
    first_time: str
    arguments: tuple[str, ...]
    working_dir: Path
    finish: Callable[[Path], None]

    @property
    def folder(self) -> Path:
        return cache_dir() / "bin" / self.key


def cached() -> Binaries | None:
    """Give the programs if all of them are in the cache already."""
    tools = _tools()
    return _binaries() if all(tool.folder.is_dir() for tool in tools) else None


def build(*, control_plane: bool = True, progress: Progress = print_progress) -> Binaries:
    """Build what the cache lacks (many minutes the first time), and give the programs."""
    for tool in _tools()[0 if control_plane else 1 :]:
        _built(tool, progress)
    return _binaries() if control_plane else replace(_binaries(), control_plane=None)


def helm(major: int = 3, progress: Progress = print_progress) -> Path:
    """Give a Helm: the one on the PATH, else one that is built once (3 minutes the first time)."""
    found = shutil.which("helm")
    if found is not None and _major_of(found) == major:
        return Path(found)
    return _built(_helm(major), progress) / "helm"


def lua(progress: Progress = print_progress) -> Path:
    """Give the Lua that Argo CD runs health checks with (seconds the first time)."""
    package = f"github.com/yuin/gopher-lua/cmd/glua@v{LUA_VERSION}"
    tool = _Tool(
        key=f"lua-{LUA_VERSION}",
        title="Lua",
        first_time="seconds",
        arguments=("install", "-ldflags", "-s -w", package),
        working_dir=Path("/"),
        finish=lambda folder: None,
    )
    return _built(tool, progress) / "glua"


def monitoring_definitions() -> list[Path]:
    """Give the Prometheus operator's definitions of what the chart makes for it."""
    _require_go()
    package = f"github.com/prometheus-operator/prometheus-operator@v{MONITORING_VERSION}"
    module = json.loads(_go("mod", "download", "-json", package))
    folder = Path(module["Dir"]) / "example" / "prometheus-operator-crd"
    kinds = ("servicemonitors", "podmonitors", "prometheusrules")
    return [folder / f"monitoring.coreos.com_{kind}.yaml" for kind in kinds]


def _built(tool: _Tool, progress: Progress) -> Path:
    if not tool.folder.is_dir():
        _require_go()
        with _lock(tool, progress):
            if not tool.folder.is_dir():  # another process may have built it meanwhile
                _build(tool, progress)
    return tool.folder


def _major_of(program: str) -> int | None:
    said = subprocess.run(
        [program, "version", "--short"], capture_output=True, text=True, check=False
    ).stdout
    version = re.match(r"v(\d+)\.", said)
    return int(version[1]) if version else None


def missing_programs(folder: Path) -> list[str]:
    """Name the control plane's programs that a folder lacks."""
    return [name for name in CONTROL_PLANE if not os.access(folder / name, os.X_OK)]


def _require_go() -> None:
    if shutil.which("go") is None:
        raise ClusterUnavailable(
            "the cluster's programs are not in the cache, and there is no Go to build them:"
            " install Go 1.26 or newer, and run this again"
        )


def _binaries() -> Binaries:
    control_plane, kwok, prometheus = _tools()
    return Binaries(
        control_plane=control_plane.folder, kwok=kwok.folder, prometheus=prometheus.folder
    )


def _tools() -> tuple[_Tool, _Tool, _Tool]:
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = "k8s.io/component-base/version"
    flags = (
        f"-s -w -X {version}.gitVersion=v{KUBERNETES_VERSION}"
        f" -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    )
    control_plane = _Tool(
        key=f"kubernetes-{_content_hash(flags)}",
        title="etcd, kubectl and Kubernetes' control plane, kubelet and kube-proxy",
        first_time="5 to 10 minutes the first time",
        arguments=("build", "-ldflags", flags, "-o", _GOBIN, ".", f"./{PAUSE}"),
        working_dir=_MODULE,
        finish=_link_programs,
    )
    kwok = _Tool(
        key=f"kwok-{KWOK_VERSION}",
        title="KWOK, which plays the nodes",
        first_time="1 to 2 minutes the first time",
        arguments=("install", "-ldflags", "-s -w", f"sigs.k8s.io/kwok/cmd/kwok@v{KWOK_VERSION}"),
        working_dir=Path("/"),  # outside of any module
        finish=_copy_stage_crd,
    )
    prometheus = _Tool(
        key=f"prometheus-{PROMETHEUS_VERSION}",
        title="Prometheus",
        first_time="2 to 5 minutes the first time",
        arguments=(
            "install",
            "-tags",
            "remove_all_sd,enable_kubernetes_sd",  # leaves 25 cloud SDKs out
            "-ldflags",
            f"-s -w -X github.com/prometheus/common/version.Version=3.{_prometheus_minor()}",
            f"github.com/prometheus/prometheus/cmd/prometheus@v{PROMETHEUS_VERSION}",
        ),
        working_dir=Path("/"),
        finish=lambda folder: None,
    )
    return control_plane, kwok, prometheus


def _helm(major: int) -> _Tool:
    version = HELM_VERSIONS[major]
    flags = "-s -w"
    if major == 3:  # what `helm template` takes the cluster to be; Helm 4 knows it by itself
        chartutil = "helm.sh/helm/v3/pkg/chartutil"
        cluster, minor, _ = KUBERNETES_VERSION.split(".")
        flags += f" -X {chartutil}.k8sVersionMajor={cluster} -X {chartutil}.k8sVersionMinor={minor}"
    return _Tool(
        key=f"helm-{version}",
        title=f"Helm {major}",
        first_time="3 minutes the first time",
        arguments=(
            "install", "-ldflags", flags, f"helm.sh/helm/v{major}/cmd/helm@v{version}",
        ),
        working_dir=Path("/"),
        finish=lambda folder: None,
    )  # fmt: skip


def _prometheus_minor() -> str:
    _, minor, patch = PROMETHEUS_VERSION.split(".")
    return f"{int(minor) - 300}.{patch}"


def _content_hash(flags: str) -> str:
    digest = hashlib.sha256(flags.encode())
    for path in [*sorted(_MODULE.rglob("*.go")), _MODULE / "go.mod", _MODULE / "go.sum"]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _link_programs(folder: Path) -> None:
    for name in (*CONTROL_PLANE, *NODE):
        (folder / name).symlink_to("localcluster")


def _copy_stage_crd(folder: Path) -> None:
    """Put the CRD of KWOK's Stages beside KWOK: its version must be KWOK's own."""
    module = json.loads(_go("mod", "download", "-json", f"sigs.k8s.io/kwok@v{KWOK_VERSION}"))
    crd = Path(module["Dir"]) / "kustomize" / "crd" / "bases" / "kwok.x-k8s.io_stages.yaml"
    (folder / "stages-crd.yaml").write_bytes(crd.read_bytes())


def _build(tool: _Tool, progress: Progress) -> None:
    progress(f"building {tool.title} ({tool.first_time})...")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=tool.folder.parent, prefix=".building-") as temporary:
        folder = Path(temporary) / "bin"
        folder.mkdir()
        arguments = [f"{folder}/" if value == _GOBIN else value for value in tool.arguments]
        command = ["go", *arguments]
        environment = _go_environment() | {"GOBIN": str(folder)}
        with (Path(temporary) / "log").open("w+b") as log:
            process = subprocess.Popen(
                command, cwd=tool.working_dir, env=environment, stdout=log, stderr=log
            )
            _wait_with_heartbeat(process, tool, started, progress)
            if process.returncode != 0:
                log.seek(0)
                raise BuildFailed(_failure(tool, command, log.read().decode(errors="replace")))
        tool.finish(folder)
        folder.rename(tool.folder)  # atomic: a half-built folder is never seen
    progress(f"built {tool.title} in {time.monotonic() - started:.0f} s")


def _wait_with_heartbeat(
    process: "subprocess.Popen[bytes]", tool: _Tool, started: float, progress: Progress
) -> None:
    try:
        while True:
            try:
                process.wait(timeout=_HEARTBEAT_S)
                return
            except subprocess.TimeoutExpired:
                progress(f"  still building {tool.key}: {time.monotonic() - started:.0f} s")
    except BaseException:
        process.kill()  # Ctrl-C must not leave a compiler running for minutes
        process.wait()
        raise


def _failure(tool: _Tool, command: list[str], output: str) -> str:
    tail = "\n".join(output.splitlines()[-30:])
    return (
        f"building {tool.title} failed; the last lines of `{' '.join(command[:2])}`:\n{tail}\n"
        "It needs Go 1.26 or newer, about 8 GB of disk and a Go module proxy within reach."
    )


def _go_environment() -> dict[str, str]:
    # -trimpath and no VCS stamp: the same bytes wherever the repository lies.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath -buildvcs=false"}


def _go(*arguments: str) -> str:
    result = subprocess.run(
        ["go", *arguments], cwd="/", env=_go_environment(), capture_output=True, text=True
    )
    if result.returncode != 0:
        raise BuildFailed(f"`go {' '.join(arguments)}` failed:\n{result.stderr}")
    return result.stdout.strip()


@contextmanager
def _lock(tool: _Tool, progress: Progress) -> Iterator[None]:
    """Let one process build at a time; the kernel frees the lock if that process dies."""
    tool.folder.parent.mkdir(parents=True, exist_ok=True)
    with (tool.folder.parent / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another process is building the cluster's programs; waiting for it...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
