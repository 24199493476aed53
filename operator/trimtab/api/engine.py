"""The serving engine of an LLMDeployment: image, arguments, environment, weights cache."""

import re
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel, DecimalString, Duration, ForeignName, ObjectName
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.lists import Keyed
from trimtab.api.model import ModelName
from trimtab.api.rules import Rule, excludes, lasting, positive, sized

OWNED_ARGS = (
    # What Trimtab sets itself, from other fields.
    "model",
    "host",
    "port",
    "served-model-name",
    "revision",
    "tensor-parallel-size",
    "pipeline-parallel-size",
    "quantization",
    "kv-cache-dtype",
    "max-model-len",
    "max-num-seqs",
    "max-num-batched-tokens",
    "gpu-memory-utilization",
    "enable-lora",
    "lora-modules",
    "max-loras",
    "download-dir",
    "hf-token",
    "shutdown-timeout",
    # The same in other engines.
    "model-path",
    "model-id",
    "hf-repo",
    "hostname",
    "alias",
    "tp-size",
    "pp-size",
    "dp-size",
    "num-shard",
    "context-length",
    "max-seq-len",
    "max-total-tokens",
    "ctx-size",
    "max-running-requests",
    "max-batch-size",
    "max-concurrent-requests",
    "parallel",
    "chunked-prefill-size",
    "max-num-tokens",
    "max-batch-prefill-tokens",
    "mem-fraction-static",
    "kv-cache-free-gpu-memory-fraction",
    "cuda-memory-fraction",
    "enable-metrics",
    "lora-paths",
    # Other ways to set the same.
    "config",
    "device-memory-utilization",
    "kv-cache-memory-bytes",
    # What would take a replica over more devices or pods than it was priced for.
    "data-parallel-size",
    "data-parallel-size-local",
    "nnodes",
    "node-rank",
    "headless",
    # What would hide the engine from probes, scrapes and clients, or a secret in plain sight.
    "uds",
    "grpc",
    "root-path",
    "ssl-certfile",
    "ssl-keyfile",
    "disable-log-stats",
    "api-key",
)
"""Long options that `args` may not carry (vLLM reads `_` as `-` in them, TensorRT-LLM has `_`)."""

OWNED_SHORT_ARGS = ("tp", "pp", "dp", "dpl")
"""Short options of vLLM, with one dash, that mean one of those; `-q`, `-n` and `-r` do too."""

OWNED_ENV = (
    # What Trimtab sets itself, from other fields.
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HF_HOME",
    "VLLM_CACHE_ROOT",
    "VLLM_PORT",
    # Devices are the device plugin's to give: these would take those of other pods.
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "TPU_VISIBLE_CHIPS",
    "NEURON_RT_NUM_CORES",
    "NEURON_RT_VISIBLE_CORES",
    # Unauthenticated administration of the engine over its serving port.
    "VLLM_SERVER_DEV_MODE",
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING",
)
"""Environment variables that `env` may not carry."""

_PATH = "[a-z0-9]([a-z0-9._-]*[a-z0-9])?"
_IMAGE = (
    rf"^{_PATH}(:[0-9]{{1,5}}/{_PATH})?(/{_PATH})*"  # registry:port/repository
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[a-f0-9]{64})?$"
)
_OWNED_ARG = (
    rf"^(--({'|'.join(OWNED_ARGS).replace('-', '[-_]')})|-({'|'.join(OWNED_SHORT_ARGS)}))([=\s]|$)"
    "|^-[qnr]"
)


class EngineType(ApiEnum):
    """Which serving engine the pods run."""

    VLLM = "vllm"
    SGLANG = "sglang"
    TENSORRT_LLM = "tensorrt-llm"
    TGI = "tgi"
    LLAMA_CPP = "llama-cpp"
    CUSTOM = "custom"
    """Another one: its image, its arguments, and PromQL that reads its metrics."""


