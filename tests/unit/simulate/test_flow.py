"""A replica as a flow of tokens: beside the exact engine, and by what is conserved."""

import math
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.catalog import accelerators, geometries
from trimtab.errors import InvalidInput
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.load import LatencyTargets
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Finished, Preempted, Request, Steps
from trimtab.simulate.flow import Flow, Job
from trimtab.simulate.flowlog import Log
from trimtab.simulate.ledger import Digest, Tally
from trimtab.simulate.meter import Meter
from trimtab.simulate.pace import Pace

MODEL = "Llama-3.1-8B"
ENGINE = EngineSettings()
Row = tuple[float, int, int]
"""When it comes, prompt, answer."""


@cache
def pace(device: str) -> Pace:
    geometry, accelerator = geometries.get(MODEL), accelerators.get(device)
    assert geometry is not None
    assert accelerator is not None
    tokens = kv_tokens(geometry, accelerator, Parallelism(), ENGINE)
    assert isinstance(tokens, int)
    return Pace(step_model(geometry, accelerator, Parallelism(), ENGINE), tokens)


def rows(count: int, rps: float, *, answer: float = 200.0) -> list[Row]:
    """Poisson arrivals, or all at once for a rate of 0; lengths spread by their own mean."""
    rng = np.random.default_rng(3)
    at = np.cumsum(rng.exponential(1.0 / rps, count)) if rps else np.zeros(count)
    inputs = np.clip(rng.exponential(1000.0, count), 1, 7000).astype(int)
    outputs = np.clip(rng.exponential(answer, count), 1, 1000).astype(int)
    return list(zip(at.tolist(), inputs.tolist(), outputs.tolist(), strict=True))


def exactly(
    device: str, of: list[Row], settings: EngineSettings = ENGINE
) -> tuple[np.ndarray, np.ndarray]:
    """Return TTFT and end of each request on the exact engine."""
    engine = Engine(pace(device), settings)
    ends = []
    for number, (at, inputs, outputs) in enumerate(of):
        ends += engine.advance(at)
        request = Request(id=number, arrival=at, input_tokens=inputs, output_tokens=outputs)
        assert engine.submit(request, at)
    ends += engine.advance(math.inf)
    done = {end.request.id: end for end in ends if isinstance(end, Finished)}
    found = [done[number] for number in range(len(of))]
    return (
        np.array([(end.first_token_at or math.nan) - end.request.arrival for end in found]),
        np.array([end.at for end in found]),
    )


def flowing(
    device: str, of: list[Row], settings: EngineSettings = ENGINE
) -> tuple[np.ndarray, np.ndarray, Log]:
    """Return the same of a flow, and its log."""
    flow = Flow(pace(device), settings, log := Log())
    jobs = []
    for at, inputs, outputs in of:
        flow.advance(at)
        jobs.append(Job(at, inputs, outputs))
        assert flow.submit(jobs[-1], at)
    flow.advance(1e9)
    ended = {(end[0], end[4], end[5]): end[3] for end in log.ends}
    return (
        np.array([(job.first_at or math.nan) - job.sent_at for job in jobs]),
        np.array([ended[row] for row in of]),
        log,
    )


@pytest.mark.parametrize(
    ("device", "rps", "within"),
    [
        ("nvidia-h100-sxm", 2.0, 0.01),
        ("nvidia-h100-sxm", 20.0, 0.01),
        ("nvidia-h100-sxm", 0.0, 0.01),
        ("nvidia-l40s", 3.0, 0.01),
        ("nvidia-l40s", 0.0, 0.01),
    ],
)
def test_it_serves_as_the_exact_engine_does(device: str, rps: float, within: float) -> None:
    """Light, busy and overloaded; the last one is so full that requests are preempted."""
    of = rows(600, rps)
    theirs, ours = exactly(device, of), flowing(device, of)
    for exact, flow in zip(theirs, ours[:2], strict=True):
        assert flow.mean() == pytest.approx(exact.mean(), rel=2 * within)
        assert np.quantile(flow, 0.95) == pytest.approx(np.quantile(exact, 0.95), rel=5 * within)
    assert ours[1].max() == pytest.approx(theirs[1].max(), rel=within)


@pytest.mark.parametrize("rps", [0.3, 3.0, 0.0])
def test_it_counts_the_steps_and_preemptions_of_the_exact_engine(rps: float) -> None:
    of = rows(300, rps)
    engine, flow = Engine(pace("nvidia-l40s"), ENGINE), Flow(pace("nvidia-l40s"), ENGINE, Log())
    for number, (at, inputs, outputs) in enumerate(of):
        engine.submit(
            Request(id=number, arrival=at, input_tokens=inputs, output_tokens=outputs), at
        )
        flow.submit(Job(at, inputs, outputs), at)
    events = engine.advance(math.inf)
    flow.advance(1e9)
    counts = flow.taken()
    gave = [one for one in events if isinstance(one, Steps) and (one.decoding or one.prompts_done)]
    preempted = sum(isinstance(one, Preempted) for one in events)
    assert counts.steps == pytest.approx(sum(one.count for one in gave), rel=0.01)
    assert counts.preempted == pytest.approx(preempted, rel=0.1)
    assert (preempted > 0) == (rps == 0.0)


