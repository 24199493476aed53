"""The serving container of one replica: the engine's command, arguments, probes, surroundings."""

import math
import string
from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.api.llmdeployment import (
    EngineSpec,
    EngineType,
    KVCacheDtype,
    LLMDeploymentSpec,
    Quantization,
)
from trimtab.api.naming import SERVING_PORT, SERVING_PORT_NAME
from trimtab.catalog.engines import Argument, Server, server
from trimtab.catalog.scheduling import release
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.units import parse_duration

CONTAINER = "main"
CACHE_PATH = "/cache"
PRE_STOP_S = 15
"""Time for endpoints to forget a stopping pod before it refuses requests (KServe's figure)."""
GRACE_SLACK_S = 15
"""Time from the end of the engine's own drain to SIGKILL."""
STARTUP_PERIOD_S = 10
DEFAULT_STARTUP_S = 1800.0
DEFAULT_SHUTDOWN_S = 60.0
CPU_PER_DEVICE = 4
MEMORY_GIB_PER_DEVICE = 16
SHM_GIB_PER_DEVICE = 2
"""Shared memory of NCCL and the workers: vLLM's documentation uses 2Gi for one device."""


def container(spec: LLMDeploymentSpec, parallelism: Parallelism, resource: str) -> dict[str, Any]:
    """Return the serving container of a replica that holds `parallelism.devices` of `resource`."""
    engine = spec.engine or EngineSpec()
    devices, known = parallelism.devices, server_of(engine)
    image = engine.image or known.images.get(resource, known.image)
    path = engine.health_path or known.health
    result: dict[str, Any] = {"name": CONTAINER, "image": image}
    if known.command:
        result["command"] = list(known.command)
    return result | {
        "args": arguments(spec, parallelism, release(image)),
        "ports": [
            {
                "name": SERVING_PORT_NAME,
                "containerPort": engine.port or SERVING_PORT,
                "protocol": "TCP",
            },
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
            path,
            periodSeconds=STARTUP_PERIOD_S,
            failureThreshold=math.ceil(startup_seconds(engine) / STARTUP_PERIOD_S),
            timeoutSeconds=5,
        ),
        "readinessProbe": _probe(path, periodSeconds=5, failureThreshold=2, timeoutSeconds=5),
        "livenessProbe": _probe(path, periodSeconds=10, failureThreshold=10, timeoutSeconds=10),
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


def server_of(engine: EngineSpec) -> Server:
    """Return how the engine is run that `engine` names, vLLM where it names none."""
    return server(engine.type or EngineType.VLLM)


def arguments(
    spec: LLMDeploymentSpec, parallelism: Parallelism, version: tuple[int, int] | None
) -> list[str]:
    """Return the arguments of the engine; whatever decides capacity is pinned.

    vLLM's own defaults of batch size depend on the device, so two variants of one model would
    silently differ, and an upgrade of the engine would change what a replica can do.

    Args:
        spec: What the user wants.
        parallelism: How the replica spreads over devices.
        version: The engine's release; None is taken for a recent one.
    """
    engine = spec.engine or EngineSpec()
    values = _values(spec, parallelism)
    adapters = [{"adapter": each.name, "source": each.source} for each in engine.adapters or ()]
    return [
        text
        for argument in server_of(engine).arguments
        if argument.since is None or version is None or version >= argument.since
        for text in _rendered(argument, values, adapters)
    ] + list(engine.args or ())


def _values(spec: LLMDeploymentSpec, parallelism: Parallelism) -> dict[str, object]:
    """Return what the placeholders of arguments stand for; None leaves an argument out."""
    model, engine = spec.model, spec.engine or EngineSpec()
    default = EngineSettings()
    length = model.max_model_len or default.max_model_len
    slots = engine.max_num_seqs or default.max_num_seqs
    weights, cache = model.quantization, model.kv_cache_dtype
    return {
        "model": model.name,
        "served_name": model.served_name or model.name,
        "port": SERVING_PORT,
        "tensor": parallelism.tensor,
        "pipeline": parallelism.pipeline if parallelism.pipeline > 1 else None,
        "max_model_len": length,
        "max_num_seqs": slots,
        "tokens_of_all_slots": length * slots,
        "max_num_batched_tokens": (engine.max_num_batched_tokens or default.max_num_batched_tokens),
        "memory_utilization": engine.gpu_memory_utilization or default.memory_utilization,
        "shutdown_s": math.ceil(shutdown_seconds(engine)),
        "revision": model.revision or None,
        "fp8_weights": "fp8" if weights is Quantization.FP8 else None,
        "fp8_cache": "fp8" if cache is KVCacheDtype.FP8 else None,
        "fp8_e5m2_cache": "fp8_e5m2" if cache is KVCacheDtype.FP8 else None,
        "adapters": len(engine.adapters or ()) or None,
    }


def _rendered(
    argument: Argument, values: Mapping[str, object], adapters: list[dict[str, str]]
) -> Iterator[str]:
    if argument.when is not None and values[argument.when] is None:
        return
    for more in adapters if argument.each else [{}]:
        known = {**values, **more}
        # A name of a model may have braces, so what was put in is not looked at again.
        names = [name for _, name, _, _ in string.Formatter().parse(argument.text) if name]
        if all(known[name] is not None for name in names):
            yield argument.text.format_map(known)


def environment(engine: EngineSpec) -> list[dict[str, Any]]:
    """Return the environment: caches on the cache volume, the token, then the user's own."""
    own: list[dict[str, Any]] = [
        {"name": "HOME", "value": CACHE_PATH},
        # A user id without an entry in the image's passwd has no name, and torch asks for one.
        {"name": "USER", "value": (engine.type or EngineType.VLLM).value},
        {"name": "HF_HOME", "value": f"{CACHE_PATH}/huggingface"},
    ]
    for name, value in server_of(engine).environment.items():
        own.append({"name": name, "value": value.format(cache=CACHE_PATH)})
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


def _probe(path: str, **settings: int) -> dict[str, Any]:
    # Every engine's path fails until the weights are loaded, so it serves all three probes.
    return {"httpGet": {"path": path, "port": SERVING_PORT_NAME}, **settings}


def _secret(variable: str, name: str, key: str) -> dict[str, Any]:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
