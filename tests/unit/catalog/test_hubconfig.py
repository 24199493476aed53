"""A config.json says what a model is, in the words of each architecture family."""

from dataclasses import replace
from typing import Any

import pytest

from trimtab.catalog import geometries
from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput

LLAMA: dict[str, Any] = {
    "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
}  # fmt: skip
QWEN_MOE: dict[str, Any] = {
    "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "vocab_size": 151936,
    "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
}  # fmt: skip
DEEPSEEK: dict[str, Any] = {
    "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128,
    "num_key_value_heads": 128, "intermediate_size": 18432, "vocab_size": 129280,
    "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
    "n_shared_experts": 1, "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
    "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "quantization_config": {"quant_method": "fp8"},
}  # fmt: skip
MAVERICK: dict[str, Any] = {
    "text_config": {
        "num_hidden_layers": 48, "hidden_size": 5120, "num_attention_heads": 40,
        "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 8192,
        "intermediate_size_mlp": 16384, "vocab_size": 202048, "num_local_experts": 128,
        "num_experts_per_tok": 1, "interleave_moe_layer_step": 2,
    }
}  # fmt: skip
GPT_OSS: dict[str, Any] = {
    "num_hidden_layers": 36, "hidden_size": 2880, "num_attention_heads": 64,
    "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 2880, "vocab_size": 201088,
    "num_local_experts": 128, "num_experts_per_tok": 4, "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
    "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Llama-3.1-8B", LLAMA),
        ("Qwen3-30B-A3B", QWEN_MOE),
        ("DeepSeek-V3", DEEPSEEK),
        ("Llama-4-Maverick-17B-128E", MAVERICK),
        ("gpt-oss-120b", GPT_OSS),
    ],
)
def test_a_config_describes_what_the_catalogue_has(name: str, config: dict[str, Any]) -> None:
    known = geometries.get(name)
    assert known is not None
    assert from_config(name, config) == replace(known, name=name)


def test_a_pattern_of_full_layers_leaves_the_others_windowed() -> None:
    config = {**LLAMA, "sliding_window": 1024, "sliding_window_pattern": 6}
    geometry = from_config("gemma", config)
    assert (geometry.sliding_window, geometry.windowed_layers) == (1024, 27)


def test_a_window_that_is_switched_off_is_none() -> None:
    config = {**LLAMA, "sliding_window": 4096, "use_sliding_window": False}
    assert from_config("qwen", config).windowed_layers == 0


def test_linear_attention_layers_have_no_cache() -> None:
    config = {
        **LLAMA,
        "layer_types": [*["linear_attention"] * 24, *["full_attention"] * 8],
    }
    assert from_config("hybrid", config).linear_layers == 24


def test_a_config_without_layers_is_refused_by_field() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
    with pytest.raises(InvalidInput, match="num_hidden_layers"):
        from_config("broken", config)
