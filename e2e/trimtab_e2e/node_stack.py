"""Trimtab as its users install it: with Helm, in a pod, on a real node, with real serving pods."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from trimtab.api.naming import DEPLOYMENT_LABEL, POOL_LABEL
from trimtab_e2e import binaries, images
from trimtab_e2e.errors import CommandFailed
from trimtab_e2e.images import Image
from trimtab_e2e.localcluster import LocalCluster, Manifest
from trimtab_e2e.node import NODES, PAUSE_IMAGE
from trimtab_e2e.node_client import Outcome, outcomes
from trimtab_e2e.registry import Options
from trimtab_e2e.selection import select_cluster
from trimtab_e2e.waiting import eventually

NAMESPACE = "trimtab-system"
GPU = "nvidia.com/gpu"
RELEASE = "trimtab"
CHART = images.REPOSITORY / "charts" / "trimtab"
OPERATOR_IMAGE = "trimtab/trimtab"
RELEASES = ("1.0.0-e2e", "1.0.1-e2e")
"""Tags of the operator's image: the one that is installed, and the one to upgrade to."""
SERVING_IMAGE = "trimtab/vllm-standin:0.33.0"
_RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
_SETTLE_S = 2.0
PATIENCE_S = 900.0
"""How long anything may take: speed is not what is tested here, and the machine may be busy."""
HELM_TIMEOUT = "15m"

# Shorter than in production, at the ratios of production to the scrape interval (see stack.py).
_QUICK: Mapping[str, Any] = {
    "prometheus": {"scrapeInterval": "5s", "rateWindow": "30s"},
    "planner": {"period": "5s", "scaleDownWindow": "60s"},
    "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
}


class NodeStack:
    """A local cluster with a real node, Trimtab installed on it by Helm, and a client."""

    def __init__(self, name: str) -> None:
        self.cluster: LocalCluster = select_cluster(name, Options(kwok=False, real_nodes=True))
        self._helm = binaries.helm(3)
        self._requests = self.cluster.dir / "requests.log"
        self._archive = self.cluster.dir / "images.tar"

    def __enter__(self) -> Self:
        self.cluster.start()
        try:
            self.sizes = write_images(self._archive, self.cluster)
            self.cluster.start_nodes(self._archive)
            self._archive.unlink()  # containerd has its own copy
            eventually(self._nodes_ready, "the nodes are ready", PATIENCE_S)
        except BaseException:
            self.cluster.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cluster.stop()

    def _nodes_ready(self) -> bool:
        nodes = self.cluster.get("nodes")["items"]
        return len(nodes) == len(NODES) and all(map(is_ready, nodes))

    # What a cloud's node has.

    def give_devices(self, node: str, labels: Mapping[str, str], devices: int) -> None:
        """Label a node, and let it have GPUs that no device plugin is behind."""
        pairs = [f"{key}={value}" for key, value in labels.items()]
        self.cluster.kubectl("label", "node", node, *pairs)
        capacity = {GPU: str(devices)}
        patch = json.dumps({"status": {"capacity": capacity}})
        self.cluster.kubectl("patch", "node", node, "--subresource=status", "-p", patch)

        def allocatable() -> bool:
            found = self.cluster.get("node", node)["status"]["allocatable"]
            return bool(found.get(GPU) == capacity[GPU])

        eventually(allocatable, "the kubelet offers the devices", PATIENCE_S)

    def namespace(self, name: str) -> None:
        """Make a namespace that admits only pods of the restricted standard."""
        self.cluster.kubectl("create", "namespace", name)
        self.cluster.kubectl("label", "namespace", name, _RESTRICTED)

    # Helm.

    def install(self) -> None:
        """Install the chart, and wait as `helm install --wait` does."""
        self.namespace(NAMESPACE)
        self._release("install")

    def upgrade(self) -> None:
        """Upgrade to the next image, and from Helm 3 to Helm 4, which is used from then on."""
        self._helm = binaries.helm(4)
        self._release("upgrade", RELEASES[1])

    def rollback(self) -> None:
        """Go back to the release before."""
        self.helm("rollback", RELEASE, "--wait", f"--timeout={HELM_TIMEOUT}")

    def uninstall(self) -> None:
        """Uninstall, and leave the definitions with all that they hold, as the chart does."""
        self.helm("uninstall", RELEASE, "--wait", f"--timeout={HELM_TIMEOUT}")

    def helm(self, *args: str) -> str:
        """Run Helm as the administrator in the operator's namespace."""
        kubeconfig = f"--kubeconfig={self.cluster.kubeconfig}"
        command = [str(self._helm), kubeconfig, "-n", NAMESPACE, *args]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise CommandFailed(f"`helm {' '.join(args)}` failed:\n{result.stderr}")
        return result.stdout

    def _release(self, verb: str, tag: str = RELEASES[0]) -> None:
        values = self.cluster.dir / "values.json"
        document = {
            **_QUICK,
            "image": {"repository": OPERATOR_IMAGE, "tag": tag},
            "prometheus": {**_QUICK["prometheus"], "url": self.cluster.prometheus_url},
        }
        values.write_text(json.dumps(document))
        where = ("--values", str(values), "--wait", f"--timeout={HELM_TIMEOUT}")
        self.helm(verb, RELEASE, str(CHART), *where)

    def operator_pods(self) -> list[Manifest]:
        """Give the operator's pods."""
        return self._pods(NAMESPACE, "app.kubernetes.io/component=operator")

    def operator_logs(self) -> str:
        """Give the last lines of each of the operator's pods."""
        selector = ("-l", "app.kubernetes.io/component=operator", "--tail=40", "--prefix")
        return self.cluster.kubectl("logs", "-n", NAMESPACE, *selector, check=False).stdout

    # Serving pods and their clients.

    def serving_pods(self, namespace: str, name: str) -> list[Manifest]:
        """Give the pods of an LLMDeployment, those that are ending too."""
        return self._pods(namespace, f"{DEPLOYMENT_LABEL}={name}")

    def wait_serving(
        self,
        namespace: str,
        name: str,
        accepted: Callable[[list[Manifest]], bool],
        what: str,
    ) -> list[Manifest]:
        """Wait until the pods are as wanted, all of them ready and none of them ending."""
        found: list[Manifest] = []

        def settled() -> bool:
            found[:] = self.serving_pods(namespace, name)
            # In this order: what is accepted may be a look at every moment in between.
            return accepted(found) and all(is_ready(pod) for pod in found)

        try:
            eventually(settled, what, PATIENCE_S)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_told(found)}\n{self.operator_logs()}") from None
        return list(found)

    def start_client(self, namespace: str, name: str, rate: float) -> None:
        """Send requests to the Service of an LLMDeployment, from the node, until stopped."""
        service = self.cluster.get("service", name, "-n", namespace)["spec"]
        url = f"http://{service['clusterIP']}:{service['ports'][0]['port']}"
        model = self.cluster.get("llmd", name, "-n", namespace)["spec"]["model"]
        command = [
            *(sys.executable, "-m", "trimtab_e2e.node_client", f"--url={url}"),
            f"--model={model.get('servedName', model['name'])}",
            *(f"--rate={rate}", f"--log={self._requests}"),
        ]
        environment = {"PYTHONPATH": str(Path(__file__).parents[1])}
        inside = self.cluster.nodes.inside(*command, network_only=True)
        self.cluster.run("client", inside, environment)
        eventually(self._requests.exists, "the client starts", PATIENCE_S)

    def during(self, change: Callable[[], object], least: int) -> list[Outcome]:
        """Make a change under load; give the requests from just before it to well after it.

        Args:
            change: What happens; it returns when that is over.
            least: How many requests shall have been sent in all; it goes on until then.
        """
        offset, since = self._requests.stat().st_size, time.time()
        time.sleep(_SETTLE_S)
        change()
        time.sleep(_SETTLE_S)

        def found(until: float) -> tuple[list[Outcome], int]:
            return outcomes(self._requests, since, until, offset)

        eventually(lambda: len(found(time.time())[0]) >= least, "enough requests", PATIENCE_S, 2)
        until = time.time()
        eventually(lambda: found(until)[1] == 0, "all requests have ended", PATIENCE_S, 2)
        return found(until)[0]

    def _pods(self, namespace: str, selector: str) -> list[Manifest]:
        items: list[Manifest] = self.cluster.get("pods", "-n", namespace, "-l", selector)["items"]
        return items


