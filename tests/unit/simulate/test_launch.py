"""Steps that no CUDA graph holds. What a real engine does with them is in test_real_engine."""

import pytest

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, ModelGeometry, Parallelism
from trimtab.performance.steptime import StepModel, step_model
from trimtab.simulate.launch import EXPERT_LAYER_S, Launched, launched
from trimtab.simulate.pace import StepTimes

SETTINGS = EngineSettings()


def known(model: str) -> ModelGeometry:
    geometry = geometries.get(model)
    assert geometry is not None
    return geometry


def step_of(model: str, settings: EngineSettings = SETTINGS) -> StepModel:
    accelerator = accelerators.get("nvidia-h100-sxm")
    assert accelerator is not None
    return step_model(known(model), accelerator, Parallelism(), settings)


def times_of(model: str, settings: EngineSettings = SETTINGS) -> StepTimes:
    return launched(step_of(model, settings), known(model), settings)


MOE = "Qwen3-30B-A3B"


def prompt_s(times: StepTimes, tokens: int, batch: int = 0) -> float:
    return times.mixed_s(tokens, tokens / 2, batch, 500.0 * batch)


def test_a_step_that_no_graph_holds_is_no_shorter_than_launching_its_layers() -> None:
    times, step = times_of(MOE), step_of(MOE)
    floor = known(MOE).layers * EXPERT_LAYER_S
    assert prompt_s(times, 512) == prompt_s(step, 512) < floor
    assert prompt_s(times, 513) == prompt_s(times, 1200) == floor
    assert prompt_s(times, 8192) == prompt_s(step, 8192) > floor


def test_those_that_decode_beside_a_prompt_count() -> None:
    times, step = times_of(MOE), step_of(MOE)
    assert prompt_s(times, 500, batch=12) == prompt_s(step, 500, batch=12)
    assert prompt_s(times, 500, batch=13) > prompt_s(step, 500, batch=13)


def test_few_sequences_have_small_graphs() -> None:
    few = EngineSettings(max_num_seqs=64)
    assert prompt_s(times_of(MOE, few), 128) == prompt_s(step_of(MOE, few), 128)
    assert prompt_s(times_of(MOE, few), 129) > prompt_s(step_of(MOE, few), 129)


def test_a_large_batch_that_only_decodes_is_launched_too() -> None:
    many = EngineSettings(max_num_seqs=1024)
    floor = known(MOE).layers * EXPERT_LAYER_S
    assert times_of(MOE, many).decode_s(512, 512.0) == step_of(MOE, many).decode_s(512, 512.0)
    assert times_of(MOE, many).decode_s(513, 513.0) == floor


def test_the_tokens_of_a_draft_count_and_their_pass_is_shared() -> None:
    guessing = EngineSettings(max_num_seqs=512, draft_tokens=3, accepted_tokens=1.5)
    times = times_of(MOE, guessing)
    assert isinstance(times, Launched)
    assert times.decode_s(128, 128.0) == step_of(MOE, guessing).decode_s(128, 128.0)
    assert times.decode_s(129, 129.0) >= times.launch_s / 2.5


@pytest.mark.parametrize(
    ("model", "engine"), [("Llama-3.1-8B", "vllm"), (MOE, "sglang"), (MOE, "trtllm")]
)
def test_nothing_is_said_of_dense_models_and_of_other_engines(model: str, engine: str) -> None:
    settings = EngineSettings(name=engine)
    assert launched(step_of(model, settings), known(model), settings) == step_of(model, settings)
