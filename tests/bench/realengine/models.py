"""Configs of the models that are measured: one that is known, and two that nobody ever trained."""

from typing import Any

LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "max_position_embeddings": 131072, "bos_token_id": 1,
    "eos_token_id": 2, "attention_bias": False, "head_dim": 128, "initializer_range": 0.02,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "llama-3.1-8b": {
        **LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
    },
    "own-dense-14b": {
        **LLAMA, "hidden_size": 5376, "intermediate_size": 14848, "num_hidden_layers": 44,
        "num_attention_heads": 42, "num_key_value_heads": 6, "vocab_size": 100352,
    },
    "own-moe-26b": {
        **LLAMA, "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
        "hidden_size": 2560, "intermediate_size": 8192, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936,
        "num_experts": 96, "num_experts_per_tok": 6, "moe_intermediate_size": 896,
        "norm_topk_prob": True, "decoder_sparse_step": 1, "mlp_only_layers": [],
        "use_sliding_window": False, "rms_norm_eps": 1e-6,
    },
}  # fmt: skip
