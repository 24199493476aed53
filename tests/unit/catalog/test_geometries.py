"""Names as users write them lead to the right geometry, and config fields map one to one."""

import re
from importlib import resources
from typing import Any

import pytest
import yaml

from trimtab.api.llmdeployment import ModelArchitecture, ModelSpec
from trimtab.catalog import geometries
from trimtab.catalog.modelnames import implied_quantization, words_of
from trimtab.models.hardware import ModelGeometry
from trimtab.performance.fit import kv_bytes_per_token
from trimtab.performance.weights import parameters

ENTRIES: dict[str, dict[str, Any]] = yaml.safe_load(
    resources.files("trimtab.catalog").joinpath("data/geometries.yaml").read_text("utf-8")
)
WITHOUT_A_SIZE = {"GLM-5", "MiniMax-M3", "Step-3.7-Flash"}
"""Neither the name nor anything that we know states one."""
BILLIONS = {"B": 1.0, "M": 1e-3}


def size_in(name: str) -> float | None:
    """Billions of parameters that a name states: 7B, 360M."""
    found = re.search(r"(?<![\w.])(\d+(?:\.\d+)?)([BM])(?=-|$)", name)
    return float(found[1]) * BILLIONS[found[2]] if found else None


def active_in(name: str) -> float | None:
    """Billions of active parameters that a name states: A3B, A400M."""
    found = re.search(r"-A(\d+(?:\.\d+)?)([BM])(?=-|$)", name)
    return float(found[1]) * BILLIONS[found[2]] if found else None


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
        ("google/gemma-2b-it", "Gemma-2B"),
        ("google/gemma-2-2b-it", "Gemma-2-2B"),
        ("microsoft/phi-1_5", "Phi-1.5"),
        ("microsoft/Phi-3-mini-128k-instruct", "Phi-3-mini"),
        ("internlm/internlm2-chat-20b", "InternLM2-20B"),
        ("internlm/internlm2_5-7b-chat-1m", "InternLM2-7B"),
        ("stabilityai/stablelm-2-1_6b-chat", "StableLM-2-1.6B"),
        ("mistralai/Mistral-Small-Instruct-2409", "Codestral-22B"),
        ("CohereForAI/c4ai-command-r-08-2024", "Command-R-08-2024"),
        ("CohereForAI/c4ai-command-r-plus-4bit", "Command-R-plus"),
        ("ai21labs/AI21-Jamba-Large-1.6", "Jamba-1.5-Large"),
        ("tencent/Tencent-Hunyuan-Large", "Hunyuan-Large"),
        ("moonshotai/Kimi-K2-Instruct-0905", "Kimi-K2"),
        ("moonshotai/Kimi-K2-Thinking", "Kimi-K2.5"),
        ("llama3.1-8b", "Llama-3.1-8B"),
        ("openai-community/gpt2-xl", "GPT-2-XL"),
        ("llama3.1:8b", "Llama-3.1-8B"),
        ("bartowski/Qwen2.5-7B-Instruct-Q4_K_M.gguf", "Qwen2.5-7B"),
        ("deepseek-r1-671b", "DeepSeek-V3"),
        ("RedHatAI/gemma-3-27b-it-quantized.w4a16", "Gemma-3-27B"),
        ("cognitivecomputations/dolphin-2.9-llama3-8b", "Llama-3.1-8B"),
        ("acme/support-Llama-3.1-8B-v2", "Llama-3.1-8B"),
    ],
)
def test_a_hub_name_is_found(written: str, known: str) -> None:
    geometry = geometries.get(written)
    assert geometry is not None
    assert geometry.name == known


@pytest.mark.parametrize(
    "name",
    [
        "acme/unheard-of-7b", "Llama-3.1-9B", "Qwen", "", "-", "Qwen2.5-7.5B", "gemma-31b",
        "llama-270b", "mistral", "Qwen/Qwen3-Embedding-8B", "Llama-3.1-8B-pruned-4B",
        "acme/Llama-3.1-8B-speculator.eagle3", "google/gemma-4-E4B-it", "DeepSeek-V9",
    ],
)  # fmt: skip
def test_an_unknown_name_is_none(name: str) -> None:
    assert geometries.get(name) is None


def test_a_misspelt_name_is_told_what_it_looks_like() -> None:
    assert "Llama-3.1-8B" in geometries.alike("meta-llama/Llama-3.1-9B-Instruct")
    assert geometries.alike("acme/nothing-of-the-kind") == ()


def test_every_name_in_the_list_is_found_under_itself() -> None:
    for name in geometries.names():
        geometry = geometries.get(name)
        assert geometry is not None
        assert geometry.name == name


@pytest.mark.parametrize("name", geometries.names())
def test_a_geometry_adds_up_to_the_size_that_its_maker_states(name: str) -> None:
    """Within 5 % of the published total, or of the size in the name where that is exact."""
    geometry, entry = geometries.get(name), ENTRIES[name]
    assert geometry is not None
    stated = entry.get("B") or size_in(name)
    assert stated is not None or name in WITHOUT_A_SIZE
    if stated is not None:
        assert parameters(geometry).total == pytest.approx(stated * 1e9, rel=0.05)


