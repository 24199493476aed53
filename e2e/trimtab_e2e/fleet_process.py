"""Start the engine stand-in beside a local cluster, and talk to it."""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab_e2e import probes
from trimtab_e2e.errors import ClusterError
from trimtab_e2e.localcluster import LocalCluster
from trimtab_e2e.processes import wait_until

_SOURCES = Path(__file__).parents[1]


class FleetProcess:
    """The stand-in of one cluster, in a process that ends with it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self._url = f"http://127.0.0.1:{cluster.fleet_port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "trimtab_e2e.fleet"]
        options = [f"--kubeconfig={self._cluster.kubeconfig}", f"--port={self._cluster.fleet_port}"]
        child = self._cluster.run("fleet", [*command, *options], {"PYTHONPATH": str(_SOURCES)})
        wait_until(lambda: probes.answers(f"{self._url}/summary"), "the stand-in", [child])

    def stop(self) -> None:
        """End it."""
        self._cluster.end("fleet")

    def load(self, loads: Mapping[str, Mapping[str, Any]]) -> None:
        """Let loads begin now: NAMESPACE/NAME of an LLMDeployment to its `ServiceLoad`."""
        self._ask("/load", json.dumps(loads).encode())

    def summary(self) -> dict[str, Any]:
        """Return what became of the requests so far."""
        document: dict[str, Any] = json.loads(self._ask("/summary"))
        return document

    def page(self, namespace: str, pod: str) -> str:
        """Return the page of metrics of a pod."""
        return self._ask(f"/pods/{namespace}/{pod}/metrics")

    def _ask(self, path: str, body: bytes | None = None) -> str:
        try:
            with urllib.request.urlopen(f"{self._url}{path}", body, timeout=10) as answer:
                text: str = answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                raise ClusterError(f"stand-in: {path}: {error.read().decode().strip()}") from error
        return text
