"""Accelerators and model geometries, as the performance model needs them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device. Peaks are dense; bandwidths are one-way."""

    name: str
    """Catalogue name, such as nvidia-h100-sxm."""
    short_name: str
    """What fits in a table, such as h100."""
    vendor: str
    family: str
    """Devices of one family behave alike: hopper, ada, ampere, cdna3, tpu."""
    memory_bytes: float
    bandwidth: float
    """Memory bandwidth, bytes/s."""
    bf16_flops: float
    fp8_flops: float | None
    int8_ops: float | None
    fp4_flops: float | None
    link_bandwidth: float
    """One-way bandwidth between two devices of a node, bytes/s."""
    watts: float | None
    resource_name: str
    """Kubernetes extended resource."""
    island: int = 8
    """Devices that `link_bandwidth` joins: those of a node, or of a rack or pod."""
    network_bandwidth: float | None = None
    """One-way share of the network between islands of one device, bytes/s; None: not known."""
    confidence: float = 1.0
    """1 for a sourced data sheet and a family whose deployments were measured, less otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGeometry:
    """What of a model decides its speed. Parameter counts are computed from it."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied_embeddings: bool = False
    experts: int = 0
    """Routed experts; 0 means dense."""
    active_experts: int = 0
    expert_intermediate: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    """Layers without experts in a mixture-of-experts model; their width is `intermediate`."""
    mlp_matrices: int = 3
    """Matrices of one feed-forward block: 3 when gated (SwiGLU), 2 when not."""
    kv_lora_rank: int = 0
    """Latent width of multi-head latent attention; 0 means ordinary attention."""
    query_lora_rank: int = 0
    rope_head_dim: int = 0
    """Rotary part of `head_dim` in multi-head latent attention."""
    value_head_dim: int = 0
    """Width of a value head in latent attention; 0 means head_dim - rope_head_dim."""
    sliding_window: int = 0
    """Tokens that a windowed layer sees; 0 means none is windowed."""
    windowed_layers: int = 0
    full_kv_share: float = 1.0
    """Keys and values of a token in a layer without a window over those in one with: Gemma 4 has
    fewer and wider heads there."""
    full_query_share: float = 1.0
    """Width of all its query heads, likewise."""
    sparse_topk: int = 0
    """Tokens that sparse attention reads for a new token (`index_topk`); 0 means all."""
    linear_layers: int = 0
    """Layers without a KV cache (Mamba, gated delta nets, feed-forward only)."""
    attention_params: float = 0.0
    """Mean parameters of a layer's attention or state block; 0 means computed from the heads."""
    state_bytes: float = 0.0
    """Bytes of constant state that one sequence holds over all linear layers."""
    side_params: float = 0.0
    """Parameters that are stored and multiply no text token: towers for images and sound, and
    embeddings of each layer."""
    native_weight_dtype: str = "none"
    """Quantization in which the checkpoint ships: fp8 for DeepSeek-V3, mxfp4 for gpt-oss."""
    guessed: bool = False
    """Whether nothing is known of it but the size in its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """How one replica spreads over devices."""

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    """Devices over which routed experts are split. Up to `tensor` they share its devices; beyond,
    attention is replicated and every rank serves its own requests."""

    def __hash__(self) -> int:
        # Most differ in this alone, and a plan asks hundreds of thousands of times.
        return self.tensor

    @property
    def ranks(self) -> int:
        """Copies of the attention layers, each with its own requests."""
        return max(1, self.expert // self.tensor)

    @property
    def devices(self) -> int:
        """Devices of one replica."""
        # Most have one rank, and a plan asks hundreds of thousands of times.
        return self.tensor * self.pipeline * (self.ranks if self.expert > self.tensor else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The engine and its settings that decide speed and memory."""

    name: str = "vllm"
    """vllm, sglang or trtllm: how much time it spends beside the device's."""
    weight_dtype: str = "none"
    """A value of api.llmdeployment.Quantization."""
    kv_dtype: str = "auto"
    max_model_len: int = 8192
    max_num_seqs: int = 256
    max_num_batched_tokens: int = 8192
    memory_utilization: float = 0.9
    sorted_sampling: bool = False
    """Whether the next token is chosen by sorting the vocabulary: top-p or top-k in an engine
    without kernels of its own for them."""
    takes_turns: bool = False
    """Whether the engine schedules a step only once the last one's tokens are there: vLLM before
    0.14 unless asked otherwise, and later with --no-async-scheduling."""
    draft_tokens: int = 0
    """Tokens that speculation proposes for each sequence in each step; 0 without speculation."""
    accepted_tokens: float = 0.0
    """How many of them are kept, on average: each step yields one token more than that."""
