"""Seconds of one engine step, as a function of what is in the batch.

A step with T new tokens costs the larger of computing and of reading the weights (a smooth
maximum), plus reading keys and values, prompt attention, communication and a constant. The
coefficients are worked out once per (model, accelerator, parallelism, engine); the methods are
arithmetic on floats or on numpy arrays that broadcast together.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.efficiency import bus_efficiency, efficiency_of
from trimtab.performance.fit import kv_shards, layer_kv_bytes
from trimtab.performance.weights import (
    WIDE_BYTES,
    compute_peak,
    parameters,
    part_dtypes,
    stored_weights,
)

Array: TypeAlias = NDArray[np.float64]
Number: TypeAlias = float | Array


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """Coefficients of the step time of one replica, in seconds per unit of work."""

    token_s: float
    """Computing one new token in dense layers."""
    expert_token_s: float
    """Computing one new token in routed experts."""
    row_s: float
    """Head, sampling and bookkeeping of one sequence that gets a token."""
    weights_s: float
    """Reading the weights that every step reads."""
    experts_s: float
    """Reading all routed experts."""
    expert_miss: float
    """Chance that one token leaves a given expert unused; 1 without experts."""
    kv_s: float
    """Attending to one cached token in the layers that see all of them."""
    window_kv_s: float
    """The same in the windowed layers."""
    window: float
    """Tokens that windowed layers see; infinite without any."""
    kv_limit: float
    """Tokens that full layers read for one new token; infinite unless attention is sparse."""
    state_s: float
    """Reading and writing the constant state of one sequence."""
    pair_s: float
    """One prompt token attending to one token, full layers."""
    window_pair_s: float
    """The same in the windowed layers."""
    link_token_s: float
    """Exchanging the activations of one new token between devices."""
    step_s: float
    """What every step costs: launches, scheduling, latency of the exchanges."""
    stages: int = 1
    """Pipeline stages; the batch is split over them."""

    @overload
    def decode_s(self, batch: float, kv_tokens: float) -> float: ...
    @overload
    def decode_s(self, batch: Array, kv_tokens: Array) -> Array: ...
    def decode_s(self, batch: Number, kv_tokens: Number) -> Number:
        """Return seconds of a step in which `batch` sequences get one token each.

        Args:
            batch: Sequences, a float or an array.
            kv_tokens: Cached tokens of all of them together, same shape.
        """
        return self._step_s(0.0, 0.0, batch, kv_tokens)

    @overload
    def mixed_s(
        self, prefill_tokens: float, prefill_context: float, batch: float, kv_tokens: float
    ) -> float: ...
    @overload
    def mixed_s(
        self, prefill_tokens: Array, prefill_context: Number, batch: Number, kv_tokens: Number
    ) -> Array: ...
    def mixed_s(
        self, prefill_tokens: Number, prefill_context: Number, batch: Number, kv_tokens: Number
    ) -> Number:
        """Return seconds of a step with prompt tokens and `batch` sequences that get a token.

        Args:
            prefill_tokens: New prompt tokens of the step, over all prompts in it.
            prefill_context: Tokens that one of them attends to, on average. For one chunk of x
                tokens after p cached ones that is p + x / 2.
            batch: Sequences that decode beside it.
            kv_tokens: Cached tokens of those sequences together.
        """
        return self._step_s(prefill_tokens, prefill_context, batch, kv_tokens)

    def scaled(self, factor: float) -> "StepModel":
        """Return the same replica with every time `factor` times as long."""
        times = {
            field.name: getattr(self, field.name) * factor
            for field in fields(self)
            if field.name.endswith("_s")
        }
        return replace(self, **times)

    def _step_s(
        self, prefill_tokens: Number, prefill_context: Number, batch: Number, kv_tokens: Number
    ) -> Number:
        rows = np.divide(batch, self.stages)
        tokens = prefill_tokens + rows
        compute = tokens * (self.token_s + self.expert_token_s)
        read: Number = self.weights_s
        if self.experts_s:
            read = read + self.experts_s * (1.0 - self.expert_miss**tokens)
        return (
            _smooth_max(compute, read)
            + self._attention_s(rows, np.divide(kv_tokens, self.stages))
            + prefill_tokens * self._prompt_attention_s(prefill_context)
            + tokens * self.link_token_s
            + rows * self.row_s
            + self.step_s
        )

    def _attention_s(self, rows: Number, kv_tokens: Number) -> Number:
        context = kv_tokens / np.maximum(rows, 1e-9)
        seconds = rows * (self.state_s + self.kv_s * np.minimum(context, self.kv_limit))
        if self.window_kv_s:
            seconds = seconds + rows * self.window_kv_s * np.minimum(context, self.window)
        return seconds

    def _prompt_attention_s(self, context: Number) -> Number:
        seconds = self.pair_s * np.minimum(context, self.kv_limit)
        if self.window_pair_s:
            seconds = seconds + self.window_pair_s * np.minimum(context, self.window)
        return seconds


@lru_cache(maxsize=4096)
def step_model(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> StepModel:
    """Return the step times of one replica (equations: research/models.md 1.2)."""
    share = efficiency_of(accelerator)
    counts = parameters(geometry)
    stored = stored_weights(geometry, engine.weight_dtype)
    dtypes = part_dtypes(geometry, engine.weight_dtype)
    tensor = parallelism.tensor
    weight_rate = tensor * accelerator.bandwidth * share.weight_read

    def compute_s(count: float, dtype: str, factor: float = 1.0) -> float:
        peak = compute_peak(accelerator, dtype)
        return 2.0 * count / (tensor * peak * share.compute * factor)

    kv_layer_s = _kv_layer_s(geometry, accelerator, parallelism, engine)
    pair_layer_s = (
        4.0
        * geometry.heads
        * geometry.head_dim
        / (tensor * accelerator.bf16_flops * share.attention)
    )
    cached = geometry.layers - geometry.linear_layers
    windowed = geometry.windowed_layers
    hop_s, link_token_s = _exchange_s(geometry, accelerator, parallelism)
    return StepModel(
        token_s=compute_s(counts.attention, dtypes.attention)
        + compute_s(counts.feed_forward, dtypes.feed_forward),
        expert_token_s=compute_s(counts.active_experts, dtypes.experts, share.expert_compute),
        row_s=compute_s(counts.head, "none") + share.sequence_s,
        weights_s=(stored.attention + stored.feed_forward + stored.head) / weight_rate,
        experts_s=stored.experts / weight_rate,
        expert_miss=(1.0 - geometry.active_experts / geometry.experts) if geometry.experts else 1.0,
        kv_s=(cached - windowed) * kv_layer_s,
        window_kv_s=windowed * kv_layer_s,
        window=float(geometry.sliding_window) if windowed else math.inf,
        kv_limit=float(geometry.sparse_topk) if geometry.sparse_topk else math.inf,
        state_s=2.0 * geometry.state_bytes / (tensor * accelerator.bandwidth * share.kv_read),
        pair_s=(cached - windowed) * pair_layer_s,
        window_pair_s=windowed * pair_layer_s,
        link_token_s=link_token_s,
        step_s=share.step_s + hop_s,
        stages=parallelism.pipeline,
    )


def _kv_layer_s(
    geometry: ModelGeometry,
    accelerator: Accelerator,
    parallelism: Parallelism,
    engine: EngineSettings,
) -> float:
    """Seconds for one cached token in one layer: reading it, or with latent attention computing."""
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


def _exchange_s(
    geometry: ModelGeometry, accelerator: Accelerator, parallelism: Parallelism
) -> tuple[float, float]:
    """Latency of all exchanges of one step, and seconds per new token, between devices.

    Two ring all-reduces a layer for tensor parallelism, one hop between pipeline stages.
    """
    tensor = parallelism.tensor
    share = efficiency_of(accelerator)
    token_bytes = geometry.hidden * WIDE_BYTES
    hops = parallelism.pipeline - 1
    latency = hops * share.reduce_s
    per_token = hops * token_bytes / accelerator.link_bandwidth
    if tensor > 1:
        reduces = 2 * geometry.layers
        rate = accelerator.link_bandwidth * bus_efficiency(accelerator, tensor)
        latency += reduces * share.reduce_s * (1.0 + 0.5 * math.log2(tensor / 2))
        per_token += reduces * 2.0 * (tensor - 1) / tensor * token_bytes / rate
    return latency, per_token


def _smooth_max(left: Number, right: Number) -> Number:
    """Return (left^4 + right^4)^(1/4), scaled so that nothing underflows."""
    high = np.maximum(left, right)
    low = np.minimum(left, right)
    ratio = low / np.maximum(high, 1e-30)
    squared = ratio * ratio
    return high * np.sqrt(np.sqrt(1.0 + squared * squared))
