"""Seconds of one engine step, as a function of what is in the batch.

Dense layers, routed experts and the head each cost about the larger of computing and of reading
their weights; attention, exchanges between devices, kernel launches and the engine come on top
(research/models.md 1.2). The coefficients are worked out once per (model, accelerator, parallelism,
engine); the methods are arithmetic on floats or on numpy arrays that broadcast together.
"""

import math
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import overload

from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.arithmetic import Arithmetic, Array, Number, arithmetic_of, some
from trimtab.performance.coefficients import (
    absorbed_flops,
    dense_rate,
    exchange_s,
    expert_fill,
    expert_rate,
    expert_read_rate,
    expert_touch,
    graph_tokens,
    index_layer_s,
    kernels,
    kv_layer_s,
    launch_s,
    padded,
    pass_bytes,
)
from trimtab.performance.efficiency import (
    NO_ENGINE,
    TURN_ROW_S,
    TURN_STEP_S,
    efficiency_of,
    engine_named,
    power_share,
)
from trimtab.performance.sampling import sampling_s
from trimtab.performance.weights import compute_peak, parameters, part_dtypes, stored_weights

_COMPUTE = frozenset(
    {
        "token_s",
        "expert_token_s",
        "expert_pad_s",
        "head_token_s",
        "pair_s",
        "window_pair_s",
        "link_token_s",
        "held_token_s",
        "held_head_s",
    }
)
_HOST = frozenset({"row_s", "fixed_s", "request_s", "launch_s"})
"""Fields of StepModel by what the time is spent on; the others move bytes through memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepModel:
    """Coefficients of the step time of one replica, in seconds per unit of work."""

    token_s: float
    """Computing one new token in dense layers."""
    weights_s: float
    """Reading the weights of dense layers."""
    expert_token_s: float
    """Computing one new token in routed experts."""
    expert_pad_s: float
    """Computing the padding of all routed experts: each works in blocks of tokens."""
    experts_s: float
    """Reading all routed experts."""
    expert_reach: float
    expert_fade: float
    """How fast a batch touches all experts; see coefficients.expert_touch."""
    head_token_s: float
    """Computing the next-token scores of one sequence."""
    head_s: float
    """Reading the head."""
    kv_s: float
    """Attending to one cached token in the layers that see all of them."""
    window_kv_s: float
    """The same in the windowed layers."""
    window: float
    """Tokens that windowed layers see; infinite without any."""
    kv_limit: float
    """Tokens that full layers read for one new token; infinite unless attention is sparse."""
    index_s: float
    """Reading by what sparse attention chooses them, for one cached token: of all tokens."""
    state_s: float
    """Reading and writing the constant state of one sequence."""
    pair_s: float
    """One prompt token attending to one token, full layers."""
    window_pair_s: float
    """The same in the windowed layers."""
    link_token_s: float
    """Moving the activations of one new token between multiplications, and between devices."""
    row_s: float
    """What the engine does for one sequence."""
    fixed_s: float
    """What every step costs: launches, latency of the exchanges, the engine's scheduling."""
    request_s: float
    """What the engine adds to the first token of a request."""
    first_token_steps: float
    late_steps: float
    """Steps between a first token and its arrival at the client, in closed and in open loops."""
    gather_steps: float
    wave: float
    """See efficiency.Engine."""
    held_token_s: float = 0.0
    """Multiplying one new token in all layers, where the device's power is all that holds it: no
    step is shorter than that. 0: no limit is known."""
    held_head_s: float = 0.0
    """The same for the next-token scores of one sequence."""
    held_pair: float = 0.0
    """The same for prompt attention that takes one second."""
    graph_tokens: float = math.inf
    """Tokens of the largest step that the engine launches at once, as a CUDA graph."""
    launch_s: float = 0.0
    """Launching the kernels of a larger one, one by one: it is no shorter. 0: none was measured."""
    drafts: float = 0.0
    """Tokens that speculation proposes for each sequence in each step."""
    accepted: float = 0.0
    """Mean of those that are kept."""
    layer_share: float = 1.0
    """One layer's share of the model: what a draft head costs of a step."""
    stages: int = 1
    """Pipeline stages; the batch is split over them."""
    ranks: int = 1
    """Copies of the dense layers; the tokens are split over them."""
    gathered: float = 0.0
    """Requests that arrive after one until all ranks have one, on average."""

    @overload
    def decode_s(self, batch: float, kv_tokens: float) -> float: ...
    @overload
    def decode_s(self, batch: Array, kv_tokens: Array) -> Array: ...
    def decode_s(self, batch: Number, kv_tokens: Number) -> Number:
        """Return seconds of a step in which `batch` sequences get one token each.

        With speculation, of the share of a step that falls to one token.

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

    def tokens_of(self, prefill_tokens: Number, batch: Number) -> Number:
        """Return the tokens that one device works on in a step, by which it is launched."""
        rows = batch / (self.stages * self.ranks)
        tokens: Number = prefill_tokens / self.ranks + rows * (1.0 + self.drafts)
        return tokens

    def touched(self, tokens: Number) -> Number:
        """Return the share of the routed experts that `tokens` new tokens use; 0 without experts.

        Concave in the tokens.
        """
        share: Number = 1.0 - (1.0 + self.expert_reach * tokens) ** -self.expert_fade
        return share

    def scaled(self, factor: float) -> "StepModel":
        """Return the same replica with every time `factor` times as long."""
        return self.stretched(read=factor, compute=factor, host=factor)

    def stretched(self, *, read: float, compute: float, host: float) -> "StepModel":
        """Return the same replica with its times stretched by what they are spent on.

        Args:
            read: Factor on moving weights, keys and values through memory.
            compute: Factor on what grows with the new tokens: multiplications and exchanges.
            host: Factor on what the engine and launches cost beside the device's work.
        """
        times = {
            field.name: getattr(self, field.name)
            * (compute if field.name in _COMPUTE else host if field.name in _HOST else read)
            for field in fields(self)
            if field.name.endswith("_s")
        }
        return replace(self, **times)

    def _step_s(
        self, prefill_tokens: Number, prefill_context: Number, batch: Number, kv_tokens: Number
    ) -> Number:
        on = arithmetic_of(prefill_tokens, prefill_context, batch, kv_tokens)
        seconds = self._pass_s(on, prefill_tokens, prefill_context, batch, kv_tokens, self.drafts)
        if not some(self.drafts):
            return seconds
        # A step yields 1 + accepted tokens of each sequence, but works prompts off only once.
        alone = self._pass_s(on, 0.0, 0.0, batch, kv_tokens, self.drafts)
        single = self._pass_s(on, 0.0, 0.0, batch, kv_tokens, 0.0)
        head = on.overlapped(batch / (self.stages * self.ranks) * self.head_token_s, self.head_s)
        drafting = self.drafts * (self.layer_share * single + head)
        return seconds - alone + (alone + drafting) / (1.0 + self.accepted)

    def _pass_s(
        self,
        on: Arithmetic,
        prefill_tokens: Number,
        prefill_context: Number,
        batch: Number,
        kv_tokens: Number,
        drafts: Number,
    ) -> Number:
        """Return seconds of one pass through the model that verifies `drafts` of each sequence.

        Keys and values are read once for all of a sequence's tokens.
        """
        rows = batch / (self.stages * self.ranks)
        prompt = prefill_tokens / self.ranks
        verified = rows * (1.0 + drafts)
        tokens = prompt + verified
        scored = verified + on.minimum(prompt, 1.0)
        pairs_s = prompt * self._prompt_attention_s(on, prefill_context)
        seconds: Number = (
            on.overlapped(tokens * self.token_s, self.weights_s)
            + on.overlapped(scored * self.head_token_s, self.head_s)
            + self._attention_s(on, rows, kv_tokens / (self.stages * self.ranks))
            + pairs_s
            + tokens * self.link_token_s
            + (rows + on.minimum(prompt, 1.0)) * self.row_s
            + self.fixed_s
        )
        if some(self.experts_s):
            routed = tokens * self.ranks
            touched = self.touched(routed)
            seconds = seconds + on.overlapped(
                routed * self.expert_token_s + touched * self.expert_pad_s,
                touched * self.experts_s,
            )
        if some(self.held_token_s):
            held_s = tokens * self.held_token_s + scored * self.held_head_s
            seconds = on.maximum(seconds, held_s + pairs_s * self.held_pair)
        if some(self.launch_s):
            seconds = on.maximum(seconds, (tokens > self.graph_tokens) * self.launch_s)
        return seconds

    def _attention_s(self, on: Arithmetic, rows: Number, kv_tokens: Number) -> Number:
        context = kv_tokens / on.maximum(rows, 1e-9)
        seconds: Number = rows * (self.state_s + self.kv_s * on.minimum(context, self.kv_limit))
        if some(self.index_s):
            seconds = seconds + kv_tokens * self.index_s
        if some(self.window_kv_s):
            seconds = seconds + rows * self.window_kv_s * on.minimum(context, self.window)
        return seconds

    def _prompt_attention_s(self, on: Arithmetic, context: Number) -> Number:
        seconds: Number = self.pair_s * on.minimum(context, self.kv_limit)
        if some(self.window_pair_s):
            seconds = seconds + self.window_pair_s * on.minimum(context, self.window)
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
    host = engine_named(engine.name)
    counts = parameters(geometry)
    stored = stored_weights(geometry, engine.weight_dtype)
    dtypes = part_dtypes(geometry, engine.weight_dtype)
    tensor = parallelism.tensor
    bandwidth = tensor * accelerator.bandwidth

    devices = tensor * power_share(accelerator)
    if engine.name != NO_ENGINE:
        devices *= share.sustained
    held = 1.0 / share.power_limited if share.power_limited and engine.name != NO_ENGINE else 0.0
    ranks = parallelism.ranks

    def dense_s(count: float, dtype: str) -> float:
        return 2.0 * count / (devices * dense_rate(accelerator, share, dtype))

    def multiplied_s(count: float, dtype: str) -> float:
        return 2.0 * count / (devices * share.compute * compute_peak(accelerator, dtype))

    expert_s = expert_fill(geometry, tensor) * 2.0
    expert_s /= devices * ranks * expert_rate(accelerator, share, dtypes.experts)
    expert_read = tensor * ranks * expert_read_rate(accelerator, share, dtypes.experts)
    one_kv_s = kv_layer_s(geometry, accelerator, parallelism, engine)
    pair_flops = 4.0 * geometry.heads * geometry.head_dim
    if geometry.sparse_topk and geometry.kv_lora_rank:
        pair_flops = absorbed_flops(geometry)  # each token has keys of its own
    pair_layer_s = pair_flops / (devices * accelerator.bf16_flops * share.attention)
    windowed = geometry.windowed_layers
    full = geometry.layers - geometry.linear_layers - windowed
    narrow = compute_peak(accelerator, dtypes.experts) > accelerator.bf16_flops
    pass_token_s = pass_bytes(geometry, tensor, narrow=narrow) / (
        accelerator.bandwidth * share.weight_read
    )
    reach, fade = expert_touch(geometry)
    turns = 1.0 if engine.takes_turns else 0.0
    latency_s, link_token_s = exchange_s(geometry, accelerator, parallelism)
    return StepModel(
        token_s=dense_s(counts.attention, dtypes.attention)
        + dense_s(counts.feed_forward, dtypes.feed_forward),
        weights_s=(stored.attention + stored.feed_forward) / (bandwidth * share.weight_read),
        expert_token_s=expert_s * counts.active_experts,
        expert_pad_s=expert_s * padded(counts.experts),
        experts_s=stored.experts / expert_read,
        expert_reach=reach,
        expert_fade=fade,
        head_token_s=dense_s(counts.head, "none"),
        head_s=stored.head / (bandwidth * share.weight_read),
        kv_s=full * geometry.full_kv_share * one_kv_s,
        window_kv_s=windowed * one_kv_s,
        window=float(geometry.sliding_window) if windowed else math.inf,
        kv_limit=float(geometry.sparse_topk) if geometry.sparse_topk else math.inf,
        index_s=full * index_layer_s(geometry, accelerator),
        state_s=2.0 * geometry.state_bytes / (bandwidth * share.kv_read),
        pair_s=full * geometry.full_query_share * pair_layer_s,
        window_pair_s=windowed * pair_layer_s,
        link_token_s=link_token_s + pass_token_s,
        row_s=host.row_s + turns * TURN_ROW_S + sampling_s(geometry, accelerator, engine),
        fixed_s=kernels(geometry, narrow=narrow) * share.kernel_s
        + latency_s
        + host.step_s
        + turns * TURN_STEP_S,
        request_s=host.request_s,
        first_token_steps=host.first_token_steps,
        late_steps=host.late_steps,
        gather_steps=host.gather_steps,
        wave=host.wave,
        held_token_s=held
        * (
            multiplied_s(counts.attention, dtypes.attention)
            + multiplied_s(counts.feed_forward, dtypes.feed_forward)
            + multiplied_s(counts.active_experts, dtypes.experts)
        ),
        held_head_s=held * multiplied_s(counts.head, "none"),
        held_pair=held * share.attention / share.compute,
        graph_tokens=graph_tokens(engine),
        launch_s=launch_s(geometry, engine),
        drafts=float(engine.draft_tokens),
        accepted=min(engine.accepted_tokens, float(engine.draft_tokens)),
        layer_share=1.0 / geometry.layers,
        stages=parallelism.pipeline,
        ranks=ranks,
        gathered=ranks * sum(1.0 / left for left in range(1, ranks + 1)) - 1.0,
    )
