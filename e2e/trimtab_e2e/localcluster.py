"""One local cluster as an object: start it, talk to it, break it, stop it."""

import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from trimtab_e2e import kubeconfigs, kwok, probes, prometheus, registry
from trimtab_e2e.crew import Crew
from trimtab_e2e.errors import ClusterError, CommandFailed
from trimtab_e2e.node import RealNodes, address_of
from trimtab_e2e.processes import Child
from trimtab_e2e.providers import Provider
from trimtab_e2e.registry import Options, State

Manifest = dict[str, Any]


class LocalCluster:
    """A control plane with KWOK and Prometheus, in a folder and on ports of its own.

    Used as a context manager it dies with the process that made it, whatever kills that; with
    `detached=True` it lives on until somebody stops it. `keep=True` leaves its folder behind.
    """

    def __init__(
        self,
        provider: Provider,
        name: str = "test",
        options: Options | None = None,
        *,
        detached: bool = False,
        keep: bool = False,
        state: State | None = None,
    ) -> None:
        """Make a new cluster, or take hold of one that exists where a state is given."""
        self._detached = detached
        self._keep = keep
        self._binaries = provider.binaries
        self._state = state or registry.create(
            name, provider.name, options or Options(), provider.binaries
        )
        self._crew = Crew(self._state)
        self._control_plane = provider.control_plane(self._state, self._crew)
        self.name = self._state.name
        self.dir = self._state.folder
        self.options = self._state.options
        self.provider = provider.name
        # Free until the engine stand-in takes it; Prometheus scrapes serving pods there.
        self.fleet_port = self._state.ports["fleet"]
        self._prometheus_address = f"{address_of(self._state)}:{self._state.ports['prometheus']}"
        self.prometheus_url = f"http://{self._prometheus_address}"
        self._nodes = (
            RealNodes(self._state, self._crew, self._binaries) if self.options.real_nodes else None
        )
        # Free for an operator that runs outside the cluster.
        self.operator_health_port = self._state.ports["operator-health"]
        self.operator_metrics_port = self._state.ports["operator-metrics"]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig of an administrator."""
        return self._control_plane.kubeconfig()

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return self._control_plane.server

    @property
    def audit_log(self) -> Path:
        """The audit log: one JSON line for each finished write (see audit.py)."""
        return self._control_plane.audit_log

    @property
    def processes(self) -> list[Child]:
        """The programs that run for this cluster."""
        return self._crew.members()

    def start(self) -> None:
        """Start everything; on a failure end what was started, and say why."""
        if not self._detached:
            self._crew.guard(keep=self._keep)
        try:
            if self._nodes is not None:
                self._nodes.boot()  # the API server listens on its cable
            self._control_plane.start()
            if self.options.kwok:
                self.start_kwok()
            if self.options.prometheus:
                self.start_prometheus()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End everything that was started, and remove the folder unless it is to be kept."""
        if self.provider == "given":
            self._remove_our_objects()
        self._crew.stop_all()
        self._control_plane.stop()
        if self._nodes is not None:
            self._nodes.remove()
        if not self._keep:
            registry.remove(self._state)

    def program(self, name: str) -> Path:
        """Give the path of a program that was built with the cluster's own."""
        return Path(self._binaries.program(name))

    # Talking to it.

    @property
    def kubectl_path(self) -> str:
        """The kubectl to use, of the cluster's own version where it has one."""
        return self._binaries.kubectl()

    def kubectl(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - named as subprocess.run names it
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as the administrator; with check=False a failure is the caller's to read."""
        result = subprocess.run(
            [self.kubectl_path, f"--kubeconfig={self.kubeconfig}", *args],
            input=input,
            capture_output=True,
            text=True,
            env={**os.environ, "KUBECACHEDIR": str(self.dir / "kubectl-cache")},
            check=False,
        )
        if check and result.returncode != 0:
            command = " ".join(args)
            raise CommandFailed(f"`kubectl {command}` failed:\n{result.stderr.strip()}")
        return result

    def get(self, *args: str) -> Manifest:
        """Give what `kubectl get ARGS` finds, as a document."""
        document: Manifest = json.loads(self.kubectl("get", *args, "-o", "json").stdout)
        return document

    def apply(self, what: Path | Manifest | Iterable[Manifest]) -> None:
        """Apply a file, one manifest or many, server-side."""
        if isinstance(what, Path):
            text = what.read_text()
        else:
            items = [what] if isinstance(what, dict) else list(what)
            # JSON, because Go reads some of what PyYAML writes as a plain string as a boolean.
            text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text)

    def add_nodes(self, nodes: Iterable[Manifest]) -> None:
        """Create fake nodes (see nodes.py), whose pods start after the delay that they tell."""
        manifests = list(nodes)
        self.apply([*kwok.start_delay_stages(manifests), *manifests])

    def kubeconfig_for_service_account(self, namespace: str, name: str) -> Path:
        """Give a kubeconfig with a real token of a service account that exists."""
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").stdout
        return kubeconfigs.for_another_user(
            yaml.safe_load(self.kubeconfig.read_text()),
            self.dir / "kubeconfigs" / f"serviceaccount-{namespace}-{name}.yaml",
            user=f"system:serviceaccount:{namespace}:{name}",
            token=token.strip(),
        )

    # Its parts, to be stopped and started again by tests.

    def start_apiserver(self) -> None:
        """Start the API server again after `kill_apiserver`, and wait until it is ready."""
        self._control_plane.start_apiserver()

    def kill_apiserver(self) -> None:
        """Kill the API server without warning."""
        self._control_plane.kill_apiserver()

    def start_kwok(self) -> None:
        """Start KWOK, which makes fake nodes Ready and their pods run."""
        self.apply(kwok.crd(self._binaries))
        self.kubectl("wait", "--for=condition=Established", "crd/stages.kwok.x-k8s.io")
        self.apply(kwok.base_stages())
        kubeconfig = self._control_plane.kubeconfig("kwok")
        self._crew.start("kwok", kwok.command(self._binaries, kubeconfig, self.dir / "kwok.yaml"))

    def stop_kwok(self) -> None:
        """Stop KWOK: nodes and pods stay as they are until the control plane misses them."""
        self._crew.stop("kwok")

    def start_prometheus(self) -> None:
        """Start Prometheus and wait until it is ready; it keeps its data over a restart."""
        self.apply(prometheus.rbac())
        self._write_prometheus_config()
        self._crew.start(
            "prometheus",
            prometheus.command(self._binaries, self._prometheus_config, self._prometheus_address),
        )
        ready = f"{self.prometheus_url}/-/ready"
        self._crew.wait_until(lambda: probes.answers(ready), "Prometheus", "prometheus")

    @property
    def nodes(self) -> RealNodes:
        """The real nodes, of a cluster that was started with them."""
        if self._nodes is None:
            raise ClusterError("this cluster has no real nodes: start it with real_nodes=True")
        return self._nodes

    def start_nodes(self, images: Path) -> None:
        """Start the real nodes' programs, with an archive of the images that pods ask for."""
        self.nodes.start(self._control_plane.kubeconfig, images)

    def stop_prometheus(self) -> None:
        """Stop Prometheus, as an outage would."""
        self._crew.stop("prometheus")

    def scrape_operator(self, address: str) -> None:
        """Let Prometheus scrape the operator's own metrics at HOST:PORT from now on."""
        self.options = self._state.options = replace(self.options, operator_metrics=address)
        self._state.save()
        self._write_prometheus_config()
        self._crew.signal("prometheus", signal.SIGHUP)

    # Programs of others that live and die with it.

    def run(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start a program that ends with this cluster; its log is `logs/NAME.log` of the folder."""
        return self._crew.start(name, command, env)

    def end(self, name: str) -> None:
        """End a program that `run` started, politely; nothing happens if it does not run."""
        self._crew.stop(name)

    def kill(self, name: str) -> None:
        """End a program that `run` started as a crash would."""
        self._crew.kill(name)

    def _remove_our_objects(self) -> None:
        """Leave a user's cluster as it was; other clusters go with all that is in them."""
        crd = yaml.safe_load(kwok.crd(self._binaries).read_text())
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [crd, *prometheus.rbac()]})
        self.kubectl(
            *("delete", "--ignore-not-found", "--wait=false", "-f", "-"), input=text, check=False
        )

    @property
    def _prometheus_config(self) -> Path:
        return self.dir / "prometheus" / "prometheus.yaml"

    def _write_prometheus_config(self) -> None:
        prometheus.write_config(
            self._prometheus_config,
            kubeconfig=self.kubeconfig_for_service_account(
                prometheus.NAMESPACE, prometheus.SERVICE_ACCOUNT
            ),
            fleet_port=None if self.options.real_nodes else self.fleet_port,
            scrape_interval_s=self.options.scrape_interval_s,
            operator_metrics=self.options.operator_metrics,
        )
