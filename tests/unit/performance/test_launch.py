"""Steps that no CUDA graph holds. A real engine's are in bench.accuracy.lentgpu."""

from dataclasses import replace

import numpy as np
import pytest

from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible
from trimtab.performance.capacity import CapacityRequest, replica_capacity, replica_of
from trimtab.performance.coefficients import EXPERT_LAYER_S
from trimtab.performance.outlook import open_loop, saturation_rate
from trimtab.performance.steptime import StepModel, step_model

SETTINGS = EngineSettings()
MOE = "Qwen3-30B-A3B"


def known(model: str) -> ModelGeometry:
    geometry = geometries.get(model)
    assert geometry is not None
    return geometry


def step_of(model: str, settings: EngineSettings = SETTINGS) -> StepModel:
    accelerator = accelerators.get("nvidia-h100-sxm")
    assert accelerator is not None
    return step_model(known(model), accelerator, Parallelism(), settings)


def by_device(model: str, settings: EngineSettings = SETTINGS) -> StepModel:
    """The same, as if nothing had to be launched."""
    return replace(step_of(model, settings), launch_s=0.0)


def prompt_s(step: StepModel, tokens: int, batch: int = 0) -> float:
    return step.mixed_s(tokens, tokens / 2, batch, 500.0 * batch)


def test_a_step_that_no_graph_holds_is_no_shorter_than_launching_its_layers() -> None:
    step, device = step_of(MOE), by_device(MOE)
    floor = known(MOE).layers * EXPERT_LAYER_S
    assert prompt_s(step, 512) == prompt_s(device, 512) < floor
    assert prompt_s(step, 513) == prompt_s(step, 1200) == floor
    assert prompt_s(step, 8192) == prompt_s(device, 8192) > floor


def test_arrays_of_steps_take_as_long_as_each_alone() -> None:
    step = step_of(MOE)
    tokens = np.array([100.0, 512.0, 513.0, 2000.0, 8192.0])
    together = step.mixed_s(tokens, 250.0, np.zeros(5), np.zeros(5))
    alone = [step.mixed_s(float(one), 250.0, 0.0, 0.0) for one in tokens]
    assert together == pytest.approx(alone, rel=1e-12)


def test_those_that_decode_beside_a_prompt_count() -> None:
    step, device = step_of(MOE), by_device(MOE)
    assert prompt_s(step, 500, batch=12) == prompt_s(device, 500, batch=12)
    assert prompt_s(step, 500, batch=13) > prompt_s(device, 500, batch=13)


def test_few_sequences_have_small_graphs() -> None:
    few = EngineSettings(max_num_seqs=64)
    assert prompt_s(step_of(MOE, few), 128) == prompt_s(by_device(MOE, few), 128)
    assert prompt_s(step_of(MOE, few), 129) > prompt_s(by_device(MOE, few), 129)


def test_a_large_batch_that_only_decodes_is_launched_too() -> None:
    many = EngineSettings(max_num_seqs=1024)
    floor = known(MOE).layers * EXPERT_LAYER_S
    assert step_of(MOE, many).decode_s(512, 512.0) == by_device(MOE, many).decode_s(512, 512.0)
    assert step_of(MOE, many).decode_s(513, 513.0) == floor


def test_the_tokens_of_a_draft_count_and_their_pass_is_shared() -> None:
    guessing = EngineSettings(max_num_seqs=512, draft_tokens=3, accepted_tokens=1.5)
    step, device = step_of(MOE, guessing), by_device(MOE, guessing)
    assert step.decode_s(128, 128.0) == device.decode_s(128, 128.0)
    assert step.decode_s(129, 129.0) >= step.launch_s / 2.5 > device.decode_s(129, 129.0) / 2.5


def test_a_slower_host_takes_longer_to_launch() -> None:
    step = step_of(MOE)
    slower = step.stretched(read=1.0, compute=1.0, host=1.5)
    assert prompt_s(slower, 513) == pytest.approx(1.5 * prompt_s(step, 513))


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("Llama-3.1-8B", SETTINGS),
        (MOE, EngineSettings(name="sglang")),
        (MOE, EngineSettings(name="trtllm")),
        (MOE, EngineSettings(weight_dtype="awq")),
        ("gpt-oss-120b", SETTINGS),
    ],
)
def test_nothing_is_said_of_what_was_not_measured(model: str, settings: EngineSettings) -> None:
    assert step_of(model, settings) == by_device(model, settings)


def test_plans_know_it() -> None:
    accelerator = accelerators.get("nvidia-h100-sxm")
    assert accelerator is not None
    replica = replica_of(
        CapacityRequest(
            geometry=known(MOE),
            accelerator=accelerator,
            parallelism=Parallelism(),
            engine=SETTINGS,
            shape=TokenShape(input_tokens=1024.0, output_tokens=128.0),
            targets=LatencyTargets(),
        )
    )
    assert not isinstance(replica, Infeasible)
    rate = np.array([0.01])
    waits = open_loop(replica, rate, 0.5)
    without = open_loop(replace(replica, step=by_device(MOE)), rate, 0.5)
    floor = known(MOE).layers * EXPERT_LAYER_S
    assert waits.ttft_s[0] > floor > without.ttft_s[0]


def across_the_edge(targets: LatencyTargets) -> CapacityRequest:
    """A replica whose batch outgrows its largest graph on the way to saturation."""
    accelerator = accelerators.get("nvidia-b200-sxm")
    assert accelerator is not None
    return CapacityRequest(
        geometry=known("GLM-4.5-Air"),
        accelerator=accelerator,
        parallelism=Parallelism(tensor=4),
        engine=EngineSettings(max_num_seqs=1024, max_num_batched_tokens=8192),
        shape=TokenShape(input_tokens=1200, output_tokens=300),
        targets=targets,
    )


def test_a_batch_about_as_large_as_the_largest_graph_is_launched_now_and_then() -> None:
    replica = replica_of(across_the_edge(LatencyTargets()))
    assert not isinstance(replica, Infeasible)
    outlook = open_loop(replica, np.linspace(0.3, 0.99, 70) * saturation_rate(replica), 0.95)
    edge = np.abs(outlook.concurrency - 512.0) < 128.0
    assert edge.sum() > 5
    slower = outlook.tpot_mean_s[1:] / outlook.tpot_mean_s[:-1]
    assert slower.min() > 1.0
    assert slower.max() < 1.1
    # Beyond the edge a step takes as long with fewer, so requests differ less: 0.0618 s to 0.0587.
    assert (outlook.itl_s[1:] / outlook.itl_s[:-1]).min() > 0.94


def test_the_largest_rate_keeps_its_target_at_that_edge() -> None:
    for gap_s in (0.055, 0.06, 0.07):
        found = replica_capacity(across_the_edge(LatencyTargets(percentile=0.95, itl_s=gap_s)))
        assert not isinstance(found, Infeasible)
        assert found.at_max.itl_s <= 1.02 * gap_s