class SecretKey(ApiModel):
    """One key of a Secret in the namespace of this object."""

    name: ForeignName
    """Name of the Secret."""
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
    """Key in the Secret."""


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="value",
            cel="has(self.value) != has(self.secret)",
            holds=lambda self: (self.value is None) != (self.secret is None),
            message="exactly one of value and secret must be set",
        ),
    )

    name: Annotated[
        str,
        Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=128),
        Rule(
            cel=f"!(self in [{', '.join(repr(name) for name in OWNED_ENV)}])",
            holds=lambda self: self not in OWNED_ENV,
            message=(
                "must not be a variable that Trimtab sets or guards: the token goes into"
                " spec.engine.huggingFaceToken, the cache into spec.engine.cache; devices and the"
                " engine's administration cannot be set"
            ),
        ),
    ]
    """Name of the variable."""
    value: Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=4096)] | None = None
    """Its value. Default: that of the secret; exactly one of the two is set."""
    secret: SecretKey | None = None
    """Where its value comes from. Default: value; exactly one of the two is set."""


class CacheVolume(ApiModel):
    """Where the engine keeps downloaded weights and compiled kernels."""

    RULES: ClassVar[tuple[Rule, ...]] = (excludes("sizeLimit", "claimName"),)

    claim_name: ForeignName | None = None
    """PersistentVolumeClaim to mount, which all replicas share. Default: a volume of the pod."""
    size_limit: (
        Annotated[
            str,
            Field(pattern=r"^[0-9]{1,12}(Mi|Gi|Ti)$", min_length=1, max_length=16),
            sized("1Gi", "64Ti"),
        ]
        | None
    ) = None
    """Size limit of the pod's own volume, such as 200Gi. Default: none."""


class Adapter(ApiModel):
    """A LoRA adapter that every replica loads at start."""

    name: ObjectName
    """Name under which clients ask for it."""
    source: ModelName
    """Hub name or path of the adapter."""


_IS_CUSTOM = "(has(self.type) && self.type == 'custom')"
_WITH_ADAPTERS = (EngineType.VLLM, EngineType.SGLANG)


