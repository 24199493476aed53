"""Geometry of a model from the `config.json` of its checkpoint, for models nobody has listed."""

from collections.abc import Mapping
from typing import Any

from trimtab.errors import InvalidInput
from trimtab.models.hardware import ModelGeometry

_REQUIRED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
_NATIVE = {"fp8": "fp8", "mxfp4": "mxfp4", "awq": "awq", "gptq": "gptq", "modelopt": "nvfp4"}


def from_config(name: str, document: Mapping[str, Any]) -> ModelGeometry:
    """Return the geometry that a Hugging Face `config.json` describes.

    Multimodal models keep theirs under `text_config`. A `head_dim` that is there is never derived.

    Raises:
        InvalidInput: A field that every model has is missing or is no number.
    """
    config = {**document, **(document.get("text_config") or {})}
    for field in _REQUIRED:
        if not isinstance(config.get(field), int):
            raise InvalidInput(
                f"config.json: {field}", "is missing or no number", "Give the config of the model"
            )
    layers: int = config["num_hidden_layers"]
    heads: int = config["num_attention_heads"]
    experts = _first(config, "n_routed_experts", "num_local_experts", "num_experts") or 0
    intermediate = _first(config, "intermediate_size_mlp", "intermediate_size", "ffn_dim")
    expert_intermediate = _first(config, "moe_intermediate_size", "intermediate_size")
    rank = config.get("kv_lora_rank") or 0
    rope = config.get("qk_rope_head_dim") or 0
    derived = config["hidden_size"] // heads
    head_dim = (config.get("qk_nope_head_dim") or 0) + rope if rank else config.get("head_dim")
    window = config.get("sliding_window") or 0
    return ModelGeometry(
        name=name,
        layers=layers,
        hidden=config["hidden_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=head_dim or derived,
        intermediate=intermediate or 4 * config["hidden_size"],
        vocab=config["vocab_size"],
        tied_embeddings=bool(config.get("tie_word_embeddings")),
        experts=experts,
        active_experts=_first(config, "num_experts_per_tok", "top_k_experts") or 0,
        expert_intermediate=(expert_intermediate or 0) if experts else 0,
        shared_experts=_shared(config, expert_intermediate) if experts else 0,
        dense_layers=_dense_layers(config, layers) if experts else 0,
        kv_lora_rank=rank,
        query_lora_rank=config.get("q_lora_rank") or 0,
        rope_head_dim=rope,
        value_head_dim=config.get("v_head_dim") or 0,
        sliding_window=window,
        windowed_layers=_windowed(config, layers) if window else 0,
        sparse_topk=config.get("index_topk") or 0,
        linear_layers=_kinds(config).count("linear_attention"),
        native_weight_dtype=_native(config),
    )


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    return None


def _kinds(config: Mapping[str, Any]) -> list[str]:
    kinds = config.get("layer_types")
    return list(kinds) if isinstance(kinds, list) else []


def _windowed(config: Mapping[str, Any], layers: int) -> int:
    """Layers with a window: listed, one in a pattern of full ones, or all where it is switched."""
    kinds = _kinds(config)
    if kinds:
        return sum("sliding" in kind for kind in kinds)
    pattern = config.get("sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 1:
        return layers - layers // pattern
    return layers if config.get("use_sliding_window", True) else 0


def _dense_layers(config: Mapping[str, Any], layers: int) -> int:
    """Layers without experts: the first ones, or all but each n-th."""
    step = config.get("interleave_moe_layer_step") or config.get("decoder_sparse_step")
    if isinstance(step, int) and step > 1:
        return layers - layers // step
    return min(int(config.get("first_k_dense_replace") or 0), layers)


def _shared(config: Mapping[str, Any], width: int | None) -> int:
    """Shared experts, counted in widths of a routed one."""
    wide = config.get("shared_expert_intermediate_size")
    if isinstance(wide, int) and width:
        return round(wide / width)
    if "interleave_moe_layer_step" in config:
        return 1  # Llama 4 has one and does not say so
    return int(config.get("n_shared_experts") or 0)


def _native(config: Mapping[str, Any]) -> str:
    quantization = config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, Mapping) else None
    return _NATIVE.get(str(method), "none")
