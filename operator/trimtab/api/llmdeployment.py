"""LLMDeployment: one model to serve, its latency and cost policy, its bounds, and the answer."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import (
    ApiModel,
    DecimalString,
    Duration,
    ObjectName,
    Resource,
)
from trimtab.api.conditions import Condition
from trimtab.api.policy import CostPolicy, LatencyPolicy, ScalingPolicy

ModelName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", min_length=1, max_length=255)
]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=128)]


class Mode(StrEnum):
    """How far Trimtab may go with this deployment."""

    RECOMMEND = "Recommend"
    SCALE_UP_ONLY = "ScaleUpOnly"
    AUTO = "Auto"


class Quantization(StrEnum):
    """How the weights are stored."""

    NONE = "none"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    AWQ = "awq"
    GPTQ = "gptq"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"


class KVCacheDtype(StrEnum):
    """How keys and values are stored."""

    AUTO = "auto"
    FP8 = "fp8"


class EngineType(StrEnum):
    """Which serving engine the pods run."""

    VLLM = "vllm"


class ModelArchitecture(ApiModel):
    """Geometry of a model that the catalogue does not know, as its `config.json` has it."""

    layers: int = Field(ge=1, le=1000)
    """Number of transformer layers (`num_hidden_layers`)."""
    hidden_size: int = Field(ge=64, le=131072)
    """Width of the residual stream (`hidden_size`)."""
    attention_heads: int = Field(ge=1, le=1024)
    """Query heads (`num_attention_heads`)."""
    key_value_heads: int | None = Field(default=None, ge=1, le=1024)
    """Key/value heads (`num_key_value_heads`). Default: as many as query heads."""
    head_dim: int | None = Field(default=None, ge=8, le=1024)
    """Width of one head (`head_dim`). Default: hiddenSize / attentionHeads."""
    intermediate_size: int = Field(ge=64, le=1048576)
    """Width of the feed-forward layer (`intermediate_size`)."""
    vocab_size: int = Field(ge=256, le=4194304)
    """Size of the vocabulary (`vocab_size`)."""
    tied_embeddings: bool | None = None
    """Whether both embeddings are one matrix (`tie_word_embeddings`). Default: false."""
    experts: int | None = Field(default=None, ge=1, le=4096)
    """Routed experts of a mixture-of-experts model (`num_experts`). Default: a dense model."""
    active_experts: int | None = Field(default=None, ge=1, le=512)
    """Routed experts used for one token (`num_experts_per_tok`)."""
    expert_intermediate_size: int | None = Field(default=None, ge=16, le=1048576)
    """Feed-forward width of one expert (`moe_intermediate_size`). Default: intermediateSize."""
    shared_experts: int | None = Field(default=None, ge=0, le=64)
    """Experts that every token uses (`n_shared_experts`). Default: 0."""
    dense_layers: int | None = Field(default=None, ge=0, le=1000)
    """Leading layers without experts (`first_k_dense_replace`). Default: 0."""
    kv_lora_rank: int | None = Field(default=None, ge=1, le=16384)
    """Latent width of multi-head latent attention (`kv_lora_rank`). Default: none."""
    query_lora_rank: int | None = Field(default=None, ge=1, le=16384)
    """Latent width of the queries (`q_lora_rank`)."""
    rope_head_dim: int | None = Field(default=None, ge=1, le=1024)
    """Width of the rotary part of a head (`qk_rope_head_dim`)."""
    sliding_window: int | None = Field(default=None, ge=1, le=10485760)
    """Tokens that a windowed layer sees (`sliding_window`). Default: no window."""
    windowed_layers: int | None = Field(default=None, ge=0, le=1000)
    """How many layers are windowed. Default: all when slidingWindow is set."""


class ModelSpec(ApiModel):
    """The model to serve."""

    name: ModelName
    """Name of the model, as on the Hugging Face hub. Known names need no architecture."""
    served_name: ModelName | None = None
    """Name under which clients ask for the model. Default: the value of name."""
    revision: str | None = Field(default=None, max_length=128)
    """Revision of the weights: a branch, tag or commit. Default: the engine's own default."""
    quantization: Quantization | None = None
    """How the weights are stored. Default: none, which means 16-bit weights."""
    kv_cache_dtype: KVCacheDtype | None = None
    """How keys and values are stored. Default: auto, which means the model's own type."""
    max_model_len: int | None = Field(default=None, ge=128, le=10485760)
    """Longest prompt plus answer, in tokens. Default: 8192."""
    architecture: ModelArchitecture | None = None
    """Geometry of the model, where the built-in catalogue does not know its name."""


