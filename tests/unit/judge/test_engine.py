"""The judge's engine keeps the laws that any engine keeps."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.judge.engine import PAGE, Engine, Law, Request

LAW = Law(
    step_s=0.02, decode_s=1e-4, context_s=1e-7, prompt_s=5e-5, pair_s=1e-9,
    pages=4000, most=64, budget=512,
)  # fmt: skip


class OneByOne(Engine):
    """The same engine, which takes every step for itself."""

    def _uneventful(self) -> int:
        super()._uneventful()
        return 1


def served(engine: Engine, requests: Sequence[Request]) -> list[Request]:
    """Return the requests in the order of their answers."""
    answered: list[Request] = []
    for request in requests:
        while engine.end_s <= request.at_s:
            answered += engine.advance()
        engine.add(request, request.at_s)
    while engine.end_s < math.inf:
        answered += engine.advance()
    return answered


def some(many: int, rps: float, seed: int = 1) -> list[Request]:
    dice = np.random.default_rng(seed)
    at = np.cumsum(dice.exponential(1.0 / rps, many))
    return [
        Request(
            at_s=float(t), inputs=int(dice.integers(1, 2000)), outputs=int(dice.integers(1, 300))
        )
        for t in at
    ]


def test_one_request_alone_takes_its_steps_one_after_the_other() -> None:
    request = Request(at_s=3.0, inputs=1300, outputs=40)
    served(Engine(LAW), [request])
    done, now = 0, 3.0
    while done < 1300:
        chunk = min(512, 1300 - done)
        now += LAW.takes(0, 0, chunk, chunk * (done + chunk / 2))
        done += chunk
    assert request.first_s == pytest.approx(now)
    now += sum(LAW.takes(1, 1300 + made) for made in range(1, 40))
    assert request.last_s == pytest.approx(now)


@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.integers(1, 900), st.integers(1, 120)),
        min_size=1,
        max_size=25,
    ),
    st.integers(90, 400),
)
@settings(max_examples=150, deadline=None)
def test_a_stretch_is_what_its_steps_are_one_by_one(
    given_: list[tuple[float, int, int]], pages: int
) -> None:
    law, at, pair = replace(LAW, pages=pages, most=8), 0.0, []
    for gap, inputs, outputs in given_:
        at += gap
        one = Request(
            at_s=at, inputs=inputs, outputs=outputs, session=inputs % 3, shared=inputs // 2
        )
        pair.append((one, replace(one)))
    served(Engine(law), [one for one, _ in pair])
    served(OneByOne(law), [other for _, other in pair])
    for one, other in pair:
        assert one.first_s == pytest.approx(other.first_s, abs=1e-7)
        assert one.last_s == pytest.approx(other.last_s, abs=1e-7)


def test_what_is_in_flight_adds_up_to_the_times_of_all_requests() -> None:
    engine, requests = Engine(LAW), some(400, 2.0)
    held, before = 0.0, 0.0
    waiting = list(requests)
    while waiting or engine.end_s < math.inf:
        at = min(engine.end_s, waiting[0].at_s if waiting else math.inf)
        held += engine.open * (at - before)
        before = at
        if waiting and waiting[0].at_s <= engine.end_s:
            engine.add(waiting[0], waiting.pop(0).at_s)
        else:
            engine.advance()
    assert held == pytest.approx(sum(each.last_s - each.at_s for each in requests))


def test_pages_that_run_out_send_who_came_last_back_and_lose_nobody() -> None:
    engine = Engine(replace(LAW, pages=300))
    requests = [Request(at_s=0.0, inputs=640, outputs=1200) for _ in range(7)]
    answered, most = [], 0
    for request in requests:
        engine.add(request, 0.0)
    while engine.end_s < math.inf:
        answered += engine.advance()
        most = max(most, engine.held)
    assert answered[0] is requests[0]
    assert answered[-1] is requests[-1]
    assert {id(each) for each in answered} == {id(each) for each in requests}
    assert all(each.made == each.outputs for each in requests)
    assert 280 < most <= 300
    assert engine.held == 0
    assert engine.open == 0


def test_more_load_is_never_answered_sooner() -> None:
    means = []
    for rps in (0.5, 1.0, 2.0, 4.0):
        requests = some(300, rps)
        served(Engine(LAW), requests)
        means.append(np.mean([each.last_s - each.at_s for each in requests]))
    assert means == sorted(means)


def test_a_session_computes_only_what_its_last_turn_had_not() -> None:
    def first_token_s(session: int, pages: int = 4000) -> float:
        before = Request(at_s=0.0, inputs=4000, outputs=20, session=session)
        after = Request(at_s=60.0, inputs=4200, outputs=20, session=session, shared=4019)
        between = Request(at_s=30.0, inputs=4000, outputs=2)
        served(Engine(replace(LAW, pages=pages)), [before, between, after])
        return after.first_s - after.at_s

    new = 4200 - 4019 // PAGE * PAGE
    assert first_token_s(7) == pytest.approx(LAW.takes(0, 0, new, new * (4200 - new / 2)))
    assert first_token_s(-1) > 8 * first_token_s(7)
    # Pages that another needed meanwhile are no session's any more.
    assert first_token_s(7, pages=400) == pytest.approx(first_token_s(-1, pages=400))


def test_an_engine_that_is_stopped_tells_who_ran_from_who_had_not_begun() -> None:
    engine = Engine(replace(LAW, most=2))
    requests = [Request(at_s=0.0, inputs=100, outputs=50) for _ in range(5)]
    for request in requests:
        engine.add(request, 0.0)
    engine.advance()
    lost, rest = engine.stop()
    assert {id(each) for each in lost} == {id(each) for each in requests[:2]}
    assert rest == requests[2:]
    assert engine.end_s == math.inf
