"""Points come from what was measured, from relatives with a doubt, and never from strangers."""

import math
from dataclasses import replace

import pytest

from trimtab.api.model import Quantization
from trimtab.api.performanceprofile import PerformanceProfileSpec, ProfilePoint
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import LatencyPrediction, Provenance, ReplicaCapacity
from trimtab.models.snapshot import Profile
from trimtab.performance.capacity import predict, replica_capacity
from trimtab.performance.profiles import (
    MeasuredPoint,
    ProfileKey,
    interpolated_rate,
    points_for,
)
from unit.performance.builders import request

KEY = ProfileKey(model="meta-llama/Llama-3.1-8B-Instruct", accelerator="nvidia-h100-sxm")


def profile(
    accelerator: str = "nvidia-h100-sxm",
    tensor: int = 1,
    quantization: Quantization | None = None,
    model: str = "meta-llama/Llama-3.1-8B",
) -> Profile:
    return Profile(
        name="measured",
        spec=PerformanceProfileSpec(
            model=model,
            accelerator=accelerator,
            tensor_parallel=tensor,
            quantization=quantization,
            points=[
                ProfilePoint(
                    input_tokens=512,
                    output_tokens=256,
                    requests_per_second="8",
                    time_to_first_token="60ms",
                    inter_token_latency="20ms",
                )
            ],
        ),
    )


def one(points: tuple[MeasuredPoint, ...]) -> MeasuredPoint:
    (point,) = points
    return point


def test_what_was_measured_on_the_replica_itself_is_taken_as_it_is() -> None:
    point = one(points_for([profile(), profile("nvidia-h200-sxm"), profile(tensor=2)], KEY))
    assert (point.rps, point.ttft_s, point.itl_s, point.error) == (8.0, 0.06, 0.02, 0.0)


def test_a_checkpoint_named_after_its_storage_is_of_that_quantization() -> None:
    named, stated = profile(model="acme/Llama-3.1-8B-FP8"), profile(quantization=Quantization.FP8)
    for key in (replace(KEY, quantization="fp8"), replace(KEY, model="x/Llama-3.1-8B-FP8")):
        assert points_for([named], key) == points_for([stated], key) != ()
    assert points_for([named], KEY) == ()


@pytest.mark.parametrize(
    "stranger",
    [
        profile(quantization=Quantization.FP8),
        profile(model="Qwen/Qwen3-8B"),
        profile(accelerator="nvidia-l40s"),
        profile(tensor=8),
        profile(accelerator="nvidia-h200-sxm", tensor=2),
        profile(accelerator="acme-chip"),
    ],
)
def test_strangers_say_nothing(stranger: Profile) -> None:
    assert points_for([stranger], KEY) == ()


def test_a_device_of_the_family_is_carried_over_by_its_bandwidth() -> None:
    point = one(points_for([profile("nvidia-h200-sxm")], KEY))
    assert point.error > 0
    # A H200 reads memory at 4.8 TB/s, a H100 at 3.35: its gaps are shorter by at most that.
    assert 0.02 < point.itl_s < 0.02 * 4.8 / 3.35
    assert point.ttft_s == pytest.approx(0.06, rel=0.1)
    in_flight = point.rps * point.output_tokens * point.itl_s
    assert in_flight == pytest.approx(8.0 * 256 * 0.02)


def test_the_nearest_relative_is_believed_and_the_doubt_grows_with_the_distance() -> None:
    twice, fourfold = (one(points_for([profile(tensor=n)], KEY)) for n in (2, 4))
    assert 0 < twice.error < fourfold.error
    nearest = one(points_for([profile(tensor=4), profile(tensor=2)], KEY))
    assert nearest == twice
    assert 0.02 < twice.itl_s < 0.04


def test_a_batch_that_has_no_room_here_says_nothing() -> None:
    small = replace(KEY, accelerator="nvidia-a100-40gb-sxm")
    relative = profile("nvidia-a100-80gb-sxm")
    assert one(points_for([relative], small)).error > 0
    (point,) = relative.spec.points
    busy = replace(
        relative,
        spec=relative.spec.model_copy(
            update={"points": [point.model_copy(update={"requests_per_second": "80"})]}
        ),
    )
    assert points_for([busy], small) == ()


