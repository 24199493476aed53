"""A config.json says what a model is, in the words of each architecture family."""

from dataclasses import replace
from typing import Any

import pytest

from trimtab.catalog import geometries
from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput
from trimtab.performance.weights import parameters

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

GEMMA_2: dict[str, Any] = {
    "model_type": "gemma2", "num_hidden_layers": 42, "hidden_size": 3584,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 256,
    "intermediate_size": 14336, "vocab_size": 256000, "sliding_window": 4096,
}  # fmt: skip
FALCON_7B: dict[str, Any] = {
    "model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544, "multi_query": True,
    "num_attention_heads": 71, "vocab_size": 65024,
}  # fmt: skip
GPT_2: dict[str, Any] = {
    "model_type": "gpt2", "n_layer": 48, "n_embd": 1600, "n_head": 25, "vocab_size": 50257,
    "n_inner": None,
}  # fmt: skip
DBRX: dict[str, Any] = {
    "model_type": "dbrx", "n_layers": 40, "d_model": 6144, "n_heads": 48, "vocab_size": 100352,
    "attn_config": {"kv_n_heads": 8},
    "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4},
}  # fmt: skip
CHATGLM: dict[str, Any] = {
    "model_type": "chatglm", "num_layers": 40, "hidden_size": 4096, "num_attention_heads": 32,
    "kv_channels": 128, "multi_query_attention": True, "multi_query_group_num": 2,
    "ffn_hidden_size": 13696, "padded_vocab_size": 151552,
}  # fmt: skip
ERNIE: dict[str, Any] = {
    "num_hidden_layers": 28, "hidden_size": 2560, "num_attention_heads": 20,
    "num_key_value_heads": 4, "intermediate_size": 12288, "vocab_size": 103424,
    "tie_word_embeddings": True, "moe_num_experts": 64, "moe_k": 6, "moe_intermediate_size": 1536,
    "moe_num_shared_experts": 2, "moe_layer_start_index": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Llama-3.1-8B", LLAMA),
        ("Qwen3-30B-A3B", QWEN_MOE),
        ("DeepSeek-V3", DEEPSEEK),
        ("Llama-4-Maverick-17B-128E", MAVERICK),
        ("gpt-oss-120b", GPT_OSS),
        ("Gemma-2-9B", GEMMA_2),
        ("Falcon-7B", FALCON_7B),
        ("GPT-2-XL", GPT_2),
        ("DBRX", DBRX),
        ("GLM-4-9B", CHATGLM),
        ("ERNIE-4.5-21B-A3B", ERNIE),
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


JAMBA: dict[str, Any] = {
    "num_hidden_layers": 72, "hidden_size": 8192, "num_attention_heads": 64,
    "num_key_value_heads": 8, "intermediate_size": 24576, "vocab_size": 65536, "num_experts": 16,
    "num_experts_per_tok": 2, "expert_layer_period": 2, "attn_layer_period": 8,
    "attn_layer_offset": 4, "mamba_expand": 2, "mamba_d_state": 16, "mamba_dt_rank": 512,
}  # fmt: skip
NEMOTRON_H: dict[str, Any] = {
    "model_type": "nemotron_h", "num_hidden_layers": 52, "hidden_size": 4096,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 21504, "vocab_size": 131072, "mamba_num_heads": 128,
    "mamba_head_dim": 64, "ssm_state_size": 128, "n_groups": 8,
    "hybrid_override_pattern": "M-M-M-M*-" + "M-M-M-M-M*-" * 3 + "M-" * 5,
}  # fmt: skip
FALCON_H1: dict[str, Any] = {
    "model_type": "falcon_h1", "num_hidden_layers": 44, "hidden_size": 3072,
    "num_attention_heads": 12, "num_key_value_heads": 2, "head_dim": 128,
    "intermediate_size": 12288, "vocab_size": 130048, "tie_word_embeddings": False,
    "mamba_n_heads": 24, "mamba_d_head": 128, "mamba_d_state": 256, "mamba_n_groups": 1,
}  # fmt: skip
GRANITE_H: dict[str, Any] = {
    "num_hidden_layers": 40, "hidden_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 768, "vocab_size": 100352,
    "tie_word_embeddings": True, "num_local_experts": 72, "num_experts_per_tok": 10,
    "shared_intermediate_size": 1536, "mamba_n_heads": 128, "mamba_d_head": 64,
    "mamba_d_state": 128, "mamba_n_groups": 1,
    "layer_types": (["mamba"] * 9 + ["attention"]) * 4,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Jamba-1.5-Large", JAMBA),
        ("Nemotron-H-8B", NEMOTRON_H),
        ("Falcon-H1-7B", FALCON_H1),
        ("Granite-4.0-H-Small", GRANITE_H),
    ],
)
def test_hybrids_add_up_as_in_the_catalogue(name: str, config: dict[str, Any]) -> None:
    known, read = geometries.get(name), from_config(name, config)
    assert known is not None
    assert parameters(read).total == pytest.approx(parameters(known).total, rel=0.01)
    assert parameters(read).active == pytest.approx(parameters(known).active, rel=0.01)
    assert read.linear_layers == known.linear_layers
    assert read.state_bytes == pytest.approx(known.state_bytes, rel=0.05)


