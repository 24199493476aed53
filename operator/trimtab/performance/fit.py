"""Whether a model fits on the devices of one replica, and how many tokens its KV cache holds."""

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.performance import Infeasible
from trimtab.performance.weights import stored_weights

OVERHEAD_BYTES = 2.0e9
"""Activations, CUDA graphs and communication buffers of one device (research/models.md 1.2 says
2.5 GB; vLLM 0.19 on an RTX 4090 left 41,408 tokens to Llama-3.1-8B, which is 1.7 GB)."""
INDEX_BYTES = 132.0
"""Of one token in one layer, by which sparse attention chooses what to read: DeepSeek-V3.2 and
GLM-5 keep a key of 128 numbers in 8 bit with a scale, whatever the type of the cache."""
BLOCK_TOKENS = 16
"""Tokens of one KV block in vLLM."""

_GIB = 2.0**30


def weight_bytes(geometry: ModelGeometry, weight_dtype: str) -> float:
    """Return the bytes of all weights, stored as `weight_dtype` (a value of api Quantization)."""
    return stored_weights(geometry, weight_dtype).total


def kv_element_bytes(kv_dtype: str) -> float:
    """Return the bytes of one key or value number for a value of api KVCacheDtype."""
    return 1.0 if kv_dtype == "fp8" else 2.0


def kv_bytes_per_token(geometry: ModelGeometry, kv_dtype: str = "auto") -> float:
    """Return the bytes that one token takes in all layers, at a context below every window.

    Ordinary attention: 2 L kv d bytes. Latent attention: L (r + rope) bytes, once.
    """
    layers = _full_layers(geometry) + geometry.windowed_layers
    return layers * layer_kv_bytes(geometry, kv_dtype)


def kv_bytes_per_sequence(geometry: ModelGeometry, tokens: float, kv_dtype: str = "auto") -> float:
    """Return the bytes of a sequence of `tokens`, where windowed layers keep only their window."""
    per_layer = layer_kv_bytes(geometry, kv_dtype)
    full = _full_layers(geometry)
    seen = min(tokens, geometry.sliding_window) if geometry.sliding_window else tokens
    return per_layer * (full * tokens + geometry.windowed_layers * seen) + geometry.state_bytes


def layer_kv_bytes(geometry: ModelGeometry, kv_dtype: str) -> float:
    """Return the bytes of one token in one layer, one with a window where some have one."""
    numbers = (
        geometry.kv_lora_rank + geometry.rope_head_dim
        if geometry.kv_lora_rank
        else 2 * geometry.kv_heads * geometry.head_dim
    )
    return numbers * kv_element_bytes(kv_dtype) + index_bytes(geometry)


def index_bytes(geometry: ModelGeometry) -> float:
    """Return the bytes of one token in one layer that sparse attention reads of every token."""
    return INDEX_BYTES if geometry.sparse_topk else 0.0


def kv_shards(geometry: ModelGeometry, tensor: int) -> int:
    """Return over how many devices the KV cache of a layer is split.

    Heads are replicated beyond their number; the latent of latent attention is on every device.
    """
    return 1 if geometry.kv_lora_rank else min(tensor, geometry.kv_heads)


def kv_budget_bytes(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> float | Infeasible:
    """Return the bytes of keys and values, without replicas of heads, that one replica can hold.

    Infeasible(DoesNotFit) when the weights leave no room for one sequence of `max_model_len`.
    """
    devices = parallelism.devices
    budget = accelerator.memory_bytes * engine.memory_utilization
    stored = stored_weights(geometry, engine.weight_dtype)
    replicated = stored.total - stored.experts
    weights = (replicated * parallelism.ranks + stored.experts) / devices
    free = budget - weights - OVERHEAD_BYTES
    shards = kv_shards(geometry, parallelism.tensor) * parallelism.pipeline
    longest = kv_bytes_per_sequence(geometry, engine.max_model_len, engine.kv_dtype) / shards
    if free < longest:
        need = weights + OVERHEAD_BYTES + longest
        return Infeasible(
            reason="DoesNotFit",
            message=(
                f"needs {need / _GIB:.1f} GiB on each device ({weights / _GIB:.1f} weights, "
                f"{OVERHEAD_BYTES / _GIB:.1f} runtime, {longest / _GIB:.1f} for one sequence of "
                f"{engine.max_model_len} tokens) but {devices} x {accelerator.short_name} "
                f"give {budget / _GIB:.1f}"
            ),
        )
    return free * shards * parallelism.ranks


def kv_tokens(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> int | Infeasible:
    """Return how many tokens the KV cache of one replica holds, in sequences of `max_model_len`.

    Infeasible(DoesNotFit) as `kv_budget_bytes`.
    """
    budget = kv_budget_bytes(geometry, accelerator, parallelism, engine)
    if isinstance(budget, Infeasible):
        return budget
    longest = kv_bytes_per_sequence(geometry, engine.max_model_len, engine.kv_dtype)
    tokens = budget / longest * engine.max_model_len
    return int(tokens // BLOCK_TOKENS) * BLOCK_TOKENS


def _full_layers(geometry: ModelGeometry) -> float:
    """Layers that keep every token, counted in what one with a window keeps."""
    full = geometry.layers - geometry.linear_layers - geometry.windowed_layers
    return full * geometry.full_kv_share
