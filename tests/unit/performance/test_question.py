"""Questions in names and numbers: defaults, spellings, and errors that name the field."""

from dataclasses import replace

import pytest

from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.performance.question import Question, answer, request_of

ASKED = Question(model="meta-llama/Llama-3.1-8B", accelerator="h100", request_rate=2.0)


def test_a_light_load_is_answered_whole() -> None:
    reply = answer(ASKED)
    assert reply.fits
    assert reply.reason == ""
    assert reply.provenance == "estimated"
    assert reply.tokens_per_s == pytest.approx(2.0 * 256)
    assert reply.ttft_ms is not None
    assert reply.ttft_p95_ms is not None
    assert reply.ttft_ms <= reply.ttft_p95_ms


def test_too_high_a_rate_is_saturated_and_its_tokens_are_what_is_served() -> None:
    reply = answer(replace(ASKED, request_rate=1000.0))
    assert reply.reason == "Saturated"
    assert reply.ttft_ms == float("inf")
    assert reply.tokens_per_s is not None
    assert reply.tokens_per_s < 1000 * 256


def test_what_does_not_fit_says_why_and_gives_no_number() -> None:
    reply = answer(replace(ASKED, model="Llama-3.1-405B"))
    assert not reply.fits
    assert reply.reason.startswith("DoesNotFit")
    assert reply.ttft_ms is None


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ({"quantization": "bf16"}, {"quantization": "none"}),
        ({"quantization": "fp8_block"}, {"quantization": "fp8"}),
        ({"quantization": "int4_wo"}, {"quantization": "int4"}),
        ({"kv_dtype": "fp8_e4m3"}, {"kv_dtype": "fp8"}),
        ({"engine": "TensorRT-LLM"}, {"engine": "trtllm"}),
        ({"engine": "vLLM"}, {"engine": "vllm"}),
        ({"engine": "tensorrt_llm"}, {"engine": "trtllm"}),
        ({"engine": "vLLM v0.11.0"}, {"engine": "vllm"}),
        ({"engine": "vllm==0.19"}, {"engine": "vllm"}),
        ({"engine": "sglang-0.5.10.post1"}, {"engine": "sglang"}),
        ({"engine": "TensorRT-LLM:1.2.0rc3"}, {"engine": "trtllm"}),
        ({"quantization": "awq-marlin"}, {"quantization": "awq"}),
        ({"engine": "vllm/vllm-openai:v0.11.0"}, {"engine": "vllm"}),
        ({"engine": "vLLM V1 0.11"}, {"engine": "vllm"}),
        ({"quantization": "Q4_K_M"}, {"quantization": "int4"}),
        ({"quantization": "modelopt_fp4"}, {"quantization": "nvfp4"}),
        ({"quantization": "w4a16_mxfp4"}, {"quantization": "mxfp4"}),
        ({"quantization": "fbgemm_fp8"}, {"quantization": "fp8"}),
        ({"quantization": "experts-int8"}, {"quantization": "int8"}),
        ({"quantization": "int4-awq"}, {"quantization": "awq"}),
        ({"kv_dtype": "fp8_e4m3fnuz"}, {"kv_dtype": "fp8"}),
        ({"quantization": "auto", "kv_dtype": "fp8-e5m2"}, {"kv_dtype": "fp8"}),
        ({"quantization": "FP8", "kv_dtype": "BF16"}, {"quantization": "fp8"}),
    ],
)
def test_other_spellings_mean_the_same(written: dict[str, str], meant: dict[str, str]) -> None:
    assert answer(replace(ASKED, **written)) == answer(replace(ASKED, **meant))  # type: ignore[arg-type]


def test_weights_in_a_container_are_as_wide_as_the_name_says() -> None:
    name = f"acme/{ASKED.model.split('/')[-1]}-quantized.w4a16"
    contained = replace(ASKED, model=name, quantization="compressed-tensors")
    assert answer(contained) == answer(replace(ASKED, quantization="int4"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "acme/none"}, "model"),
        ({"accelerator": "h1000"}, "accelerator"),
        ({"quantization": "fp3"}, "quantization"),
        ({"quantization": "compressed-tensors"}, "quantization"),
        ({"kv_dtype": "fp3"}, "kv_dtype"),
        ({"engine": "acme"}, "engine"),
        ({"tensor_parallel": 0}, "tensor_parallel"),
        ({"tensor_parallel": 3}, "tensor_parallel"),
        ({"pipeline_parallel": 64}, "pipeline_parallel"),
        ({"input_tokens": 0.0}, "input_tokens"),
        ({"concurrency": 4.0}, "concurrency"),
        ({"request_rate": None}, "concurrency"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as error:
        answer(replace(ASKED, **change))  # type: ignore[arg-type]
    assert error.value.field == field


def test_large_devices_take_the_engine_s_larger_batches() -> None:
    large = request_of(ASKED, (), LatencyTargets()).engine
    small = request_of(replace(ASKED, accelerator="l40s"), (), LatencyTargets()).engine
    assert (large.max_num_seqs, large.max_num_batched_tokens) == (1024, 8192)
    assert (small.max_num_seqs, small.max_num_batched_tokens) == (256, 2048)
    given = request_of(replace(ASKED, max_num_seqs=64), (), LatencyTargets()).engine
    assert given.max_num_seqs == 64


def test_a_model_of_nobody_s_list_is_answered_from_its_config() -> None:
    config = {
        "num_hidden_layers": 24, "hidden_size": 2048, "num_attention_heads": 16,
        "intermediate_size": 8192, "vocab_size": 64000,
    }  # fmt: skip
    reply = answer(replace(ASKED, model="acme/new", geometry=from_config("new", config)))
    assert reply.fits


def test_an_a100_keeps_the_small_batches_of_the_engine() -> None:
    engine = request_of(replace(ASKED, accelerator="a100"), (), LatencyTargets()).engine
    assert (engine.max_num_seqs, engine.max_num_batched_tokens) == (256, 2048)


def test_sorting_a_large_vocabulary_slows_every_sequence_of_the_batch() -> None:
    plain = replace(ASKED, model="phi-4-mini-instruct", accelerator="a100", request_rate=8.0)
    quick, slow = answer(plain), answer(replace(plain, sorted_sampling=True))
    assert quick.tpot_ms is not None
    assert slow.tpot_ms is not None
    # 200,064 scores of each sequence, 640 bytes each, at 2 TB/s.
    assert 1.1 < slow.tpot_ms / quick.tpot_ms < 1.8


def test_speculation_answers_sooner_and_keeps_no_more_than_it_drafts() -> None:
    plain = answer(ASKED)
    drafted = answer(replace(ASKED, draft_tokens=3, accepted_tokens=1.5))
    assert plain.tpot_ms is not None
    assert drafted.tpot_ms is not None
    assert 0.4 < drafted.tpot_ms / plain.tpot_ms < 0.8
    with pytest.raises(InvalidInput, match="accepted_tokens"):
        answer(replace(ASKED, draft_tokens=1, accepted_tokens=1.5))