KIMI_LINEAR: dict[str, Any] = {
    "model_type": "kimi_linear", "num_hidden_layers": 27, "hidden_size": 2304, "head_dim": 72,
    "num_attention_heads": 32, "num_key_value_heads": 32, "intermediate_size": 9216,
    "vocab_size": 163840, "kv_lora_rank": 512, "q_lora_rank": None, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "num_experts": 256, "num_experts_per_token": 8,
    "num_shared_experts": 1, "moe_intermediate_size": 1024, "first_k_dense_replace": 1,
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32,
    },
}  # fmt: skip
MINIMAX_TEXT: dict[str, Any] = {
    "model_type": "minimax_text_01", "num_hidden_layers": 80, "hidden_size": 6144,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "intermediate_size": 9216, "vocab_size": 200064, "num_local_experts": 32,
    "num_experts_per_tok": 2, "attn_type_list": ([0] * 7 + [1]) * 10,
}  # fmt: skip
LFM2_MOE: dict[str, Any] = {
    "model_type": "lfm2_moe", "num_hidden_layers": 24, "hidden_size": 2048,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 7168,
    "vocab_size": 65536, "num_experts": 32, "num_experts_per_tok": 4,
    "moe_intermediate_size": 1792, "num_dense_layers": 2, "conv_L_cache": 3,
    "layer_types": (["conv"] * 3 + ["full_attention"]) * 6, "tie_word_embeddings": True,
}  # fmt: skip
STEP_3: dict[str, Any] = {
    "text_config": {
        "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 64,
        "num_attention_groups": 1, "head_dim": 256, "intermediate_size": 18432,
        "vocab_size": 128815, "moe_num_experts": 48, "moe_top_k": 3,
        "moe_intermediate_size": 5120, "share_expert_dim": 5120,
        "moe_layers_enum": ",".join(str(layer) for layer in range(4, 60)),
    }
}  # fmt: skip
GEMMA_3: dict[str, Any] = {
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 34, "sliding_window": 1024,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "billions", "active", "cached_layers", "kv_heads"),
    [
        (KIMI_LINEAR, 48.0, 3.0, 7, 32),
        (MINIMAX_TEXT, 456.0, 45.9, 10, 8),
        (LFM2_MOE, 8.3, 1.5, 6, 8),
        (STEP_3, 321.0, 38.0, 61, 1),
        (GEMMA_3, 3.9, 3.9, 34, 4),
    ],
    ids=["Kimi Linear", "MiniMax-Text-01", "LFM2 8B-A1B", "Step 3", "Gemma 3 4B"],
)
def test_families_of_nobody_s_list_add_up_to_what_their_makers_say(
    config: dict[str, Any], billions: float, active: float, cached_layers: int, kv_heads: int
) -> None:
    read = from_config("new", config)
    assert parameters(read).total / 1e9 == pytest.approx(billions, rel=0.04)
    assert parameters(read).active / 1e9 == pytest.approx(active, rel=0.2)
    assert read.layers - read.linear_layers == cached_layers
    assert read.kv_heads == kv_heads
    assert (read.state_bytes > 0) is (read.linear_layers > 0)


def test_a_pattern_of_windows_is_read_layer_by_layer() -> None:
    pattern = [0, *([1] * 5 + [0]) * 5, 1]
    read = from_config("mimo", {**LLAMA, "sliding_window": 128, "hybrid_layer_pattern": pattern})
    assert (read.sliding_window, read.windowed_layers) == (128, 26)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({**QWEN_MOE, "num_experts_per_tok": None}, "num_experts_per_tok"),
        ({**LLAMA, "kv_lora_rank": "wide"}, "kv_lora_rank"),
        ({**LLAMA, "num_attention_heads": 0}, "num_attention_heads"),
        ({**LLAMA, "vocab_size": True}, "vocab_size"),
        ({**QWEN_MOE, "num_experts_per_tok": 1000}, "num_experts_per_tok"),
        ({**LLAMA, "quantization_config": {"quant_method": "new"}}, "quantization_config"),
    ],
)
def test_nonsense_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        from_config("nonsense", config)


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "fbgemm_fp8"}, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "int4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
            },
            "int4",
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            "fp8",
        ),
        ({"quant_method": "gptq", "bits": 8}, "int8"),
        ({"quant_method": "intel/auto-round", "bits": 4}, "int4"),
        ({"quant_method": "hqq", "nbits": 4}, "int4"),
        ({"quant_method": "petit_nvfp4"}, "nvfp4"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        (None, "none"),
        ({}, "none"),
    ],
)
def test_a_config_says_how_its_weights_are_stored(stored: Any, dtype: str) -> None:
    config = {**LLAMA, "quantization_config": stored}
    assert from_config("stored", config).native_weight_dtype == dtype


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert from_config("pointed", {**LLAMA, "num_hidden_layers": 32.0}).layers == 32
    with pytest.raises(InvalidInput, match="num_hidden_layers"):
        from_config("pointed", {**LLAMA, "num_hidden_layers": 32.5})


def test_layers_of_different_shape_count_as_their_mean() -> None:
    attention = {"n_heads_in_group": 4, "no_op": False}
    wide, narrow = {"ffn_mult": 5.25}, {"ffn_mult": 1.3125}
    config = {
        **{k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "intermediate_size")},
        "block_configs": [
            *[{"attention": attention, "ffn": wide}] * 16,
            *[{"attention": {"no_op": True}, "ffn": narrow}] * 8,
            *[{"attention": {"replace_with_linear": True}, "ffn": {"no_op": True}}] * 8,
        ],
    }
    geometry = from_config("searched", config)
    assert (geometry.kv_heads, geometry.linear_layers) == (8, 16)
    assert geometry.intermediate == (16 * 14336 + 8 * 3584) / 32
    # 16 blocks of grouped attention, and 8 matrices of the hidden width squared.
    assert geometry.attention_params == (16 * 2 * 4096 * 128 * 40 + 8 * 4096**2) / 32


def test_a_config_without_layers_is_refused_by_field() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "num_hidden_layers"}
    with pytest.raises(InvalidInput, match="num_hidden_layers"):
        from_config("broken", config)
