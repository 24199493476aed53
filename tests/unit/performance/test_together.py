"""Replicas that take turns can be busier, in the model as in the simulated engine."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bodies import pool_manifest
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.policy import resolve
from trimtab.models.snapshot import Key
from trimtab.performance import arrivals
from trimtab.performance.capacity import CapacityRequest, replica_capacity
from trimtab.performance.together import together
from trimtab.simulate.policy import FixedPolicy, Variant
from trimtab.simulate.run import run
from trimtab.simulate.scenario import scenario_of, traffic_of
from unit.performance.builders import request

MEANS = np.array([0.01, 0.4, 1.0, 1.7, 6.0])
VARIATIONS = (1.0, 1 / 2, 1 / 4, 1 / 16)
CHAT = request(
    shape=TokenShape(input_tokens=1024, output_tokens=200),
    targets=LatencyTargets(ttft_s=0.4, itl_s=0.02, percentile=0.99),
)


def rate(asked: CapacityRequest, variation: float) -> float:
    answer = replica_capacity(replace(asked, variation=variation))
    assert isinstance(answer, ReplicaCapacity)
    return answer.max_rps


def test_at_random_they_are_poissons() -> None:
    assert arrivals.spread_of_count(MEANS, 1.0) == pytest.approx(MEANS)
    assert arrivals.chance_of_none(MEANS, 1.0) == pytest.approx(np.exp(-MEANS))
    assert arrivals.any_in(MEANS, 1.0) == pytest.approx(-np.expm1(-MEANS))
    assert arrivals.following(MEANS, 1.0) == pytest.approx(MEANS)
    assert arrivals.company(MEANS, 1.0) == pytest.approx(MEANS)
    assert arrivals.alone(MEANS, 1.0) == pytest.approx(np.exp(-MEANS))


@pytest.mark.parametrize("variation", [0.8, 0.55, 0.4, 0.3])
def test_between_whole_numbers_of_phases_gaps_are_mixed(variation: float) -> None:
    phases = math.floor(1.0 / variation)
    more = arrivals.chance_of_none(MEANS, 1.0 / (phases + 1))
    fewer = arrivals.chance_of_none(MEANS, 1.0 / phases)
    mixed = arrivals.chance_of_none(MEANS, variation)
    share = (mixed - fewer) / (more - fewer)
    assert share == pytest.approx(np.full(len(MEANS), share[0]))
    # Gaps of both kinds have the same mean, so that their variations add up as their squares do.
    assert (1.0 - share[0]) / phases + share[0] / (phases + 1) == pytest.approx(variation)


@pytest.mark.parametrize("phases", [2, 4, 16])
def test_what_follows_one_of_many_is_what_gamma_gaps_give(phases: int) -> None:
    gaps = np.random.default_rng(1).gamma(phases, 1.0 / phases, (20_000, 12)).cumsum(axis=1)
    for mean in (0.4, 1.0, 1.7, 6.0):
        inside = (gaps <= mean).sum(axis=1)
        one = np.array([mean])
        assert arrivals.chance_of_none(one, 1 / phases)[0] == pytest.approx(
            (inside == 0).mean(), abs=0.01
        )
        assert arrivals.following(one, 1 / phases)[0] == pytest.approx(inside.mean(), abs=0.06)


@pytest.mark.parametrize("tensor", [1, 2])
@pytest.mark.parametrize("percentile", [0.9, 0.99])
def test_the_more_even_the_more_can_be_served(tensor: int, percentile: float) -> None:
    asked = request(
        tensor=tensor, shape=CHAT.shape, targets=replace(CHAT.targets, percentile=percentile)
    )
    rates = [rate(asked, variation) for variation in VARIATIONS]
    assert rates == sorted(rates)
    assert rates[-1] > rates[0]


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 500.0), st.floats(1.0, 1.5))
def test_more_requests_never_need_fewer_replicas(rps: float, times: float) -> None:
    def needed(rps: float) -> int:
        return math.ceil(rps / rate(together(CHAT, rps), together(CHAT, rps).variation))

    assert needed(rps) <= needed(rps * times)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 500.0))
def test_a_little_more_demand_changes_little_of_what_one_can_do(rps: float) -> None:
    before, after = (rate(asked := together(CHAT, r), asked.variation) for r in (rps, 1.02 * rps))
    assert after == pytest.approx(before, rel=0.02)


def test_half_as_many_take_turns_as_share_the_demand() -> None:
    for times in (3.0, 7.0, 20.0):
        rps = times * rate(CHAT, 1.0)
        asked = together(CHAT, rps)
        replicas = rps / rate(asked, asked.variation)
        assert 2.0 / replicas == pytest.approx(asked.variation, rel=0.05)


def test_one_replica_and_few_requests_are_as_they_were() -> None:
    assert together(CHAT, 0.5 * rate(CHAT, 1.0)) == CHAT
    assert together(CHAT, 1000.0 * rate(CHAT, 1.0)).variation == 1 / arrivals.MOST_PHASES


def test_the_router_decides() -> None:
    def dealt(routing: str | None) -> bool:
        fields = {"model": {"name": "m"}} | ({} if routing is None else {"routing": routing})
        return resolve(LLMDeploymentSpec.model_validate(fields), None).dealt

    assert [dealt(each) for each in (None, "Even", "InTurn", "LoadAware")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_simulated_replicas_that_take_turns_hold_what_is_said_of_them() -> None:
    replicas, percentile = 4, 0.95
    pool = pool_manifest("l40s", "nvidia-l40s", "1.50", capacity={"maxDevices": 16})
    chat = {
        "apiVersion": "trimtab.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": "chat", "namespace": "assistants"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "latency": {"percentile": 95, "timeToFirstToken": "1s", "interTokenLatency": "60ms"},
        },
    }
    shape = TokenShape(input_tokens=1024, output_tokens=128, input_cv=0.8, output_cv=0.8)
    variant = Variant(
        deployment=Key(namespace="assistants", name="chat"), pool="l40s", parallelism=Parallelism()
    )

    def attained(rps: float) -> float:
        synthetic = {
            "shape": "steady",
            "rate": rps,
            "inputTokens": {"mean": 1024, "cv": 0.8},
            "outputTokens": {"mean": 128, "cv": 0.8},
        }
        scenario = scenario_of(
            {
                "name": "turns",
                "about": "A test.",
                "duration": "10m",
                "warmup": "1m",
                "router": "round-robin",
                "manifests": [pool, chat],
                "traffic": [{"deployment": "assistants/chat", "source": {"synthetic": synthetic}}],
            },
            where="test",
            folder=Path(),
        )
        traffic = traffic_of(scenario, np.random.default_rng(0))
        result = run(scenario, traffic, FixedPolicy(replicas={variant: replicas}), 0)
        assert result.attainment is not None
        return result.attainment

    alone = replace(request("Llama-3.1-8B", "l40s"), shape=shape)
    alone = replace(alone, targets=LatencyTargets(ttft_s=1.0, itl_s=0.06, percentile=percentile))
    said = rate(alone, 1.0 / replicas)
    assert attained(0.9 * replicas * said) >= percentile
    assert attained(1.3 * replicas * said) < percentile
    assert attained(0.9 * replicas * said) > attained(1.1 * replicas * said)
