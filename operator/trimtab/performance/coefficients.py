"""From data sheets and geometry to the rates and latencies that a step is made of."""

import math

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.efficiency import Efficiency, bus_efficiency, efficiency_of
from trimtab.performance.fit import index_bytes, kv_shards, layer_kv_bytes
from trimtab.performance.weights import WIDE_BYTES, compute_peak, part_dtypes

EXPERT_BLOCK = 16
"""Tokens to which an expert's share of a batch is padded: the smallest block of such kernels."""
_EXPERT_FILL = 131
"""Numbers of the inner dimension that a tile of an expert's multiplication costs to fill and drain:
small experts, cut further by tensor parallelism, are done before the pipeline is full. Fitted."""
_EXPERT_SKEW = 0.545
"""Squared deviation of how often an expert is chosen over its mean, 0 if all were equally likely.
As fitted; routers of trained models are known to prefer some experts, more so within one text."""
_FEWEST_MISSED = 1e-6
"""Share of the experts that one token leaves out, where it uses all of two, as merged models do."""
LAYER_KERNELS = 10
"""Kernels in a row in one layer: two norms, projections, rotary, attention, three of the MLP."""
_EXPERT_KERNELS = 2.32
_LATENT_KERNELS = 7.06
_SPARSE_KERNELS = 17.7
_LINEAR_KERNELS = 14.1
_NARROW_KERNELS = 2.03
"""More of them with routed experts, latent, sparse and linear attention, and where activations are
brought to 8 or 4 bit before a multiplication, as fitted."""

_GRAPHS = "vllm"
"""The engine whose graphs are meant. What others launch was not measured."""
_GRAPH_TOKENS = 512
"""Tokens of the largest step that vLLM captures, and twice `max_num_seqs` where that is less."""
EXPERT_LAYER_S = 1.08e-3
"""What launching one layer with routed experts takes. Prompts of 513 to 2,100 tokens that met an
idle vLLM 0.26 on an H100 all took 39 ms in 36 layers, whatever their length, and shorter ones 17
to 23 ms; from 2,200 tokens on the device takes longer. Dense layers show none: 870 tokens of an 8B
take the 20 ms that the device needs. Nor do 4-bit experts, whose kernels are others: gpt-oss-120b
has 36 layers too, and answers prompts of 1,024 tokens in 25 ms on eight B200, in 32 on H100."""

_PIPELINE = 8
"""Sharpness of the corner between two stages of a pipeline; without end it is their minimum."""
_NARROWING = 1.5
"""Reading a 16-bit number and writing an 8-bit one, relative to moving a 16-bit one."""
_FOUR_BIT_FLOATS = frozenset({"mxfp4", "nvfp4"})
_FOUR_BIT_INTEGERS = frozenset({"int4", "awq", "gptq"})
_FOUR_BIT = _FOUR_BIT_FLOATS | _FOUR_BIT_INTEGERS


def dense_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return FLOP/s that linear layers reach with weights stored as `dtype`."""
    peak = compute_peak(accelerator, dtype)
    if peak <= accelerator.bf16_flops:
        return peak * share.compute
    four_bit = peak == accelerator.fp4_flops
    return peak * (share.four_bit_compute if four_bit else share.narrow_compute)


def expert_fill(geometry: ModelGeometry, tensor: int) -> float:
    """Return how many times as long the experts' multiplications take as large ones.

    Two thirds of the work have the model's width as inner dimension, one third the expert's part
    on one of `tensor` devices.
    """
    if not geometry.experts:
        return 1.0
    inner = 2.0 / geometry.hidden + tensor / geometry.expert_intermediate
    return 1.0 + _EXPERT_FILL * inner / 3.0


def expert_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return FLOP/s that routed experts reach with weights stored as `dtype`."""
    rate = dense_rate(accelerator, share, dtype)
    if dtype in _FOUR_BIT_FLOATS:
        return rate * share.four_bit_expert
    narrow = compute_peak(accelerator, dtype) > accelerator.bf16_flops
    return rate * (share.narrow_expert if narrow else share.expert)


def expert_read_rate(accelerator: Accelerator, share: Efficiency, dtype: str) -> float:
    """Return bytes/s at which routed experts stored as `dtype` are read.

    4-bit weights that the device cannot multiply as they are must be widened on the way: two stages
    of one pipeline, of which the slower one counts.
    """
    read = accelerator.bandwidth * share.expert_read
    floats = dtype in _FOUR_BIT_FLOATS
    if dtype not in _FOUR_BIT_INTEGERS and not (floats and accelerator.fp4_flops is None):
        return read
    widened = accelerator.bf16_flops * share.unpack
    rate: float = (read**-_PIPELINE + widened**-_PIPELINE) ** (-1.0 / _PIPELINE)
    return rate


def padded(experts: float) -> float:
    """Return parameters times tokens that all `experts` (parameters) work on beyond their share."""
    return experts * EXPERT_BLOCK


def expert_touch(geometry: ModelGeometry) -> tuple[float, float]:
    """Return (s, e) with which n tokens touch a share 1 - (1 + s n)^-e of the routed experts.

    Popularities that follow a gamma distribution make the count of an expert negative binomial;
    s is such that one token touches exactly its k of E. Without skew it would be 1 - (1 - k/E)^n.
    """
    if not geometry.experts:
        return 0.0, 1.0
    missed = max(1.0 - geometry.active_experts / geometry.experts, _FEWEST_MISSED)
    return missed**-_EXPERT_SKEW - 1.0, 1.0 / _EXPERT_SKEW