def write_images(archive: Path, cluster: LocalCluster) -> dict[str, int]:
    """Write all images that the node needs, and give their sizes in bytes."""
    with tempfile.TemporaryDirectory(dir=cluster.dir) as temporary:
        folder = Path(temporary)
        base, operator = images.base_layer(), images.operator_layer(folder)
        # `vllm serve MODEL ...`, as in vLLM's own image.
        script = "import sys\nfrom trimtab_e2e.node_engine import main\nmain(sys.argv[2:])\n"
        engine = images.script_layer(folder, "vllm", script, [Path(__file__).parent])
        pause = images.file_layer(folder, {"/pause": cluster.program(binaries.PAUSE)})
        made = [
            Image(name=PAUSE_IMAGE, layers=[pause], entrypoint=["/pause"]),
            *(
                images.operator_image(
                    f"docker.io/{OPERATOR_IMAGE}:{tag}",
                    [base, operator],
                    {"TRIMTAB_E2E_RELEASE": tag},
                )
                for tag in RELEASES
            ),
            Image(name=f"docker.io/{SERVING_IMAGE}", layers=[base, operator, engine]),
        ]
        images.write_archive(archive, made)
        return {image.name: image.size for image in made}


def is_ready(pod_or_node: Manifest) -> bool:
    """Tell whether a pod or a node is ready and stays."""
    conditions = {c["type"]: c["status"] for c in pod_or_node["status"].get("conditions", [])}
    return conditions.get("Ready") == "True" and "deletionTimestamp" not in pod_or_node["metadata"]


def pools_of(pods: Iterable[Manifest]) -> dict[str, int]:
    """Count pods by their pool."""
    counted: dict[str, int] = {}
    for pod in pods:
        with suppress(KeyError):
            pool = pod["metadata"]["labels"][POOL_LABEL]
            counted[pool] = counted.get(pool, 0) + 1
    return counted


def _told(pods: Iterable[Manifest]) -> str:
    return "\n".join(
        f"{pod['metadata']['name']} ready={is_ready(pod)} {pod['status'].get('phase')}"
        f" {'ending' if 'deletionTimestamp' in pod['metadata'] else ''}"
        for pod in pods
    )
