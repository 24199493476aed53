"""Each family's own spelling of `config.json` adds up to the size that its maker states."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.catalog import geometries
from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput
from trimtab.performance.fit import kv_bytes_per_sequence
from trimtab.performance.weights import parameters

CONFIGS: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "hub_configs.yaml").read_text("utf-8")
)
TEXT = {
    "num_hidden_layers": 35, "hidden_size": 2048, "num_attention_heads": 8,
    "num_key_value_heads": 2, "head_dim": 256, "intermediate_size": 16384, "vocab_size": 262400,
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_a_family_adds_up_to_its_published_size(name: str) -> None:
    read = from_config(name, CONFIGS[name]["config"])
    assert parameters(read).total / 1e9 == pytest.approx(CONFIGS[name]["b"], rel=0.025)


def test_what_no_text_token_multiplies_is_stored_and_not_active() -> None:
    whole = CONFIGS["Qwen2.5-VL-7B"]["config"]
    bare = {key: value for key, value in whole.items() if key != "vision_config"}
    seeing, blind = from_config("seeing", whole), from_config("blind", bare)
    assert parameters(seeing).total - parameters(blind).total == pytest.approx(0.63e9, rel=0.05)
    assert parameters(seeing).active == parameters(blind).active


def test_layers_that_borrow_keys_keep_none_and_their_embeddings_are_stored() -> None:
    read = from_config(
        "gemma-3n",
        {
            **TEXT,
            "model_type": "gemma3n_text",
            "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
            "sliding_window": 512,
            "num_kv_shared_layers": 15,
            "hidden_size_per_layer_input": 256,
            "vocab_size_per_layer_input": 262144,
        },
    )
    assert (read.linear_layers, read.windowed_layers) == (15, 16)
    assert read.side_params == 35 * 256 * 262144
    assert read.state_bytes == 0.0


def test_layers_that_look_at_an_image_keep_no_keys_of_the_text() -> None:
    read = from_config("mllama", CONFIGS["Llama-3.2-11B-Vision"]["config"])
    assert (read.layers, read.linear_layers) == (40, 8)


def test_layers_without_a_window_may_have_other_heads_than_those_with_one() -> None:
    read = from_config("gemma", CONFIGS["Gemma-4-31B"]["config"])
    known = geometries.get("google/gemma-4-31B-it")
    assert known is not None
    windowed, full = 2 * 16 * 256 * 2, 2 * 4 * 512 * 2
    for one in (read, known):
        added = kv_bytes_per_sequence(one, 50_000) - kv_bytes_per_sequence(one, 40_000)
        assert added == 10 * full * 10_000
        assert kv_bytes_per_sequence(one, 100) == (50 * windowed + 10 * full) * 100
        assert one.full_query_share == 2.0


def test_experts_that_work_on_a_narrower_copy_are_as_small_as_the_catalogue_says() -> None:
    read = from_config("nemotron", CONFIGS["Nemotron-3-Super"]["config"])
    known = geometries.get("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16")
    assert known is not None
    assert parameters(read).experts == parameters(known).experts
    assert parameters(read).active / 1e9 == pytest.approx(12.0, rel=0.1)


def test_a_layer_with_two_blocks_of_attention_counts_twice() -> None:
    read = from_config("longcat", CONFIGS["Longcat"]["config"])
    assert (read.layers, read.dense_layers, read.active_experts) == (56, 28, 8)
    assert parameters(read).active / 1e9 == pytest.approx(27.0, rel=0.03)


def test_nothing_but_states_keeps_no_keys_and_shares_its_heads_out() -> None:
    for name in ("Mamba-Codestral-7B", "Falcon-Mamba-7B"):
        read = from_config(name, CONFIGS[name]["config"])
        assert kv_bytes_per_sequence(read, 100_000) == read.state_bytes > 0
        assert read.heads % 8 == 0


def test_a_pattern_of_windows_may_be_letters() -> None:
    config = CONFIGS["EXAONE-4-32B"]["config"]
    listed = from_config("listed", config)
    spelt = {key: value for key, value in config.items() if key != "layer_types"}
    read = from_config("spelt", spelt | {"sliding_window_pattern": "LLLG"})
    assert read.windowed_layers == listed.windowed_layers == 48


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model_type": "t5", "d_model": 1024, "is_encoder_decoder": True}, "is_encoder_decoder"),
        ({"model_type": "bert", **TEXT}, "generates no text"),
        ({**TEXT, "model_type": "acme", "intermediate_size": None}, "intermediate_size"),
    ],
)
def test_what_is_no_decoder_is_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        from_config("new", config)


@pytest.mark.parametrize("kind", ["zamba2", "recurrent_gemma", "rwkv7", "jetmoe"])
def test_a_family_that_would_be_misread_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match=kind):
        from_config("odd", {**TEXT, "model_type": kind})
