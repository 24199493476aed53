"""The serving container of one replica: vLLM's command, arguments, probes and surroundings."""

import math
import re
from typing import Any

from trimtab.api.llmdeployment import EngineSpec, KVCacheDtype, LLMDeploymentSpec, Quantization
from trimtab.api.naming import SERVING_PORT, SERVING_PORT_NAME
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.units import parse_duration

DEFAULT_IMAGE = "vllm/vllm-openai:v0.33.0"
"""The vLLM release that this version was tested with; these two are the only places that name it.
"""
VENDOR_IMAGES = {"amd.com/gpu": "vllm/vllm-openai-rocm:v0.23.0"}
"""vLLM's own images for devices that the default one does not run on."""

CONTAINER = "main"
CACHE_PATH = "/cache"
PRE_STOP_S = 15
"""Time for endpoints to forget a stopping pod before vLLM refuses requests (KServe's figure)."""
GRACE_SLACK_S = 15
"""Time from the end of vLLM's own drain to SIGKILL."""
STARTUP_PERIOD_S = 10
DEFAULT_STARTUP_S = 1800.0
DEFAULT_SHUTDOWN_S = 60.0
CPU_PER_DEVICE = 4
MEMORY_GIB_PER_DEVICE = 16
SHM_GIB_PER_DEVICE = 2
"""Shared memory of NCCL and the workers: vLLM's documentation uses 2Gi for one device."""
NVIDIA_USER = 2000
"""Ready-made user of vLLM's CUDA image; the images of other vendors name none."""

_VERSION_TAG = re.compile(r":v?(\d+)\.(\d+)(?:\.\d+)?")
_MANAGED_FLAGS = (
    # (flag, first vLLM release that knows it): an unknown flag is fatal at start.
    ("--shutdown-timeout", (0, 18)),
    ("--disable-access-log-for-endpoints", (0, 16)),
)


def container(spec: LLMDeploymentSpec, parallelism: Parallelism, resource: str) -> dict[str, Any]:
    """Return the serving container of a replica that holds `parallelism.devices` of `resource`."""
    engine = spec.engine or EngineSpec()
    devices = parallelism.devices
    image = engine.image or VENDOR_IMAGES.get(resource, DEFAULT_IMAGE)
    return {
        "name": CONTAINER,
        "image": image,
        "command": ["vllm", "serve"],
        "args": arguments(spec, parallelism, engine_version(image)),
        "ports": [
            {"name": SERVING_PORT_NAME, "containerPort": SERVING_PORT, "protocol": "TCP"},
        ],
        "env": environment(engine),
        "resources": {
            "limits": {resource: str(devices)},
            "requests": {
                "cpu": engine.cpu or str(CPU_PER_DEVICE * devices),
                "memory": engine.memory or f"{MEMORY_GIB_PER_DEVICE * devices}Gi",
            },
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}},
        "startupProbe": _probe(
            periodSeconds=STARTUP_PERIOD_S,
            failureThreshold=math.ceil(startup_seconds(engine) / STARTUP_PERIOD_S),
            timeoutSeconds=5,
        ),
        "readinessProbe": _probe(periodSeconds=5, failureThreshold=2, timeoutSeconds=5),
        "livenessProbe": _probe(periodSeconds=10, failureThreshold=10, timeoutSeconds=10),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "cache", "mountPath": CACHE_PATH},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def arguments(
    spec: LLMDeploymentSpec, parallelism: Parallelism, version: tuple[int, int] | None
) -> list[str]:
    """Return the arguments of `vllm serve`; whatever decides capacity is pinned.

    vLLM's own defaults of batch size depend on the device, so two variants of one model would
    silently differ, and an upgrade of the engine would change what a replica can do.

    Args:
        spec: What the user wants.
        parallelism: How the replica spreads over devices.
        version: The vLLM release; None is taken for a recent one.
    """
    model, engine = spec.model, spec.engine or EngineSpec()
    default = EngineSettings()
    flags = {
        "--served-model-name": model.served_name or model.name,
        "--port": SERVING_PORT,
        "--tensor-parallel-size": parallelism.tensor,
        "--max-model-len": model.max_model_len or default.max_model_len,
        "--max-num-seqs": engine.max_num_seqs or default.max_num_seqs,
        "--max-num-batched-tokens": (
            engine.max_num_batched_tokens or default.max_num_batched_tokens
        ),
        "--gpu-memory-utilization": engine.gpu_memory_utilization or default.memory_utilization,
        "--shutdown-timeout": math.ceil(shutdown_seconds(engine)),
        "--disable-access-log-for-endpoints": "/health,/metrics,/ping",
    }
    if parallelism.pipeline > 1:
        flags["--pipeline-parallel-size"] = parallelism.pipeline
    if model.revision:
        flags["--revision"] = model.revision
    if model.quantization is Quantization.FP8:
        # Quantises a 16-bit checkpoint while it loads. The other formats are properties of the
        # checkpoint: vLLM reads them there and then picks its fastest kernel by itself.
        flags["--quantization"] = "fp8"
    if model.kv_cache_dtype is KVCacheDtype.FP8:
        flags["--kv-cache-dtype"] = "fp8"
    for flag, since in _MANAGED_FLAGS:
        if version is not None and version < since:
            del flags[flag]
    adapters = engine.adapters or []
    lora = ["--enable-lora", f"--max-loras={len(adapters)}", "--lora-modules"] if adapters else []
    return [
        model.name,
        *(f"{flag}={value}" for flag, value in flags.items()),
        *lora,
        *(f"{adapter.name}={adapter.source}" for adapter in adapters),
        *(engine.args or []),
    ]


