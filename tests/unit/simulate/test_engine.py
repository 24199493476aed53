import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import InvalidInput
from trimtab.models.hardware import EngineSettings
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import (
    Event,
    Finished,
    FinishReason,
    FirstToken,
    Preempted,
    Request,
    Resumed,
    Steps,
)
from trimtab.simulate.limits import ADMISSION_S
from trimtab.simulate.pace import Pace
from trimtab.simulate.prefix import SEGMENT_TOKENS
from unit.simulate import reference
from unit.simulate.reference import Times

INF = float("inf")


def engine_settings(
    *,
    max_model_len: int = 512,
    max_num_seqs: int = 8,
    max_num_batched_tokens: int = 64,
    takes_turns: bool = False,
) -> EngineSettings:
    return EngineSettings(
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        takes_turns=takes_turns,
    )


def make_engine(
    *, kv_tokens: int = 4096, times: Times | None = None, limits: EngineSettings | None = None
) -> Engine:
    return Engine(Pace(times or Times(), kv_tokens), limits or engine_settings())


def make_requests(rows: list[tuple[float, int, int]]) -> list[Request]:
    return [
        Request(id=i, arrival=t, input_tokens=n, output_tokens=m)
        for i, (t, n, m) in enumerate(sorted(rows))
    ]


def submit_all(engine: Engine, requests: list[Request]) -> None:
    for request in requests:
        assert engine.submit(request, request.arrival)


def finished(events: list[Event]) -> dict[int, Finished]:
    return {e.request.id: e for e in events if isinstance(e, Finished)}


ROWS = st.lists(
    st.tuples(st.floats(0, 3), st.integers(1, 200), st.integers(1, 120)), min_size=1, max_size=25
)
LIMITS = st.builds(
    engine_settings,
    max_model_len=st.just(256),
    max_num_seqs=st.integers(1, 8),
    max_num_batched_tokens=st.integers(8, 200),
    takes_turns=st.booleans(),
)
KV = st.integers(256, 1200)
BEND = st.sampled_from([0.0, 5e-6])


@given(rows=ROWS, limits=LIMITS, kv_tokens=KV, bend=BEND, caching=st.booleans())
@settings(deadline=None, max_examples=150)
def test_skipping_equals_walking(
    rows: list[tuple[float, int, int]],
    limits: EngineSettings,
    kv_tokens: int,
    bend: float,
    caching: bool,
) -> None:
    """Every timestamp, preemption and token gap is that of the plain step-by-step engine."""
    requests = make_requests(rows)
    engine = Engine(Pace(Times(bend), kv_tokens), limits, prefix_caching=caching)
    equals_walking(
        engine, requests, reference.run(Times(bend), kv_tokens, limits, requests, caching)
    )


@given(
    rows=st.lists(
        st.tuples(
            st.floats(0, 3),
            st.lists(st.integers(0, 1), max_size=3),
            st.integers(1, 700),
            st.integers(1, 120),
        ),
        min_size=1,
        max_size=20,
    ),
    budget=st.integers(8, 2500),
    kv_tokens=st.integers(2560, 6000),
)
@settings(deadline=None, max_examples=150)
def test_shared_prompts_skip_what_the_cache_has(
    rows: list[tuple[float, list[int], int, int]], budget: int, kv_tokens: int
) -> None:
    """As the plain engine does it block by block: hits, evictions, preemptions."""
    requests = [
        Request(
            id=i,
            arrival=at,
            input_tokens=SEGMENT_TOKENS * len(prefix) + rest,
            output_tokens=answer,
            prefix=tuple(prefix),
        )
        for i, (at, prefix, rest, answer) in enumerate(sorted(rows))
    ]
    limits = engine_settings(max_model_len=2560, max_num_batched_tokens=budget)
    engine = make_engine(kv_tokens=kv_tokens, limits=limits)
    equals_walking(engine, requests, reference.run(Times(), kv_tokens, limits, requests))


