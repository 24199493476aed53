"""Step times move the right way, and land near measured kernels."""

from dataclasses import replace

import numpy as np
import pytest

from trimtab.catalog import accelerators
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.efficiency import NO_ENGINE
from trimtab.performance.steptime import StepModel, step_model
from unit.performance.builders import accelerator, geometry


def model(
    name: str = "Llama-3.1-8B", device: str = "h100", tensor: int = 1, dtype: str = "none"
) -> StepModel:
    return step_model(
        geometry(name),
        accelerator(device),
        Parallelism(tensor=tensor),
        EngineSettings(weight_dtype=dtype),
    )


def test_one_decode_is_bound_by_reading_the_weights() -> None:
    seconds = model().decode_s(1.0, 1024.0)
    assert seconds > 15.0e9 / 3350e9
    assert seconds < 3 * 15.0e9 / 3350e9


def test_a_long_prompt_is_bound_by_computing() -> None:
    seconds = model().mixed_s(8192.0, 4096.0, 0.0, 0.0)
    least = 2 * 7.5e9 * 8192 / 989e12
    assert least < seconds < 2.5 * least


def test_arrays_give_what_floats_give() -> None:
    step = model("gpt-oss-20b")
    batch = np.array([1.0, 8.0, 64.0])
    whole = step.mixed_s(np.array([0.0, 512.0, 2048.0]), 700.0, batch, batch * 900.0)
    for i, (prompt, rows) in enumerate(((0.0, 1.0), (512.0, 8.0), (2048.0, 64.0))):
        assert whole[i] == pytest.approx(step.mixed_s(prompt, 700.0, rows, rows * 900.0))


def test_decode_is_a_mixed_step_without_prompt() -> None:
    step = model()
    assert step.decode_s(32.0, 32000.0) == step.mixed_s(0.0, 0.0, 32.0, 32000.0)


def test_quantized_weights_decode_faster_and_fp8_also_prefills_faster() -> None:
    assert model(dtype="awq").decode_s(1.0, 100.0) < model(dtype="fp8").decode_s(1.0, 100.0)
    assert model(dtype="fp8").decode_s(1.0, 100.0) < model().decode_s(1.0, 100.0)
    wide = model().mixed_s(8192.0, 4096.0, 0.0, 0.0)
    assert model(dtype="fp8").mixed_s(8192.0, 4096.0, 0.0, 0.0) < 0.85 * wide
    assert model(dtype="awq").mixed_s(8192.0, 4096.0, 0.0, 0.0) == pytest.approx(wide, rel=0.05)


def test_experts_are_read_as_the_batch_touches_them() -> None:
    step = model("Qwen3-30B-A3B")
    one = step.decode_s(1.0, 0.0)
    many = step.decode_s(64.0, 0.0)
    dense = model("Qwen3-32B")
    assert many / one > 3
    assert dense.decode_s(64.0, 0.0) / dense.decode_s(1.0, 0.0) < 1.3


def test_windows_and_sparse_attention_bound_what_long_contexts_cost() -> None:
    def growth(name: str) -> float:
        step = model(name, device="h200", tensor=8)
        short, long = step.decode_s(32.0, 32 * 4096.0), step.decode_s(32.0, 32 * 65536.0)
        return long / short

    assert growth("DeepSeek-V3.2") < growth("DeepSeek-V3")
    assert growth("DeepSeek-V3.2") > 1.01  # the index, which is read of every token
    assert growth("Gemma-3-27B") < growth("Llama-3.1-70B")


def test_tensor_parallelism_helps_on_nvlink_and_hardly_on_pcie() -> None:
    def gain(device: str) -> float:
        whole = model(device=device).mixed_s(4096.0, 2048.0, 0.0, 0.0)
        return whole / model(device=device, tensor=4).mixed_s(4096.0, 2048.0, 0.0, 0.0)

    assert gain("h100") > 2.0
    assert gain("l40s") < 1.5


def test_a_replica_over_two_nodes_exchanges_at_the_speed_of_their_network() -> None:
    def prompt_s(tensor: int, pipeline: int, network: float, island: int = 8) -> float:
        device = replace(
            accelerator("l40s"), link_bandwidth=450e9, network_bandwidth=network, island=island
        )
        split = Parallelism(tensor=tensor, pipeline=pipeline)
        step = step_model(geometry("Llama-3.1-405B"), device, split, EngineSettings())
        return float(step.mixed_s(4096.0, 2048.0, 0.0, 0.0))

    slow, fast = 1e9, 50e9
    assert prompt_s(8, 1, slow) == prompt_s(8, 1, fast)
    assert prompt_s(16, 1, slow) > 1.5 * prompt_s(16, 1, fast)
    assert prompt_s(8, 2, slow) > prompt_s(8, 2, fast)
    # In a rack of 72 that one link joins, 16 devices do not leave it.
    assert prompt_s(16, 1, slow, island=72) < prompt_s(16, 1, slow)


