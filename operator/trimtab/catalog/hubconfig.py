"""Geometry of a model from the `config.json` of its checkpoint, for models nobody has listed."""

from collections.abc import Mapping
from typing import Any

from trimtab.catalog.hubblocks import evened, full_layer_of
from trimtab.catalog.hubhybrid import Blocks, blocks_of, states_alone
from trimtab.catalog.hubsides import side_params
from trimtab.catalog.hubstorage import native_dtype
from trimtab.errors import InvalidInput
from trimtab.models.hardware import ModelGeometry

_INNER = (
    "thinker_config", "text_config", "llm_config", "language_config", "attn_config", "ffn_config",
)  # fmt: skip
"""Where multimodal models, DBRX and MPT keep what others have at the top."""
_SPELLINGS = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers"),
    "hidden_size": ("n_embd", "n_embed", "d_model"),
    "num_attention_heads": ("n_head", "n_heads"),
    "vocab_size": ("padded_vocab_size",),
}
"""Fields that every model has, and what older families call them."""
_WIDTHS = (
    "intermediate_size_mlp", "intermediate_size", "ffn_dim", "ffn_hidden_size", "n_inner",
    "ff_intermediate_size",
)  # fmt: skip
_EXPERTS = ("n_routed_experts", "num_local_experts", "num_experts", "moe_num_experts")
_EXPERT_WIDTHS = ("moe_intermediate_size", "expert_ffn_hidden_size", *_WIDTHS[1:])
_BOTH_HALVES = frozenset({"molmo", "qwen"})
"""Values of `model_type` whose `intermediate_size` counts the gate's width too: it is twice ours.
The first OLMo calls that `mlp_hidden_size`."""
_ACTIVE = (
    "num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_k", "moe_top_k",
    "moe_topk",
)  # fmt: skip
_UNGATED = frozenset(
    {
        "apertus", "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox",
        "gptj", "mpt", "nemotron", "nemotron_h", "opt", "phi", "starcoder2", "xglm",
    }
)  # fmt: skip
"""Values of `model_type` whose feed-forward blocks have two matrices."""
_UNGATED_ACTIVATION = "relu2"
"""Nobody gates with it: Persimmon, Arcee."""
_TIED = (
    "bloom", "cohere", "ernie4_5", "falcon", "gemma", "gpt2", "gpt_bigcode", "lfm2", "mpt", "opt",
    "smollm", "starcoder2",
)  # fmt: skip
"""Starts of `model_type` whose embeddings are tied where the config does not say."""
_ONE_OF = {"gemma2": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
"""By `model_type`: one of so many layers sees everything, where the config does not say."""
_BUILT_OTHERWISE = (
    "hymba", "jetmoe", "phi4flash", "recurrent_gemma", "rwkv", "zamba",
)  # fmt: skip
"""Starts of `model_type` that would be misread: blocks shared between layers, half widths, experts
of attention."""
_ENCODERS = frozenset(
    {
        "albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet",
        "nomic_bert", "roberta", "xlm-roberta",
    }
)  # fmt: skip
"""Values of `model_type` that generate nothing."""
_LEFT_OUT = {
    "gemma3_text": {
        "vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
    },
}  # fmt: skip
"""By `model_type`: what its configs leave out, as its class in the transformers library has it."""


def from_config(name: str, document: Mapping[str, Any]) -> ModelGeometry:
    """Return the geometry that a Hugging Face `config.json` describes.

    Multimodal models keep theirs under `text_config`. A `head_dim` that is there is never derived.

    Raises:
        InvalidInput: A field that every such model has is missing or is no number.
    """
    try:
        return _geometry(name, _flat(document))
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise InvalidInput(
            "config.json", f"describes no model ({error})", "Give the config of the model"
        ) from error


def _geometry(name: str, config: dict[str, Any]) -> ModelGeometry:
    layers, hidden = config["num_hidden_layers"], config["hidden_size"]
    heads = config["num_attention_heads"]
    kv_heads = _kv_heads(config, heads)
    rank, rope = _count(config, "kv_lora_rank"), _count(config, "qk_rope_head_dim")
    latent_dim = _count(config, "qk_nope_head_dim") + rope if rank else 0
    head_dim = latent_dim or _first(config, "head_dim", "kv_channels") or hidden // heads
    blocks = blocks_of(config, layers)
    window = _count(config, "sliding_window")
    windowed = _windowed(config, blocks, layers) if window else 0
    experts = _first(config, *_EXPERTS) or 0
    expert_width = _expert_width(config)
    active = _first(config, *_ACTIVE) or 0
    if experts and not active:
        raise InvalidInput(
            f"config.json: {_ACTIVE[0]}", "is missing", "Say how many experts a token uses"
        )
    if experts and active > experts:
        raise InvalidInput(
            f"config.json: {_ACTIVE[0]}", f"{active} of {experts} experts", "Correct the config"
        )
    unlike = full_layer_of(config, heads * head_dim, kv_heads * head_dim)
    dense_layers = _dense_layers(config, blocks, layers) if experts else layers
    return ModelGeometry(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=_intermediate(config, blocks, dense_layers),
        vocab=config["vocab_size"],
        tied_embeddings=_tied(config),
        experts=experts,
        active_experts=active if experts else 0,
        expert_intermediate=expert_width if experts else 0,
        shared_experts=_shared(config, expert_width) if experts else 0,
        dense_layers=dense_layers if experts else 0,
        mlp_matrices=2 if _ungated(config) else 3,
        kv_lora_rank=rank,
        query_lora_rank=_count(config, "q_lora_rank"),
        rope_head_dim=rope if rank else 0,
        value_head_dim=_count(config, "v_head_dim") if rank else 0,
        sliding_window=window,
        windowed_layers=windowed,
        full_kv_share=unlike.kv_share,
        full_query_share=unlike.query_share,
        sparse_topk=_count(config, "index_topk"),
        linear_layers=blocks.linear,
        attention_params=blocks.mean_params(
            2.0 * hidden * head_dim * (heads + kv_heads),
            matrix=float(hidden * hidden),
            full=unlike.matrices * hidden,
        ),
        state_bytes=blocks.state_bytes,
        side_params=side_params(config),
        native_weight_dtype=native_dtype(config),
    )


def _flat(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return all fields at one level, those that every model has under their usual names."""
    config = dict(document)
    _check_kind(config)
    for inner in _INNER:
        below = config.get(inner)
        if isinstance(below, Mapping):
            config |= below
    config = _LEFT_OUT.get(str(config.get("model_type")), {}) | states_alone(config)
    for field, spellings in _SPELLINGS.items():
        found = _first(config, field, *spellings)
        if found is None or found < 1:
            raise InvalidInput(
                f"config.json: {field}", "is missing or no number", "Give the config of the model"
            )
        config[field] = found
    return evened(_doubled(config))


def _check_kind(config: Mapping[str, Any]) -> None:
    """Raise InvalidInput for what is no decoder, or would be misread."""
    kind = config.get("model_type")
    if str(kind).startswith(_BUILT_OTHERWISE):
        raise InvalidInput(
            "config.json: model_type",
            f"{kind} is built otherwise than what its fields say here",
            "Write spec.model.architecture, or give a --profile of it",
        )
    if config.get("is_encoder_decoder"):
        raise InvalidInput(
            "config.json: is_encoder_decoder",
            "is true, and only decoders are known: an encoder reads each prompt first",
            "Give a model that only decodes",
        )
    if kind in _ENCODERS:
        raise InvalidInput(
            "config.json: model_type", f"{kind} generates no text", "Give a model that does"
        )


def _ungated(config: Mapping[str, Any]) -> bool:
    act = config.get("hidden_act")
    return config.get("model_type") in _UNGATED or act == _UNGATED_ACTIVATION


def _doubled(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` with two layers for each of LongCat's, or as it is.

    Its layers have two blocks of attention and two dense ones each, experts beside the second, and
    experts that do nothing among those that a token chooses.
    """
    if config.get("model_type") != "longcat_flash":
        return config
    real, idle = _count(config, "n_routed_experts"), _count(config, "zero_expert_num")
    return {
        **config,
        "num_hidden_layers": 2 * config["num_hidden_layers"],
        "decoder_sparse_step": 2,
        "n_shared_experts": round(config["ffn_hidden_size"] / config["expert_ffn_hidden_size"]),
        "num_experts_per_tok": round(config["moe_topk"] * real / (real + idle)),
    }


def _count(config: Mapping[str, Any], name: str) -> int:
    """Number in a field that models without such a thing leave out or leave empty."""
    value = config.get(name) or 0
    if not isinstance(value, int):
        raise InvalidInput(f"config.json: {name}", f"{value!r} is no number", "Correct the config")
    return value


def _first(config: Mapping[str, Any], *names: str) -> int | None:
    """First of the fields that is a number, or a list that starts with one."""
    for name in names:
        value = config.get(name)
        value = value[0] if isinstance(value, list) and value else value
        value = int(value) if isinstance(value, float) and value.is_integer() else value
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("multi_query") is True and not config.get("new_decoder_architecture"):
        return 1  # the first Falcons and StarCoder
    return (
        _first(
            config,
            "num_key_value_heads",
            "num_kv_heads",
            "kv_n_heads",
            "multi_query_group_num",
            "num_query_groups",
            "num_attention_groups",
        )
        or heads
    )


def _intermediate(config: Mapping[str, Any], blocks: Blocks, dense_layers: int) -> int:
    both = _first(config, "mlp_hidden_size")
    width = _first(config, *_WIDTHS)
    if config.get("model_type") in _BOTH_HALVES:
        both = width
    width = both // 2 if both else width
    if width is None and dense_layers and not (_ungated(config) or blocks.one_job_each):
        raise InvalidInput(
            f"config.json: {_WIDTHS[1]}", "is missing", "Say how wide the feed-forward blocks are"
        )
    width = width or 4 * int(config["hidden_size"])
    if blocks.one_job_each:
        return round(width * blocks.dense / len(blocks.kinds))
    return width


def _expert_width(config: Mapping[str, Any]) -> int:
    """Width of a routed expert, as if it were as deep as the model.

    Experts of Nemotron 3 Super work on a narrower copy of the token: they are that much smaller.
    """
    width = _first(config, *_EXPERT_WIDTHS) or 0
    latent = _count(config, "moe_latent_size")
    return round(width * latent / config["hidden_size"]) if latent else width


def _tied(config: Mapping[str, Any]) -> bool:
    tied = config.get("tie_word_embeddings")
    return str(config.get("model_type")).startswith(_TIED) if tied is None else bool(tied)


def _windowed(config: Mapping[str, Any], blocks: Blocks, layers: int) -> int:
    """Layers with a window: listed, one in a pattern of full ones, or all where it is switched."""
    if blocks.kinds:
        return blocks.windowed
    letters = config.get("sliding_window_pattern")
    if isinstance(letters, str) and letters:  # EXAONE 4: "LLLG", L has a window
        return sum(letters[i % len(letters)] == "L" for i in range(layers))
    pattern = _first(config, "sliding_window_pattern") or _ONE_OF.get(str(config.get("model_type")))
    if pattern is not None and pattern > 1:
        return layers - layers // pattern
    return layers if config.get("use_sliding_window", True) else 0


def _dense_layers(config: Mapping[str, Any], blocks: Blocks, layers: int) -> int:
    """Layers without experts: those that say so, the first ones, or all but each n-th."""
    if blocks.one_job_each:
        return blocks.without_experts
    step = _first(config, "interleave_moe_layer_step", "decoder_sparse_step", "expert_layer_period")
    if step is not None and step > 1:
        return layers - layers // step
    named = config.get("moe_layers_enum")  # Step 3: "4,5,6"
    if isinstance(named, str) and named:
        return layers - len(named.split(","))
    each = config.get("moe_layer_freq")
    if isinstance(each, list):
        return sum(not one for one in each)
    first = _first(config, "first_k_dense_replace", "moe_layer_start_index", "num_dense_layers")
    return min(first or 0, layers)


def _shared(config: Mapping[str, Any], width: int) -> int:
    """Shared experts, counted in widths of a routed one."""
    wide = _first(
        config,
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "shared_intermediate_size",
        "share_expert_dim",
    )
    if wide is not None and width:  # the way into and out of the narrower copy is for all tokens
        return round((wide + _count(config, "moe_latent_size")) / width)
    if "interleave_moe_layer_step" in config:
        return 1  # Llama 4 has one and does not say so
    if config.get("residual_moe"):  # Grok 2: a dense block beside the experts
        return round(int(config["intermediate_size"]) / width)
    if config.get("parallel_attn_mlp_res"):  # Arctic: one as wide as the model
        return round(int(config["hidden_size"]) / width)
    counts = ("n_shared_experts", "moe_num_shared_experts", "num_shared_experts")
    return _first(config, *counts, "num_shared_expert") or 0