def equals_walking(engine: Engine, requests: list[Request], jobs: list[reference.Job]) -> None:
    submit_all(engine, requests)
    events = engine.advance(INF)
    done = finished(events)
    for job in jobs:
        end = done[job.request.id]
        assert end.scheduled_at == pytest.approx(job.scheduled_at, abs=1e-9)
        assert end.first_token_at == pytest.approx(job.first_token_at, abs=1e-9)
        assert end.at == pytest.approx(job.finished_at, abs=1e-9)
        assert (end.generated, end.preemptions, end.cached_tokens) == (
            job.generated,
            job.preemptions,
            job.found,
        )
    expected = sorted(b - a for j in jobs for a, b in itertools.pairwise(j.token_times))
    gaps = [e.gap_s for e in events if isinstance(e, Resumed)]
    for run in (e for e in events if isinstance(e, Steps)):
        for j in range(run.count):
            gaps += [run.first_s + j * run.growth_s] * run.decoding
    assert sorted(gaps) == pytest.approx(expected, abs=1e-9)


@given(rows=ROWS, limits=LIMITS, kv_tokens=KV, pauses=st.lists(st.floats(0, 6), max_size=40))
@settings(deadline=None, max_examples=60)
def test_pauses_change_nothing(
    rows: list[tuple[float, int, int]],
    limits: EngineSettings,
    kv_tokens: int,
    pauses: list[float],
) -> None:
    """Submitting at arrival and looking in between gives bit for bit the same answer."""
    requests = make_requests(rows)
    whole = make_engine(kv_tokens=kv_tokens, limits=limits)
    submit_all(whole, requests)
    at_once = finished(whole.advance(INF))
    engine = make_engine(kv_tokens=kv_tokens, limits=limits)
    coming = {request.arrival: [] for request in requests}  # type: dict[float, list[Request]]
    for request in requests:
        coming[request.arrival].append(request)
    events: list[Event] = []
    for time in sorted({*pauses, *coming}):
        events += engine.advance(time)
        assert 0 <= engine.kv_blocks_used <= engine.kv_blocks
        assert engine.running <= limits.max_num_seqs
        submit_all(engine, coming.get(time, []))
        assert engine.running + engine.waiting(time) == engine.outstanding
    events += engine.advance(INF)
    assert finished(events) == at_once
    assert engine.outstanding == engine.kv_blocks_used == 0
    assert [e.at for e in events] == sorted(e.at for e in events)


@given(rows=ROWS, limits=LIMITS, kv_tokens=KV, data=st.data())
@settings(deadline=None, max_examples=60)
def test_nothing_is_lost_or_invented_when_clients_give_up(
    rows: list[tuple[float, int, int]], limits: EngineSettings, kv_tokens: int, data: st.DataObject
) -> None:
    requests = make_requests(rows)
    engine = make_engine(kv_tokens=kv_tokens, limits=limits)
    submit_all(engine, requests)
    events: list[Event] = []
    for time in sorted(data.draw(st.lists(st.floats(0, 6), max_size=12))):
        events += engine.advance(time)
        engine.cancel(data.draw(st.sampled_from(requests)), time)
    events += engine.advance(INF)
    ends = [e.request.id for e in events if isinstance(e, Finished)]
    assert sorted(ends) == [request.id for request in requests]
    assert engine.outstanding == engine.kv_blocks_used == 0
    tokens = sum(e.generated for e in events if isinstance(e, Finished))
    firsts = sum(isinstance(e, FirstToken | Resumed) for e in events)
    assert tokens == firsts + sum(e.count * e.decoding for e in events if isinstance(e, Steps))


def test_a_lone_request_takes_the_sum_of_its_steps() -> None:
    times = Times()
    engine = make_engine(times=times)
    submit_all(engine, make_requests([(2.0, 150, 40)]))
    end = finished(engine.advance(INF))[0]
    first = 2.0 + sum(times.mixed_s(x, p, 0, 0) for x, p in ((64, 32), (64, 96), (22, 139)))
    last = first + sum(times.decode_s(1, 150 + j) for j in range(39))
    assert end.scheduled_at == 2.0
    assert end.first_token_at == pytest.approx(first)
    assert end.at == pytest.approx(last)
    assert end.reason is FinishReason.STOP


