"""Configs that give each layer its own shape, as NVIDIA's searched models do, as one mean layer."""

from collections.abc import Mapping, Sequence
from typing import Any

_MULTIPLE = 256
"""Widths of these models are rounded up to it."""


def evened(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` with the means of its `block_configs`, or as it is without any.

    A layer whose attention or feed-forward block is left out, or is one matrix, counts as such.
    """
    blocks = config.get("block_configs")
    if not isinstance(blocks, Sequence) or not blocks:
        return config
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    attending = [one["attention"] for one in blocks if one["attention"].get("n_heads_in_group")]
    if not attending:
        return config
    group = sum(int(one["n_heads_in_group"]) for one in attending) / len(attending)
    widths = [_width(one["ffn"], hidden) for one in blocks]
    kinds = [
        "attention"
        if one["attention"].get("n_heads_in_group")
        else "replaced"
        if one["attention"].get("replace_with_linear")
        else "nothing"
        for one in blocks
    ]
    return {
        **config,
        "num_key_value_heads": round(heads / group),
        "intermediate_size": round(sum(widths) / len(widths)),
        "layer_types": kinds,
    }


def _width(block: Mapping[str, Any], hidden: int) -> float:
    if block.get("no_op"):
        return 0.0
    if block.get("replace_with_linear"):
        return hidden / 3.0  # one matrix where a feed-forward block has three
    raw = int(2 * float(block["ffn_mult"]) * hidden / 3)
    return float(-(-raw // _MULTIPLE) * _MULTIPLE)
