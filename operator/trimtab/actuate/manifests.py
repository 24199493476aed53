"""From a decision to the documents of its children. Pure: what is written is decided elsewhere."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.actuate import engine
from trimtab.actuate.kinds import DEPLOYMENT, DISRUPTION_BUDGET, SERVICE, Document, Kind
from trimtab.api.acceleratorpool import Toleration, TolerationOperator
from trimtab.api.base import API_VERSION
from trimtab.api.llmdeployment import EngineSpec, LLMDeployment
from trimtab.api.naming import (
    ACCELERATOR_LABEL,
    COMPONENT,
    COMPONENT_LABEL,
    DEPLOYMENT_LABEL,
    HASH_ANNOTATION,
    MANAGED_BY_LABEL,
    MANAGER,
    METRICS_PATH_ANNOTATION,
    NAME_LABEL,
    PIPELINE_LABEL,
    POOL_LABEL,
    REPLICAS_ANNOTATION,
    SERVING_PORT,
    SERVING_PORT_NAME,
    TENSOR_LABEL,
    VARIANT_LABEL,
    variant_name,
)
from trimtab.models.capacity import Pool
from trimtab.models.plan import VariantTarget
from trimtab.models.snapshot import DeploymentState

PROGRESS_SLACK_S = 600
"""Time for a node to appear and an image to be pulled, on top of the start of the engine."""
MAX_UNAVAILABLE = "10%"
"""Voluntary disruption at once; Kubernetes rounds up, so one replica at least."""
USUAL_PAGE = "/metrics"
_NVIDIA = "nvidia.com/"
_MAKE_BEFORE_BREAK = {"maxSurge": 1, "maxUnavailable": 0}
_BREAK_BEFORE_MAKE = {"maxSurge": 0, "maxUnavailable": 1}


def children(
    state: DeploymentState,
    targets: Sequence[VariantTarget],
    pools: Mapping[str, Pool],
    spare: Mapping[str, int],
) -> list[Document]:
    """Return every document that shall exist for the deployment, in the order of creation.

    Args:
        state: The LLMDeployment: its name, uid and spec.
        targets: The variants that shall have a child Deployment, zero replicas included.
        pools: By name; holds the pool of every target.
        spare: Devices of each pool, now or after it has grown, that no replica is promised.
    """
    ordered = sorted(targets, key=lambda target: (target.pool, target.parallelism.tensor))
    variants = [(variant_name_of(state, target), target) for target in ordered]
    documents = [_service(state, state.key.name, {DEPLOYMENT_LABEL: state.key.name})]
    documents += [_service(state, name, _selector(state, name)) for name, _ in variants]
    documents += [
        _deployment(state, target, pools[target.pool], rolling)
        for target, rolling in zip(ordered, _rolling_updates(ordered, spare), strict=True)
    ]
    documents.append(_disruption_budget(state))
    return [_stamped(document) for document in documents]


def variant_name_of(state: DeploymentState, target: VariantTarget) -> str:
    """Return the name of the child Deployment of `target`."""
    shape = target.parallelism
    return variant_name(state.key.name, target.pool, tensor=shape.tensor, pipeline=shape.pipeline)


def digest(document: Document) -> str:
    """Return a short digest of `document`, the same for equal documents."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _rolling_updates(
    targets: Sequence[VariantTarget], spare: Mapping[str, int]
) -> list[dict[str, int]]:
    """Return how each variant goes from one template to the next.

    A replica goes when its successor serves. Where the pool has no device for a successor, that
    would never be: there one goes first, if others of the deployment serve meanwhile.
    """
    full = [spare[target.pool] < target.parallelism.devices for target in targets]
    others_stay = any(
        target.replicas > 0 for target, is_full in zip(targets, full, strict=True) if not is_full
    )
    return [
        _BREAK_BEFORE_MAKE
        if is_full and (target.replicas > 1 or others_stay)
        else _MAKE_BEFORE_BREAK
        for target, is_full in zip(targets, full, strict=True)
    ]