def test_pipeline_stages_split_the_batch_and_not_the_step() -> None:
    two = step_model(
        geometry("Llama-3.1-70B"),
        accelerator(),
        Parallelism(tensor=4, pipeline=2),
        EngineSettings(),
    )
    one = step_model(
        geometry("Llama-3.1-70B"), accelerator(), Parallelism(tensor=4), EngineSettings()
    )
    assert two.decode_s(64.0, 64000.0) == pytest.approx(one.decode_s(32.0, 32000.0), rel=0.01)


def test_scaling_stretches_every_time_and_nothing_else() -> None:
    step = model("gpt-oss-120b")
    slow = step.scaled(1.5)
    assert slow.decode_s(17.0, 9000.0) == pytest.approx(1.5 * step.decode_s(17.0, 9000.0))
    assert slow.touched(9.0) == step.touched(9.0)
    assert slow.window == step.window


def test_one_token_touches_its_own_experts_and_a_crowd_fewer_than_if_all_were_alike() -> None:
    step = model("Qwen3-30B-A3B")
    assert step.touched(1.0) == pytest.approx(8 / 128)
    alike = 1.0 - (1.0 - 8 / 128) ** 32
    assert 0.7 * alike < step.touched(32.0) < 0.95 * alike
    assert step.touched(1e6) > 0.999
    assert model("Qwen3-32B").touched(64.0) == 0.0


def test_a_token_that_uses_all_experts_touches_all() -> None:
    merged = replace(geometry("Mixtral-8x7B"), experts=2, active_experts=2)
    step = step_model(merged, accelerator(), Parallelism(), EngineSettings())
    assert step.touched(0.0) == 0.0
    assert step.touched(1.0) == pytest.approx(1.0, abs=1e-5)


def test_tensor_parallelism_helps_the_prompts_of_small_experts_less_than_those_of_large() -> None:
    def gain(name: str) -> float:
        whole = model(name, dtype="fp8").mixed_s(8192.0, 4096.0, 0.0, 0.0)
        return whole / model(name, tensor=4, dtype="fp8").mixed_s(8192.0, 4096.0, 0.0, 0.0)

    assert gain("Qwen3-30B-A3B") < 0.9 * gain("Mixtral-8x7B")


def test_activations_take_the_more_of_a_step_the_narrower_its_multiplications() -> None:
    # Halving the multiplications leaves what moves between them, and adds bringing it to 8 bit.
    small = model(dtype="fp8").mixed_s(8192.0, 4096.0, 0.0, 0.0)
    assert small > 0.55 * model().mixed_s(8192.0, 4096.0, 0.0, 0.0)


def test_a_gb200_works_off_long_prompts_no_faster_than_a_b200() -> None:
    gb200, b200 = (
        model("Llama-3.1-70B", device=name).mixed_s(16384.0, 8192.0, 0.0, 0.0)
        for name in ("nvidia-gb200", "nvidia-b200-sxm")
    )
    assert 0.9 * b200 < gb200 < 1.3 * b200


def test_less_power_than_the_measured_sibling_slows_computing_and_not_reading() -> None:
    whole = step_model(geometry("Llama-3.1-8B"), accelerator(), Parallelism(), EngineSettings())
    capped = step_model(
        geometry("Llama-3.1-8B"),
        replace(accelerator(), watts=350.0),
        Parallelism(),
        EngineSettings(),
    )
    assert capped.token_s == pytest.approx(2.0 * whole.token_s)
    assert capped.weights_s == whole.weights_s


def prompt_s(name: str, engine: str, tensor: int = 1, dtype: str = "none") -> float:
    step = step_model(
        geometry(name),
        accelerator(),
        Parallelism(tensor=tensor),
        EngineSettings(name=engine, weight_dtype=dtype),
    )
    return step.mixed_s(8192.0, 4096.0, 0.0, 0.0)


def over_kernels(name: str, tensor: int = 1, dtype: str = "none") -> float:
    """How much longer a prompt takes in serving than as kernels alone."""
    return prompt_s(name, "vllm", tensor, dtype) / prompt_s(name, NO_ENGINE, tensor, dtype)


def test_a_card_at_its_power_limit_multiplies_dense_matrices_slower_than_a_kernel_alone() -> None:
    assert 1.15 < over_kernels("Llama-3.1-8B") < 1.4


@pytest.mark.parametrize(
    ("name", "tensor", "dtype"),
    [
        pytest.param("Llama-3.1-8B", 1, "fp8", id="8 bit reach less of their peak"),
        pytest.param("Qwen3-30B-A3B", 1, "none", id="small experts do, too"),
        pytest.param("Llama-3.1-8B", 8, "none", id="exchanges leave time to cool"),
    ],
)
def test_what_draws_less_is_not_held(name: str, tensor: int, dtype: str) -> None:
    assert 1.0 < over_kernels(name, tensor, dtype) < 1.06