class SecretKey(ApiModel):
    """One key of a Secret in the namespace of this object."""

    name: ObjectName
    """Name of the Secret."""
    key: str = Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)
    """Key in the Secret."""


class EnvVar(ApiModel):
    """An environment variable of the engine."""

    name: EnvName
    """Name of the variable."""
    value: str | None = Field(default=None, max_length=4096)
    """Its value. Exactly one of value and secret is set."""
    secret: SecretKey | None = None
    """Where its value comes from. Exactly one of value and secret is set."""


class CacheVolume(ApiModel):
    """Where the engine keeps downloaded weights and compiled kernels."""

    claim_name: ObjectName | None = None
    """PersistentVolumeClaim to mount, which all replicas share. Default: a volume of the pod."""
    size_limit: str | None = Field(default=None, pattern=r"^[0-9]{1,12}(Mi|Gi|Ti)$", max_length=16)
    """Size limit of the pod's own volume, such as 200Gi. Default: none."""


class Adapter(ApiModel):
    """A LoRA adapter that every replica loads at start."""

    name: ObjectName
    """Name under which clients ask for it."""
    source: ModelName
    """Hub name or path of the adapter."""


class EngineSpec(ApiModel):
    """The engine that serves the model, and how its pods are run."""

    type: EngineType | None = None
    """The serving engine. Default: vllm."""
    image: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-zA-Z0-9._:/@-]*$", min_length=1, max_length=512
    )
    """Container image. Default: the release of the engine that this version was tested with."""
    args: list[Annotated[str, Field(max_length=1024)]] | None = Field(default=None, max_length=64)
    """More arguments of the engine, after those that Trimtab sets itself."""
    env: list[EnvVar] | None = Field(default=None, max_length=64)
    """Environment variables of the engine."""
    hugging_face_token: SecretKey | None = None
    """Secret with the token that may download the weights."""
    image_pull_secret: ObjectName | None = None
    """Secret with which the image is pulled."""
    cache: CacheVolume | None = None
    """Where weights are kept. Default: a volume of each pod."""
    adapters: list[Adapter] | None = Field(default=None, max_length=32)
    """LoRA adapters that every replica loads."""
    max_num_seqs: int | None = Field(default=None, ge=1, le=8192)
    """Most requests in one batch. Default: 256, on every accelerator, so that replicas compare."""
    max_num_batched_tokens: int | None = Field(default=None, ge=64, le=1048576)
    """Most tokens in one step of the engine. Default: 8192."""
    gpu_memory_utilization: DecimalString | None = None
    """Share of device memory that the engine takes, above 0 and at most 1. Default: 0.9."""
    cpu: str | None = Field(default=None, pattern=r"^[0-9]{1,4}(m|\.[0-9]{1,3})?$", max_length=16)
    """CPU request of one replica. Default: 4 for each device."""
    memory: str | None = Field(default=None, pattern=r"^[0-9]{1,8}(Mi|Gi|Ti)$", max_length=16)
    """Memory request of one replica. Default: 16Gi for each device."""
    startup_timeout: Duration | None = None
    """Time a replica has to load the weights and answer. Default: 30m."""
    shutdown_timeout: Duration | None = None
    """Time a stopping replica has to finish its requests. Default: 60s."""


