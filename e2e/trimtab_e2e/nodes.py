"""Fake nodes that look like real ones: shapes of GPU, TPU and Neuron nodes of each platform."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from trimtab_e2e.binaries import KUBERNETES_VERSION
from trimtab_e2e.kwok import FAKE_NODE, START_DELAY

Manifest = dict[str, Any]

_SHAPES = Path(__file__).with_name("data") / "node-shapes.yaml"


@dataclass(frozen=True)
class Platform:
    """What all nodes of a platform have in common."""

    labels: Mapping[str, str]
    provider_id: str  # with {zone} and {name} to be filled in
    kubelet: str
    os_image: str
    kernel: str


_PLATFORMS = {
    "gke": Platform(
        labels={
            "cloud.google.com/gke-boot-disk": "pd-balanced",
            "cloud.google.com/gke-container-runtime": "containerd",
            "cloud.google.com/gke-logging-variant": "DEFAULT",
            "cloud.google.com/gke-max-pods-per-node": "110",
            "cloud.google.com/gke-os-distribution": "cos",
            "cloud.google.com/gke-stack-type": "IPV4",
            "cloud.google.com/private-node": "false",
            "iam.gke.io/gke-metadata-server-enabled": "true",
        },
        provider_id="gce://example/{zone}/{name}",
        kubelet=f"v{KUBERNETES_VERSION}-gke.1046000",
        os_image="Container-Optimized OS from Google",
        kernel="6.6.97+",
    ),
    "eks": Platform(
        labels={},
        provider_id="aws:///{zone}/i-{name}",
        kubelet=f"v{KUBERNETES_VERSION}-eks-ecaa3a6",
        os_image="Amazon Linux 2023.9.20250929",
        kernel="6.12.46-66.121.amzn2023.x86_64",
    ),
    "aks": Platform(
        labels={
            "kubernetes.azure.com/cluster": "MC_example_example_eastus",
            "kubernetes.azure.com/mode": "user",
            "kubernetes.azure.com/os-sku": "Ubuntu",
            "kubernetes.azure.com/role": "agent",
            "kubernetes.azure.com/storageprofile": "managed",
            "kubernetes.azure.com/storagetier": "Premium_LRS",
        },
        provider_id="azure:///subscriptions/example/virtualMachines/{name}",
        kubelet=f"v{KUBERNETES_VERSION}",
        os_image="Ubuntu 22.04.5 LTS",
        kernel="5.15.0-1098-azure",
    ),
    "on-prem": Platform(
        labels={},
        provider_id="",
        kubelet=f"v{KUBERNETES_VERSION}",
        os_image="Ubuntu 24.04.3 LTS",
        kernel="6.8.0-85-generic",
    ),
}


@dataclass(frozen=True)
class NodeShape:
    """One kind of node; `allocatable` names only what differs from the capacity."""

    name: str
    platform: str
    instance_type: str | None
    zone: str | None
    labels: Mapping[str, str]
    taints: tuple[str, ...]  # KEY=VALUE:EFFECT
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]

    @property
    def region(self) -> str | None:
        """The zone's region, in the platform's own spelling."""
        if self.zone is None:
            return None
        return self.zone[:-1] if self.platform == "eks" else self.zone.rpartition("-")[0]


@cache
def shapes() -> Mapping[str, NodeShape]:
    """Give every shape by its name, such as `h100-gke`."""
    documents: dict[str, dict[str, Any]] = yaml.safe_load(_SHAPES.read_text())
    return {
        name: NodeShape(name=name, **{**document, "taints": tuple(document["taints"])})
        for name, document in documents.items()
    }


def make_nodes(
    shape: NodeShape | str,
    count: int,
    *,
    start_delay_s: int | None = None,
    name_prefix: str | None = None,
    first: int = 0,
) -> list[Manifest]:
    """Make node manifests NAME_PREFIX-0, -1 ... for `LocalCluster.add_nodes`.

    Pods there turn Ready `start_delay_s` seconds after their start (one second by default); it
    holds for all nodes of the prefix. `first` continues the numbers of earlier nodes.
    """
    kind = shapes()[shape] if isinstance(shape, str) else shape
    prefix = name_prefix or kind.name
    names = [f"{prefix}-{number}" for number in range(first, first + count)]
    return [_node(kind, name, start_delay_s) for name in names]


def _node(shape: NodeShape, name: str, start_delay_s: int | None) -> Manifest:
    platform = _PLATFORMS[shape.platform]
    annotations = dict(FAKE_NODE)
    if start_delay_s is not None:
        annotations[START_DELAY] = str(start_delay_s)
    node: Manifest = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": _labels(shape, name), "annotations": annotations},
        "spec": {
            "podCIDR": _address(name, "10.{}.{}.0/24", 128),
            "podCIDRs": [_address(name, "10.{}.{}.0/24", 128)],
            "taints": [_taint(text) for text in shape.taints],
        },
        "status": {
            "capacity": dict(shape.capacity),
            "allocatable": {**shape.capacity, **shape.allocatable},
            "addresses": [
                {"type": "InternalIP", "address": _address(name, "10.{}.{}.10", 0)},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": _node_info(platform, name),
        },
    }
    if platform.provider_id:
        node["spec"]["providerID"] = platform.provider_id.format(zone=shape.zone, name=name)
    return node


def _labels(shape: NodeShape, name: str) -> dict[str, str]:
    generic = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        "kubernetes.io/hostname": name,
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        # The cloud controllers still put the old names beside the new ones.
        "node.kubernetes.io/instance-type": shape.instance_type,
        "beta.kubernetes.io/instance-type": shape.instance_type,
        "topology.kubernetes.io/region": shape.region,
        "failure-domain.beta.kubernetes.io/region": shape.region,
        "topology.kubernetes.io/zone": shape.zone,
        "failure-domain.beta.kubernetes.io/zone": shape.zone,
    }
    known = {key: value for key, value in generic.items() if value is not None}
    return {**known, **_PLATFORMS[shape.platform].labels, **shape.labels}


def _taint(text: str) -> dict[str, str]:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return {"key": key, "value": value, "effect": effect}


def _node_info(platform: Platform, name: str) -> dict[str, str]:
    identity = hashlib.sha256(name.encode()).hexdigest()
    return {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "osImage": platform.os_image,
        "kernelVersion": platform.kernel,
        "containerRuntimeVersion": "containerd://2.1.4",
        "kubeletVersion": platform.kubelet,
        "kubeProxyVersion": "",
        "machineID": identity[:32],
        "systemUUID": identity[:32],
        "bootID": identity[32:],
    }


def _address(name: str, template: str, offset: int) -> str:
    """Give a node an address that follows from its name, in a half of 10.0.0.0/8."""
    digest = hashlib.sha256(name.encode()).digest()
    return template.format(offset + digest[0] % 128, digest[1])
