"""The judge's own idea of devices and models: round figures of data sheets, and shares reached.

None of it is what the catalogue of Trimtab says, and it shall not be: a planner meets engines that
differ from its model. Where a case makes a pool slower or faster on top, `slow` says by how much.
"""

from dataclasses import dataclass

from bench.judge.engine import PAGE, Law

GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator."""

    accelerator: str
    """As an AcceleratorPool names it."""
    bytes_s: float
    """Memory bandwidth."""
    flops: float
    """Dense, 16 bits."""
    memory: float
    """Bytes."""
    per_hour: float
    """Dollars."""
    per_node: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model as it is served."""

    name: str
    quantization: str | None
    parameters: float
    bytes_each: float
    cache_bytes: float
    """Of one token."""
    layers: int
    hidden: int


L4 = Device(
    accelerator="nvidia-l4", bytes_s=0.30e12, flops=121e12, memory=24 * GB,
    per_hour=0.80, per_node=1,
)  # fmt: skip
L40S = Device(
    accelerator="nvidia-l40s", bytes_s=0.86e12, flops=362e12, memory=48 * GB,
    per_hour=1.86, per_node=1,
)  # fmt: skip
A100 = Device(
    accelerator="nvidia-a100-80gb-sxm", bytes_s=2.04e12, flops=312e12, memory=80 * GB,
    per_hour=3.43, per_node=8,
)  # fmt: skip
H100 = Device(
    accelerator="nvidia-h100-sxm", bytes_s=3.35e12, flops=989e12, memory=80 * GB,
    per_hour=6.88, per_node=8,
)  # fmt: skip

LLAMA_8B = Weights(
    name="meta-llama/Llama-3.1-8B-Instruct", quantization=None, parameters=8.03e9,
    bytes_each=2, cache_bytes=131_072, layers=32, hidden=4096,
)  # fmt: skip
QWEN_7B = Weights(
    name="Qwen/Qwen2.5-7B-Instruct", quantization=None, parameters=7.6e9,
    bytes_each=2, cache_bytes=57_344, layers=28, hidden=3584,
)  # fmt: skip
QWEN_14B = Weights(
    name="Qwen/Qwen2.5-14B-Instruct", quantization="fp8", parameters=14.8e9,
    bytes_each=1, cache_bytes=196_608, layers=48, hidden=5120,
)  # fmt: skip
QWEN_32B = Weights(
    name="Qwen/Qwen2.5-32B-Instruct", quantization=None, parameters=32.8e9,
    bytes_each=2, cache_bytes=262_144, layers=64, hidden=5120,
)  # fmt: skip

_SPLIT = {1: 1.0, 2: 1.12, 4: 1.22, 8: 1.35}
"""Work that a device has more of than its share, by devices."""
_HOST_S = 3e-3
"""Of each step, whatever is in it."""
_REDUCE_S = 12e-6
"""One exchange between devices, of which a layer has two."""
_READS, _CACHE_READS, _COMPUTES, _ATTENDS = 0.80, 0.70, 0.58, 0.45
"""Shares of bandwidth and of operations that are reached."""
_EIGHT_BITS = 1.6
"""How much faster 8 bits are computed, where the device can."""


def law_of(weights: Weights, device: Device, devices: int, slow: float = 1.0) -> Law | None:
    """Return how a replica on so many devices steps; None where the model does not fit."""
    room = (0.90 * device.memory - 2.5 * GB) * devices - weights.parameters * weights.bytes_each
    if room < weights.cache_bytes * 4096:
        return None
    split = _SPLIT[devices]
    fast = _EIGHT_BITS if weights.bytes_each == 1 and device is not A100 else 1.0
    computes_s = 2 * weights.parameters / (device.flops * fast * devices * _COMPUTES) * split
    reads_s = weights.parameters * weights.bytes_each / (device.bytes_s * devices * _READS) * split
    exchanges_s = 0.0 if devices == 1 else 2 * weights.layers * _REDUCE_S
    cache_s = weights.cache_bytes / (device.bytes_s * devices * _CACHE_READS) * split
    pair_s = 4 * weights.hidden * weights.layers / (device.flops * devices * _ATTENDS)
    return Law(
        step_s=slow * (_HOST_S + reads_s + exchanges_s),
        decode_s=slow * (0.4 * computes_s + 25e-6),
        context_s=slow * cache_s,
        prompt_s=slow * computes_s,
        pair_s=slow * pair_s,
        pages=int(room / weights.cache_bytes / PAGE),
        budget=8192 if device is H100 else 2048,
    )