class PlacementSpec(ApiModel):
    """Where replicas may land. Default: on every pool that fits."""

    pools: list[ObjectName] | None = Field(default=None, max_length=32)
    """Only these AcceleratorPools."""
    exclude_pools: list[ObjectName] | None = Field(default=None, max_length=32)
    """Never these AcceleratorPools."""
    accelerators: list[ObjectName] | None = Field(default=None, max_length=32)
    """Only accelerators of these names, such as nvidia-h100-sxm."""
    tensor_parallel: list[Annotated[int, Field(ge=1, le=64)]] | None = Field(
        default=None, max_length=8
    )
    """Only these numbers of devices for one replica. Default: 1, 2, 4 and 8 where they fit."""


class WorkloadSpec(ApiModel):
    """What is expected until real traffic has been measured."""

    input_tokens: int = Field(ge=1, le=10485760)
    """Mean length of a prompt, in tokens."""
    output_tokens: int = Field(ge=1, le=1048576)
    """Mean length of an answer, in tokens."""
    requests_per_second: DecimalString | None = None
    """Requests per second that are expected. Default: none, so minReplicas counts."""
    prefix_hit_ratio: DecimalString | None = None
    """Share of prompt tokens found in the prefix cache, 0 to 1. Default: 0."""


class LLMDeploymentSpec(ApiModel):
    """What the user wants. A model and a latency target are enough."""

    model: ModelSpec
    """The model to serve."""
    engine: EngineSpec | None = None
    """The engine that serves it. Default: vLLM with its defaults."""
    policy_ref: ObjectName | None = None
    """ServingPolicy in this namespace; what stands here wins over what stands there."""
    latency: LatencyPolicy | None = None
    """Latency targets. Default: those of the policy, else none."""
    cost: CostPolicy | None = None
    """Cost policy. Default: that of the policy, else the cheapest on-demand fleet."""
    scaling: ScalingPolicy | None = None
    """Bounds and pace of scaling. Default: those of the policy, else 1 to 10 replicas."""
    placement: PlacementSpec | None = None
    """Where replicas may land. Default: on every pool that fits."""
    workload: WorkloadSpec | None = None
    """What is expected until real traffic has been measured. Default: 512 in, 256 out."""
    priority: int | None = Field(default=None, ge=0, le=1000)
    """Who comes first when capacity is short; more is more important. Default: 100."""
    mode: Mode | None = None
    """How far Trimtab may go: Recommend only publishes (Off in VPA), ScaleUpOnly never removes.

    Default: Auto.
    """


class VariantStatus(ApiModel):
    """One variant: the replicas of this model on one pool with one parallelism."""

    name: str = Field(max_length=63)
    """Name of the Deployment."""
    pool: str = Field(max_length=63)
    """The AcceleratorPool."""
    accelerator: str = Field(max_length=63)
    """The accelerator of the pool."""
    tensor_parallel: int
    """Devices of one replica."""
    desired: int
    """Replicas that the last decision asks for."""
    ready: int
    """Replicas that serve."""
    cost_per_hour: str = Field(max_length=16)
    """Price of the desired replicas, in $/h."""


class ObservedStatus(ApiModel):
    """What was seen, rounded so that it moves only when a person would act on it."""

    requests_per_second: str | None = Field(default=None, max_length=16)
    """Arrival rate; absent when unknown."""
    input_tokens: int | None = None
    """Mean prompt length; absent when unknown."""
    output_tokens: int | None = None
    """Mean answer length; absent when unknown."""
    source: str = Field(max_length=32)
    """Where the demand comes from: Prometheus, Workload, or Unknown."""
    time_to_first_token: str | None = Field(default=None, max_length=16)
    """Measured TTFT at the policy's percentile."""
    inter_token_latency: str | None = Field(default=None, max_length=16)
    """Measured inter-token latency at the policy's percentile."""
    end_to_end: str | None = Field(default=None, max_length=16)
    """Measured end-to-end latency at the policy's percentile."""
    slo: str | None = Field(default=None, max_length=8)
    """Share of requests within the targets; absent when unknown."""


