"""Real nodes on this machine: kubelet, containerd and kube-proxy in namespaces of their own.

They have their own network, mounts and processes, as a machine of its own would: one virtual
cable leads there, and all of it is gone when its first process ends. Of the machine itself they
take a cgroup, the cable and a route to the pods, and give them back. The nodes of a cluster share
the namespaces and one address, so that no packet between them needs this machine to forward it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from trimtab_e2e.binaries import Binaries
from trimtab_e2e.crew import Crew
from trimtab_e2e.errors import StartFailed
from trimtab_e2e.node_tools import NodeTools, node_tools
from trimtab_e2e.registry import PORTS, State

LOCAL = "127.0.0.1"
NODES = ("real-0", "real-1")
NODE_USERS = {name: f"system:node:{name}" for name in NODES}
PROXY_USER = "system:kube-proxy"
PAUSE_IMAGE = "localhost/trimtab/pause:1"
SERVICES = "10.96.0.0/16"

_INIT = Path(__file__).with_name("node_init.py")
_CGROUPS = Path("/sys/fs/cgroup")
_CGROUP = "trimtab-"
_KUBELET_PORT = 10250
_LINKS = IPv4Address("100.64.0.0")  # shared address space (RFC 6598): no office network has it
_PODS = IPv4Address("100.80.0.0")


@dataclass(frozen=True)
class NodeNetwork:
    """The addresses of one cluster's nodes; clusters do not share any, for they share no port."""

    link: str
    host: str
    """The machine's end of the cable: where the API server and Prometheus listen."""
    node: str
    pods: str

    @staticmethod
    def of(state: State) -> "NodeNetwork":
        """Give the network that belongs to a cluster's ports."""
        number = state.ports["apiserver"] - PORTS.start
        return NodeNetwork(
            link=f"trimtab{number}",
            host=str(_LINKS + 4 * number + 1),
            node=str(_LINKS + 4 * number + 2),
            pods=f"{_PODS + 256 * number}/24",
        )


def address_of(state: State) -> str:
    """Give the address of this machine on which a cluster's pods reach it."""
    return NodeNetwork.of(state).host if state.options.real_nodes else LOCAL


