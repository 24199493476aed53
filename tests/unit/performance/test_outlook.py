"""Open and closed loops: saturation, queues, and agreement where both describe one load."""

import time
from dataclasses import replace

import numpy as np
import pytest

from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import TokenShape
from trimtab.performance.capacity import replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import closed_loop, open_loop, saturation_rate
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
    away = one.step.request_s + one.step.first_token_steps * outlook.tpot_mean_s
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


def test_a_closed_loop_serves_what_its_own_latency_allows() -> None:
    outlook = closed_loop(replica(), np.array([1.0, 8.0, 64.0]), 0.95)
    one = outlook.tpot_mean_s * 255
    assert np.all(outlook.rate * one < outlook.concurrency)
    assert outlook.tpot_mean_s[0] < outlook.tpot_mean_s[1] < outlook.tpot_mean_s[2]


def test_experts_over_more_devices_hold_more_and_read_less() -> None:
    asked = request("DeepSeek-V3", "b200", tensor=8, shape=FIXED)
    narrow = replica_of(asked)
    wide = replica_of(replace(asked, parallelism=Parallelism(tensor=8, expert=32)))
    assert isinstance(narrow, Replica)
    assert isinstance(wide, Replica)
    assert wide.kv_slots > 4 * narrow.kv_slots
    assert wide.step.decode_s(256.0, 256e3) < narrow.step.decode_s(256.0, 256e3)


def test_ten_thousand_evaluations_take_about_a_second() -> None:
    found = [replica(name) for name in ("Llama-3.1-8B", "gpt-oss-20b")]
    begin = time.process_time()
    for one in found * 50:
        open_loop(one, saturation_rate(one) * np.linspace(0.01, 1.1, 100), 0.95)
    assert time.process_time() - begin < 3.0  # the machine is shared; about 0.7 s alone