def test_a_power_limit_does_not_touch_decoding() -> None:
    step = model()
    free = replace(step, held_token_s=0.0)
    for batch in (1.0, 64.0):
        assert step.decode_s(batch, 1024.0 * batch) == free.decode_s(batch, 1024.0 * batch)


def test_a_held_step_is_stretched_like_all_computing() -> None:
    step = model()
    slow = step.stretched(read=1.0, compute=2.0, host=1.0)
    assert slow.mixed_s(8192.0, 0.0, 0.0, 0.0) == pytest.approx(
        2.0 * step.mixed_s(8192.0, 0.0, 0.0, 0.0), rel=0.02
    )


def speculating(drafts: int, accepted: float) -> StepModel:
    return step_model(
        geometry("Llama-3.1-70B"),
        accelerator(),
        Parallelism(tensor=4),
        EngineSettings(draft_tokens=drafts, accepted_tokens=accepted),
    )


def test_accepted_drafts_share_one_reading_of_the_weights() -> None:
    plain, three = speculating(0, 0.0), speculating(3, 2.0)
    gain = plain.decode_s(1.0, 1024.0) / three.decode_s(1.0, 1024.0)
    assert 2.3 < gain < 3.0  # three tokens a step, less what drafting and verifying cost


def test_rejected_drafts_only_cost_and_the_more_the_fuller_the_batch() -> None:
    plain, wasted = speculating(0, 0.0), speculating(3, 0.0)
    few = wasted.decode_s(1.0, 1024.0) / plain.decode_s(1.0, 1024.0)
    many = wasted.decode_s(256.0, 256 * 1024.0) / plain.decode_s(256.0, 256 * 1024.0)
    assert 1.0 < few < 1.2
    assert many > few


def test_speculation_works_no_prompt_off_faster() -> None:
    plain, three = speculating(0, 0.0), speculating(3, 2.0)
    extra = [
        step.mixed_s(4096.0, 2048.0, 8.0, 8192.0) - step.decode_s(8.0, 8192.0)
        for step in (plain, three)
    ]
    assert extra[1] == pytest.approx(extra[0], rel=0.15)


@pytest.mark.parametrize("name", accelerators.names())
def test_every_accelerator_is_slower_than_its_data_sheet_and_faster_than_a_fifth_of_it(
    name: str,
) -> None:
    device, step = accelerator(name), model(device=name)
    read_s = 2.0 * 7.5e9 / device.bandwidth
    assert read_s < step.decode_s(1.0, 16.0) < 3.0 * read_s
    compute_s = 2.0 * 7.5e9 * 4096 / device.bf16_flops
    assert compute_s < step.mixed_s(4096.0, 2048.0, 0.0, 0.0) < 5.0 * compute_s


@pytest.mark.parametrize(
    ("slow", "fast"),
    [
        ("nvidia-t4", "nvidia-v100-16gb-sxm"),
        ("nvidia-v100-16gb-sxm", "nvidia-a100-80gb-sxm"),
        ("nvidia-a100-80gb-sxm", "nvidia-h100-sxm"),
        ("nvidia-h100-sxm", "nvidia-b200-sxm"),
        ("amd-mi300x", "amd-mi355x"),
        ("intel-gaudi2", "intel-gaudi3"),
        ("google-tpu-v5e", "google-tpu-v6e"),
        ("google-tpu-v6e", "google-tpu-v7"),
        ("aws-inferentia2", "aws-trainium2"),
    ],
)
def test_a_newer_generation_is_faster_in_both_phases(slow: str, fast: str) -> None:
    old, new = model(device=slow), model(device=fast)
    assert new.decode_s(16.0, 16384.0) < old.decode_s(16.0, 16384.0)
    assert new.mixed_s(4096.0, 2048.0, 0.0, 0.0) < old.mixed_s(4096.0, 2048.0, 0.0, 0.0)


def test_faster_memory_hardly_helps_experts_that_must_be_widened_on_the_way() -> None:
    def gain(name: str) -> float:
        slow, fast = model(name, "h100", 2), model(name, "h200", 2)
        return float(slow.experts_s / fast.experts_s)

    bandwidths = accelerator("h200").bandwidth / accelerator("h100").bandwidth
    assert gain("Qwen3-30B-A3B") == pytest.approx(bandwidths)
    assert gain("gpt-oss-120b") < 1.0 + 0.5 * (bandwidths - 1.0)


def test_an_engine_that_takes_turns_adds_the_same_to_every_step_and_more_for_each_sequence() -> (
    None
):
    def step(*, turns: bool) -> StepModel:
        engine = EngineSettings(takes_turns=turns)
        return step_model(geometry(), accelerator(), Parallelism(), engine)

    slow, quick = step(turns=True), step(turns=False)
    assert slow.decode_s(1.0, 100.0) - quick.decode_s(1.0, 100.0) == pytest.approx(757e-6, rel=0.01)
    assert slow.decode_s(100.0, 1e4) - quick.decode_s(100.0, 1e4) > 1.3e-3
