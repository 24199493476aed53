"""Calibration against a simulated engine that is slower or faster than the model says, and drifts.

The engine is the token-level simulation; what it shows is what Prometheus shows of it: sums and
counts over four scrapes, a queue, the use of the cache.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from drifting import begun, off, page, taught
from trimtab.catalog import accelerators, geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import Infeasible, Provenance, ReplicaCapacity
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.performance.belief import prior
from trimtab.performance.calibration import ENOUGH_S, learn
from trimtab.performance.capacity import (
    CALIBRATED,
    CapacityRequest,
    replica_capacity,
    replica_of,
)
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import StepModel
from trimtab.performance.window import FULL_CACHE, Load, Moment, seen_in

CHAT = TokenShape(input_tokens=300, output_tokens=250)
RAG = TokenShape(input_tokens=1200, output_tokens=200)
WRITING = TokenShape(input_tokens=200, output_tokens=800)
REPLICAS = {
    "8B": ("Llama-3.1-8B", "h100", 1, "none"),
    "8B-l40s": ("Llama-3.1-8B", "l40s", 1, "none"),
    "32B": ("Qwen3-32B", "h200", 2, "fp8"),
    "MoE": ("Qwen3-30B-A3B", "h100", 1, "none"),
    "70B": ("Llama-3.1-70B", "h100", 4, "fp8"),
}


def request(name: str = "8B", shape: TokenShape = CHAT) -> CapacityRequest:
    model, device, tensor, dtype = REPLICAS[name]
    geometry, accelerator = geometries.get(model), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    return CapacityRequest(
        geometry=geometry,
        accelerator=accelerator,
        parallelism=Parallelism(tensor=tensor),
        engine=EngineSettings(weight_dtype=dtype, max_model_len=16384, max_num_batched_tokens=4096),
        shape=shape,
        targets=LatencyTargets(percentile=0.95, ttft_s=2.0, itl_s=0.1),
    )


CASES = [
    ("8B", CHAT, 0.1), ("8B", CHAT, 1.2), ("8B", RAG, 0.5), ("8B", RAG, 0.9),
    ("8B-l40s", CHAT, 0.5), ("8B-l40s", WRITING, 0.9), ("32B", RAG, 0.1), ("32B", WRITING, 1.2),
    ("MoE", CHAT, 0.1), ("MoE", RAG, 0.9), ("70B", CHAT, 0.5), ("70B", RAG, 1.2),
    ("MoE", CHAT, 1.2), ("MoE", RAG, 1.2), ("MoE", WRITING, 1.2), ("8B-l40s", RAG, 2.0),
]  # fmt: skip
DRIFTS: dict[str, Callable[[float], float]] = {
    "much faster": lambda at: 0.7,
    "as predicted": lambda at: 1.0,
    "much slower": lambda at: 1.45,
    "heating up": lambda at: 1.1 + 0.15 * min(at, 900.0) / 900.0,
    "swinging": lambda at: 1.2 + 0.1 * math.sin(at / 600.0),
}


@pytest.mark.parametrize("drift", DRIFTS)
@pytest.mark.parametrize(("name", "shape", "share"), CASES)
def test_within_five_percent_after_twenty_scrapes_and_never_worse_than_the_prior(
    name: str, shape: TokenShape, share: float, drift: str
) -> None:
    asked = request(name, shape)
    shown = page(asked, share, DRIFTS[drift])
    now = begun(asked)
    for scrape in range(1, 29):
        now = taught(now, shown)
        if scrape < 3:
            continue
        error, unlearnt = off(now.used, shown), off(None, shown)
        assert abs(error) <= abs(unlearnt) + 0.05, scrape
        if scrape > 20:
            assert abs(error) <= 0.05, scrape
    assert now.used is not None


@pytest.mark.parametrize("scale", [0.7, 1.4])
def test_a_rate_follows_what_was_learnt_and_is_surer_than_an_estimate(scale: float) -> None:
    asked = request("70B", RAG)
    shown = page(asked, 0.6, lambda at: scale)
    now = begun(asked)
    for _ in range(24):
        now = taught(now, shown)
    log = math.log(scale)
    truly = replace(prior(), read=log, compute=log, host=log)
    learnt, plain, true = (
        replica_capacity(replace(asked, scales=scales)) for scales in (now.used, None, truly)
    )
    assert isinstance(learnt, ReplicaCapacity)
    assert isinstance(plain, ReplicaCapacity)
    assert isinstance(true, ReplicaCapacity)
    assert learnt.max_rps == pytest.approx(true.max_rps, rel=0.08)
    assert (plain.provenance, learnt.provenance) == (Provenance.ESTIMATED, Provenance.CALIBRATED)
    assert CALIBRATED < learnt.uncertainty < 0.09 < plain.uncertainty
    assert true.uncertainty == pytest.approx(plain.uncertainty)  # as unsure as ever


def test_what_slows_down_is_told_apart_where_the_load_shows_it() -> None:
    def compute_bound(step: StepModel) -> StepModel:
        return step.stretched(read=1.0, compute=1.5, host=1.0)

    asked = request("70B", RAG)
    shown = page(asked, 0.7, lambda at: 1.0, stretch=compute_bound)
    now, most = begun(asked), shown.rate * 0.8
    for scrape in range(60):
        shown.rate = most if scrape // 10 % 2 else most / 8.0  # a busy and a quiet time
        now = taught(now, shown)
    assert now.scales.compute == pytest.approx(math.log(1.5), abs=0.1)
    assert abs(now.scales.read) < 0.1


@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_an_odd_scrape_moves_little_and_a_lasting_change_is_believed(scale: float) -> None:
    asked = request()
    shown = page(asked, 0.5, lambda at: scale if at < 900 or at >= 1500 else scale * 2.0)
    now = begun(asked)
    for _ in range(30):
        now = taught(now, shown)
    steady = now
    factor, itl = shown.factor, shown.reading().itl_s
    assert isinstance(itl, Fresh)
    for _ in range(4):  # one stall of the engine is in four windows
        now = taught(now, shown, itl_s=Fresh(value=itl.value * 4.0))
        assert now.scales == steady.scales
    for _ in range(6):
        now = taught(now, shown)
    shown.rate /= 4.0
    assert factor(shown.now) == scale
    while shown.now < 1500:
        now = taught(now, shown)
    assert now.used is not None
    assert abs(off(now.used, shown)) <= 0.05
    assert now.scales.read > steady.scales.read + 0.5


def test_outliers_in_every_tenth_scrape_are_borne() -> None:
    asked = request("32B", CHAT)
    shown = page(asked, 0.6, lambda at: 1.25)
    now = begun(asked)
    for scrape in range(1, 60):
        shown.scrape()
        moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now)
        reading = shown.reading()
        if scrape % 10 == 0:
            assert isinstance(reading.itl_s, Fresh)
            wild = reading.itl_s.value * (3.0 if scrape % 20 else 0.2)
            reading = replace(reading, itl_s=Fresh(value=wild))
        now = learn(now, reading, asked, moment)
        if scrape > 20:
            assert abs(off(now.used, shown)) <= 0.05, scrape


def test_no_step_is_longer_than_the_limit_and_what_plans_use_stands_still_at_rest() -> None:
    asked = request("70B", CHAT)
    shown = page(asked, 0.6, lambda at: 1.4)
    now, used = begun(asked), []
    for _ in range(120):
        before, now = now, taught(now, shown)
        for name in ("read", "compute", "host"):
            step = abs(getattr(now.scales, name) - getattr(before.scales, name))
            assert step <= 0.05 + 1e-12
        used.append(now.used)
    changes = sum(one != other for one, other in pairwise(used[40:]))
    assert changes <= 4


def test_few_windows_are_not_enough_to_plan_with() -> None:
    asked = request()
    shown = page(asked, 0.5, lambda at: 1.4)
    now = begun(asked)
    while now.evidence_s < ENOUGH_S:
        assert now.used is None
        now = taught(now, shown)
    assert now.used == now.scales


def test_a_restart_teaches_nothing_until_its_window_is_whole() -> None:
    asked = request()
    shown = page(asked, 0.5, lambda at: 1.3)
    now = begun(asked)
    for _ in range(24):
        now = taught(now, shown)
    shown.restart()
    for _ in range(5):
        before, now = now, taught(now, shown)
        assert now == before
    for _ in range(3):
        before, now = now, taught(now, shown)
    assert now != before
    assert abs(off(now.used, shown)) <= 0.05


def test_a_queue_says_nothing_of_prompts_and_a_full_cache_is_allowed_for() -> None:
    asked = request("70B", RAG)
    shown = page(asked, 0.3, lambda at: 1.0)
    now = begun(asked)
    for _ in range(20):
        now = taught(now, shown)
    shown.scrape()
    moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now)
    long, queued = Fresh(value=30.0), Fresh(value=3.0)
    silent = learn(now, shown.reading(waiting=queued), asked, moment)
    assert learn(now, shown.reading(waiting=queued, ttft_s=long), asked, moment) == silent
    itl = shown.reading().itl_s
    assert isinstance(itl, Fresh)
    unknown = Missing(why="no such metric")
    slow: dict[str, Signal] = {
        "itl_s": Fresh(value=itl.value * 1.09),
        "waiting": queued,
        "running": unknown,
        "steps_per_s": unknown,
    }
    full = learn(now, shown.reading(**slow, kv_utilization=Fresh(value=0.99)), asked, moment)
    free = learn(now, shown.reading(**slow), asked, moment)
    assert abs(full.scales.read - now.scales.read) < 0.3 * abs(free.scales.read - now.scales.read)


@pytest.mark.parametrize("model", ["MoE", "8B"])
@pytest.mark.parametrize("mean", [0.5, 3.0, 10.0, 40.0])
def test_a_crowd_that_slows_itself_down_is_met_as_often_as_it_lasts(
    model: str, mean: float
) -> None:
    """Against the chances of every size of the batch, without prompts."""
    asked = request(model)
    shown = page(asked, 0.1, lambda at: 1.0)
    for _ in range(20):
        shown.scrape()
    seen = seen_in(shown.reading(), Moment(now=shown.now, window_s=60.0, ready_s=shown.now))
    assert seen is not None
    replica = replica_of(replace(asked, shape=seen.shape_of(asked)))
    assert not isinstance(replica, Infeasible)
    load, step = Load.of(replica, seen), replica.step
    sizes = np.arange(1.0, 200.0)
    times = step.decode_s(sizes, sizes * load.resident)

    def chances(arrivals: float) -> np.ndarray:
        """Of 1, 2, ... in the batch: one more comes at random, and leaves by its own pace."""
        logs = np.cumsum(np.log(arrivals * times / sizes))
        most = max(float(logs.max()), 0.0)
        odds: np.ndarray = np.exp(logs - most)
        odds /= odds.sum() + math.exp(-most)
        return odds

    low, high = 1e-3, 1e6
    for _ in range(80):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if chances(middle) @ sizes > mean else (middle, high)
    tokens = chances(low) * sizes
    true_s = tokens.sum() / (tokens / times).sum()
    calm = replace(seen, batch=mean, itl_s=true_s, prompts_per_s=1e-9, window_s=1e6)
    assert replace(load, seen=calm).gap_s(step) == pytest.approx(true_s, rel=0.02)


@pytest.mark.parametrize("parallelism", [Parallelism(), Parallelism(pipeline=2)])
def test_steps_say_what_a_full_cache_runs_where_one_runs_at_a_time(
    parallelism: Parallelism,
) -> None:
    asked = request("MoE", RAG)
    shown = page(asked, 1.2, lambda at: 1.0)
    for _ in range(20):
        shown.scrape()
    moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now)
    reading = replace(shown.reading(), parallelism=parallelism)
    seen = seen_in(reading, moment)
    assert seen is not None
    half = replace(reading, running=Fresh(value=0.5 * seen.batch))
    gaps, steps, firsts = reading.gaps_per_s, reading.steps_per_s, reading.first_tokens_per_s
    assert isinstance(gaps, Fresh)
    assert isinstance(steps, Fresh)
    assert isinstance(firsts, Fresh)
    misled = seen_in(half, moment)
    assert misled is not None
    if parallelism.pipeline == 1:
        assert misled == seen
        assert seen.batch == pytest.approx(gaps.value / steps.value, rel=0.01)
        assert seen_in(replace(half, steps_per_s=Missing(why="not counted")), moment) != seen
    else:
        assert misled.itl_s == pytest.approx(0.5 * seen.batch / (gaps.value + firsts.value))


def test_no_more_is_computed_again_than_lost_its_place() -> None:
    asked = request("8B-l40s", WRITING)
    shown = page(asked, 2.0, lambda at: 1.0)
    for _ in range(24):
        shown.scrape()
    moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now)

    def again(preempted: Signal) -> float:
        seen = seen_in(shown.reading(preempted_per_s=preempted), moment)
        assert seen is not None
        replica = replica_of(replace(asked, shape=seen.shape_of(asked)))
        assert not isinstance(replica, Infeasible)
        return Load.of(replica, seen).again

    firsts = shown.reading().first_tokens_per_s
    assert isinstance(firsts, Fresh)
    unknown = again(Missing(why="not counted"))
    assert unknown > 1.0
    assert again(Fresh(value=0.0)) == 0.0
    assert again(Fresh(value=0.5 * firsts.value)) == pytest.approx(0.5)
    assert again(Fresh(value=9.0 * firsts.value)) == unknown


def test_with_a_full_cache_the_batch_is_what_runs_and_not_what_lost_its_place() -> None:
    asked = request("MoE", RAG)
    shown = page(asked, 1.2, lambda at: 1.0)
    now = begun(asked)
    for _ in range(20):
        now = taught(now, shown)
    assert shown.counters.kv >= FULL_CACHE
    shown.scrape()
    moment = Moment(now=shown.now, window_s=60.0, ready_s=shown.now)
    itl = shown.reading().itl_s
    assert isinstance(itl, Fresh)
    seen = seen_in(shown.reading(), moment)
    assert seen is not None
    fewer = Fresh(value=0.9 * seen.batch)  # some of the time without a place, and half of it
    plain, longer = (
        shown.reading(
            itl_s=Fresh(value=times * itl.value), running=fewer, steps_per_s=Missing(why="none")
        )
        for times in (1.0, 2.0)
    )
    assert learn(now, longer, asked, moment) == learn(now, plain, asked, moment)


@pytest.mark.parametrize(("used", "hit"), [(1.0, 0.0), (1.0, 0.4), (0.9, 0.0)])
def test_a_full_cache_says_what_its_requests_hold_unless_they_share(
    used: float, hit: float
) -> None:
    asked = request("MoE", RAG)
    shown = page(asked, 1.2, lambda at: 1.0)
    for _ in range(20):
        shown.scrape()
    reading = shown.reading(kv_utilization=Fresh(value=used), prefix_hit=Fresh(value=hit))
    seen = seen_in(reading, Moment(now=shown.now, window_s=60.0, ready_s=shown.now))
    assert seen is not None
    replica = replica_of(replace(asked, shape=seen.shape_of(asked)))
    assert not isinstance(replica, Infeasible)
    load, usual = Load.of(replica, seen), float(replica.lengths.resident)
    if used == 1.0 and not hit:
        whole = kv_tokens(asked.geometry, asked.accelerator, asked.parallelism, asked.engine)
        assert load.resident * seen.batch == pytest.approx(whole, rel=0.01)
    else:
        assert load.resident == usual


@pytest.mark.parametrize(
    "doubt",
    [
        Missing(why="gone"),
        Stale(value=0.02, age_s=90.0),
        Invalid(why="NaN"),
        Partial(value=0.02, reporting=1, expected=2),
        Fresh(value=math.nan),
        Fresh(value=math.inf),
        Fresh(value=-1.0),
    ],
)
@pytest.mark.parametrize(
    "field",
    ["itl_s", "gaps_per_s", "first_tokens_per_s", "input_tokens", "output_tokens", "waiting",
     "kv_utilization"],
)  # fmt: skip
def test_doubt_teaches_nothing(field: str, doubt: Signal) -> None:
    asked = request()
    shown = page(asked, 0.5, lambda at: 1.3)
    for _ in range(8):
        shown.scrape()
    before = replace(begun(asked), updated=shown.now)
    moment = Moment(now=shown.now + 15.0, window_s=60.0, ready_s=shown.now)
    assert learn(before, shown.reading(), asked, moment) != before
    assert learn(before, shown.reading(**{field: doubt}), asked, moment) == before
