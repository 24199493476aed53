"""Open and closed loops: saturation, queues, and agreement where both describe one load."""

from dataclasses import fields, replace

import numpy as np
import pytest

from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import TokenShape
from trimtab.performance.capacity import replica_of
from trimtab.performance.meanfield import Replica, equilibrium
from trimtab.performance.outlook import (
    Outlook,
    closed_loop,
    closed_loops,
    evaluate_many,
    open_loop,
    saturation_rate,
)
from unit.performance.builders import request

FIXED = TokenShape(input_tokens=1024, output_tokens=256, input_cv=0, output_cv=0)


def replica(model: str = "Llama-3.1-8B") -> Replica:
    found = replica_of(request(model, shape=FIXED))
    assert isinstance(found, Replica)
    return found


def test_many_loads_at_once_are_the_loads_one_by_one() -> None:
    one = replica()
    rates = saturation_rate(one) * np.linspace(0.01, 0.99, 40)
    together = open_loop(one, rates, 0.95)
    for i in (0, 17, 39):
        alone = open_loop(one, rates[i : i + 1], 0.95)
        assert together.ttft_s[i] == pytest.approx(alone.ttft_s[0], rel=1e-6)
        assert together.itl_s[i] == pytest.approx(alone.itl_s[0], rel=1e-6)


def test_the_rate_that_was_asked_is_the_rate_that_the_batch_serves() -> None:
    one = replica()
    rates = saturation_rate(one) * np.array([0.1, 0.5, 0.9])
    outlook = open_loop(one, rates, 0.95)
    # Little's law: requests in flight = rate x time in the replica, without the front end.
    away = one.step.request_s + one.step.late_steps * outlook.tpot_mean_s
    inside = outlook.e2e_mean_s - away
    assert outlook.concurrency == pytest.approx(rates * inside, rel=0.05)


def test_users_beyond_the_batch_wait_for_a_place() -> None:
    engine = EngineSettings(max_num_seqs=32)
    found = replica_of(request(shape=FIXED, engine=engine))
    assert isinstance(found, Replica)
    outlook = closed_loop(found, np.array([16.0, 32.0, 64.0]), 0.95)
    assert list(outlook.saturated) == [False, False, True]
    assert outlook.rate[2] == pytest.approx(outlook.rate[1], rel=0.05)
    queue = 32 / outlook.rate[2]
    assert outlook.ttft_mean_s[2] - outlook.ttft_mean_s[1] == pytest.approx(queue, rel=0.15)


def test_users_of_many_replicas_at_once_are_those_of_each_alone() -> None:
    one, other = replica(), replica_of(request("Qwen3-30B-A3B", "l40s", tensor=4, shape=FIXED))
    assert isinstance(other, Replica)
    users = np.array([1.0, 7.0, 60.0, 4000.0])
    both = closed_loops([one] * 4 + [other] * 4, np.concatenate([users, users]), 0.95)
    for begin, found in ((0, one), (4, other)):
        alone = closed_loop(found, users, 0.95)
        for name in ("rate", "tpot_mean_s", "ttft_mean_s", "kv_utilization"):
            here = getattr(both, name)[begin : begin + 4]
            assert here == pytest.approx(getattr(alone, name), rel=1e-3), name
        held = alone.rate[:3] * (alone.ttft_mean_s + 255 * alone.tpot_mean_s)[:3]
        assert held == pytest.approx(users[:3], rel=0.2)  # Little's law, but for the front end


def test_a_closed_loop_serves_what_its_own_latency_allows() -> None:
    outlook = closed_loop(replica(), np.array([1.0, 8.0, 64.0]), 0.95)
    one = outlook.tpot_mean_s * 255
    assert np.all(outlook.rate * one < outlook.concurrency)
    assert outlook.rate * outlook.e2e_mean_s == pytest.approx(outlook.concurrency)
    assert outlook.tpot_mean_s[0] < outlook.tpot_mean_s[1] < outlook.tpot_mean_s[2]


LONG = [(1_000, 256), (32_000, 256), (120_000, 64)]


@pytest.mark.parametrize("engine", ["vllm", "sglang", "trtllm"])
def test_an_answer_of_one_token_waits_for_no_group_of_them(engine: str) -> None:
    """Little's law: nobody waits for much longer than users over what is served."""
    shape = TokenShape(input_tokens=1024, output_tokens=1, input_cv=0.0, output_cv=0.0)
    one = replica_of(request(engine=EngineSettings(name=engine), shape=shape))
    assert isinstance(one, Replica)
    outlook = closed_loop(one, np.array([4.0]), 0.95)
    assert outlook.e2e_mean_s[0] <= 1.5 * 4.0 / outlook.rate[0]