class RealNodes:
    """The nodes of one cluster; their programs are the crew's."""

    def __init__(self, state: State, crew: Crew, binaries: Binaries) -> None:
        self._state = state
        self._folder = state.folder / "node"
        self._crew = crew
        self._binaries = binaries
        self.network = NodeNetwork.of(state)

    def boot(self) -> None:
        """Make the namespaces and the cable; from then on the machine's end has its address.

        Raises:
            ClusterUnavailable: This machine cannot run a real node; the text says what it lacks.
        """
        node_tools()  # before anything is made
        self._folder.mkdir()
        self._remove_left_cgroups()
        for folder in self._cgroup_folders():
            for number in range(len(NODES)):
                (folder / str(number)).mkdir(parents=True)
        ready = self._folder / "booted"
        unshare = ["unshare", "--net", "--mount", "--pid", "--ipc", "--uts"]
        self._crew.start(
            "node",
            [
                *unshare, "--fork", "--kill-child", "--mount-proc",
                sys.executable, str(_INIT), str(ready),
            ],
        )  # fmt: skip
        self._crew.wait_until(ready.exists, "the node's namespaces", "node")
        network, pid = self.network, str(self._first_process())
        _ip("link", "add", network.link, "type", "veth", "peer", "eth0", "netns", pid)
        _ip("address", "add", f"{network.host}/30", "dev", network.link)
        _ip("link", "set", network.link, "up")
        self._inside("ip", "address", "add", f"{network.node}/30", "dev", "eth0")
        self._inside("ip", "link", "set", "eth0", "up")
        self._inside("ip", "route", "add", "default", "via", network.host)
        _ip("route", "add", network.pods, "via", network.node)

    def start(self, kubeconfig: Callable[[str], Path], images: Path) -> None:
        """Start the nodes' programs; `images` is an archive of all images that pods will ask for.

        Args:
            kubeconfig: Gives the kubeconfig of one of the cluster's own users.
            images: What `ctr images import` reads.
        """
        for number, name in enumerate(NODES):
            self._start_node(number, name, kubeconfig(NODE_USERS[name]), images)
        proxy = self._written("kube-proxy.json", self._kube_proxy(kubeconfig(PROXY_USER)))
        self._run("kube-proxy", self._binaries.program("kube-proxy"), f"--config={proxy}")

    def _start_node(self, number: int, name: str, kubeconfig: Path, images: Path) -> None:
        containerd = f"containerd-{number}"
        folder = self._folder / name
        (folder / "cni").mkdir(parents=True)
        self._written(f"{name}/cni/10-trimtab.conflist", self._cni(number))
        config = folder / "containerd.toml"
        config.write_text(self._containerd(folder, number))
        self._run(containerd, self._tools.program("containerd"), f"--config={config}")
        self._crew.wait_until(
            lambda: self._ctr(number, "version").returncode == 0, containerd, containerd
        )
        imported = self._ctr(number, "--namespace=k8s.io", "images", "import", str(images))
        if imported.returncode != 0:
            raise StartFailed(f"containerd takes no images:\n{imported.stderr}")
        kubelet = self._written(f"{name}/kubelet.json", self._kubelet(folder, number))
        self._run(
            f"kubelet-{number}",
            self._binaries.program("kubelet"),
            f"--config={kubelet}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={folder / 'kubelet'}",
            f"--cert-dir={folder / 'pki'}",
            f"--hostname-override={name}",
            f"--node-ip={self.network.node}",
        )

    def inside(self, *command: str, network_only: bool = False) -> list[str]:
        """Give the command that runs another one on the node, or only in its network."""
        what = ["--net"] if network_only else ["--net", "--mount", "--pid", "--ipc", "--uts"]
        return ["nsenter", f"--target={self._first_process()}", *what, "--", *command]

    def remove(self) -> None:
        """Give back the cgroup; to be called when the nodes' programs have ended."""
        for folder in self._cgroup_folders():
            _remove_cgroup(folder)

    @property
    def _tools(self) -> NodeTools:
        return node_tools()

    def _first_process(self) -> int:
        """Give the pid of the namespaces' first process, the only child of `unshare`."""
        unshare = self._state.pids["node"]
        children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
        if not children:
            raise StartFailed("the real nodes have ended")
        return int(children[0])

    def _cgroup_folders(self) -> list[Path]:
        return [folder / f"{_CGROUP}{self._state.folder.name}" for folder in _hierarchies()]

    def _remove_left_cgroups(self) -> None:
        """Remove those of clusters that are gone, for one that was killed removed nothing."""
        clusters = self._state.folder.parent
        for folder in _hierarchies():
            for left in folder.glob(f"{_CGROUP}*"):
                if not (clusters / left.name.removeprefix(_CGROUP)).is_dir():
                    _remove_cgroup(left)

    def _run(self, name: str, *command: str) -> None:
        self._crew.start(name, self.inside(*command), self._tools.environment)

    def _inside(self, *command: str) -> None:
        _checked(self.inside(*command))

    def _ctr(self, number: int, *arguments: str) -> "subprocess.CompletedProcess[str]":
        address = f"--address={_run_folder(number)}/containerd.sock"
        return subprocess.run(
            self.inside(self._tools.program("ctr"), address, *arguments),
            env={**os.environ, **self._tools.environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def _written(self, name: str, document: dict[str, object]) -> Path:
        path = self._folder / name
        path.write_text(json.dumps(document))
        return path

    def _containerd(self, folder: Path, number: int) -> str:
        plugin = 'plugins."io.containerd.grpc.v1.cri"'
        return f"""
version = 2
root = "{folder / "containerd"}"
state = "{_run_folder(number)}"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
  address = "{_run_folder(number)}/containerd.sock"
[{plugin}]
  sandbox_image = "{PAUSE_IMAGE}"
  # This machine may lack CAP_SYS_RESOURCE, as a container's root does.
  restrict_oom_score_adj = true
[{plugin}.cni]
  bin_dir = "{self._tools.cni_plugins}"
  conf_dir = "{folder / "cni"}"
[{plugin}.containerd]
  snapshotter = "overlayfs"
  default_runtime_name = "runc"
[{plugin}.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[{plugin}.containerd.runtimes.runc.options]
  BinaryName = "{self._tools.program("runc")}"
  SystemdCgroup = false
"""

    def _cni(self, number: int) -> dict[str, object]:
        # Routed, without a bridge: a bridge would need the kernel's bridge netfilter for Services.
        ipam = {
            "type": "host-local",
            "subnet": str(list(IPv4Network(self.network.pods).subnets())[number]),
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return {
            "cniVersion": "0.4.0",
            "name": f"trimtab-{number}",
            "plugins": [{"type": "ptp", "ipMasq": False, "ipam": ipam}],
        }

    def _kubelet(self, folder: Path, number: int) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": self.network.node,  # only this machine reaches it
            "port": _KUBELET_PORT + 10 * number,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "containerRuntimeEndpoint": f"unix://{_run_folder(number)}/containerd.sock",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{_CGROUP}{self._state.folder.name}/{number}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "podLogsDir": str(folder / "pod-logs"),
            # Images are imported once; what is deleted would have nowhere to come back from.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "enableControllerAttachDetach": True,
        }

    def _kube_proxy(self, kubeconfig: Path) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "hostnameOverride": NODES[0],
            "clusterCIDR": self.network.pods,
            "clientConnection": {"kubeconfig": str(kubeconfig)},
            # The connection table's size is the machine's, not the node's.
            "conntrack": {"maxPerCore": 0, "min": 0},
        }


def _hierarchies() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    # Version 1: a hierarchy for each controller; some are links to one that holds two.
    return sorted({path.resolve() for path in _CGROUPS.iterdir() if path.is_dir()})


def _remove_cgroup(top: Path) -> None:
    deadline = time.monotonic() + 10
    while top.is_dir() and time.monotonic() < deadline:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):  # its last process is just ending
                os.rmdir(folder)
        time.sleep(0.05)


def _run_folder(number: int) -> str:
    return f"/run/containerd-{number}"  # /run is the namespaces' own


def _ip(*arguments: str) -> None:
    _checked(["ip", *arguments])


def _checked(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise StartFailed(f"`{' '.join(command)}` failed:\n{result.stderr.strip()}")
