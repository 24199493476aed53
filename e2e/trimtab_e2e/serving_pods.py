"""What the engine stand-in reads off a serving pod: which engine it would run, and its state."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from trimtab.api.llmdeployment import ModelSpec
from trimtab.api.naming import (
    ACCELERATOR_LABEL,
    DEPLOYMENT_LABEL,
    PIPELINE_LABEL,
    POOL_LABEL,
    TENSOR_LABEL,
)
from trimtab.catalog import geometries
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism

Document = Mapping[str, Any]

_NO_MODEL = {"vllm", "serve", "python", "python3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PodState:
    """A serving pod as the API server has it."""

    uid: str
    namespace: str
    name: str
    deployment: str
    """The LLMDeployment that it belongs to."""
    pool: str
    ready: bool
    over: bool
    """Whether all of it has ended."""
    stop_at: float | None
    """Unix seconds at which it is killed; None while nobody has deleted it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKind:
    """What decides how an engine behaves; pods of one kind behave alike."""

    geometry: ModelGeometry
    accelerator: Accelerator
    parallelism: Parallelism
    settings: EngineSettings


def state_of(pod: Document) -> PodState | None:
    """Return the state of a pod, or None when it belongs to no LLMDeployment."""
    metadata, status = pod["metadata"], pod.get("status", {})
    labels = metadata.get("labels", {})
    if DEPLOYMENT_LABEL not in labels:
        return None
    deleted = metadata.get("deletionTimestamp")
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return PodState(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        deployment=labels[DEPLOYMENT_LABEL],
        pool=labels.get(POOL_LABEL, ""),
        ready=conditions.get("Ready") == "True",
        over=status.get("phase") in ("Succeeded", "Failed"),
        stop_at=None if deleted is None else datetime.fromisoformat(deleted).timestamp(),
    )


def accelerator_name(pod: Document) -> str:
    """Return the catalogue name of the accelerator that the pod runs on.

    Raises:
        InvalidInput: The pod does not say.
    """
    name: str | None = pod["metadata"].get("labels", {}).get(ACCELERATOR_LABEL)
    if name is None:
        raise InvalidInput(
            f"label {ACCELERATOR_LABEL}", "the pod has none", "Name the accelerator there"
        )
    return name


def kind_of(pod: Document, model: ModelSpec | None, accelerator: Accelerator) -> EngineKind:
    """Return the engine that a pod would run.

    Args:
        pod: The pod; its arguments are those of `vllm serve`.
        model: The model of its LLMDeployment, None when there is none: architecture and storage
            type, which the arguments do not tell.
        accelerator: What it runs on.

    Raises:
        InvalidInput: The pod does not say enough, or something unusable.
    """
    labels = pod["metadata"].get("labels", {})
    name, flags = arguments_of(pod)
    geometry = geometries.get(name) if model is None else geometries.geometry_of(model)
    if geometry is None:
        raise InvalidInput(
            "model", f"the catalogue does not know {name}", "Write spec.model.architecture"
        )
    stored = flags.get("--quantization")
    if stored is None and model is not None and model.quantization is not None:
        stored = model.quantization.value
    default = EngineSettings()
    try:
        return EngineKind(
            geometry=geometry,
            accelerator=accelerator,
            parallelism=Parallelism(
                tensor=int(labels.get(TENSOR_LABEL, flags.get("--tensor-parallel-size", 1))),
                pipeline=int(labels.get(PIPELINE_LABEL, flags.get("--pipeline-parallel-size", 1))),
            ),
            settings=EngineSettings(
                weight_dtype=stored or default.weight_dtype,
                kv_dtype=flags.get("--kv-cache-dtype", default.kv_dtype),
                max_model_len=int(flags.get("--max-model-len", default.max_model_len)),
                max_num_seqs=int(flags.get("--max-num-seqs", default.max_num_seqs)),
                max_num_batched_tokens=int(
                    flags.get("--max-num-batched-tokens", default.max_num_batched_tokens)
                ),
                memory_utilization=float(
                    flags.get("--gpu-memory-utilization", default.memory_utilization)
                ),
            ),
        )
    except ValueError as error:
        raise InvalidInput("args", str(error), "Write plain numbers") from error


def served_name(pod: Document) -> str:
    """Return the name under which clients ask for the pod's model."""
    model, flags = arguments_of(pod)
    return flags.get("--served-model-name", model)


def arguments_of(pod: Document) -> tuple[str, dict[str, str]]:
    """Return the model and the flags of the pod's `vllm serve`.

    Raises:
        InvalidInput: It names no model.
    """
    container = _serving_container(pod["spec"]["containers"])
    words = [*container.get("command", ()), *container.get("args", ())]
    flags: dict[str, str] = {}
    bare: list[str] = []
    flag = None
    for word in words:
        if word.startswith("-"):
            name, separator, value = word.partition("=")
            flags[name] = value
            flag = None if separator else name
        elif flag is not None:
            flags[flag] = word
            flag = None
        elif word.rpartition("/")[2] not in _NO_MODEL:
            bare.append(word)
    model = flags.get("--model", bare[0] if bare else "")
    if not model:
        raise InvalidInput("args", "they name no model", "Write `vllm serve MODEL`")
    return model, flags


def _serving_container(containers: Sequence[Document]) -> Document:
    """Return the container that has the port `http`, else the first one."""
    for container in containers:
        if any(port.get("name") == "http" for port in container.get("ports", ())):
            return container
    return containers[0]