class EngineSpec(ApiModel):
    """The engine that serves the model, and how its pods are run."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="maxNumBatchedTokens",
            cel=(
                "(has(self.maxNumBatchedTokens) ? self.maxNumBatchedTokens : 8192)"
                " >= (has(self.maxNumSeqs) ? self.maxNumSeqs : 256)"
            ),
            holds=lambda self: (self.max_num_batched_tokens or 8192) >= (self.max_num_seqs or 256),
            message="must not be less than maxNumSeqs (256 where that is not set)",
        ),
        Rule(
            field="args",
            cel=(
                f"{_IS_CUSTOM} || !has(self.args)"
                f" || self.args.all(it, !it.matches(r'{_OWNED_ARG}'))"
            ),
            holds=lambda self: (
                self.is_custom or not any(re.search(_OWNED_ARG, it) for it in self.args or ())
            ),
            message=(
                "must not set what Trimtab sets itself or serves by, such as --port and"
                " --tensor-parallel-size: use the fields of spec.model, spec.engine and"
                " spec.placement"
            ),
        ),
        Rule(
            field="image",
            cel=f"!{_IS_CUSTOM} || has(self.image)",
            holds=lambda self: not self.is_custom or self.image is not None,
            message="must be set where type is custom: Trimtab knows no image of that engine",
        ),
        Rule(
            field="metrics",
            cel=f"{_IS_CUSTOM} || !has(self.metrics)",
            holds=lambda self: self.is_custom or self.metrics is None,
            message="is for type custom: Trimtab knows the metrics of the other engines",
        ),
        Rule(
            field="port",
            cel=f"{_IS_CUSTOM} || (!has(self.port) && !has(self.healthPath))",
            holds=lambda self: self.is_custom or (self.port is None and self.health_path is None),
            message="and healthPath are for type custom: Trimtab sets those of the other engines",
        ),
        Rule(
            field="maxNumSeqs",
            cel="!has(self.type) || self.type != 'llama-cpp' || has(self.maxNumSeqs)",
            holds=lambda self: (
                self.type is not EngineType.LLAMA_CPP or self.max_num_seqs is not None
            ),
            message=(
                "must be set where type is llama-cpp, which reserves memory for each slot at start"
            ),
        ),
        Rule(
            field="adapters",
            cel=(
                "!has(self.adapters) || !has(self.type) || self.type in ["
                + ", ".join(f"'{each}'" for each in _WITH_ADAPTERS)
                + "]"
            ),
            holds=lambda self: (
                self.adapters is None or self.type is None or self.type in _WITH_ADAPTERS
            ),
            message="are loaded at start by vllm and sglang only: remove them, or write args",
        ),
    )

    type: EngineType | None = None
    """The serving engine. Default: vllm."""
    image: Annotated[str, Field(pattern=_IMAGE, min_length=1, max_length=512)] | None = None
    """Container image. Default: the release of the engine in docs/engines.md; custom has none."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Port that a custom engine serves on. Default: 8000."""
    health_path: Annotated[str, Field(pattern=r"^/[!-~]*$", max_length=256)] | None = None
    """Path that answers 200 once a custom engine serves. Default: /health."""
    metrics: EngineMetrics | None = None
    """PromQL for the signals of a custom engine. Default: none, so only the workload counts."""
    args: (
        Annotated[
            list[Annotated[str, Field(pattern=r"^[^\x00]*$", max_length=1024)]],
            Field(max_length=64),
        ]
        | None
    ) = None
    """More arguments of the engine, after those that Trimtab sets itself. Default: none.

    A custom engine gets these alone.
    """
    env: Annotated[list[EnvVar], Field(max_length=64), Keyed("name")] | None = None
    """Environment variables of the engine. Default: none but Trimtab's own."""
    hugging_face_token: SecretKey | None = None
    """Secret with the token that may download the weights. Default: no token."""
    image_pull_secret: ForeignName | None = None
    """Secret with which the image is pulled. Default: none."""
    cache: CacheVolume | None = None
    """Where weights are kept. Default: a volume of each pod."""
    adapters: Annotated[list[Adapter], Field(max_length=32), Keyed("name")] | None = None
    """LoRA adapters that every replica loads. Default: none."""
    max_num_seqs: int | None = Field(default=None, ge=1, le=8192)
    """Most requests in one batch. Default: 256, on every accelerator, so that replicas compare."""
    max_num_batched_tokens: int | None = Field(default=None, ge=64, le=1048576)
    """Most tokens in one step of the engine. Default: 8192."""
    gpu_memory_utilization: Annotated[DecimalString, positive(most=1)] | None = None
    """Share of device memory that the engine takes, above 0 and at most 1. Default: "0.9"."""
    cpu: (
        Annotated[
            str,
            Field(pattern=r"^[0-9]{1,6}(m|\.[0-9]{1,3})?$", min_length=1, max_length=16),
            sized("1m", "1024"),
        ]
        | None
    ) = None
    """CPU request of one replica, in cores, such as 8 or 500m. Default: 4 for each device."""
    memory: (
        Annotated[
            str,
            Field(pattern=r"^[0-9]{1,8}(Mi|Gi|Ti)$", min_length=1, max_length=16),
            sized("64Mi", "64Ti"),
        ]
        | None
    ) = None
    """Memory request of one replica, in bytes, such as 64Gi. Default: 16Gi for each device."""
    startup_timeout: Annotated[Duration, lasting("1s", "24h")] | None = None
    """Time a replica has to load the weights and answer. Default: 30m."""
    shutdown_timeout: Annotated[Duration, lasting("0s", "24h")] | None = None
    """Time a stopping replica has to finish its requests. Default: 60s."""

    @property
    def is_custom(self) -> bool:
        """Whether Trimtab knows nothing of the engine."""
        return self.type is EngineType.CUSTOM
