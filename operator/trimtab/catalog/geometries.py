"""Model geometries by hub name, or from the `config.json` fields that the user wrote inline."""

from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.llmdeployment import ModelArchitecture, ModelSpec
from trimtab.catalog.hubhybrid import STATE_BYTES, state_block
from trimtab.catalog.modelnames import (
    base_within,
    candidates,
    implied_quantization,
    words_of,
)
from trimtab.models.hardware import ModelGeometry

_FIELDS = {
    "L": "layers", "h": "hidden", "q": "heads", "kv": "kv_heads", "d": "head_dim",
    "f": "intermediate", "V": "vocab", "tied": "tied_embeddings", "E": "experts",
    "k": "active_experts", "fe": "expert_intermediate", "sh": "shared_experts",
    "dense": "dense_layers", "r": "kv_lora_rank", "rq": "query_lora_rank",
    "rope": "rope_head_dim", "dv": "value_head_dim", "win": "sliding_window",
    "nwin": "windowed_layers", "fkv": "full_kv_share", "fq": "full_query_share",
    "topk": "sparse_topk", "lin": "linear_layers", "pattn": "attention_params",
    "state": "state_bytes", "side": "side_params", "m": "mlp_matrices",
    "native": "native_weight_dtype",
}  # fmt: skip


def names() -> tuple[str, ...]:
    """Return the names of all known models, in the order of the data file."""
    return tuple(entry.name for entry in _load()[0])


@lru_cache(maxsize=1024)
def alike(model_name: str) -> tuple[str, ...]:
    """Return up to three known names that look like `model_name`, for whoever misspelt one."""
    spelt = {"-".join(words_of(name)): name for name in names()}
    *_, bare = candidates(model_name)
    close = get_close_matches("-".join(bare), spelt, n=3, cutoff=0.75)
    return tuple(spelt[words] for words in close)


@lru_cache(maxsize=4096)
def get(model_name: str) -> ModelGeometry | None:
    """Return the geometry of `model_name` as spelt on the Hugging Face hub, or None.

    The organisation, the case, and endings such as -Instruct, -FP8, -AWQ or a date do not matter.
    A model derived from a known one is found by the name of that one within its own. An ending that
    names a storage type is the type in which that checkpoint ships.
    """
    known = _load()[1]
    words = next((words for words in candidates(model_name) if words in known), None)
    words = words or base_within(model_name, known.keys())
    if words is None:
        return None
    shipped = implied_quantization(model_name)
    return known[words] if shipped is None else replace(known[words], native_weight_dtype=shipped)


def geometry_of(spec: ModelSpec) -> ModelGeometry | None:
    """Return the geometry of the model in a resource; an inline architecture wins."""
    if spec.architecture is None:
        return get(spec.name)
    return _from_architecture(spec.name, spec.architecture)


def _from_architecture(name: str, config: ModelArchitecture) -> ModelGeometry:
    experts = config.experts or 0
    head_dim = config.head_dim or config.hidden_size // config.attention_heads
    kv_heads = config.key_value_heads or config.attention_heads
    linear = config.linear_layers or 0
    attending = config.layers - linear
    windowed = attending if config.windowed_layers is None else config.windowed_layers
    state_params, state_numbers = state_block(
        config.hidden_size,
        inner=(config.state_heads or 0) * (config.state_head_dim or 0),
        keys=(config.state_groups or 1) * (config.state_size or 0),
        size=config.state_size or 0,
    )
    attention = 2.0 * config.hidden_size * head_dim * (config.attention_heads + kv_heads)
    return ModelGeometry(
        name=name,
        layers=config.layers,
        hidden=config.hidden_size,
        heads=config.attention_heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        tied_embeddings=bool(config.tied_embeddings),
        experts=experts,
        active_experts=min(config.active_experts or 1, experts),
        expert_intermediate=(
            (config.expert_intermediate_size or config.intermediate_size) if experts else 0
        ),
        shared_experts=config.shared_experts or 0,
        dense_layers=min(config.dense_layers or 0, config.layers),
        kv_lora_rank=config.kv_lora_rank or 0,
        query_lora_rank=config.query_lora_rank or 0,
        rope_head_dim=config.rope_head_dim or 0,
        sliding_window=config.sliding_window or 0,
        windowed_layers=windowed if config.sliding_window else 0,
        sparse_topk=config.sparse_tokens or 0,
        linear_layers=linear,
        attention_params=(
            (attending * attention + linear * state_params) / config.layers if linear else 0.0
        ),
        state_bytes=linear * state_numbers * STATE_BYTES,
        mlp_matrices=2 if config.gated_feed_forward is False else 3,
    )


@cache
def _load() -> tuple[tuple[ModelGeometry, ...], dict[tuple[str, ...], ModelGeometry]]:
    text = resources.files(__package__).joinpath("data/geometries.yaml").read_text("utf-8")
    geometries: list[ModelGeometry] = []
    by_words: dict[tuple[str, ...], ModelGeometry] = {}
    for name, entry in yaml.safe_load(text).items():
        geometry = _from_entry(name, entry)
        geometries.append(geometry)
        for key in (name, *entry.get("aliases", ())):
            by_words[words_of(key)] = geometry
    return tuple(geometries), by_words


def _from_entry(name: str, entry: dict[str, Any]) -> ModelGeometry:
    fields = {_FIELDS[key]: value for key, value in entry.items() if key in _FIELDS}
    if fields.get("experts"):
        fields.setdefault("expert_intermediate", fields["intermediate"])
    return ModelGeometry(name=name, **fields)
