"""Kubernetes objects as the API server sends them: override by keyword what the test is about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trimtab.api.base import API_VERSION
from trimtab.api.naming import (
    DEPLOYMENT_LABEL,
    MANAGED_BY_LABEL,
    MANAGER,
    PIPELINE_LABEL,
    POOL_LABEL,
    TENSOR_LABEL,
    VARIANT_LABEL,
)

Body = dict[str, Any]

NOW = 1_790_000_000.0
UID = "11111111-2222-3333-4444-555555555555"
HASH = "5c9d8f7b6d"
"""Hash of a pod template."""


def at(seconds_ago: float) -> str:
    """A moment before NOW, as Kubernetes writes it."""
    return datetime.fromtimestamp(NOW - seconds_ago, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def metadata(name: str, *, version: int = 1, **over: Any) -> Body:
    """Metadata of a live object."""
    values = {
        "name": name,
        "uid": UID,
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": at(3600),
    }
    return values | over


def llm_deployment(name: str = "chat", *, spec: Body | None = None, **over: Any) -> Body:
    """An LLMDeployment of Llama 3.1 8B; `over` goes to the metadata."""
    values = {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}} | (spec or {})
    return {
        "apiVersion": API_VERSION,
        "kind": "LLMDeployment",
        "metadata": metadata(name, **({"namespace": "assistants"} | over)),
        "spec": values,
    }


def serving_policy(name: str, spec: Body, **over: Any) -> Body:
    """A ServingPolicy in the namespace assistants."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ServingPolicy",
        "metadata": metadata(name, **({"namespace": "assistants"} | over)),
        "spec": spec,
    }


def pool(name: str = "h100", *, spec: Body | None = None, **over: Any) -> Body:
    """An AcceleratorPool of nodes of eight H100; `over` goes to the metadata."""
    body = pool_manifest(name, "nvidia-h100-sxm", "2.5")
    return body | {"metadata": metadata(name, **over), "spec": body["spec"] | (spec or {})}


def pool_manifest(name: str, accelerator: str, usd: str, **spec: Any) -> Body:
    """An AcceleratorPool as users write it: nodes of eight at `usd` per device hour."""
    return {
        "apiVersion": API_VERSION,
        "kind": "AcceleratorPool",
        "metadata": {"name": name},
        "spec": {
            "accelerator": accelerator,
            "resourceName": "nvidia.com/gpu",
            "devicesPerNode": 8,
            "nodeSelector": {"pool": name},
            "price": {"perDeviceHour": usd},
            **spec,
        },
    }


def child(
    name: str = "chat-h100-tp1",
    *,
    deployment: str = "chat",
    pool: str = "h100",
    tensor: int = 1,
    replicas: int = 1,
    **over: Any,
) -> Body:
    """A child Deployment; `over` goes to the metadata."""
    labels = replica_labels(name, deployment=deployment, pool=pool, tensor=tensor)
    owner = {"apiVersion": API_VERSION, "kind": "LLMDeployment", "name": deployment}
    values = {
        "namespace": "assistants",
        "labels": labels,
        "ownerReferences": [owner | {"uid": UID, "controller": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(name, **(values | over)),
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": labels}}},
    }


def replica_labels(
    variant: str, *, deployment: str = "chat", pool: str = "h100", tensor: int = 1
) -> dict[str, str]:
    """Labels that a child and its pods carry."""
    return {
        MANAGED_BY_LABEL: MANAGER,
        DEPLOYMENT_LABEL: deployment,
        VARIANT_LABEL: variant,
        POOL_LABEL: pool,
        TENSOR_LABEL: str(tensor),
        PIPELINE_LABEL: "1",
    }


def pod(
    end: str = "abcde",
    *,
    variant: str = "chat-h100-tp1",
    deployment: str = "chat",
    pool: str = "h100",
    tensor: int = 1,
    node: str | None = "node-1",
    ready_s: float | None = 600.0,
    unschedulable_s: float | None = None,
    phase: str = "Running",
    **over: Any,
) -> Body:
    """A replica as the Deployment controller makes it: its name ends in five random characters.

    `ready_s` and `unschedulable_s` say for how long; `over` goes to the metadata.
    """
    replica_set = f"{variant}-{HASH}"
    labels = replica_labels(variant, deployment=deployment, pool=pool, tensor=tensor)
    values = {
        "namespace": "assistants",
        "labels": labels | {"pod-template-hash": HASH},
        "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": replica_set, "controller": True}
        ],
    }
    conditions = []
    if ready_s is not None:
        conditions.append(_condition("Ready", "True", ready_s))
    if unschedulable_s is not None:
        node = None
        conditions.append(
            _condition("PodScheduled", "False", unschedulable_s) | {"reason": "Unschedulable"}
        )
    spec: Body = {"containers": [{"name": "main", "resources": _devices(tensor)}]}
    if node is not None:
        spec["nodeName"] = node
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(f"{replica_set}-{end}", **(values | over)),
        "spec": spec,
        "status": {"phase": phase, "conditions": conditions},
    }


def foreign_pod(name: str = "trainer", *, node: str = "node-1", devices: int = 1) -> Body:
    """A pod of somebody else that holds devices."""
    return {
        "metadata": metadata(name, namespace="research"),
        "spec": {"nodeName": node, "containers": [{"resources": _devices(devices)}]},
        "status": {"phase": "Running"},
    }


def node(
    name: str = "node-1",
    *,
    labels: Mapping[str, str] | None = None,
    devices: Mapping[str, str] | None = None,
    taints: list[Body] | None = None,
    ready: bool = True,
    cordoned: bool = False,
    version: int = 1,
) -> Body:
    """A Ready on-premises node of eight H100."""
    gfd = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8"}
    allocatable = {"cpu": "96", "memory": "1024Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata(name, version=version, labels=dict(gfd if labels is None else labels)),
        "spec": {"unschedulable": cordoned, "taints": taints or []},
        "status": {
            "allocatable": allocatable
            | dict({"nvidia.com/gpu": "8"} if devices is None else devices),
            "conditions": [_condition("Ready", "True" if ready else "Unknown", 3600)],
        },
    }


def namespace(name: str, labels: Mapping[str, str]) -> Body:
    """A Namespace."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": metadata(name, labels=dict(labels)),
    }


def _condition(kind: str, status: str, seconds: float) -> Body:
    return {"type": kind, "status": status, "lastTransitionTime": at(seconds)}


def _devices(count: int) -> Body:
    return {"limits": {"nvidia.com/gpu": str(count), "cpu": "4"}}