class CostStatus(ApiModel):
    """What it costs, and against what that is cheap."""

    per_hour: str = Field(max_length=16)
    """Price of the desired replicas, in $/h."""
    per_million_tokens: str | None = Field(default=None, max_length=16)
    """Price of a million answered tokens at the seen demand, in $."""
    baseline: str | None = Field(default=None, max_length=128)
    """The fleet that the saving is measured against."""
    baseline_per_hour: str | None = Field(default=None, max_length=16)
    """Its price, in $/h."""
    saved: str | None = Field(default=None, max_length=8)
    """Saving against the baseline, such as 38%."""
    price_source: str | None = Field(default=None, max_length=64)
    """Where the prices come from."""
    price_as_of: str | None = Field(default=None, max_length=32)
    """Date of the oldest price used."""


class RejectedCandidate(ApiModel):
    """A candidate that lost, and why."""

    pool: str = Field(max_length=63)
    """The AcceleratorPool."""
    tensor_parallel: int
    """Devices of one replica."""
    reason: str = Field(max_length=64)
    """Why it lost, in one word."""
    message: str = Field(max_length=256)
    """Why it lost, in one sentence with the figures."""


class DecisionStatus(ApiModel):
    """The last decision and its reasons."""

    time: str = Field(max_length=32)
    """When it was taken."""
    reason: str = Field(max_length=64)
    """What moved it, in one word."""
    message: str = Field(max_length=512)
    """What was decided and why, in one or two sentences."""
    rejected: list[RejectedCandidate] = Field(default_factory=list, max_length=24)
    """The candidates that lost, cheapest first."""


class HistoryEntry(ApiModel):
    """One earlier decision that changed something."""

    time: str = Field(max_length=32)
    """When it was taken."""
    reason: str = Field(max_length=64)
    """What moved it, in one word."""
    variants: str = Field(max_length=256)
    """The fleet after it."""


class SummaryStatus(ApiModel):
    """What `kubectl get` prints."""

    model: str = Field(max_length=255)
    """Model name without its organisation."""
    replicas: str = Field(max_length=16)
    """Ready and desired replicas, such as 4/5."""
    variants: str = Field(max_length=256)
    """The fleet, such as h200:3,l40s:2."""


class LLMDeploymentStatus(ApiModel):
    """What Trimtab found, decided and did."""

    observed_generation: int = -1
    """The generation of the spec that this status answers."""
    conditions: list[Condition] = Field(default_factory=list, max_length=16)
    """Ready, MetricsAvailable, CapacityAvailable, SLOMet, Optimized, Reconciling, Stalled."""
    summary: SummaryStatus | None = None
    """What `kubectl get` prints."""
    variants: list[VariantStatus] = Field(default_factory=list, max_length=32)
    """The variants, one Deployment each."""
    observed: ObservedStatus | None = None
    """What was seen."""
    cost: CostStatus | None = None
    """What it costs."""
    decision: DecisionStatus | None = None
    """The last decision."""
    history: list[HistoryEntry] = Field(default_factory=list, max_length=10)
    """Earlier decisions that changed something, newest first."""
    service: str | None = Field(default=None, max_length=63)
    """The Service over all variants."""


class LLMDeployment(Resource):
    """A model to serve at its latency targets for the least money."""

    KIND: ClassVar[str] = "LLMDeployment"
    PLURAL: ClassVar[str] = "llmdeployments"
    SINGULAR: ClassVar[str] = "llmdeployment"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("llmd",)
    NAMESPACED: ClassVar[bool] = True

    spec: LLMDeploymentSpec
    """What the user wants."""
    status: LLMDeploymentStatus | None = None
    """What Trimtab found, decided and did."""
