"""No engine serves requests in less time than is said to be the least, whatever it batches."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import builders
from trimtab.catalog import geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, Request, Steps
from trimtab.simulate.leastwork import Kind, alone_seconds, least_seconds, needs_of
from trimtab.simulate.pace import Pace
from trimtab.simulate.traffic import Traffic

MODELS = ("meta-llama/Llama-3.1-8B-Instruct", "openai/gpt-oss-20b")
LENGTH = 4096


def make_kind(model: str, *, seqs: int = 256, budget: int = 2048, kv: int | None = None) -> Kind:
    geometry = geometries.get(model)
    assert geometry is not None
    engine = EngineSettings(
        max_model_len=LENGTH, max_num_seqs=seqs, max_num_batched_tokens=max(budget, seqs)
    )
    accelerator, shape = builders.accelerator(), Parallelism()
    tokens = kv or kv_tokens(geometry, accelerator, shape, engine)
    assert isinstance(tokens, int)
    return Kind(
        step=step_model(geometry, accelerator, shape, engine), engine=engine, kv_tokens=tokens
    )


def make_traffic(rows: list[tuple[float, int, int]], families: int = 0) -> Traffic:
    """Requests of these times, prompts and answers; each begins as all others of its family."""
    rows = sorted(rows)
    prefix = (
        tuple(
            tuple(1000 * (number % families) + block for block in range(row[1] // 512))
            for number, row in enumerate(rows)
        )
        if families
        else None
    )
    return Traffic(
        prefix=prefix,
        at_s=np.array([row[0] for row in rows]),
        input_tokens=np.array([row[1] for row in rows], dtype=np.int64),
        output_tokens=np.array([row[2] for row in rows], dtype=np.int64),
    )


def serve(kind: Kind, traffic: Traffic) -> list[Event]:
    engine = Engine(Pace(kind.step, kind.kv_tokens), kind.engine)
    rows = zip(
        traffic.at_s.tolist(),
        traffic.input_tokens.tolist(),
        traffic.output_tokens.tolist(),
        strict=True,
    )
    for number, (at, prompt, answer) in enumerate(rows):
        engine.submit(Request(id=number, arrival=at, input_tokens=prompt, output_tokens=answer), at)
    return engine.advance(float("inf"))


def busy_seconds(events: list[Event]) -> float:
    return sum(
        event.count * (event.first_s + event.growth_s * (event.count - 1) / 2.0)
        for event in events
        if isinstance(event, Steps)
    )


ROWS = st.lists(
    st.tuples(st.floats(0, 2), st.integers(1, 3000), st.integers(1, 900)), min_size=1, max_size=40
)


@given(
    rows=ROWS,
    model=st.sampled_from(MODELS),
    seqs=st.sampled_from([1, 3, 16, 256]),
    budget=st.sampled_from([128, 512, 2048]),
    kv=st.sampled_from([LENGTH, 6000, 20000, None]),
    itl_s=st.sampled_from([None, 0.004, 0.006, 0.01, 0.05]),
    families=st.sampled_from([0, 2]),
)
@settings(deadline=None, max_examples=150)
def test_no_engine_is_faster(
    rows: list[tuple[float, int, int]],
    model: str,
    seqs: int,
    budget: int,
    kv: int | None,
    itl_s: float | None,
    families: int,
) -> None:
    """The time of all steps is at least the sum over the requests that kept the ITL target."""
    kind = make_kind(model, seqs=seqs, budget=budget, kv=kv)
    traffic = make_traffic(rows, families)
    events = serve(kind, traffic)
    least = least_seconds(kind, needs_of(traffic, LENGTH), itl_s).total_s
    kept = [
        event.request.id
        for event in events
        if isinstance(event, Finished) and (event.mean_itl_s or 0.0) <= (itl_s or float("inf"))
    ]
    assert float(least[kept].sum()) <= busy_seconds(events) * (1.0 + 1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_it_is_near_what_a_full_engine_takes(model: str) -> None:
    """A bound that is far below the truth proves nothing."""
    rng = np.random.default_rng(0)
    prompts = np.clip(rng.lognormal(6.5, 0.8, 1500), 1, 2500).astype(int)
    answers = np.clip(rng.lognormal(5.2, 0.8, 1500), 1, 1200).astype(int)
    kind = make_kind(model)
    traffic = make_traffic([(0.0, int(p), int(a)) for p, a in zip(prompts, answers, strict=True)])
    least = least_seconds(kind, needs_of(traffic, LENGTH), None)
    assert float(least.total_s.sum()) > 0.75 * busy_seconds(serve(kind, traffic))


def test_alone_is_what_an_engine_takes_for_one_request() -> None:
    kind = make_kind(MODELS[0])
    traffic = make_traffic([(0.0, 1500, 300)])
    first, rest = alone_seconds(kind, needs_of(traffic, LENGTH))
    events = serve(kind, traffic)
    (end,) = [event for event in events if isinstance(event, Finished)]
    assert end.first_token_at is not None
    assert end.first_token_at == pytest.approx(float(first[0]))
    assert 0.95 * (end.at - end.first_token_at) < float(rest[0]) <= end.at - end.first_token_at


def test_a_tighter_itl_target_costs_more() -> None:
    """Fewer requests may share a step, so each is charged more of what every step costs."""
    rng = np.random.default_rng(1)
    rows = [(0.0, int(p), 400) for p in rng.integers(100, 900, 300)]
    kind, needs = make_kind(MODELS[0]), needs_of(make_traffic(rows), LENGTH)
    alone = float(kind.step.decode_s(1.0, 100.0))
    loose, tight = (
        float(least_seconds(kind, needs, itl_s).total_s.sum())
        for itl_s in (20 * alone, 1.3 * alone)
    )
    assert tight > 1.2 * loose


def test_what_no_replica_can_keep_is_infinite() -> None:
    kind = make_kind(MODELS[0])
    needs = needs_of(make_traffic([(0.0, 100, 10), (1.0, 100, 1)]), LENGTH)
    assert np.isinf(least_seconds(kind, needs, 1e-4).total_s).tolist() == [True, False]


def test_nothing_is_proven_of_speculation() -> None:
    kind = make_kind(MODELS[0])
    drafting = replace(kind, step=replace(kind.step, drafts=4.0, accepted=2.0))
    needs = needs_of(make_traffic([(0.0, 100, 10)]), LENGTH)
    assert least_seconds(drafting, needs, None).total_s.tolist() == [0.0]


def test_a_prompt_that_was_seen_before_costs_less() -> None:
    traffic = make_traffic([(0.0, 2048, 10), (1.0, 2048, 10)])
    shared = replace(traffic, prefix=((1, 2, 3), (1, 2, 9)))
    needs = needs_of(shared, LENGTH)
    assert needs.cached.tolist() == [0.0, 1024.0]
    assert needs.prompt.tolist() == [2048.0, 1024.0]
