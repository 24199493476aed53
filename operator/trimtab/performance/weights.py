"""Where a model's parameters sit, and what they weigh on the device.

Formulas: attention `h d (q + 2 kv) + q d h`, gated feed-forward `3 h f`, multi-head latent
attention `h rq + rq q d + h (r + rope) + r q (nope + dv) + q dv h`; norms and biases are left out.
They reproduce the published sizes (8.03, 70.55, 405.85, 46.7, 671.0 billion, ...).
"""

from dataclasses import dataclass
from functools import lru_cache

from trimtab.models.hardware import Accelerator, ModelGeometry

WIDE_BYTES = 2.0
"""bf16 and fp16: embeddings and the head stay in it whatever the quantization."""

WEIGHT_BYTES = {
    "none": WIDE_BYTES,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.53,  # 4 bits and a 16-bit scale with a 4-bit zero for each group of 128 or so
    "awq": 0.53,
    "gptq": 0.53,
    "mxfp4": 0.53125,  # 4 bits and an 8-bit scale for each 32
    "nvfp4": 0.5625,  # 4 bits and an 8-bit scale for each 16
}
"""Bytes of one parameter, scales included."""

_EXPERTS_ONLY = frozenset({"mxfp4", "nvfp4", "int4"})
"""Formats that leave the attention of a mixture of experts in 16 bit, as gpt-oss, Kimi K2.5 and
NVIDIA's checkpoints do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Parameters of a model by the place where they work. Counts, over all layers."""

    attention: float
    feed_forward: float
    """Dense layers and shared experts: every token uses them."""
    experts: float
    """Routed experts."""
    active_experts: float
    """Routed experts that one token uses."""
    embedding: float
    """What no text token multiplies: the lookup table, unless the head is the same matrix, and
    the towers for images and sound."""
    head: float

    @property
    def total(self) -> float:
        """All parameters."""
        return self.attention + self.feed_forward + self.experts + self.embedding + self.head

    @property
    def active(self) -> float:
        """Parameters that multiply one token; the lookup of the embedding is none."""
        return self.attention + self.feed_forward + self.active_experts + self.head


@lru_cache(maxsize=1024)
def parameters(geometry: ModelGeometry) -> Parameters:
    """Return where the parameters of `geometry` sit."""
    g = geometry
    expert = g.mlp_matrices * g.hidden * g.expert_intermediate
    expert_layers = g.layers - g.dense_layers if g.experts else 0
    dense_layers = g.layers - expert_layers
    table = float(g.vocab * g.hidden)
    return Parameters(
        attention=g.layers * (g.attention_params or _attention(g)),
        feed_forward=float(
            dense_layers * g.mlp_matrices * g.hidden * g.intermediate
            + expert_layers * g.shared_experts * expert
        ),
        experts=float(expert_layers * g.experts * expert),
        active_experts=float(expert_layers * g.active_experts * expert),
        embedding=g.side_params + (0.0 if g.tied_embeddings else table),
        head=table,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeights:
    """Bytes of the weights by place, over all devices of a replica."""

    attention: float
    feed_forward: float
    experts: float
    embedding: float
    head: float

    @property
    def total(self) -> float:
        """All bytes."""
        return self.attention + self.feed_forward + self.experts + self.embedding + self.head


@lru_cache(maxsize=1024)
def stored_weights(geometry: ModelGeometry, weight_dtype: str) -> StoredWeights:
    """Return the bytes of each part when stored as `weight_dtype` (api Quantization value)."""
    counts = parameters(geometry)
    dtypes = part_dtypes(geometry, weight_dtype)
    return StoredWeights(
        attention=counts.attention * WEIGHT_BYTES[dtypes.attention],
        feed_forward=counts.feed_forward * WEIGHT_BYTES[dtypes.feed_forward],
        experts=counts.experts * WEIGHT_BYTES[dtypes.experts],
        embedding=counts.embedding * WIDE_BYTES,
        head=counts.head * WIDE_BYTES,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartDtypes:
    """How each part is stored; values of api Quantization."""

    attention: str
    feed_forward: str
    experts: str


def part_dtypes(geometry: ModelGeometry, weight_dtype: str) -> PartDtypes:
    """Return how each part is stored; "none" means as the checkpoint ships.

    A checkpoint that ships as MXFP4 stays what it is whatever 4-bit float is asked for.
    """
    native = geometry.native_weight_dtype
    keep = weight_dtype == "none" or (native == "mxfp4" and weight_dtype == "nvfp4")
    dtype = native if keep else weight_dtype
    narrow_attention = not (geometry.experts and dtype in _EXPERTS_ONLY)
    return PartDtypes(
        attention=dtype if narrow_attention else "none",
        feed_forward=dtype if narrow_attention else "none",
        experts=dtype,
    )


def compute_peak(accelerator: Accelerator, dtype: str) -> float:
    """Return the dense FLOP/s at which weights stored as `dtype` are multiplied.

    Weight-only formats, and formats that the device has no units for, run at its 16-bit peak.
    """
    wide = accelerator.bf16_flops
    if dtype == "fp8":
        return accelerator.fp8_flops or wide
    if dtype == "int8":
        return accelerator.int8_ops or wide
    if dtype == "nvfp4":
        return accelerator.fp4_flops or wide
    if dtype == "mxfp4" and accelerator.fp4_flops:
        return accelerator.fp8_flops or wide  # activations stay at 8 bit
    return wide


def _attention(g: ModelGeometry) -> float:
    if not g.kv_lora_rank:
        return float(
            g.hidden * g.head_dim * (g.heads + 2 * g.kv_heads) + g.heads * g.head_dim * g.hidden
        )
    nope = g.head_dim - g.rope_head_dim
    value = g.value_head_dim or nope
    query = (
        g.hidden * g.query_lora_rank + g.query_lora_rank * g.heads * g.head_dim
        if g.query_lora_rank
        else g.hidden * g.heads * g.head_dim
    )
    latent = g.hidden * (g.kv_lora_rank + g.rope_head_dim)
    return float(
        query + latent + g.kv_lora_rank * g.heads * (nope + value) + g.heads * value * g.hidden
    )