def test_a_model_that_nobody_knows_is_not_carried_over() -> None:
    unknown = profile("nvidia-h200-sxm", model="acme/new")
    assert points_for([unknown], replace(KEY, model="acme/new")) == ()


def test_a_relative_corrects_the_estimate_and_leaves_it_less_sure_than_a_measurement() -> None:
    slow = 1.5
    asked = request(device="h200")
    there = predict(asked, 4.0)
    assert isinstance(there, LatencyPrediction)
    measured = Profile(
        name="slow",
        spec=PerformanceProfileSpec(
            model="meta-llama/Llama-3.1-8B",
            accelerator="nvidia-h200-sxm",
            points=[
                ProfilePoint(
                    input_tokens=512,
                    output_tokens=256,
                    requests_per_second=f"{4.0 / slow:.6f}",
                    time_to_first_token=f"{there.ttft_s * slow * 1e3:.3f}ms",
                    inter_token_latency=f"{there.itl_s * slow * 1e3:.3f}ms",
                )
            ],
        ),
    )
    targets = LatencyTargets(itl_s=0.05)
    plain, learnt, own = (
        replica_capacity(request(device=device, targets=targets, points=points))
        for device, points in (
            ("h100", ()),
            ("h100", points_for([measured], KEY)),
            ("h200", points_for([measured], replace(KEY, accelerator="nvidia-h200-sxm"))),
        )
    )
    assert isinstance(plain, ReplicaCapacity)
    assert isinstance(learnt, ReplicaCapacity)
    assert isinstance(own, ReplicaCapacity)
    assert learnt.max_rps < plain.max_rps * 0.85
    assert learnt.provenance is Provenance.CALIBRATED
    assert own.uncertainty < learnt.uncertainty < plain.uncertainty


def sweep(input_tokens: float, rates: tuple[float, ...]) -> list[MeasuredPoint]:
    """ITL grows by 5 ms with each request per second and thousand prompt tokens."""
    return [
        MeasuredPoint(
            input_tokens=input_tokens,
            output_tokens=256,
            rps=rate,
            percentile=0.95,
            ttft_s=0.1,
            itl_s=0.010 + 0.005 * rate * input_tokens / 1000,
        )
        for rate in rates
    ]


TARGETS = LatencyTargets(itl_s=0.03)
GRID = (*sweep(500, (1, 4, 16)), *sweep(1000, (1, 2, 8)))


@pytest.mark.parametrize(("prompt", "rate"), [(500, 8.0), (700, 4 / 0.7), (1000, 4.0)])
def test_between_two_measured_lengths_the_rate_lies_between_theirs(
    prompt: float, rate: float
) -> None:
    found = interpolated_rate(GRID, TokenShape(input_tokens=prompt, output_tokens=256), TARGETS)
    assert found == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize(
    ("prompt", "answer"), [(300, 256), (2000, 256), (700, 400)], ids=["shorter", "longer", "other"]
)
def test_beyond_what_was_measured_nothing_is_interpolated(prompt: float, answer: float) -> None:
    shape = TokenShape(input_tokens=prompt, output_tokens=answer)
    assert interpolated_rate(GRID, shape, TARGETS) is None


def test_what_a_relative_said_is_no_measurement() -> None:
    carried = tuple(replace(point, error=0.1) for point in GRID)
    shape = TokenShape(input_tokens=500, output_tokens=256)
    assert interpolated_rate(carried, shape, TARGETS) is None


def test_lengths_far_apart_are_not_dense() -> None:
    apart = (*sweep(250, (1, 4, 32)), *sweep(1000, (1, 2, 8)))
    assert (
        interpolated_rate(apart, TokenShape(input_tokens=500, output_tokens=256), TARGETS) is None
    )
    assert math.isclose(
        interpolated_rate(apart, TokenShape(input_tokens=1000, output_tokens=256), TARGETS) or 0,
        4.0,
    )
