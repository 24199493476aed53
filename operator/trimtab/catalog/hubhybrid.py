"""Layers of a `config.json` that are no ordinary attention: windows, states, none at all."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from trimtab.catalog.hubnumbers import number

STATE_BYTES = 2
"""Bytes of one number of a state: vLLM keeps it in the model's own 16-bit type."""

_STATES = frozenset({"linear_attention", "mamba", "mamba2", "M", "conv"})
_MATRIX, _NOTHING, _BORROWS = "replaced", "nothing", "borrows"
"""Our words for an attention block that is one matrix, is left out, or has others' keys: those of
an earlier layer, as in Gemma 3n, or of an image, as in Llama 3.2."""
_FEED_FORWARD_ONLY = frozenset({"-", "E"})
"""Nemotron-H's words for a layer that mixes no tokens: dense, or with experts."""
_EXPERT_LAYER = "E"
_STATE_ONLY = "M"
"""And for a state without a feed-forward block, as in all of Mamba."""
_ALONE = frozenset({"mamba", "mamba2", "falcon_mamba"})
"""Values of `model_type` that are nothing but states."""
_CHANNELS = 64
"""Of the head that 1st-generation Mamba has no word for: devices share them out."""
_FALCON_H1 = "falcon_h1"
"""Has attention and a state side by side in every layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The kinds of the layers, and what one block with a state weighs."""

    kinds: tuple[str, ...]
    """One word for each layer, as the config has it; empty where it has none."""
    beside_attention: bool
    """Whether every layer has a state beside its attention."""
    state_params: float
    """Parameters of one block with a state; 0 where the config does not tell."""
    state_numbers: float
    """Numbers in the state of one sequence in one block."""

    @property
    def windowed(self) -> int:
        """Layers that see a window."""
        return sum("sliding" in kind or "chunked" in kind for kind in self.kinds)

    @property
    def states(self) -> int:
        """Layers that keep a state."""
        return len(self.kinds) if self.beside_attention else self._count(_STATES)

    @property
    def linear(self) -> int:
        """Layers without a KV cache."""
        return self._count(_STATES | _FEED_FORWARD_ONLY | {_MATRIX, _NOTHING, _BORROWS})

    @property
    def attending(self) -> int:
        """Layers with an attention block."""
        return len(self.kinds) - self.linear + self.kinds.count(_BORROWS)

    @property
    def state_bytes(self) -> float:
        """Bytes of state of one sequence over all layers."""
        return float(self.states * self.state_numbers * STATE_BYTES)

    @property
    def one_job_each(self) -> bool:
        """Whether each layer is either attention, a state, or a feed-forward block."""
        return self._count(_FEED_FORWARD_ONLY | {_STATE_ONLY}) > 0

    @property
    def dense(self) -> int:
        """Where each layer has one job: those that are a dense feed-forward block."""
        return self.kinds.count("-")

    @property
    def without_experts(self) -> int:
        """Where each layer has one job: those that are not experts."""
        return len(self.kinds) - self.kinds.count(_EXPERT_LAYER)

    def mean_params(self, attention: float, *, matrix: float, full: float = 0.0) -> float:
        """Return the mean parameters of a layer's attention or state; 0 where it is not known.

        Args:
            attention: Parameters of one attention block.
            matrix: Parameters of one matrix in its place.
            full: Parameters of an attention block without a window; 0: those of any other.
        """
        replaced = self.kinds.count(_MATRIX)
        known = full or (self.state_params if self.states else self.linear)
        if not known or not self.kinds:
            return 0.0
        unlike = self.attending - self.windowed if full else 0
        total = (self.attending - unlike) * attention + unlike * full
        total += self.states * self.state_params + replaced * matrix
        return total / len(self.kinds)

    def _count(self, words: Set[str]) -> int:
        return sum(kind in words for kind in self.kinds)


def blocks_of(config: Mapping[str, Any], layers: int) -> Blocks:
    """Return the kinds of the layers that `config` names, or gives a period for."""
    params, numbers = _state_block(config)
    beside = config.get("model_type") == _FALCON_H1
    return Blocks(
        kinds=("attention",) * layers if beside else _kinds(config, layers),
        beside_attention=beside,
        state_params=params,
        state_numbers=numbers,
    )


