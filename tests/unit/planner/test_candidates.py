"""Every choice, what it does, and the reason for each that cannot be."""

import re
from dataclasses import replace
from typing import Any

import pytest

from builders import catalogue_pool, planned, variant_state
from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import RUNGS, Spread
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import DeploymentState
from trimtab.planner.ability import AT_LEAST
from trimtab.planner.candidates import LEAST_NEW, LEAST_RUNNING, LEAST_SHARE, choices_of
from trimtab.planner.choice import Choice
from trimtab.planner.query import Market, Speeds, engine_settings, query_of
from trimtab.planner.shortage import PoolState

H100 = catalogue_pool("h100", "nvidia-h100-sxm", 3.5)


def choices(
    *pools: Pool,
    state: DeploymentState | None = None,
    short: bool = False,
    inputs: Spread | None = None,
    **spec: Any,
) -> dict[str, Choice]:
    """Return the choices by pool and degree, such as `h100/2`."""
    state = state or planned(**spec)
    assert state.policy is not None
    market = Market(
        pools={
            pool.name: PoolState(pool=pool, promised=0, limit=pool.usable_devices, short=short)
            for pool in pools or (H100,)
        },
        speeds=Speeds(()),
        config=PlannerConfig(),
    )
    shape = replace(state.policy.shape, inputs=inputs)
    query = query_of(state, state.policy, shape, market)
    return {f"{c.state.pool.name}/{c.parallelism.tensor}": c for c in choices_of(query)}


def test_the_blinder_the_model_the_more_headroom() -> None:
    blind = catalogue_pool("tpu", "google-tpu-v6e", 3.5)
    seen, unseen = choices(H100, blind)["h100/1"], choices(H100, blind)["tpu/1"]
    assert seen.capacity is not None
    assert unseen.capacity is not None
    assert unseen.capacity.uncertainty > seen.capacity.uncertainty + 0.1
    kept = 1.0 - seen.usable_rps / seen.capacity.max_rps
    assert 1.0 - unseen.usable_rps / unseen.capacity.max_rps > kept + 0.1


def test_degrees_are_those_that_divide_a_node() -> None:
    assert list(choices()) == ["h100/1", "h100/2", "h100/4", "h100/8"]
    assert list(choices(catalogue_pool("x", "nvidia-h100-sxm", 3.5, devices_per_node=2))) == [
        "x/1",
        "x/2",
    ]
    assert list(choices(placement={"tensorParallel": [2, 4]})) == ["h100/2", "h100/4"]


def test_a_degree_that_cannot_be_is_named_with_its_reason() -> None:
    three = choices(placement={"tensorParallel": [3]})["h100/3"]
    assert three.refusal is Verdict.DOES_NOT_FIT
    assert "3 devices" in three.message
    odd = catalogue_pool("x", "nvidia-h100-sxm", 3.5, devices_per_node=3)
    heads = choices(odd, placement={"tensorParallel": [3]})["x/3"]
    assert heads.refusal is Verdict.DOES_NOT_FIT
    assert "32 attention heads" in heads.message


def test_what_serves_has_headroom_and_doubt_taken_off() -> None:
    one = choices()["h100/1"]
    assert one.capacity is not None
    share = 1 - 0.10 - one.capacity.uncertainty
    assert one.usable_rps == pytest.approx(one.capacity.max_rps * share)
    assert one.tight_rps == pytest.approx(one.capacity.max_rps * (share + 0.05))
    assert one.price == pytest.approx(3.5)
    assert choices()["h100/8"].price == pytest.approx(28.0)
    assert share > LEAST_SHARE


def test_a_model_that_does_not_fit_says_what_it_needs() -> None:
    big = choices(model={"name": "meta-llama/Llama-3.1-70B-Instruct"})["h100/1"]
    assert big.refusal is Verdict.DOES_NOT_FIT
    assert "GiB" in big.message
    assert not big.stays


def test_a_target_out_of_reach_says_what_is_reached() -> None:
    late = choices(latency={"timeToFirstToken": "1ms"})["h100/1"]
    assert late.refusal is Verdict.MISSES_TTFT
    assert "1 ms" in late.message