@pytest.mark.parametrize(("takes_turns", "steps_before"), [(True, 3), (False, 4)])
def test_the_next_step_is_chosen_already(takes_turns: bool, steps_before: int) -> None:
    """Who comes while the third step runs is in the fourth, or in the fifth."""
    times = Times()
    engine = make_engine(limits=engine_settings(takes_turns=takes_turns))
    first_s = times.mixed_s(50, 25, 0, 0) + (ADMISSION_S if takes_turns else 0.0)
    later_s = [times.decode_s(1, 50 + j) for j in range(3)]
    comes = first_s + later_s[0] + later_s[1] / 2
    submit_all(engine, make_requests([(0.0, 50, 40), (comes, 10, 10)]))
    end = finished(engine.advance(INF))[1]
    assert end.scheduled_at == pytest.approx(first_s + sum(later_s[: steps_before - 1]))


def test_first_come_first_served() -> None:
    dice = random.Random(7)
    rows = [(dice.uniform(0, 5), dice.randint(1, 300), dice.randint(1, 100)) for _ in range(200)]
    engine = make_engine(kv_tokens=1024)
    submit_all(engine, make_requests(rows))
    events = engine.advance(INF)
    ends = finished(events)
    scheduled = [ends[i].scheduled_at for i in range(200)]
    assert scheduled == sorted(scheduled, key=lambda at: at or 0.0)
    assert any(isinstance(e, Preempted) for e in events)


def test_the_queue_grows_beyond_capacity_and_not_below() -> None:
    def queue_after(seconds: float, rps: float) -> int:
        engine = make_engine(limits=engine_settings(max_num_seqs=4))
        count = int(seconds * rps)
        submit_all(engine, make_requests([(i / rps, 50, 50) for i in range(count)]))
        engine.advance(seconds)
        return engine.waiting(seconds)

    # Four at a time, 49 steps of about 10.6 ms each, plus the prompts: about 7 requests/s.
    assert queue_after(100, 4) == queue_after(200, 4) == 0
    half, full = queue_after(100, 14), queue_after(200, 14)
    assert half > 300
    assert full == pytest.approx(2 * half, rel=0.05)


def test_one_that_gives_up_lets_the_next_in_at_once() -> None:
    engine = make_engine(limits=engine_settings(max_num_seqs=1))
    requests = make_requests([(0.0, 10, 400), (0.1, 10, 10)])
    submit_all(engine, requests)
    before = engine.advance(1.0)
    engine.cancel(requests[0], 1.0)
    ends = finished(before + engine.advance(INF))
    assert ends[0].reason is FinishReason.ABORT
    assert 1.0 <= ends[0].at < 1.02
    assert ends[1].scheduled_at == ends[0].at


def test_an_answer_ends_at_the_longest_length() -> None:
    engine = make_engine()
    submit_all(engine, make_requests([(0.0, 500, 100)]))
    end = finished(engine.advance(INF))[0]
    assert (end.generated, end.reason) == (12, FinishReason.LENGTH)


@pytest.mark.parametrize(("input_tokens", "output_tokens"), [(512, 1), (0, 1), (1, 0)])
def test_what_no_engine_takes_is_refused(input_tokens: int, output_tokens: int) -> None:
    engine = make_engine()
    request = Request(id=0, arrival=0.0, input_tokens=input_tokens, output_tokens=output_tokens)
    assert not engine.submit(request, 0.0)
    assert engine.outstanding == 0


def test_settings_that_no_engine_starts_with_are_refused() -> None:
    with pytest.raises(InvalidInput, match="max_model_len"):
        make_engine(kv_tokens=500)
    with pytest.raises(InvalidInput, match="max_num_batched_tokens"):
        make_engine(limits=engine_settings(max_num_batched_tokens=4))
