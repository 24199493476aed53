"""What fits, and how many tokens the KV cache then holds."""

import pytest

from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.performance import Infeasible
from trimtab.performance.fit import (
    kv_bytes_per_sequence,
    kv_bytes_per_token,
    kv_tokens,
    weight_bytes,
)
from unit.performance.builders import accelerator, geometry

KIB = 1024


@pytest.mark.parametrize(
    ("model", "kib"),
    [
        # research/models.md section 3, bf16 KiB per token for all layers at full length
        ("Llama-2-7B", 512.0),
        ("Llama-3.1-8B", 128.0),
        ("Llama-3.1-70B", 320.0),
        ("Llama-3.1-405B", 504.0),
        ("Qwen3-32B", 256.0),
        ("Qwen3-30B-A3B", 96.0),
        ("Mixtral-8x7B", 128.0),
        ("Gemma-2-9B", 336.0),
        ("Gemma-3-27B", 496.0),
        ("gpt-oss-120b", 72.0),
        ("DeepSeek-V3", 68.6),
    ],
)
def test_kv_bytes_per_token(model: str, kib: float) -> None:
    assert kv_bytes_per_token(geometry(model)) / KIB == pytest.approx(kib, abs=0.06)
    assert kv_bytes_per_token(geometry(model), "fp8") / KIB == pytest.approx(kib / 2, abs=0.06)


def test_windowed_layers_keep_only_their_window() -> None:
    gemma = geometry("Gemma-3-27B")
    per_token = kv_bytes_per_token(gemma)
    assert kv_bytes_per_sequence(gemma, 512) == pytest.approx(512 * per_token)
    share = (10 * 8192 + 52 * 1024) / (62 * 8192)
    assert kv_bytes_per_sequence(gemma, 8192) == pytest.approx(8192 * per_token * share)


def test_hybrid_models_hold_a_state_and_few_kv_layers() -> None:
    qwen = geometry("Qwen3.5-397B-A17B")
    assert kv_bytes_per_token(qwen) == 15 * 2 * 2 * 256 * 2
    assert kv_bytes_per_sequence(qwen, 0) == qwen.state_bytes > 0


@pytest.mark.parametrize(
    ("device", "measured"),
    [
        # KV tokens that vLLM 0.19 reported for Llama-3.1-8B (LLMServingSim's runs, 0.9 of memory)
        ("rtx4090", 41_408),
    ],
)
def test_kv_tokens_are_near_what_vllm_reported(device: str, measured: int) -> None:
    tokens = kv_tokens(geometry(), accelerator(device), Parallelism(), EngineSettings())
    assert isinstance(tokens, int)
    assert tokens == pytest.approx(measured, rel=0.08)
    assert tokens % 16 == 0


def test_tensor_parallelism_does_not_multiply_a_replicated_cache() -> None:
    four = Parallelism(tensor=4)
    engine = EngineSettings(max_model_len=2048)
    falcon = geometry("Falcon-7B")  # one KV head: every device holds it
    one = kv_tokens(falcon, accelerator(), Parallelism(), engine)
    split = kv_tokens(falcon, accelerator(), four, engine)
    assert isinstance(one, int)
    assert isinstance(split, int)
    assert one < split < 1.3 * one
    llama = geometry()  # eight KV heads: four devices hold four times as much, and share weights
    one = kv_tokens(llama, accelerator(), Parallelism(), engine)
    split = kv_tokens(llama, accelerator(), four, engine)
    assert isinstance(one, int)
    assert isinstance(split, int)
    assert split > 4 * one


def test_a_model_that_does_not_fit_says_so_with_figures() -> None:
    answer = kv_tokens(
        geometry("Llama-3.1-70B"), accelerator("l40s"), Parallelism(tensor=2), EngineSettings()
    )
    assert isinstance(answer, Infeasible)
    assert answer.reason == "DoesNotFit"
    assert "2 x l40s" in answer.message
    assert "65.7 weights" in answer.message


def test_gpt_oss_120b_fits_on_one_h100_and_in_bf16_it_would_not() -> None:
    one = Parallelism()
    assert isinstance(
        kv_tokens(geometry("gpt-oss-120b"), accelerator(), one, EngineSettings()), int
    )
    assert weight_bytes(geometry("gpt-oss-120b"), "none") < 70e9
    assert weight_bytes(geometry("Llama-3.1-70B"), "none") > 140e9


@pytest.mark.parametrize(("kv_dtype", "number"), [("auto", 2), ("fp8", 1)])
def test_sparse_attention_keeps_an_index_beside_its_keys(kv_dtype: str, number: int) -> None:
    for model, layers in (("DeepSeek-V3.2", 61), ("GLM-5", 78)):
        latent = (512 + 64) * number
        assert kv_bytes_per_token(geometry(model), kv_dtype) == layers * (latent + 128 + 4)
