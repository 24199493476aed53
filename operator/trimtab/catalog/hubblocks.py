"""Configs whose layers differ in shape: each from each, or those without a window from the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.catalog.hubnumbers import number

_MULTIPLE = 256
"""Widths of these models are rounded up to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullLayer:
    """Attention of a layer without a window, where the others have one and another shape."""

    kv_share: float = 1.0
    """Keys and values of a token over those in a windowed layer."""
    query_share: float = 1.0
    """Width of all query heads, likewise."""
    matrices: float = 0.0
    """Columns of its four matrices together; 0: as in any other layer."""


def full_layer_of(config: Mapping[str, Any], queries: float, keys: float) -> FullLayer:
    """Return what Gemma 4 says of its layers without a window, or that they are as the others.

    Args:
        config: All fields at one level.
        queries: Width of all query heads of a windowed layer.
        keys: Width of all its key heads.
    """
    width = number(config, "global_head_dim")
    heads = number(config, "num_attention_heads")
    if not width:
        return FullLayer()
    wide = heads * width
    kept = (number(config, "num_global_key_value_heads") or keys / (queries / heads)) * width
    projected = kept if config.get("attention_k_eq_v") else 2 * kept
    return FullLayer(
        kv_share=kept / keys, query_share=wide / queries, matrices=2 * wide + projected
    )


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