@pytest.mark.parametrize("name", [name for name in geometries.names() if active_in(name)])
def test_the_active_parameters_are_those_in_the_name(name: str) -> None:
    """Within a fifth: makers round to a whole number and count embeddings each in their way."""
    geometry = geometries.get(name)
    assert geometry is not None
    assert parameters(geometry).active == pytest.approx(1e9 * (active_in(name) or 0), rel=0.2)


def test_no_two_entries_answer_to_one_name() -> None:
    spellings = [
        words_of(spelling)
        for name, entry in ENTRIES.items()
        for spelling in (name, *entry.get("aliases", ()))
    ]
    assert len(set(spellings)) == len(spellings)


def test_every_alias_leads_to_its_entry() -> None:
    for name, entry in ENTRIES.items():
        for alias in entry.get("aliases", ()):
            geometry = geometries.get(f"some-org/{alias}-Instruct-AWQ")
            assert geometry is not None, alias
            assert geometry.name == name


@pytest.mark.parametrize(
    ("name", "quantization"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "gptq"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "fp8"),
        ("nvidia/Llama-3.1-405B-Instruct-NVFP4", "nvfp4"),
        ("RedHatAI/gemma-3-27b-it-quantized.w4a16", "int4"),
        ("RedHatAI/Meta-Llama-3.1-70B-Instruct-quantized.w8a8", "int8"),
        ("unsloth/Qwen2.5-7B-Instruct-bnb-4bit", "int4"),
        ("qwen2.5:7b-instruct-q8_0", "int8"),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("openai/gpt-oss-20b-BF16", "none"),
    ],
)
def test_an_ending_says_how_the_weights_are_stored(name: str, quantization: str | None) -> None:
    assert implied_quantization(name) == quantization


def test_a_checkpoint_ships_as_its_name_says() -> None:
    shipped = [
        geometry.native_weight_dtype
        for name in ("gpt-oss-20b", "gpt-oss-20b-BF16", "Llama-3.1-8B-FP8", "Llama-3.1-8B")
        if (geometry := geometries.get(name))
    ]
    assert shipped == ["mxfp4", "none", "fp8", "none"]


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


def _stated(**fields: Any) -> ModelGeometry:
    geometry = geometries.geometry_of(
        ModelSpec(name="acme/hybrid", architecture=ModelArchitecture(**fields))
    )
    assert geometry is not None
    return geometry


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        (
            "Qwen3-Next-80B-A3B",
            {
                "layers": 48, "hidden_size": 2048, "attention_heads": 16, "key_value_heads": 2,
                "head_dim": 256, "intermediate_size": 5120, "vocab_size": 151936, "experts": 512,
                "active_experts": 10, "expert_intermediate_size": 512, "shared_experts": 1,
                "linear_layers": 36, "state_heads": 32, "state_head_dim": 128, "state_size": 128,
                "state_groups": 2048 // 128,
            },
        ),
        (
            "Granite-4.0-H-Micro",
            {
                "layers": 40, "hidden_size": 2048, "attention_heads": 32, "key_value_heads": 8,
                "head_dim": 64, "intermediate_size": 8192, "vocab_size": 100352,
                "tied_embeddings": True, "linear_layers": 36, "state_heads": 64,
                "state_head_dim": 64, "state_size": 128,
            },
        ),
    ],
)  # fmt: skip
def test_a_hybrid_can_be_stated_as_the_catalogue_has_it(name: str, fields: dict[str, Any]) -> None:
    stated, known = _stated(**fields), geometries.get(name)
    assert known is not None
    assert parameters(stated).total == pytest.approx(parameters(known).total, rel=0.03)
    assert parameters(stated).active == pytest.approx(parameters(known).active, rel=0.05)
    assert kv_bytes_per_token(stated) == kv_bytes_per_token(known)
    assert stated.state_bytes == pytest.approx(known.state_bytes, rel=0.05)


def test_sparse_attention_and_plain_feed_forward_layers_can_be_stated() -> None:
    shape = {"layers": 8, "hidden_size": 512, "attention_heads": 8, "vocab_size": 32000}
    stated = _stated(
        **shape, intermediate_size=2048, sparse_tokens=2048, gated_feed_forward=False,
        sliding_window=128, linear_layers=6,
    )  # fmt: skip
    assert stated.sparse_topk == 2048
    assert stated.windowed_layers == 2
    gated = _stated(**shape, intermediate_size=2048)
    assert parameters(gated).feed_forward == 1.5 * parameters(stated).feed_forward
    # Layers without a state weigh only their feed-forward part.
    assert parameters(stated).attention == 2 / 8 * parameters(gated).attention


def test_a_model_without_architecture_comes_from_the_catalogue() -> None:
    assert geometries.geometry_of(ModelSpec(name="Qwen/Qwen3-8B")) == geometries.get("Qwen3-8B")
