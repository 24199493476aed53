"""The model that an LLMDeployment serves, and the geometry of one that the catalogue lacks."""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel
from trimtab.api.rules import Rule, needs, ordered

ModelName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$", min_length=1, max_length=255)
]


class Quantization(ApiEnum):
    """How the weights are stored."""

    NONE = "none"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"
    AWQ = "awq"
    GPTQ = "gptq"
    MXFP4 = "mxfp4"
    NVFP4 = "nvfp4"


class KVCacheDtype(ApiEnum):
    """How keys and values are stored."""

    AUTO = "auto"
    FP8 = "fp8"


class ModelArchitecture(ApiModel):
    """Geometry of a model that the catalogue does not know, as its `config.json` has it."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="headDim",
            cel="has(self.headDim) || self.hiddenSize % self.attentionHeads == 0",
            holds=lambda self: (
                self.head_dim is not None or self.hidden_size % self.attention_heads == 0
            ),
            message="must be set where attentionHeads does not divide hiddenSize",
        ),
        Rule(
            field="keyValueHeads",
            cel="!has(self.keyValueHeads) || self.attentionHeads % self.keyValueHeads == 0",
            holds=lambda self: (
                self.key_value_heads is None or self.attention_heads % self.key_value_heads == 0
            ),
            message="must divide attentionHeads",
        ),
        Rule(
            field="activeExperts",
            cel="!has(self.experts) || has(self.activeExperts)",
            holds=lambda self: self.experts is None or self.active_experts is not None,
            message="must be set together with experts",
        ),
        needs("activeExperts", "experts"),
        ordered("activeExperts", "experts"),
        needs("expertIntermediateSize", "experts"),
        needs("sharedExperts", "experts"),
        needs("denseLayers", "experts"),
        ordered("denseLayers", "layers"),
        needs("queryLoraRank", "kvLoraRank"),
        needs("ropeHeadDim", "kvLoraRank"),
        needs("windowedLayers", "slidingWindow"),
        ordered("windowedLayers", "layers"),
        ordered("linearLayers", "layers"),
        Rule(
            field="windowedLayers",
            cel=(
                "!has(self.windowedLayers) || !has(self.linearLayers) || "
                "self.windowedLayers + self.linearLayers <= self.layers"
            ),
            holds=lambda self: (
                (self.windowed_layers or 0) + (self.linear_layers or 0) <= self.layers
                or None in (self.windowed_layers, self.linear_layers)
            ),
            message="and linearLayers must not be more than layers together",
        ),
        needs("stateHeads", "linearLayers"),
        Rule(
            field="stateHeadDim",
            cel=(
                "has(self.stateHeads) == has(self.stateHeadDim) && "
                "has(self.stateHeads) == has(self.stateSize)"
            ),
            holds=lambda self: (
                (self.state_heads is None)
                == (self.state_head_dim is None)
                == (self.state_size is None)
            ),
            message="must be set together with stateHeads and stateSize",
        ),
        needs("stateGroups", "stateHeads"),
    )

    layers: int = Field(ge=1, le=1000)
    """Number of transformer layers (`num_hidden_layers`)."""
    hidden_size: int = Field(ge=64, le=131072)
    """Width of the residual stream, in elements (`hidden_size`)."""
    attention_heads: int = Field(ge=1, le=1024)
    """Number of query heads (`num_attention_heads`)."""
    key_value_heads: int | None = Field(default=None, ge=1, le=1024)
    """Number of key/value heads (`num_key_value_heads`). Default: as many as query heads."""
    head_dim: int | None = Field(default=None, ge=8, le=1024)
    """Width of one head, in elements (`head_dim`). Default: hiddenSize / attentionHeads."""
    intermediate_size: int = Field(ge=64, le=1048576)
    """Width of the feed-forward layer, in elements (`intermediate_size`)."""
    vocab_size: int = Field(ge=256, le=4194304)
    """Size of the vocabulary, in tokens (`vocab_size`)."""
    tied_embeddings: bool | None = None
    """Whether both embeddings are one matrix (`tie_word_embeddings`). Default: false."""
    experts: int | None = Field(default=None, ge=1, le=4096)
    """Number of routed experts of a mixture of experts (`num_experts`). Default: a dense model."""
    active_experts: int | None = Field(default=None, ge=1, le=512)
    """Number of routed experts used for one token (`num_experts_per_tok`). Set with experts.

    Default: none, for a dense model.
    """
    expert_intermediate_size: int | None = Field(default=None, ge=16, le=1048576)
    """Feed-forward width of one expert, in elements (`moe_intermediate_size`).

    Default: intermediateSize.
    """
    shared_experts: int | None = Field(default=None, ge=0, le=64)
    """Number of experts that every token uses (`n_shared_experts`). Default: 0."""
    dense_layers: int | None = Field(default=None, ge=0, le=1000)
    """Number of leading layers without experts (`first_k_dense_replace`). Default: 0."""
    kv_lora_rank: int | None = Field(default=None, ge=1, le=16384)
    """Latent width of multi-head latent attention, in elements (`kv_lora_rank`).

    Default: ordinary attention.
    """
    query_lora_rank: int | None = Field(default=None, ge=1, le=16384)
    """Latent width of the queries, in elements (`q_lora_rank`). Default: not compressed."""
    rope_head_dim: int | None = Field(default=None, ge=1, le=1024)
    """Width of the rotary part of a head, in elements (`qk_rope_head_dim`). Default: 0."""
    sliding_window: int | None = Field(default=None, ge=1, le=10485760)
    """Tokens that a windowed layer sees (`sliding_window`). Default: no window."""
    windowed_layers: int | None = Field(default=None, ge=0, le=1000)
    """Number of layers that are windowed.

    Default: all with keys and values where slidingWindow is set, else 0.
    """
    sparse_tokens: int | None = Field(default=None, ge=1, le=10485760)
    """Tokens that sparse attention reads for a new one (`index_topk`). Default: all of them."""
    linear_layers: int | None = Field(default=None, ge=0, le=1000)
    """Number of layers without keys and values: state spaces, delta nets, linear attention.

    Mamba's in `layers_block_type`, Qwen3-Next's in `layer_types`. Default: 0.
    """
    state_heads: int | None = Field(default=None, ge=1, le=1024)
    """Number of heads of a linear layer (`mamba_num_heads`, `linear_num_value_heads`).

    Default: linear layers have no state, and weigh nothing but their feed-forward part.
    """
    state_head_dim: int | None = Field(default=None, ge=1, le=1024)
    """Width of one of them, in elements (`mamba_head_dim`, `linear_value_head_dim`).

    Default: none. Set with stateHeads.
    """
    state_size: int | None = Field(default=None, ge=1, le=4096)
    """Numbers that each element of a head keeps (`ssm_state_size`, `linear_key_head_dim`).

    Default: none. Set with stateHeads.
    """
    state_groups: int | None = Field(default=None, ge=1, le=1024)
    """Number of groups with keys of their own (`n_groups`, `linear_num_key_heads`). Default: 1."""
    gated_feed_forward: bool | None = None
    """Whether feed-forward layers have three matrices, not two (`hidden_act` of Llama, not OPT).

    Default: true.
    """


class ModelSpec(ApiModel):
    """The model to serve."""

    name: ModelName
    """Name of the model, as on the Hugging Face hub. Known names need no architecture."""
    served_name: ModelName | None = None
    """Name under which clients ask for the model. Default: the value of name."""
    revision: (
        Annotated[
            str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$", min_length=1, max_length=128)
        ]
        | None
    ) = None
    """Revision of the weights: a branch, tag or commit. Default: the engine's own default."""
    quantization: Quantization | None = None
    """How the weights are stored. Default: none, which means 16-bit weights."""
    kv_cache_dtype: KVCacheDtype | None = None
    """How keys and values are stored. Default: auto, which means the model's own type."""
    max_model_len: int | None = Field(default=None, ge=128, le=10485760)
    """Longest prompt plus answer, in tokens. Default: 8192."""
    architecture: ModelArchitecture | None = None
    """Geometry of the model. Default: what the built-in catalogue has for its name."""
