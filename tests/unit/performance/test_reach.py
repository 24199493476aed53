"""What one request alone can get: the nearest targets, and why nothing below them can be met."""

from dataclasses import replace

import pytest

from trimtab.models.hardware import EngineSettings
from trimtab.models.load import RUNGS, LatencyTargets, Spread, TokenShape
from trimtab.models.performance import Infeasible, ReplicaCapacity
from trimtab.performance.capacity import nearest, predict, replica_capacity
from trimtab.performance.reach import Nearest
from unit.performance.builders import request

IMPOSSIBLE = LatencyTargets(percentile=0.95, ttft_s=1e-3, itl_s=1e-4, e2e_s=0.01)


def reach(targets: LatencyTargets, model: str = "Llama-3.1-8B", device: str = "h100") -> Nearest:
    found = nearest(request(model, device, targets=targets))
    assert isinstance(found, Nearest), found
    return found


@pytest.mark.parametrize("percentile", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("device", ["l4", "h100", "b200"])
def test_what_is_nearest_can_be_met_and_a_hundredth_less_cannot(
    device: str, percentile: float
) -> None:
    found = reach(replace(IMPOSSIBLE, percentile=percentile), device=device).targets
    assert found.percentile == percentile
    assert isinstance(replica_capacity(request(device=device, targets=found)), ReplicaCapacity)
    for name in ("ttft_s", "itl_s", "e2e_s"):
        below = LatencyTargets(percentile=percentile, **{name: 0.99 * getattr(found, name)})
        answer = replica_capacity(request(device=device, targets=below))
        assert isinstance(answer, Infeasible)
        assert answer.reason == f"Misses{name.removesuffix('_s').upper()}"


def test_targets_that_can_be_met_are_their_own_nearest() -> None:
    targets = LatencyTargets(percentile=0.9, ttft_s=2.0, e2e_s=60.0)
    found = reach(targets)
    assert found.targets == targets
    assert found.missed == ()


def test_only_what_is_missed_is_moved_and_the_worst_is_named_first() -> None:
    found = reach(replace(IMPOSSIBLE, ttft_s=3.0))
    assert found.targets.ttft_s == 3.0
    assert [one.name for one in found.missed] == ["E2E", "ITL"]
    ratios = [one.alone_s / one.target_s for one in found.missed]
    assert ratios == sorted(ratios, reverse=True)


def test_it_is_what_an_idle_replica_gives() -> None:
    asked = request(targets=IMPOSSIBLE, shape=TokenShape(input_tokens=800, output_tokens=100))
    found, idle = nearest(asked), predict(asked, 1e-6)
    assert isinstance(found, Nearest)
    assert not isinstance(idle, Infeasible)
    assert found.targets.ttft_s == pytest.approx(idle.ttft_s, rel=0.02)
    assert found.targets.itl_s == pytest.approx(idle.itl_s, rel=0.05)


def test_it_says_what_the_time_goes_to() -> None:
    answer = replica_capacity(request(targets=LatencyTargets(itl_s=1e-3)))
    assert isinstance(answer, Infeasible)
    for part in ("to read the model", "launches, exchanges", "the nearest that can be met"):
        assert part in answer.message


def test_a_model_that_fits_nowhere_has_no_nearest_target() -> None:
    found = nearest(request("Llama-3.1-70B", "l4", targets=IMPOSSIBLE))
    assert isinstance(found, Infeasible)
    assert found.reason == "DoesNotFit"


def test_on_an_idle_replica_few_long_prompts_keep_nobody_waiting() -> None:
    shares = [0.0] * (len(RUNGS) + 1)
    shares[7], shares[14] = 0.94, 0.06  # 100 to 200 tokens, and 20,000 to 50,000
    shape = TokenShape(input_tokens=2200, output_tokens=250, inputs=Spread(shares=tuple(shares)))
    found = nearest(
        request(
            device="l40s",
            shape=shape,
            engine=EngineSettings(max_model_len=65536),
            targets=LatencyTargets(percentile=0.9, ttft_s=1e-4),
        )
    )
    assert isinstance(found, Nearest)
    assert found.targets.ttft_s is not None
    assert found.targets.ttft_s < 0.3