def states_alone(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` of a model of nothing but states in the words of hybrids, or as it is."""
    if config.get("model_type") not in _ALONE:
        return config
    layers = int(number(config, "num_hidden_layers", "n_layer"))
    named = {
        "mamba_num_heads": config.get("num_heads"),
        "mamba_head_dim": config.get("head_dim"),
        "ssm_state_size": config.get("state_size"),
        "mamba_dt_rank": config.get("time_step_rank"),
        "mamba_expand": number(config, "intermediate_size") / number(config, "hidden_size"),
    }
    heads = config.get("num_heads") or int(number(config, "intermediate_size")) // _CHANNELS
    alone = {"num_attention_heads": heads, "hybrid_override_pattern": _STATE_ONLY * layers}
    return {**config, **named, **alone}


def _kinds(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    """Return the kind of each layer, those that borrow keys as such; () where all are alike."""
    crossing = config.get("cross_attention_layers")
    if isinstance(crossing, list):
        return tuple(_BORROWS if i in crossing else "attention" for i in range(layers))
    kinds = _told(config, layers)
    own = layers - int(number(config, "num_kv_shared_layers"))
    return (*kinds[:own], *[_BORROWS] * (layers - own)) if kinds and own < layers else kinds


def _told(config: Mapping[str, Any], layers: int) -> tuple[str, ...]:
    for name in ("layer_types", "layers_block_type"):
        listed = config.get(name)
        if isinstance(listed, list):
            return tuple(str(kind) for kind in listed)
    pattern = config.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return tuple(pattern)
    attends = config.get("attn_type_list")
    if isinstance(attends, list):
        return tuple("attention" if one else "linear_attention" for one in attends)
    full = _linear(config).get("full_attn_layers")  # Kimi Linear counts layers from 1
    if isinstance(full, list):
        return tuple("attention" if i + 1 in full else "linear_attention" for i in range(layers))
    attends = config.get("attn_layer_indices")  # Bamba
    if isinstance(attends, list):
        return tuple("attention" if i in attends else "mamba" for i in range(layers))
    windows = config.get("hybrid_layer_pattern")  # MiMo: 1 has a window
    if isinstance(windows, list):
        return tuple("sliding_attention" if one else "attention" for one in windows)
    for period, offset in (
        (config.get("attn_layer_period"), config.get("attn_layer_offset") or 0),
        (config.get("full_attention_interval"), (config.get("full_attention_interval") or 1) - 1),
        (config.get("mamba_step"), (config.get("mamba_step") or 0) // 2),  # PLaMo 2
    ):
        if isinstance(period, int) and period > 1:
            return tuple("attention" if i % period == offset else "mamba" for i in range(layers))
    return ()


def state_block(hidden: float, *, inner: float, keys: float, size: float) -> tuple[float, float]:
    """Return the parameters, and the numbers of state, of a block that keeps a matrix of state.

    Mamba 2, gated delta nets and linear attention are built alike: values, their gate and the way
    out are as wide as the block, keys and queries (B and C of Mamba) narrower.

    Args:
        hidden: Width of the model.
        inner: Width of the values, over all heads.
        keys: Width of the keys, over all heads or groups.
        size: Width of the key of one head: numbers that each of the values keeps.
    """
    return hidden * (3.0 * inner + 2.0 * keys), inner * size


def _state_block(config: Mapping[str, Any]) -> tuple[float, float]:
    """Parameters and numbers of state of a block that is neither attention nor feed-forward."""
    hidden = float(config["hidden_size"])
    taps = number(config, "conv_L_cache")
    if taps:  # LFM2: a gated convolution over the last tokens, with projections in and out
        return 4 * hidden * hidden, hidden * taps
    width = number(_linear(config), "head_dim")
    if width:  # Kimi Linear: a delta net with as many keys as values
        inner = number(_linear(config), "num_heads") * width
        return state_block(hidden, inner=inner, keys=inner, size=width)
    if config.get("attn_type_list"):  # MiniMax: lightning attention with an output gate
        heads = number(config, "num_attention_heads")
        width = number(config, "head_dim") or hidden / heads
        return state_block(hidden, inner=heads * width, keys=heads * width, size=width)
    values = number(config, "linear_num_value_heads") * number(config, "linear_value_head_dim")
    if values:
        width = number(config, "linear_key_head_dim")
        keys = number(config, "linear_num_key_heads") * width
        return state_block(hidden, inner=values, keys=keys, size=width)
    state = number(config, "ssm_state_size", "mamba_d_state")
    heads = number(config, "mamba_num_heads", "mamba_n_heads")
    if heads:
        inner = heads * number(config, "mamba_head_dim", "mamba_d_head", "hidden_size_per_head")
        groups = number(config, "n_groups", "mamba_n_groups") or 1.0
        return state_block(hidden, inner=inner, keys=groups * state, size=state)
    inner = hidden * number(config, "mamba_expand")
    rank = number(config, "mamba_dt_rank") or hidden / 16
    return inner * (3 * hidden + 2 * rank + 2 * state), inner * state


def _linear(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what Kimi Linear says of its layers without a KV cache."""
    found = config.get("linear_attn_config")
    return found if isinstance(found, Mapping) else {}
