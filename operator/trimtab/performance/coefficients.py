"""From data sheets and geometry to the rates and latencies that a step is made of."""

import math

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.efficiency import Efficiency, bus_efficiency, efficiency_of
from trimtab.performance.fit import kv_shards, layer_kv_bytes
from trimtab.performance.weights import WIDE_BYTES, compute_peak

EXPERT_BLOCK = 16
"""Tokens to which an expert's share of a batch is padded: the smallest block of such kernels."""
LAYER_KERNELS = 10
"""Kernels in a row in one layer: two norms, projections, rotary, attention, three of the MLP."""
_EXPERT_KERNELS = 3
_LATENT_KERNELS = 6
_SPARSE_KERNELS = 15
_LINEAR_KERNELS = 10
"""More of them with routed experts, latent, sparse and linear attention, as fitted."""

_FOUR_BIT_FLOATS = frozenset({"mxfp4", "nvfp4"})
_FOUR_BIT_INTEGERS = frozenset({"int4", "awq", "gptq"})


def dense_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return FLOP/s that linear layers reach with weights stored as `dtype`."""
    peak = compute_peak(accelerator, dtype)
    if peak <= accelerator.bf16_flops:
        return peak * share.compute
    four_bit = peak == accelerator.fp4_flops
    return peak * (share.four_bit_compute if four_bit else share.narrow_compute)


def expert_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return FLOP/s that routed experts reach with weights stored as `dtype`."""
    rate = dense_rate(accelerator, share, dtype)
    if dtype in _FOUR_BIT_FLOATS:
        return rate * share.four_bit_expert
    narrow = compute_peak(accelerator, dtype) > accelerator.bf16_flops
    return rate * (share.narrow_expert if narrow else share.expert)


def expert_read_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return bytes/s at which routed experts stored as `dtype` are read."""
    unpacked = share.integer_expert_read if dtype in _FOUR_BIT_INTEGERS else 1.0
    return accelerator.bandwidth * share.expert_read * unpacked


def padded(experts: float) -> float:
    """Return parameters times tokens that all `experts` (parameters) work on beyond their share."""
    return experts * EXPERT_BLOCK


def kernels(geometry: ModelGeometry) -> float:
    """Return how many kernels one step runs, one after the other."""
    per_layer = LAYER_KERNELS + _LINEAR_KERNELS * geometry.linear_layers / geometry.layers
    if geometry.experts:
        per_layer += _EXPERT_KERNELS
    if geometry.kv_lora_rank:
        per_layer += _LATENT_KERNELS
    if geometry.sparse_topk:
        per_layer += _SPARSE_KERNELS
    return geometry.layers * per_layer


def kv_layer_s(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> float:
    """Return seconds for one cached token in one layer, which latent attention may compute."""
    share = efficiency_of(accelerator)
    shards = kv_shards(geometry, parallelism.tensor)
    read = layer_kv_bytes(geometry, engine.kv_dtype) / (
        shards * accelerator.bandwidth * share.kv_read
    )
    if not geometry.kv_lora_rank:
        return read
    # Absorbed latent attention: scores over r + rope numbers, values over r, for each head.
    width = 2 * geometry.kv_lora_rank + geometry.rope_head_dim
    flops = 2.0 * geometry.heads * width / parallelism.tensor
    return max(read, flops / (accelerator.bf16_flops * share.attention))


def exchange_s(
    geometry: ModelGeometry, accelerator: Accelerator, parallelism: Parallelism
) -> tuple[float, float]:
    """Return the latency of all exchanges of one step, and seconds per new token, between devices.

    Two ring all-reduces a layer for tensor parallelism, as much for the two all-to-alls of experts
    that are spread further, one hop between pipeline stages.
    """
    group = parallelism.tensor * parallelism.ranks
    share = efficiency_of(accelerator)
    token_bytes = geometry.hidden * WIDE_BYTES
    hops = parallelism.pipeline - 1
    latency = hops * share.reduce_s
    per_token = hops * token_bytes / accelerator.link_bandwidth
    if group > 1:
        reduces = 2 * geometry.layers
        rate = accelerator.link_bandwidth * bus_efficiency(accelerator, group)
        latency += reduces * share.reduce_s * (1.0 + 0.5 * math.log2(group / 2))
        per_token += reduces * 2.0 * (group - 1) / group * token_bytes / rate
    return latency, per_token
