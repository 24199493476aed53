"""The whole system on a local cluster: CRDs, the operator as its ServiceAccount, engines."""

import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trimtab.actuate.status import FIGURES_S
from trimtab_e2e import probes
from trimtab_e2e.audit import Write, writes
from trimtab_e2e.errors import ClusterError
from trimtab_e2e.fleet_process import FleetProcess
from trimtab_e2e.localcluster import LocalCluster, Manifest
from trimtab_e2e.processes import Child
from trimtab_e2e.waiting import eventually

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "trimtab-system"
SERVICE_ACCOUNT = "trimtab"
USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
OPERATOR = "operator"
DEPLOYMENT_LABEL = "trimtab.dev/deployment"

# Shorter than in production, so that a run shows in minutes what takes an hour elsewhere. The
# scrape interval is the local Prometheus' own; the rest keeps the production ratios to it.
QUICK: Mapping[str, str] = {
    "--scrape-interval": "5s",
    "--rate-window": "30s",
    "--period": "5s",
    "--ready-stability": "5s",
    # As a container that restarts in its pod: it takes its own lease back at once.
    "--identity": "e2e",
}


class Stack:
    """A running local cluster with Trimtab on it. Ends with the cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.fleet = FleetProcess(cluster)
        self._operator: Child | None = None

    def __enter__(self) -> Self:
        self.cluster.start()
        self.install()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cluster.stop()

    def install(self) -> None:
        """Apply the CRDs and the operator's rights, as the chart does."""
        crds = sorted((REPOSITORY / "crds").glob("*.yaml"))
        for path in crds:
            self.cluster.apply(path)
        self.cluster.apply(REPOSITORY / "deploy" / "rbac.yaml")
        names = [f"crd/{path.stem}" for path in crds]
        self.cluster.kubectl("wait", "--for=condition=Established", *names)

    # The operator.

    @property
    def operator_kubeconfig(self) -> Path:
        """A kubeconfig of the operator's ServiceAccount."""
        return self.cluster.kubeconfig_for_service_account(NAMESPACE, SERVICE_ACCOUNT)

    def start_operator(
        self,
        flags: Mapping[str, str] | None = None,
        *,
        kubeconfig: Path | None = None,
        wait: bool = True,
    ) -> Child:
        """Start `trimtab run` as its ServiceAccount; through another kubeconfig where given."""
        settings = {
            "--prometheus-url": self.cluster.prometheus_url,
            "--health-port": str(self.cluster.operator_health_port),
            "--metrics-port": str(self.cluster.operator_metrics_port),
            "--bind-address": "127.0.0.1",
            **QUICK,
            **(flags or {}),
        }
        command = [sys.executable, "-m", "trimtab", "run"]
        for flag, value in settings.items():
            command += [flag, value]
        env = {"KUBECONFIG": str(kubeconfig or self.operator_kubeconfig)}
        self._operator = self.cluster.run(OPERATOR, command, env)
        if wait:
            self.wait_operator_ready()
        return self._operator

    def wait_operator_ready(self, timeout_s: float = 40) -> None:
        """Wait until the operator leads and has planned once."""
        url = f"http://127.0.0.1:{self.cluster.operator_health_port}/readyz"
        operator = self.operator

        def ready() -> bool:
            if not operator.alive():
                raise AssertionError(f"the operator died:\n{operator.tail(30)}")
            return probes.answers(url)

        eventually(ready, "the operator is ready", timeout_s)

    @property
    def operator(self) -> Child:
        """The operator that was started last."""
        if self._operator is None:
            raise ClusterError("no operator was started: call start_operator first")
        return self._operator

    def stop_operator(self) -> None:
        """End the operator politely."""
        self.cluster.end(OPERATOR)

    def kill_operator(self) -> None:
        """End the operator as a crash would."""
        self.cluster.kill(OPERATOR)

    def operator_writes(self, since: Any = None) -> list[Write]:
        """Give what the operator has written, its Lease left out."""
        return [
            write
            for write in writes(self.cluster.audit_log, since=since, user=USER)
            if write.resource != "leases"
        ]

    def wait_at_rest(self, quiet_s: float = FIGURES_S + 5, timeout_s: float = 150) -> None:
        """Wait until only one deployment is left and the operator has written nothing for a while.

        Namespaces of earlier tests go in the background, and change a pool's figures as they do,
        which a status may tell a minute later.
        """

        def namespaces(*of: str) -> list[str]:
            return [one["metadata"]["namespace"] for one in self.cluster.get(*of)["items"]]

        def alone() -> bool:
            left = namespaces("llmd", "-A")
            parents = set(namespaces("deployments", "-A", "-l", DEPLOYMENT_LABEL))
            if len(left) != 1 or len(parents) != 1:
                raise ClusterError(f"LLMDeployments in {left}, children in {sorted(parents)}")
            return True

        def quiet() -> bool:
            return not self.operator_writes(datetime.now(UTC) - timedelta(seconds=quiet_s))

        eventually(alone, "other tests are over", timeout_s)
        time.sleep(quiet_s)
        eventually(quiet, f"nothing was written for {quiet_s:.0f} s", timeout_s)

    # What is there.

    def llmd(self, namespace: str, name: str) -> Manifest:
        """Give an LLMDeployment."""
        return self.cluster.get("llmd", name, "-n", namespace)

    def condition(self, namespace: str, name: str, kind: str) -> Manifest:
        """Give one condition of an LLMDeployment, or an empty document."""
        conditions: Iterable[Manifest] = (
            self.llmd(namespace, name).get("status", {}).get("conditions", [])
        )
        return next((c for c in conditions if c["type"] == kind), {})

    def replicas(self, namespace: str, name: str) -> dict[str, int]:
        """Give the replicas asked of each child Deployment, by its pool."""
        children = self.cluster.get(
            "deployments", "-n", namespace, "-l", f"{DEPLOYMENT_LABEL}={name}"
        )
        return {
            child["metadata"]["labels"]["trimtab.dev/pool"]: child["spec"]["replicas"]
            for child in children["items"]
        }
