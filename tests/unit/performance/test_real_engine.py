"""Predictions hold against a real vLLM of our own on an H100; one constant was fitted to it."""

import pytest

from bench.accuracy import lentgpu
from bench.accuracy.lentgpu import KV_TOKENS, Stage
from bench.accuracy.score import by

EASY = [one for one in lentgpu.stages() if one.name in ("0.15", "0.35", "0.55", "0.75")]


@pytest.mark.parametrize("model", KV_TOKENS)
def test_steps_that_only_decode_are_within_a_few_percent(model: str) -> None:
    found = by(lentgpu.decodes(), lambda pair: pair.group)[model]
    assert found.median <= 0.05
    assert found.p90 <= 0.10


def test_there_is_as_much_room_for_keys_and_values_as_the_engine_says() -> None:
    assert all(abs(pair.error) <= 0.05 for pair in lentgpu.kv())


@pytest.mark.parametrize("stage", EASY, ids=lambda one: f"{one.model}-{one.name}")
def test_the_same_arrivals_are_served_alike_below_the_knee(stage: Stage) -> None:
    errors = {
        pair.group: pair.error for pair in lentgpu.replayed(stage, lentgpu.times(stage.model))
    }
    for what in ("p50 TPOT", "p95 TPOT", "p50 TTFT", "p95 TTFT", "p95 E2E"):
        assert abs(errors[what]) <= 0.15, what
