"""Whose control plane a cluster uses: our own processes, kind's, or one that the user gives."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from trimtab_e2e import kubeconfigs
from trimtab_e2e.binaries import Binaries
from trimtab_e2e.controlplane import OwnControlPlane
from trimtab_e2e.crew import Crew
from trimtab_e2e.errors import ClusterError, StartFailed
from trimtab_e2e.registry import State

_KIND_CONFIG = Path(__file__).resolve().parents[1] / "kind" / "cluster.yaml"
_AUDIT_POLICY = Path(__file__).with_name("data") / "audit-policy.yaml"


class ControlPlane(Protocol):
    """An API server with its controllers and scheduler, however it is run."""

    @property
    def server(self) -> str:
        """The API server's URL."""

    @property
    def audit_log(self) -> Path:
        """The audit log."""

    def kubeconfig(self, user: str = ...) -> Path:
        """Give the kubeconfig of one of the cluster's own users, by default an administrator."""

    def start(self) -> None:
        """Start it; return when the API server is ready."""

    def start_apiserver(self) -> None:
        """Start the API server alone, after it was killed."""

    def kill_apiserver(self) -> None:
        """Kill the API server alone."""

    def stop(self) -> None:
        """End what does not run as one of the crew's programs."""


class Provider(Protocol):
    """A way to get a control plane."""

    @property
    def name(self) -> str:
        """The name under which the state remembers it."""

    @property
    def binaries(self) -> Binaries:
        """The programs to run beside it."""

    def control_plane(self, state: State, crew: Crew) -> ControlPlane:
        """Make the control plane of one cluster."""


@dataclass(frozen=True)
class Own:
    """Our own processes: the usual way."""

    binaries: Binaries
    name: str = "own"

    def control_plane(self, state: State, crew: Crew) -> ControlPlane:
        """Make a control plane of processes."""
        return OwnControlPlane(state, self.binaries, crew)


@dataclass(frozen=True)
class Given:
    """A cluster that the user runs, and names on purpose."""

    binaries: Binaries
    name: str = "given"

    def control_plane(self, state: State, crew: Crew) -> ControlPlane:
        """Use the cluster whose kubeconfig the state's options name."""
        if state.options.kubeconfig is None:
            raise ClusterError("a given cluster needs its kubeconfig")
        return _Foreign(Path(state.options.kubeconfig))


@dataclass(frozen=True)
class Kind:
    """A kind cluster in Docker."""

    binaries: Binaries
    name: str = "kind"

    def control_plane(self, state: State, crew: Crew) -> ControlPlane:
        """Make a kind cluster."""
        return _KindControlPlane(state)


class _Foreign:
    """A control plane that we talk to and do not run."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    @property
    def server(self) -> str:
        return kubeconfigs.server_of(yaml.safe_load(self._kubeconfig.read_text()))

    @property
    def audit_log(self) -> Path:
        raise ClusterError("the audit log of a given cluster cannot be read from here")

    def kubeconfig(self, user: str = "") -> Path:
        return self._kubeconfig

    def start(self) -> None:
        pass

    def start_apiserver(self) -> None:
        raise ClusterError("the API server of this cluster is not ours to start")

    def kill_apiserver(self) -> None:
        raise ClusterError("the API server of this cluster is not ours to kill")

    def stop(self) -> None:
        pass


class _KindControlPlane(_Foreign):
    """A kind cluster that lives and dies with ours; not run where it was written."""

    def __init__(self, state: State) -> None:
        super().__init__(state.folder / "kubeconfigs" / "admin.yaml")
        self._name = state.folder.name
        self._folder = state.folder

    @property
    def audit_log(self) -> Path:
        return self._folder / "audit" / "audit.log"

    def start(self) -> None:
        # kind mounts folders by absolute path, so its configuration is made for each cluster.
        config = _KIND_CONFIG.read_text().replace("${CLUSTER_DIR}", str(self._folder))
        self._kubeconfig.parent.mkdir()
        (self._folder / "audit").mkdir()
        shutil.copy(_AUDIT_POLICY, self._folder / "audit" / "policy.yaml")
        (self._folder / "kind.yaml").write_text(config)
        self._kind(
            "create",
            "cluster",
            f"--config={self._folder / 'kind.yaml'}",
            f"--kubeconfig={self._kubeconfig}",
            "--wait=120s",
        )

    def stop(self) -> None:
        self._kind("delete", "cluster", f"--kubeconfig={self._kubeconfig}")

    def _kind(self, *args: str) -> None:
        command = ["kind", *args, f"--name={self._name}"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise StartFailed(f"`{' '.join(command)}` failed:\n{result.stderr}")
