"""Parameters of a `config.json` that no text token multiplies: towers, image experts, tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.catalog.hubnumbers import number

_TOWERS = ("vision_config", "audio_config", "vision_encoder_config", "audio_encoder_config")
_GATED = frozenset({"silu", "swish", "swiglu"})
"""Activations of blocks with three matrices; all others have two."""


def side_params(config: Mapping[str, Any]) -> float:
    """Return the parameters of the towers for images and sound, and of embeddings by layer.

    A tower has four attention matrices and a feed-forward block in each layer; what joins it to the
    text is left out. Gemma 3n and 4 look up a short vector for each layer in a table of its own.
    """
    towers = (config.get(name) for name in _TOWERS)
    table = number(config, "hidden_size_per_layer_input") * (
        number(config, "vocab_size_per_layer_input") or number(config, "vocab_size")
    )
    return (
        table * number(config, "num_hidden_layers")
        + sum(_tower(tower) for tower in towers if isinstance(tower, Mapping))
        + _seeing_experts(config)
    )


def _seeing_experts(config: Mapping[str, Any]) -> float:
    """Parameters of the experts of images in ERNIE-VL, listed behind those of text."""
    counts, widths = config.get("moe_num_experts"), config.get("moe_intermediate_size")
    if not isinstance(counts, Sequence) or not isinstance(widths, Sequence):
        return 0.0
    layers = number(config, "num_hidden_layers") - number(config, "moe_layer_start_index")
    each = 3.0 * number(config, "hidden_size") * layers
    pairs = list(zip(counts, widths, strict=True))[1:]
    return sum(each * float(count) * float(width) for count, width in pairs)


def _tower(tower: Mapping[str, Any]) -> float:
    layers = number(tower, "num_hidden_layers", "depth", "num_layers", "encoder_layers", "layers")
    layers += number(tower, "num_global_layers")  # of Llama 3.2
    width = number(tower, "embed_dim", "hidden_size", "d_model", "width")
    ratio = number(tower, "mlp_ratio") or 4.0
    inner = number(tower, "intermediate_size", "encoder_ffn_dim") or ratio * width
    gated = tower.get("hidden_act") in _GATED or tower.get("model_type") == "pixtral"
    return layers * width * (4.0 * width + (3 if gated else 2) * inner)