def engine_version(image: str) -> tuple[int, int] | None:
    """Return the vLLM release that the tag of `image` names, or None when it names none."""
    match = _VERSION_TAG.search(image.rpartition("/")[2])
    return (int(match.group(1)), int(match.group(2))) if match else None


def environment(engine: EngineSpec) -> list[dict[str, Any]]:
    """Return the environment: caches on the cache volume, the token, then the user's own."""
    own: list[dict[str, Any]] = [
        {"name": "HOME", "value": CACHE_PATH},
        # A user id without an entry in the image's passwd has no name, and torch asks for one.
        {"name": "USER", "value": "vllm"},
        {"name": "HF_HOME", "value": f"{CACHE_PATH}/huggingface"},
        {"name": "VLLM_CACHE_ROOT", "value": f"{CACHE_PATH}/vllm"},
    ]
    token = engine.hugging_face_token
    if token is not None:
        own.append(_secret("HF_TOKEN", token.name, token.key))
    users = [
        {"name": variable.name, "value": variable.value or ""}
        if variable.secret is None
        else _secret(variable.name, variable.secret.name, variable.secret.key)
        for variable in engine.env or []
    ]
    named = {variable["name"] for variable in users}
    return [variable for variable in own if variable["name"] not in named] + users


def volumes(engine: EngineSpec, devices: int) -> list[dict[str, Any]]:
    """Return the volumes of the pod: the cache and shared memory."""
    cache = engine.cache
    if cache is not None and cache.claim_name:
        source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": cache.claim_name}}
    elif cache is not None and cache.size_limit:
        source = {"emptyDir": {"sizeLimit": cache.size_limit}}
    else:
        source = {"emptyDir": {}}
    shared = {"medium": "Memory", "sizeLimit": f"{SHM_GIB_PER_DEVICE * devices}Gi"}
    return [{"name": "cache", **source}, {"name": "shm", "emptyDir": shared}]


def startup_seconds(engine: EngineSpec) -> float:
    """Return the time that a replica has to load the weights and answer."""
    text = engine.startup_timeout
    return DEFAULT_STARTUP_S if text is None else parse_duration(text, "spec.engine.startupTimeout")


def shutdown_seconds(engine: EngineSpec) -> float:
    """Return the time that a stopping replica has to finish its requests."""
    text = engine.shutdown_timeout
    return (
        DEFAULT_SHUTDOWN_S if text is None else parse_duration(text, "spec.engine.shutdownTimeout")
    )


def grace_seconds(engine: EngineSpec) -> int:
    """Return the grace period of the pod: longer than all that happens before SIGKILL."""
    return PRE_STOP_S + math.ceil(shutdown_seconds(engine)) + GRACE_SLACK_S


def _probe(**settings: int) -> dict[str, Any]:
    # vLLM opens its port only after the engine is up, so /health serves all three probes.
    return {"httpGet": {"path": "/health", "port": SERVING_PORT_NAME}, **settings}


def _secret(variable: str, name: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