@pytest.mark.parametrize(
    ("placement", "text"),
    [
        ({"pools": ["other"]}, "spec.placement.pools"),
        ({"excludePools": ["h100"]}, "spec.placement.excludePools"),
        ({"accelerators": ["nvidia-l40s"]}, "spec.placement.accelerators"),
    ],
)
def test_a_pool_that_is_not_allowed_is_one_line(placement: dict[str, Any], text: str) -> None:
    found = choices(placement=placement)
    assert list(found) == ["h100/1"]
    assert found["h100/1"].refusal is Verdict.NOT_ALLOWED
    assert text in found["h100/1"].message


def test_an_accelerator_is_allowed_by_either_of_its_names() -> None:
    assert choices(placement={"accelerators": ["h100"]})["h100/1"].grows


def test_spot_needs_leave() -> None:
    spot = catalogue_pool("spot", "nvidia-h100-sxm", 1.0, capacity_type=CapacityType.SPOT)
    assert choices(spot)["spot/1"].refusal is Verdict.NOT_ALLOWED
    assert choices(spot, cost={"capacityTypes": ["Spot"]})["spot/1"].grows


def test_an_on_demand_pool_that_is_not_allowed_still_has_a_capacity_for_the_baseline() -> None:
    found = choices(H100, cost={"capacityTypes": ["Spot"]})["h100/1"]
    assert found.refusal is Verdict.NOT_ALLOWED
    assert found.capacity is not None


@pytest.mark.parametrize("routing", ["Even", "LoadAware"])
def test_the_unknown_is_named_with_its_remedy(routing: str) -> None:
    known = catalogue_pool("x", "h100", 1.0)
    unknown = replace(known, accelerator=None, accelerator_name="acme-9000")
    found = choices(unknown, routing=routing)["x/1"]
    assert found.refusal is Verdict.UNKNOWN_ACCELERATOR
    assert "spec.hardware" in found.message
    found = choices(model={"name": "acme/secret-model"}, routing=routing)["h100/1"]
    assert found.refusal is Verdict.UNKNOWN_MODEL
    assert "spec.model.architecture" in found.message


def test_without_a_price_a_pool_grows_only_where_nothing_priced_can_serve() -> None:
    free = catalogue_pool("free", "nvidia-h200-sxm", 1.0, price=None)
    assert choices(H100, free)["free/1"].refusal is Verdict.NO_PRICE
    assert choices(H100, free)["free/1"].stays
    assert choices(free)["free/1"].grows
    latency = choices(H100, free, cost={"objective": "MinimizeLatency"})
    assert latency["free/1"].grows


def test_a_pool_without_devices_or_at_rest_keeps_but_does_not_grow() -> None:
    small = catalogue_pool("small", "nvidia-h100-sxm", 3.5, devices=1)
    assert choices(small)["small/1"].grows
    full = choices(small)["small/2"]
    assert full.refusal is Verdict.NO_CAPACITY
    assert full.stays
    rest = choices(H100, short=True)["h100/1"]
    assert rest.refusal is Verdict.POOL_SHORT
    assert rest.stays


def test_a_replica_beyond_the_cap_is_over_budget() -> None:
    found = choices(cost={"maxPerHour": "10"})
    assert found["h100/2"].grows
    assert found["h100/4"].refusal is Verdict.OVER_BUDGET
    assert "$14.00/h" in found["h100/4"].message


def test_a_request_at_an_absurd_price_is_not_bought() -> None:
    dear = catalogue_pool("dear", "nvidia-h100-sxm", 350.0)
    assert choices(H100, dear)["dear/1"].refusal is Verdict.DEARER


def test_what_runs_with_another_degree_is_seen_and_has_to_leave() -> None:
    running = variant_state(parallelism=Parallelism(tensor=2))
    state = planned(variants=(running,), placement={"tensorParallel": [1]})
    found = choices(H100, state=state)
    assert found["h100/2"].refusal is Verdict.NOT_ALLOWED
    assert found["h100/2"].usable_rps > 0


