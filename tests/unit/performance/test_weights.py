"""Parameter counts reproduce the published sizes, and quantization touches the right parts."""

import pytest

from trimtab.performance.weights import compute_peak, parameters, part_dtypes, stored_weights
from unit.performance.builders import accelerator, geometry


@pytest.mark.parametrize(
    ("model", "total", "active"),
    [
        # Published sizes in billions; active counts from research/models.md section 3.
        ("Llama-2-7B", 6.74, 6.61),
        ("Llama-3.1-8B", 8.03, 7.50),
        ("Llama-3.1-70B", 70.55, 69.50),
        ("Llama-3.1-405B", 405.85, 403.75),
        ("Llama-4-Scout-17B-16E", 107.77, 16.14),
        ("Llama-4-Maverick-17B-128E", 400.71, 16.15),
        ("Qwen2.5-72B", 72.70, 71.46),
        ("Qwen3-0.6B", 0.60, 0.60),
        ("Qwen3-30B-A3B", 30.53, 3.04),
        ("Qwen3-235B-A22B", 235.09, 21.57),
        ("Qwen3-Coder-480B-A35B", 480.15, 34.54),
        ("Mixtral-8x7B", 46.70, 12.75),
        ("Mixtral-8x22B", 140.62, 38.95),
        ("Gemma-3-27B", 27.43, 27.01),
        ("gpt-oss-20b", 20.91, 3.61),
        ("gpt-oss-120b", 116.79, 5.13),
        ("DeepSeek-V3", 671.03, 36.62),
        ("Kimi-K2", 1026.41, 31.69),
        ("GLM-5", 743.18, 40.10),
        ("Qwen3.5-397B-A17B", 397.0, 17.0),
        ("MiniMax-M2.5", 229.0, 10.0),
        ("Nemotron-3-Nano-30B-A3B", 31.6, 3.2),
        ("BLOOM-176B", 176.2, 176.2),
    ],
)
def test_counts_reproduce_the_published_sizes(model: str, total: float, active: float) -> None:
    counts = parameters(geometry(model))
    assert counts.total / 1e9 == pytest.approx(total, rel=0.01)
    assert counts.active / 1e9 == pytest.approx(active, rel=0.05)


def test_gpt_oss_ships_its_experts_in_four_bit_and_the_rest_wide() -> None:
    stored = stored_weights(geometry("gpt-oss-120b"), "none")
    assert stored.total / 1e9 == pytest.approx(65.0, rel=0.05)  # the published checkpoint
    assert part_dtypes(geometry("gpt-oss-120b"), "none").attention == "none"


def test_deepseek_ships_in_fp8() -> None:
    assert stored_weights(geometry("DeepSeek-V3"), "none").total / 1e9 == pytest.approx(
        673, rel=0.01
    )


def test_quantization_shrinks_the_layers_and_not_the_embeddings() -> None:
    wide = stored_weights(geometry(), "none")
    narrow = stored_weights(geometry(), "fp8")
    assert narrow.feed_forward == pytest.approx(wide.feed_forward / 2)
    assert narrow.embedding == wide.embedding
    assert stored_weights(geometry(), "awq").total < narrow.total


def test_weights_without_units_for_them_are_multiplied_at_16_bit() -> None:
    assert compute_peak(accelerator("a100"), "fp8") == 312e12
    assert compute_peak(accelerator("h100"), "fp8") == 1978e12
    assert compute_peak(accelerator("h100"), "awq") == 989e12
    assert compute_peak(accelerator("h100"), "nvfp4") == 989e12
    assert compute_peak(accelerator("b200"), "nvfp4") == 9000e12