def test_newcomers_hold_up_an_engine_that_takes_turns() -> None:
    of, turns = [(0.0, 300, 40)] * 3, EngineSettings(takes_turns=True)
    for served in (exactly, flowing):
        first, last = served("nvidia-h100-sxm", of)[:2]
        later, end = served("nvidia-h100-sxm", of, turns)[:2]
        assert later - first == pytest.approx(3 * 0.7e-3)
        assert end - last == pytest.approx(3 * 0.7e-3)


def test_a_step_with_prompts_is_about_as_long_as_it_is() -> None:
    of = pace("nvidia-l40s")
    ratios = []
    for prompt in (7, 100, 900, 8192):
        for batch, held in ((0, 0), (1, 300), (30, 40_000), (200, 180_000)):
            real = of.mixed_s(prompt, prompt / 2, batch, held)
            ratios.append(of.about_s(prompt, prompt / 2, batch, held) / real)
    assert ratios == pytest.approx([1.0] * len(ratios), rel=0.06)
    assert np.mean(ratios) == pytest.approx(1.0, abs=0.02)


def test_what_the_engine_refuses_is_refused() -> None:
    flow = Flow(pace("nvidia-l40s"), ENGINE, Log())
    assert not flow.submit(Job(0.0, 0, 10), 0.0)
    assert not flow.submit(Job(0.0, ENGINE.max_model_len, 10), 0.0)
    with pytest.raises(InvalidInput, match="max_model_len"):
        Flow(Pace(pace("nvidia-l40s")._times, 100), ENGINE, Log())


@given(
    script=st.lists(
        st.tuples(
            st.floats(0, 3), st.integers(1, 7000), st.integers(1, 900), st.floats(0.01, 40.0)
        ),
        min_size=1,
        max_size=40,
    )
)
@settings(deadline=None, max_examples=40)
def test_every_request_leaves_once_with_its_answer(
    script: list[tuple[float, int, int, float]],
) -> None:
    """Some clients give up; afterwards nothing is left of anybody."""
    flow = Flow(pace("nvidia-l40s"), ENGINE, log := Log())
    now, gone = 0.0, 0
    jobs: list[Job] = []
    for pause, inputs, outputs, patience in script:
        now += pause
        for job in [job for job in jobs if job.sent_at + patience < now]:
            flow.advance(now)
            if not job.over and job.first_at is None:
                flow.cancel(job)
                job.over, gone = True, gone + 1
        flow.advance(now)
        jobs.append(Job(now, inputs, outputs))
        assert flow.submit(jobs[-1], now)
        assert flow.outstanding == sum(not job.over for job in jobs) == len(flow.unfinished())
        assert flow.running + flow.waiting(now) == flow.outstanding
    flow.advance(1e9)
    assert len(log.ends) == len(jobs) - gone
    assert [end[5] for end in log.ends if end[5] < 1] == []
    assert all(sent <= first <= last for sent, _, first, last, *_ in log.ends)
    assert (flow.outstanding, flow.running, flow.kv_blocks_held) == (0, 0, 0)
    assert sum(many for _, many in log.gaps) >= sum(end[5] - 1 for end in log.ends)


def test_a_log_is_read_as_the_ledger_would_have_counted_it() -> None:
    targets = LatencyTargets(ttft_s=1.0, itl_s=0.05, e2e_s=20.0)
    meter, tally, log = Meter(targets), Tally(), Log()
    log.firsts = [(0.5, 0.6), (2.0, 2.0)]
    log.ends = [
        (0.0, 0.1, 0.6, 4.6, 100, 101),
        (0.0, 0.0, 2.0, 12.0, 300, 101),
        (0.0, 0.0, 0.5, 0.5, 20, 1),
    ]
    log.gaps = [(0.04, 100), (0.1, 100)]
    log.read(meter, tally, targets)
    assert (tally.served, tally.met, tally.met_ttft, tally.met_itl, tally.met_e2e) == (
        3, 2, 2, 2, 3
    )  # fmt: skip
    assert (tally.gaps, tally.gaps_within) == (200, 100)
    assert tally.ttft_s.quantile(0.99) == pytest.approx(2.0, rel=0.01)
    assert (meter.cut.paced, meter.cut.within_itl, meter.cut.within_ttft) == (2, 1, 1)
    assert (meter.served_prompts, meter.served_answers) == (420, 203)
    assert (log.firsts, log.ends, log.gaps) == ([], [], [])
    assert sum(meter.cut.inputs) == sum(meter.cut.outputs) == 3


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(1, 1000)), min_size=1))
def test_counting_many_numbers_is_counting_each(pairs: list[tuple[float, int]]) -> None:
    one = Digest()
    for value, weight in pairs:
        one.add(value, weight)
    values, weights = (np.array(column) for column in zip(*pairs, strict=True))
    many = Digest.of(values, weights)
    found = [many.quantile(q) for q in (0.0, 0.1, 0.5, 0.99, 1.0)]
    assert found == [one.quantile(q) for q in (0.0, 0.1, 0.5, 0.99, 1.0)]
    assert all(a is not None and b is not None and a <= b for a, b in pairwise(found))