def test_engine_settings_are_the_users_else_the_defaults() -> None:
    assert engine_settings(planned().spec) == EngineSettings()
    state = planned(
        model={
            "name": "meta-llama/Llama-3.1-8B-Instruct",
            "quantization": "fp8",
            "kvCacheDtype": "fp8",
            "maxModelLen": 4096,
        },
        engine={
            "maxNumSeqs": 64,
            "maxNumBatchedTokens": 2048,
            "gpuMemoryUtilization": "0.8",
            "args": ["--no-async-scheduling"],
        },
    )
    assert engine_settings(state.spec) == EngineSettings(
        weight_dtype="fp8",
        kv_dtype="fp8",
        max_model_len=4096,
        max_num_seqs=64,
        max_num_batched_tokens=2048,
        memory_utilization=0.8,
        takes_turns=True,
    )


def long_prompts(share: float) -> Spread:
    """Prompts of which this share has 20,000 to 50,000 tokens, the others 100 to 200."""
    assert (RUNGS[6], RUNGS[7], RUNGS[13], RUNGS[14]) == (100.0, 200.0, 20_000.0, 50_000.0)
    shares = [0.0] * (len(RUNGS) + 1)
    shares[7], shares[14] = 1.0 - share, share
    return Spread(shares=tuple(shares))


SLOW = catalogue_pool("slow", "nvidia-l40s", 0.5)
LONG: dict[str, Any] = {
    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct", "maxModelLen": 65536},
    "latency": {"timeToFirstToken": "1200ms"},
    "workload": {"inputTokens": 4500, "outputTokens": 250},
}


def test_what_is_too_slow_for_too_many_of_the_prompts_is_refused() -> None:
    found = choices(H100, SLOW, inputs=long_prompts(0.2), **LONG)
    assert found["slow/1"].refusal is Verdict.MISSES_TTFT
    assert "p92.5 TTFT" in found["slow/1"].message
    assert (found["slow/1"].capacity, found["slow/1"].usable_rps) == (None, 0.0)
    assert found["h100/1"].grows
    # 5 % may be late: a few more of them are no proof.
    for inputs in (long_prompts(0.06), None):
        assert choices(H100, SLOW, inputs=inputs, **LONG)["slow/1"].grows


def test_where_nothing_is_fast_enough_for_them_nothing_is_refused_for_it() -> None:
    found = choices(SLOW, inputs=long_prompts(0.2), **LONG)
    assert found["slow/1"].grows


def test_how_long_prompts_spread_changes_no_rate() -> None:
    # The rate at a percentile leaps where as many prompts are too long as may be late.
    seen, unseen = (choices(inputs=one, **LONG)["h100/1"] for one in (long_prompts(0.04), None))
    assert seen.usable_rps == unseen.usable_rps


def test_close_to_what_a_request_takes_alone_a_rate_does_not_fall_to_nothing() -> None:
    def rate(ttft_ms: float, *, runs: bool = False) -> float:
        latency = {"timeToFirstToken": f"{ttft_ms:.3f}ms"}
        state = planned(latency=latency, placement={"tensorParallel": [1]})
        if runs:
            state = replace(state, variants=(variant_state(),))
        found = choices(state=state)["h100/1"]
        return 0.0 if found.capacity is None else found.capacity.max_rps

    missed = choices(latency={"timeToFirstToken": "1ms"})["h100/1"]
    alone_ms = float(re.findall(r"can be met ([\d.]+) ms", missed.message)[0])
    assert rate(0.99 * alone_ms) == rate(0.99 * alone_ms, runs=True) == 0.0
    for ttft_ms in (1.001 * alone_ms, 1.01 * alone_ms):
        near = rate(AT_LEAST * ttft_ms)
        assert rate(ttft_ms) == pytest.approx(LEAST_NEW * near, rel=1e-3)
        assert rate(ttft_ms, runs=True) == pytest.approx(LEAST_RUNNING * near, rel=1e-3)
    # Where the target leaves room, the rate is what it is, and the same whatever runs.
    roomy = 3.0 * alone_ms
    assert rate(roomy) == rate(roomy, runs=True) < rate(AT_LEAST * roomy)