def _deployment(
    state: DeploymentState, target: VariantTarget, pool: Pool, rolling: dict[str, int]
) -> Document:
    settings, name = state.spec.engine or EngineSpec(), variant_name_of(state, target)
    labels = _labels(state) | {
        VARIANT_LABEL: name,
        POOL_LABEL: pool.name,
        ACCELERATOR_LABEL: pool.accelerator_name,
        TENSOR_LABEL: str(target.parallelism.tensor),
        PIPELINE_LABEL: str(target.parallelism.pipeline),
    }
    pod: dict[str, Any] = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,  # a Service called vllm would set VLLM_PORT and stop vLLM
        "terminationGracePeriodSeconds": engine.grace_seconds(settings),
        "nodeSelector": dict(pool.node_selector),
        "securityContext": _pod_security(pool, engine.server_of(settings).user),
        "containers": [engine.container(state.spec, target.parallelism, pool.resource_name)],
        "volumes": engine.volumes(settings, target.parallelism.devices),
    }
    if pool.tolerations:
        pod["tolerations"] = [_toleration(toleration) for toleration in pool.tolerations]
    if settings.image_pull_secret:
        pod["imagePullSecrets"] = [{"name": settings.image_pull_secret}]
    spec = {
        "replicas": target.replicas,
        "revisionHistoryLimit": 2,
        "progressDeadlineSeconds": math.ceil(engine.startup_seconds(settings)) + PROGRESS_SLACK_S,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": dict(rolling)},
        "selector": {"matchLabels": _selector(state, name)},
        "template": {"metadata": _pod_metadata(labels, settings), "spec": pod},
    }
    document = _document(state, DEPLOYMENT, name, labels) | {"spec": spec}
    document["metadata"]["annotations"] = {REPLICAS_ANNOTATION: str(target.replicas)}
    return document


def _service(state: DeploymentState, name: str, selector: dict[str, str]) -> Document:
    spec = {
        "type": "ClusterIP",
        "selector": selector,
        "ports": [
            {
                "name": SERVING_PORT_NAME,
                "port": SERVING_PORT,
                "targetPort": SERVING_PORT_NAME,
                "protocol": "TCP",
            }
        ],
    }
    labels = _labels(state)
    if VARIANT_LABEL in selector:
        labels[VARIANT_LABEL] = name
    return _document(state, SERVICE, name, labels) | {"spec": spec}


def _disruption_budget(state: DeploymentState) -> Document:
    spec = {
        "maxUnavailable": MAX_UNAVAILABLE,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": {DEPLOYMENT_LABEL: state.key.name}},
    }
    return _document(state, DISRUPTION_BUDGET, state.key.name, _labels(state)) | {"spec": spec}


def _document(state: DeploymentState, kind: Kind, name: str, labels: dict[str, str]) -> Document:
    owner = {
        "apiVersion": API_VERSION,
        "kind": LLMDeployment.KIND,
        "name": state.key.name,
        "uid": state.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name,
            "namespace": state.key.namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
    }


def _stamped(document: Document) -> Document:
    metadata = document["metadata"]
    annotations = metadata.get("annotations", {}) | {HASH_ANNOTATION: digest(document)}
    return document | {"metadata": metadata | {"annotations": annotations}}


def _labels(state: DeploymentState) -> dict[str, str]:
    return {
        NAME_LABEL: state.key.name,
        COMPONENT_LABEL: COMPONENT,
        MANAGED_BY_LABEL: MANAGER,
        DEPLOYMENT_LABEL: state.key.name,
    }


def _selector(state: DeploymentState, name: str) -> dict[str, str]:
    return {DEPLOYMENT_LABEL: state.key.name, VARIANT_LABEL: name}


def _toleration(toleration: Toleration) -> dict[str, str]:
    operator = toleration.operator
    if operator is None:
        exists = toleration.value is None
        operator = TolerationOperator.EXISTS if exists else TolerationOperator.EQUAL
    result = {"key": toleration.key, "operator": operator.value}
    if toleration.value is not None:
        result["value"] = toleration.value
    if toleration.effect is not None:
        result["effect"] = toleration.effect.value
    return result


def _pod_metadata(labels: dict[str, str], settings: EngineSpec) -> dict[str, Any]:
    page = engine.server_of(settings).page
    if page == USUAL_PAGE:
        return {"labels": labels}
    return {"labels": labels, "annotations": {METRICS_PATH_ANNOTATION: page}}


def _pod_security(pool: Pool, user: int | None) -> dict[str, Any]:
    """Return what `restricted` asks for, as far as the vendor's image can run with it."""
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if user is not None and pool.resource_name.startswith(_NVIDIA):
        context |= {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": 0,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    return context