def kernels(geometry: ModelGeometry, *, narrow: bool) -> float:
    """Return how many kernels one step runs, one after the other; `narrow` as in `pass_bytes`."""
    per_layer = LAYER_KERNELS + _LINEAR_KERNELS * geometry.linear_layers / geometry.layers
    if geometry.experts:
        per_layer += _EXPERT_KERNELS
    if geometry.kv_lora_rank:
        per_layer += _LATENT_KERNELS
    if geometry.sparse_topk:
        per_layer += _SPARSE_KERNELS
    if narrow:
        per_layer += _NARROW_KERNELS
    return geometry.layers * per_layer


def graph_tokens(engine: EngineSettings) -> float:
    """Return the tokens of the largest step that `engine` launches at once, as a CUDA graph."""
    if engine.name != _GRAPHS:
        return math.inf
    return min(_GRAPH_TOKENS, 2 * engine.max_num_seqs)


def launch_s(geometry: ModelGeometry, engine: EngineSettings) -> float:
    """Return what launching a larger step takes, kernel by kernel; 0 where none was measured."""
    dtype = part_dtypes(geometry, engine.weight_dtype).experts
    if engine.name != _GRAPHS or not geometry.experts or dtype in _FOUR_BIT:
        return 0.0
    return (geometry.layers - geometry.dense_layers) * EXPERT_LAYER_S


def pass_bytes(geometry: ModelGeometry, tensor: int, *, narrow: bool) -> float:
    """Return the bytes that one new token moves between multiplications, on one device.

    Two norms with their residuals (8 h numbers a layer), rotary embedding (q + k, in and out), the
    gate of a feed-forward block (3 f); each routed expert also gathers a token and returns one, on
    every device of a tensor-parallel group (3 h, 6 f). With `narrow` multiplications the inputs
    are read once more and written at 8 bit. Large layers hide this traffic, small experts do not.
    """
    g = geometry
    query = g.heads * g.head_dim / tensor
    keys = g.kv_heads * g.head_dim / tensor
    expert_layers = g.layers - g.dense_layers if g.experts else 0
    dense = (g.layers - expert_layers) * g.intermediate
    dense += expert_layers * g.shared_experts * g.expert_intermediate
    routed = expert_layers * g.active_experts
    numbers = g.layers * (8.0 * g.hidden + 2.0 * (query + keys)) + 3.0 * dense / tensor
    numbers += routed * (3.0 * g.hidden + 6.0 * g.expert_intermediate / tensor)
    if narrow:
        inputs = g.layers * (2.0 * g.hidden + query)
        inputs += (dense + routed * g.expert_intermediate) / tensor
        numbers += _NARROWING * inputs
    return numbers * WIDE_BYTES


def kv_layer_s(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> float:
    """Return seconds for one cached token in one layer, which latent attention may compute."""
    share = efficiency_of(accelerator)
    shards = kv_shards(geometry, parallelism.tensor)
    chosen = layer_kv_bytes(geometry, engine.kv_dtype) - index_bytes(geometry)
    read = chosen / (shards * accelerator.bandwidth * share.kv_read)
    if not geometry.kv_lora_rank:
        return read
    flops = absorbed_flops(geometry) / parallelism.tensor * (1 + engine.draft_tokens)
    return max(read, flops / (accelerator.bf16_flops * share.attention))


def absorbed_flops(geometry: ModelGeometry) -> float:
    """Return the FLOPs of one token attending to one in latent attention without unfolding keys.

    Scores over r + rope numbers and values over r, for each head.
    """
    return 2.0 * geometry.heads * (2 * geometry.kv_lora_rank + geometry.rope_head_dim)


def index_layer_s(geometry: ModelGeometry, accelerator: Accelerator) -> float:
    """Return seconds for the index of one cached token in one layer; each device reads it all."""
    share = efficiency_of(accelerator)
    return index_bytes(geometry) / (accelerator.bandwidth * share.kv_read)


def exchange_s(
    geometry: ModelGeometry, accelerator: Accelerator, parallelism: Parallelism
) -> tuple[float, float]:
    """Return the latency of all exchanges of one step, and seconds per new token, between devices.

    Two ring all-reduces a layer for tensor parallelism, as much for the two all-to-alls of experts
    that are spread further, one hop between pipeline stages. Between islands, all devices of one
    carry a ring each, and all those of a stage a part of what it hands on (NCCL's hierarchical
    rings, vLLM's pipelines).
    """
    group = parallelism.tensor * parallelism.ranks
    share = efficiency_of(accelerator)
    token_bytes = geometry.hidden * WIDE_BYTES
    hops = parallelism.pipeline - 1
    latency = hops * share.reduce_s
    per_token = hops * token_bytes / _link(accelerator, parallelism.devices, parallelism.tensor)
    if group > 1:
        reduces = 2 * geometry.layers
        rate = _link(accelerator, group, accelerator.island) * bus_efficiency(accelerator, group)
        latency += reduces * share.reduce_s * (1.0 + 0.5 * math.log2(group / 2))
        per_token += reduces * 2.0 * (group - 1) / group * token_bytes / rate
    return latency, per_token


def _link(accelerator: Accelerator, devices: int, lanes: int) -> float:
    """Return the bytes/s one way at the narrowest place of a row of `devices`.

    Between islands that is the share of the network of `lanes` devices.
    """
    if devices <= accelerator.island or accelerator.network_bandwidth is None:
        return accelerator.link_bandwidth
    return min(accelerator.link_bandwidth, lanes * accelerator.network_bandwidth)