def test_the_last_of_many_with_answers_of_one_token_waits_for_all_their_prompts_once() -> None:
    shape = TokenShape(input_tokens=1024, output_tokens=1, input_cv=0.0, output_cv=0.0)
    one = replica_of(request(shape=shape))
    assert isinstance(one, Replica)
    outlook = closed_loop(one, np.array([16.0]), 0.95)
    assert outlook.ttft_s[0] <= 2.5 * 16.0 / outlook.rate[0]


def long_prompts(prompt: int, answer: int) -> Replica:
    shape = TokenShape(input_tokens=prompt, output_tokens=answer, input_cv=0, output_cv=0)
    found = replica_of(request(shape=shape, engine=EngineSettings(max_model_len=131_072)))
    assert isinstance(found, Replica)
    return found


@pytest.mark.parametrize(("prompt", "answer"), LONG)
def test_a_user_alone_meets_nobody_s_prompts(prompt: int, answer: int) -> None:
    one = long_prompts(prompt, answer)
    alone = closed_loop(one, np.array([1.0]), 0.95)
    own_step_s = one.step.decode_s(1.0, float(one.lengths.resident))
    assert alone.tpot_mean_s[0] == pytest.approx(own_step_s, rel=0.01)
    assert alone.itl_s[0] == pytest.approx(own_step_s, rel=0.02)
    assert alone.ttft_s[0] == pytest.approx(alone.ttft_mean_s[0], rel=0.01)
    unhurried = replace(one, step=replace(one.step, wave=0.0))
    at_leisure = closed_loop(unhurried, np.array([1.0]), 0.95)
    assert alone.ttft_mean_s[0] == pytest.approx(at_leisure.ttft_mean_s[0], rel=1e-9)
    # Its next question comes with its last token, so it is served as often as it is answered.
    assert 1.0 / alone.rate[0] == pytest.approx(alone.e2e_mean_s[0], rel=0.06)


@pytest.mark.parametrize(("prompt", "answer"), LONG)
def test_nobody_waits_for_more_than_the_prompts_of_all(prompt: int, answer: int) -> None:
    users = np.array([2.0, 3.0, 4.0])
    outlook = closed_loop(long_prompts(prompt, answer), users, 0.99)
    assert (outlook.ttft_s >= outlook.ttft_mean_s).all()
    assert (outlook.ttft_s <= users * outlook.ttft_mean_s).all()
    assert (outlook.e2e_s <= users * outlook.e2e_mean_s).all()
    steps = answer - 1
    assert outlook.e2e_mean_s == pytest.approx(outlook.ttft_mean_s + steps * outlook.tpot_mean_s)


