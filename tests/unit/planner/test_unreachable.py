"""What no fleet can do is refused with the reason and the nearest that can be, and not counted."""

import re
from typing import Any

import pytest

from builders import catalogue_pool, planned
from fleetworld import FleetWorld
from trimtab.models.plan import Decision, Verdict, Why
from trimtab.planner.plan import plan

POOLS = [
    catalogue_pool("h100", "nvidia-h100-sxm", 3.9),
    catalogue_pool("l4", "nvidia-l4", 0.7),
    catalogue_pool("mi300x", "amd-mi300x", 3.4),
]
MODELS = (
    {"name": "meta-llama/Llama-3.1-8B-Instruct"},
    {"name": "meta-llama/Llama-3.1-70B-Instruct", "quantization": "fp8"},
    {"name": "Qwen/Qwen2.5-32B-Instruct"},
    {"name": "openai/gpt-oss-120b", "quantization": "mxfp4"},
)
NEAREST = re.compile(r"The nearest that can be met, on \S+: (\w+) ([\d.]+)ms")


def decided(**over: Any) -> Decision:
    state = planned(**over)
    there = FleetWorld(pools=POOLS, deployments={state.key: state}, profiles=())
    return plan(there.snapshot(), there.config).decisions[0]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model["name"]).split("/")[1])
@pytest.mark.parametrize("field", ["timeToFirstToken", "interTokenLatency", "endToEnd"])
def test_the_nearest_target_is_named_and_can_be_met(model: dict[str, str], field: str) -> None:
    refused = decided(model=model, latency={field: "1ms"})
    assert refused.why is Why.NO_CANDIDATE
    assert sum(target.replicas for target in refused.targets) == 0
    said = NEAREST.search(refused.message)
    assert said is not None
    assert said[1] == field
    # Rounding to four digits must not make it unreachable again, so one step above is asked.
    reached = decided(model=model, latency={field: f"{float(said[2]) * 1.001 + 1:.0f}ms"})
    assert reached.why is Why.INITIAL
    missed = {Verdict.MISSES_TTFT, Verdict.MISSES_ITL, Verdict.MISSES_E2E}
    assert not missed >= {candidate.verdict for candidate in reached.candidates}
    below = decided(model=model, latency={field: f"{max(1, int(float(said[2]) * 0.95))}ms"})
    assert below.why is Why.NO_CANDIDATE


@pytest.mark.parametrize("lengths", [(50, 1), (500, 300), (6000, 2000)])
@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model["name"]).split("/")[1])
def test_targets_that_are_missed_together_are_met_together_at_the_nearest(
    model: dict[str, str], lengths: tuple[int, int]
) -> None:
    workload = {"inputTokens": lengths[0], "outputTokens": lengths[1], "requestsPerSecond": "2"}
    all_of_them = dict.fromkeys(("timeToFirstToken", "interTokenLatency", "endToEnd"), "1ms")
    refused = decided(model=model, latency=all_of_them, workload=workload)
    assert refused.why is Why.NO_CANDIDATE
    _, said = refused.message.split("The nearest that can be met, on ")
    nearest = {
        name: f"{float(figure) * 1.001 + 1:.0f}ms"
        for name, figure in re.findall(r"(\w+) ([\d.e+]+)ms", said)
    }
    assert nearest.keys() == all_of_them.keys()
    assert decided(model=model, latency=nearest, workload=workload).why is Why.INITIAL


def test_a_model_that_fits_nowhere_is_refused_with_the_memory_it_lacks() -> None:
    refused = decided(model={"name": "deepseek-ai/DeepSeek-V3"}, placement={"pools": ["l4"]})
    assert refused.why is Why.NO_CANDIDATE
    assert sum(target.replicas for target in refused.targets) == 0
    assert "GiB" in refused.message
    assert NEAREST.search(refused.message) is None
