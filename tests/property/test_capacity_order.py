"""Orders that must hold for any replica: load, bandwidth, targets, memory."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import LatencyPrediction, ReplicaCapacity
from trimtab.performance.capacity import CapacityRequest, predict, replica_capacity
from trimtab.performance.steptime import step_model
from unit.performance.builders import request

devices = st.sampled_from(["h100", "l40s", "a10g", "b200", "mi300x", "tpu-v6e", "rtxpro6000"])
models = st.sampled_from(["Llama-3.1-8B", "Qwen3-8B", "gpt-oss-20b", "Gemma-2-2B"])
shapes = st.builds(
    TokenShape,
    input_tokens=st.floats(1, 4000),
    output_tokens=st.floats(1, 2000),
    prefix_hit=st.floats(0, 0.9),
    input_cv=st.floats(0, 2),
    output_cv=st.floats(0, 2),
)
requests = st.builds(
    lambda model, device, shape: request(model, device, shape=shape), models, devices, shapes
)
factors = st.floats(1.0, 4.0)


def safe_rate(asked: CapacityRequest) -> float:
    answer = replica_capacity(asked)
    return answer.max_rps if isinstance(answer, ReplicaCapacity) else 1.0


@settings(max_examples=60, deadline=None)
@given(asked=requests, share=st.floats(0.01, 0.9), more=st.floats(1.02, 3.0))
def test_more_load_never_lowers_a_latency(
    asked: CapacityRequest, share: float, more: float
) -> None:
    rate = share * safe_rate(asked)
    light, heavy = predict(asked, rate), predict(asked, rate * more)
    if not (isinstance(light, LatencyPrediction) and isinstance(heavy, LatencyPrediction)):
        assert light == heavy
        return
    assert heavy.ttft_s >= light.ttft_s * 0.999
    assert heavy.itl_s >= light.itl_s * 0.999
    assert heavy.e2e_s >= light.e2e_s * 0.999
    assert heavy.concurrency >= light.concurrency * 0.999


@settings(max_examples=60, deadline=None)
@given(
    asked=requests,
    faster=factors,
    prompt=st.floats(0, 8192),
    batch=st.floats(1, 256),
    context=st.floats(1, 32768),
)
def test_more_bandwidth_or_compute_never_slows_a_step(
    asked: CapacityRequest, faster: float, prompt: float, batch: float, context: float
) -> None:
    device = asked.accelerator
    plain = step_model(asked.geometry, device, asked.parallelism, asked.engine)
    for better in (
        replace(device, bandwidth=device.bandwidth * faster),
        replace(device, bf16_flops=device.bf16_flops * faster),
    ):
        fast = step_model(asked.geometry, better, asked.parallelism, asked.engine)
        assert (
            fast.mixed_s(prompt, context, batch, batch * context)
            <= plain.mixed_s(prompt, context, batch, batch * context) * 1.000001
        )


@settings(max_examples=60, deadline=None)
@given(asked=requests, looser=factors, ttft=st.floats(0.05, 5), itl=st.floats(0.01, 0.5))
def test_looser_targets_never_lower_the_capacity(
    asked: CapacityRequest, looser: float, ttft: float, itl: float
) -> None:
    tight = replica_capacity(replace(asked, targets=LatencyTargets(ttft_s=ttft, itl_s=itl)))
    if isinstance(tight, ReplicaCapacity):
        loose = replica_capacity(
            replace(asked, targets=LatencyTargets(ttft_s=ttft * looser, itl_s=itl * looser))
        )
        assert isinstance(loose, ReplicaCapacity)
        assert loose.max_rps >= tight.max_rps


@settings(max_examples=40, deadline=None)
@given(asked=requests, more=factors)
def test_more_memory_never_lowers_the_capacity(asked: CapacityRequest, more: float) -> None:
    small = replica_capacity(asked)
    if isinstance(small, ReplicaCapacity):
        device = replace(asked.accelerator, memory_bytes=asked.accelerator.memory_bytes * more)
        large = replica_capacity(replace(asked, accelerator=device))
        assert isinstance(large, ReplicaCapacity)
        assert large.max_rps >= small.max_rps * 0.999
