"""What nodes of each platform are taken for, and what they are never taken for."""

import re
from importlib import resources
from typing import Any

import pytest
import yaml

from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.catalog.nodes import NodeKind, Taint, identify
from trimtab_e2e.nodes import shapes

GFD_H100 = {
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.memory": "81559",
    "nvidia.com/gpu.count": "8",
    "nvidia.com/gpu.replicas": "1",
    "nvidia.com/gpu.sharing-strategy": "none",
    "nvidia.com/mig.strategy": "single",
}
GPUS = {"nvidia.com/gpu": 8}


def data() -> dict[str, Any]:
    text = resources.files("trimtab.catalog").joinpath("data/nodes.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def kind_of_shape(name: str) -> NodeKind | None:
    """The kind of a node as the platform makes it, with the labels that all its nodes have."""
    shape = shapes()[name]
    labels = dict(shape.labels)
    if shape.instance_type:
        labels["node.kubernetes.io/instance-type"] = shape.instance_type
    if shape.zone and shape.region:
        labels["topology.kubernetes.io/zone"] = shape.zone
        labels["topology.kubernetes.io/region"] = shape.region
    taints = [
        Taint(key=key, value=value, effect=effect)
        for key, value, effect in (re.split("[=:]", taint) for taint in shape.taints)
    ]
    devices = {key: int(count) for key, count in shape.capacity.items() if "/" in key}
    return identify(labels, taints, devices)


@pytest.mark.parametrize(
    ("shape", "accelerator", "devices", "capacity", "selector", "name"),
    [
        (
            "h100-gke", "nvidia-h100-sxm", 8, "OnDemand",
            {"cloud.google.com/gke-nodepool": "h100"},
            "gke-h100",
        ),
        (
            "l4-gke-spot", "nvidia-l4", 1, "Spot",
            {"cloud.google.com/gke-nodepool": "l4-spot"},
            "gke-l4-spot",
        ),
        (
            "tpu-v5e-gke", "google-tpu-v5e", 8, "OnDemand",
            {
                "cloud.google.com/gke-nodepool": "tpu-v5e",
                "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
                "cloud.google.com/gke-tpu-topology": "2x4",
            },
            "gke-tpu-v5e",
        ),
        (
            "h200-karpenter", "nvidia-h200-sxm", 8, "OnDemand",
            {
                "karpenter.sh/nodepool": "h200",
                "karpenter.sh/capacity-type": "on-demand",
                "node.kubernetes.io/instance-type": "p5en.48xlarge",
            },
            "p5en-48xlarge",
        ),
        (
            "l40s-karpenter-spot", "nvidia-l40s", 4, "Spot",
            {
                "karpenter.sh/nodepool": "l40s-spot",
                "karpenter.sh/capacity-type": "spot",
                "node.kubernetes.io/instance-type": "g6e.12xlarge",
            },
            "g6e-12xlarge-spot",
        ),
        (
            "a10g-eks", "nvidia-a10g", 4, "OnDemand",
            {
                "eks.amazonaws.com/nodegroup": "a10g",
                "node.kubernetes.io/instance-type": "g5.12xlarge",
            },
            "eks-a10g",
        ),
        (
            "trn1-karpenter", "aws-trainium1", 16, "OnDemand",
            {
                "karpenter.sh/nodepool": "trainium",
                "karpenter.sh/capacity-type": "on-demand",
                "node.kubernetes.io/instance-type": "trn1.32xlarge",
            },
            "trn1-32xlarge",
        ),
        (
            "mi300x-aks", "amd-mi300x", 8, "OnDemand",
            {
                "kubernetes.azure.com/agentpool": "mi300x",
                "node.kubernetes.io/instance-type": "Standard_ND96isr_MI300X_v5",
            },
            "aks-mi300x",
        ),
        (
            "a100-aks-spot", "nvidia-a100-80gb-pcie", 1, "Spot",
            {
                "kubernetes.azure.com/agentpool": "a100spot",
                "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
            },
            "aks-a100spot",
        ),
        (
            "h100-karpenter-azure", "nvidia-h100-sxm", 8, "OnDemand",
            {
                "karpenter.sh/nodepool": "h100",
                "karpenter.sh/capacity-type": "on-demand",
                "node.kubernetes.io/instance-type": "Standard_ND96isr_H100_v5",
            },
            "nd96isr-h100-v5",
        ),
        (
            "h100-gfd", "nvidia-h100-sxm", 8, "OnDemand",
            {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8"},
            "h100",
        ),
    ],
)  # fmt: skip
def test_nodes_of_every_platform(
    shape: str, accelerator: str, devices: int, capacity: str, selector: dict[str, str], name: str
) -> None:
    kind = kind_of_shape(shape)
    assert kind is not None
    assert kind.problem is None
    assert kind.accelerator == accelerator
    assert kind.devices == devices
    assert kind.capacity_type == CapacityType(capacity)
    assert dict(kind.selector) == selector
    assert kind.names[0] == name


def test_every_fake_node_shape_is_known() -> None:
    kinds = {name: kind_of_shape(name) for name in shapes()}
    assert [name for name, kind in kinds.items() if kind is None] == ["cpu-eks"]
    assert [name for name, kind in kinds.items() if kind is not None and kind.problem] == []


def test_tolerations_come_from_the_taints() -> None:
    spot = kind_of_shape("l4-gke-spot")
    sku = kind_of_shape("a100-aks")
    assert spot is not None
    assert sku is not None
    assert [(t.key, t.operator, t.value, t.effect) for t in spot.tolerations] == [
        ("cloud.google.com/gke-spot", "Exists", None, "NoSchedule"),
        ("nvidia.com/gpu", "Exists", None, "NoSchedule"),
    ]
    assert [(t.key, t.operator, t.value) for t in sku.tolerations] == [("sku", "Equal", "gpu")]


def test_where_and_from_whom_for_the_price() -> None:
    kind = kind_of_shape("h200-karpenter")
    assert kind is not None
    assert (kind.cloud, kind.instance_type) == ("aws", "p5en.48xlarge")
    assert (kind.zone, kind.region) == ("us-east-1a", "us-east-1")


@pytest.mark.parametrize(
    ("labels", "devices", "problem"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb"}, GPUS, "are slices"),
        ({}, {"nvidia.com/gpu": 7, "nvidia.com/mig-1g.10gb": 7}, "nvidia.com/mig-1g.10gb"),
        ({}, {"nvidia.com/mig-3g.40gb": 2}, "nvidia.com/mig-3g.40gb"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3-SHARED"}, GPUS, "are slices"),
        ({"nvidia.com/gpu.replicas": "4"}, {"nvidia.com/gpu": 32}, "shared"),
        ({"nvidia.com/gpu.sharing-strategy": "mps"}, GPUS, "shared"),
        ({}, {"nvidia.com/gpu.shared": 16}, "nvidia.com/gpu.shared"),
        ({"cloud.google.com/gke-gpu-partition-size": "1g.10gb"}, GPUS, "partition-size"),
        ({"cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}, GPUS, "shared"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100X-96GB"}, GPUS, "does not know"),
        ({"nvidia.com/gpu.memory": "10240"}, GPUS, "10 GiB a device"),
        ({"cloud.google.com/gke-accelerator": "nvidia-l4"}, GPUS, "contradict"),
        ({"node.kubernetes.io/instance-type": "g6e.12xlarge"}, GPUS, "contradict"),
        ({"node.kubernetes.io/instance-type": "g6f.xlarge"}, GPUS, "a share of an L4"),
        ({}, {"amd.com/gpu": 8}, "offers amd.com/gpu"),
        ({}, {}, "no whole device yet"),
    ],
)
def test_what_is_no_whole_known_device_is_never_taken_for_one(
    labels: dict[str, str], devices: dict[str, int], problem: str
) -> None:
    kind = identify(GFD_H100 | labels, [], devices)
    assert kind is not None
    assert kind.accelerator is None
    assert problem in (kind.problem or "")


def test_mixed_mig_strategy_without_slices_is_a_whole_gpu() -> None:
    kind = identify(GFD_H100 | {"nvidia.com/mig.strategy": "mixed"}, [], GPUS)
    assert kind is not None
    assert kind.accelerator == "nvidia-h100-sxm"


def test_an_amd_gpu_in_compute_partitions_is_refused_by_its_memory() -> None:
    labels = {"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM", "amd.com/gpu.vram": "24G"}
    kind = identify(labels, [], {"amd.com/gpu": 64})
    assert kind is not None
    assert kind.accelerator is None
    assert "22 GiB a device" in (kind.problem or "")


@pytest.mark.parametrize(
    ("memory", "accelerator"),
    [("40960", "nvidia-a100-40gb-sxm"), ("81920", "nvidia-a100-80gb-sxm")],
)
def test_memory_tells_one_a100_from_another(memory: str, accelerator: str) -> None:
    labels = {
        "karpenter.sh/nodepool": "gpu",
        "karpenter.k8s.aws/instance-gpu-name": "a100",
        "karpenter.k8s.aws/instance-gpu-memory": memory,
    }
    kind = identify(labels, [], GPUS)
    assert kind is not None
    assert kind.accelerator == accelerator


def test_what_may_be_two_is_neither() -> None:
    labels = {"karpenter.sh/nodepool": "gpu", "karpenter.azure.com/sku-gpu-name": "H100"}
    kind = identify(labels, [], GPUS)
    assert kind is not None
    assert kind.accelerator is None
    assert kind.problem == "it may have nvidia-h100-nvl or nvidia-h100-sxm"


def test_gpus_without_any_label_are_unknown_hardware() -> None:
    kind = identify({"kubernetes.io/arch": "amd64"}, [], GPUS)
    assert kind is not None
    assert (kind.accelerator, kind.problem) == (None, "no label names its accelerator")


def test_k3s_as_instance_type_tells_nothing() -> None:
    kind = identify(GFD_H100 | {"node.kubernetes.io/instance-type": "k3s"}, [], GPUS)
    assert kind is not None
    assert dict(kind.selector) == {
        "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
        "nvidia.com/gpu.count": "8",
    }


def test_a_host_of_a_larger_tpu_slice_is_refused() -> None:
    labels = {
        "cloud.google.com/gke-nodepool": "tpu",
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    kind = identify(labels, [], {"google.com/tpu": 4})
    assert kind is not None
    assert (
        kind.problem == "it is one of several hosts of a 4x4 slice, and a replica never spans hosts"
    )


def test_a_node_that_is_reserved_for_others_is_left_alone() -> None:
    kind = identify(GFD_H100, [Taint(key="dedicated", value="training")], GPUS)
    assert kind is not None
    assert kind.problem == "the taint dedicated=training:NoSchedule reserves it"
    assert kind.tolerations == ()


def test_a_passing_state_is_neither_tolerated_nor_held_against_the_node() -> None:
    taints = [
        Taint(key="node.kubernetes.io/not-ready", effect="NoExecute"),
        Taint(key="ToBeDeletedByClusterAutoscaler", value="1"),
        Taint(key="karpenter.sh/disrupted"),
    ]
    kind = identify(GFD_H100, taints, GPUS)
    assert kind is not None
    assert (kind.problem, kind.tolerations) == (None, ())


def test_a_node_without_accelerator_is_none() -> None:
    assert identify({"node.kubernetes.io/instance-type": "m7i.2xlarge"}, [], {}) is None
    assert identify({}, [], {"vpc.amazonaws.com/efa": 4}) is None


@pytest.mark.parametrize("value", ["1e400", "1e99999", "9" * 60, "-5", "x", ""])
def test_absurd_memory_labels_are_not_heard(value: str) -> None:
    kind = identify(GFD_H100 | {"nvidia.com/gpu.memory": value}, [], GPUS)
    assert kind is not None
    assert kind.accelerator == "nvidia-h100-sxm"


def test_every_accelerator_in_the_table_is_in_the_catalogue() -> None:
    loaded = data()
    named: set[str] = set()
    for entry in loaded["accelerator_labels"]:
        named.update(name for names in entry["values"].values() for name in names)
    for table in loaded["instances"].values():
        named.update(name for names in table.values() if isinstance(names, list) for name in names)
    assert named <= set(accelerators.names())


def test_every_priced_instance_type_has_the_accelerator_that_its_price_is_for() -> None:
    """Two tables from different sources: no row of one may contradict the other."""
    text = resources.files("trimtab.catalog").joinpath("data/prices.csv").read_text("utf-8")
    rows = {tuple(line.split(",")[:5]) for line in text.splitlines()[1:]}
    header = text.splitlines()[0].split(",")
    assert {"instance_type", "accelerator"} <= set(header[:5])
    checked = 0
    for row in rows:
        entry = dict(zip(header, row, strict=False))
        known = accelerators.get(entry["accelerator"])
        assert known is not None
        kind = identify(
            {"node.kubernetes.io/instance-type": entry["instance_type"]},
            [],
            {known.resource_name: 1},
        )
        if kind is not None and kind.accelerator is not None:
            assert kind.accelerator == entry["accelerator"], entry
            checked += 1
    assert checked > 50
