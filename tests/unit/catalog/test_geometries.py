"""Names as users write them lead to the right geometry, and config fields map one to one."""

import pytest

from trimtab.api.llmdeployment import ModelArchitecture, ModelSpec
from trimtab.catalog import geometries


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3.1-8B", "Llama-3.1-8B"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "Llama-3.1-8B"),
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-quantized.w4a16", "Llama-3.1-70B"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Llama-3.1-70B"),
        ("neuralmagic/Meta-Llama-3.1-405B-Instruct-FP8-dynamic", "Llama-3.1-405B"),
        ("meta-llama/Llama-2-7b-chat-hf", "Llama-2-7B"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen3-30B-A3B"),
        ("Qwen/Qwen3-32B-FP8-Static-PerTensor", "Qwen3-32B"),
        ("qwen/qwen3-32b", "Qwen3-32B"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "Mistral-7B"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "Mistral-Small-24B"),
        ("TheBloke/Mixtral-8x7B-Instruct-v0.1-AWQ", "Mixtral-8x7B"),
        ("google/gemma-3-27b-it", "Gemma-3-27B"),
        ("deepseek-ai/DeepSeek-R1-0528", "DeepSeek-V3"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-32B", "Qwen2.5-32B"),
        ("openai/gpt-oss-120b", "gpt-oss-120b"),
        ("zai-org/GLM-5-FP8", "GLM-5"),
    ],
)
def test_a_hub_name_is_found(written: str, known: str) -> None:
    geometry = geometries.get(written)
    assert geometry is not None
    assert geometry.name == known


@pytest.mark.parametrize("name", ["acme/unheard-of-7b", "Llama-3.1-9B", "Qwen", ""])
def test_an_unknown_name_is_none(name: str) -> None:
    assert geometries.get(name) is None


def test_every_name_in_the_list_is_found_under_itself() -> None:
    for name in geometries.names():
        geometry = geometries.get(name)
        assert geometry is not None
        assert geometry.name == name


def test_an_inline_architecture_wins_over_the_catalogue() -> None:
    spec = ModelSpec(
        name="meta-llama/Llama-3.1-8B",
        architecture=ModelArchitecture(
            layers=4, hidden_size=256, attention_heads=8, intermediate_size=1024, vocab_size=32000
        ),
    )
    geometry = geometries.geometry_of(spec)
    assert geometry is not None
    assert geometry.layers == 4
    assert geometry.kv_heads == 8
    assert geometry.head_dim == 32
    assert geometry.experts == 0


def test_inline_experts_latent_attention_and_windows_are_kept() -> None:
    spec = ModelSpec(
        name="acme/moe",
        architecture=ModelArchitecture(
            layers=12,
            hidden_size=2048,
            attention_heads=16,
            head_dim=192,
            intermediate_size=8192,
            vocab_size=100000,
            experts=64,
            active_experts=6,
            expert_intermediate_size=1408,
            shared_experts=2,
            dense_layers=1,
            kv_lora_rank=512,
            rope_head_dim=64,
            sliding_window=1024,
            windowed_layers=6,
        ),
    )
    geometry = geometries.geometry_of(spec)
    assert geometry is not None
    assert (geometry.experts, geometry.active_experts, geometry.shared_experts) == (64, 6, 2)
    assert geometry.expert_intermediate == 1408
    assert geometry.kv_lora_rank == 512
    assert (geometry.sliding_window, geometry.windowed_layers) == (1024, 6)


def test_a_model_without_architecture_comes_from_the_catalogue() -> None:
    assert geometries.geometry_of(ModelSpec(name="Qwen/Qwen3-8B")) == geometries.get("Qwen3-8B")