def gathering(engine: str, ranks: int, users: float) -> tuple[float, float]:
    """Steps that a request waits for other ranks' prompts, and the users that Little's law says."""
    one = request("DeepSeek-V3", "b200", shape=TokenShape(input_tokens=1024, output_tokens=1024))
    split = Parallelism(tensor=8 // ranks, expert=8)
    one = replace(one, parallelism=split, engine=EngineSettings(name=engine, weight_dtype="nvfp4"))
    found = replica_of(one)
    assert isinstance(found, Replica)
    at_once = replace(found, step=replace(found.step, gather_steps=0.0))
    waited, same = (closed_loop(each, np.array([users]), 0.95) for each in (found, at_once))
    assert waited.tpot_mean_s == pytest.approx(same.tpot_mean_s)
    steps = (waited.ttft_mean_s - same.ttft_mean_s) / waited.tpot_mean_s
    return float(steps[0]), float(waited.rate[0] * waited.e2e_mean_s[0])


def test_prompts_wait_until_each_rank_has_one_where_an_engine_gathers_them() -> None:
    # Eight ranks have one each after 8 (1 + 1/2 + ... + 1/8) requests, two after three.
    few, _ = gathering("trtllm", 8, 8.0)
    many, users = gathering("trtllm", 8, 512.0)
    assert few == pytest.approx(50.0, rel=0.2)
    # On average half of that, of at most one request of 1,024 steps from each user.
    assert 0.5 * (8 * 2.718 - 1) / (512 / 1024) < many < 30.0
    assert users == pytest.approx(512.0, rel=0.1)
    pair, _ = gathering("trtllm", 2, 512.0)
    assert pair < 0.25 * many
    assert gathering("trtllm", 1, 64.0)[0] == gathering("vllm", 8, 64.0)[0] == 0.0


def test_experts_over_more_devices_hold_more_and_read_less() -> None:
    asked = request("DeepSeek-V3", "b200", tensor=8, shape=FIXED)
    narrow = replica_of(asked)
    wide = replica_of(replace(asked, parallelism=Parallelism(tensor=8, expert=32)))
    assert isinstance(narrow, Replica)
    assert isinstance(wide, Replica)
    assert wide.kv_slots > 4 * narrow.kv_slots
    assert wide.step.decode_s(256.0, 256e3) < narrow.step.decode_s(256.0, 256e3)


def test_many_replicas_at_once_are_the_replicas_one_by_one() -> None:
    kinds = [
        replica_of(request(model, device, tensor=tensor, shape=shape))
        for model, device, tensor in (
            ("Llama-3.1-8B", "h100", 1),
            ("gpt-oss-20b", "l40s", 1),
            ("Gemma-2-2B", "a10g", 1),
            ("DeepSeek-V3", "h200", 8),
        )
        for shape in (FIXED, TokenShape(input_tokens=300, output_tokens=400))
    ]
    replicas = [one for one in kinds if isinstance(one, Replica)]
    assert len(replicas) == 8
    pairs = [(one, saturation_rate(one) * share) for one in replicas for share in (0.02, 0.7, 1.2)]
    rates = np.array([rate for _, rate in pairs])
    together = evaluate_many([one for one, _ in pairs], rates, 0.95)
    for i, (one, rate) in enumerate(pairs):
        alone = open_loop(one, np.array([rate]), 0.95)
        for field in fields(Outlook):
            mine, its = getattr(together, field.name)[i], getattr(alone, field.name)[0]
            assert mine == pytest.approx(its, rel=1e-9), field.name


def test_a_queue_beyond_saturation_grows_by_what_is_not_served() -> None:
    one = replica()
    most = saturation_rate(one)
    over = open_loop(one, most * np.array([1.1, 2.0]), 0.95)
    assert list(over.saturated) == [True, True]
    assert over.rate == pytest.approx(most)
    assert np.all(np.isinf(over.ttft_s))
    assert np.all(np.isfinite(over.itl_s))


def test_more_requests_are_in_flight_nearer_to_saturation_where_prompts_fill_the_steps() -> None:
    found = replica_of(
        request(
            "Llama-3.1-70B",
            "l4",
            tensor=16,
            engine=EngineSettings(weight_dtype="fp8", max_model_len=16384),
            shape=TokenShape(input_tokens=4096, output_tokens=1024, input_cv=1, output_cv=1),
        )
    )
    assert isinstance(found, Replica)
    shares = np.array([0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99])
    near = open_loop(found, shares * saturation_rate(found), 0.95)
    for values in (near.concurrency, near.tpot_mean_s, near.ttft_mean_s):
        assert (np.diff(values) > 0).all()


def writing(model: str, prompt: int, answer: int) -> Replica:
    """Return a replica whose cache is full of answers long before its batch is."""
    found = replica_of(
        request(
            model,
            "l40s",
            engine=EngineSettings(weight_dtype="fp8", max_model_len=16384, max_num_seqs=1024),
            shape=TokenShape(input_tokens=prompt, output_tokens=answer, input_cv=0, output_cv=0),
        )
    )
    assert isinstance(found, Replica)
    assert found.slots < 0.5 * found.sequences
    return found


def test_prompts_that_a_full_cache_loses_came_in_together() -> None:
    one = writing("Qwen3-30B-A3B", 16, 4000)
    most = equilibrium(one, np.array([float(one.most_arrivals)]), steady=True).rate[0]
    # The token-level simulation serves 0.98 of it; prompts in steps of their own would leave 0.89.
    assert 0.94 < saturation_rate(one) / most < 0.99


def test_users_who_wait_beside_a_full_cache_slow_it_as_arrivals_at_random_do() -> None:
    one = writing("Llama-3.1-8B", 128, 1000)
    slots = float(one.slots)
    loop = closed_loop(one, slots * np.array([0.7, 1.5, 5.0]), 0.95)
    assert loop.rate[1:] == pytest.approx(saturation_rate(one), rel=0.03)
    assert loop.tpot_mean_s[1] > 1.2 * loop.tpot_mean_s[0]
