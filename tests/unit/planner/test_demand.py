"""How much is asked: measured, else expected, else unknown; shapes that do not flicker."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import planned, variant_state
from fleetworld import fresh_load
from trimtab.models.load import RUNGS, ObservedLoad, Spread, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import DemandSource
from trimtab.models.signals import Fresh, Missing, Partial, Signal, Stale
from trimtab.planner.demand import (
    DRAIN_S,
    HIT_STEP,
    SHAPE_REQUESTS,
    SHAPE_STAY,
    SHAPE_STEP,
    Circumstances,
    Lengths,
    Need,
    lognormal,
    mean_shape,
    need_of,
    on_grid,
    with_queue,
)
from trimtab.planner.evidence import evidence_of

PRIOR = TokenShape(input_tokens=1024.0, output_tokens=256.0)
BLANK = DeploymentMemory(namespace="n", name="d", uid="u")


def need(load: ObservedLoad, *, young: bool = False, **memory: Any) -> Need:
    state = planned(variants=(variant_state(),), load=load)
    assert state.policy is not None
    evidence = evidence_of(state, state.policy.targets)
    around = Circumstances(young=young, since_s=15.0)
    return need_of(load, state.policy, evidence, replace(BLANK, **memory), around)


def test_measured_arrivals_are_the_demand() -> None:
    found = need(fresh_load(3.0, waiting=Fresh(value=DRAIN_S)))
    assert (found.rps, found.observed_rps) == (3.0, 3.0)
    assert found.source is DemandSource.PROMETHEUS


@pytest.mark.parametrize(
    ("spare_rps", "more"),
    [(-1.0, 2.0), (0.0, 2.0), (1.0, 1.5), (4.0, 0.0), (5.0, 0.0)],
)
def test_of_a_queue_counts_what_still_waits_when_a_replica_comes(
    spare_rps: float, more: float
) -> None:
    load = fresh_load(3.0, waiting=Fresh(value=2.0 * DRAIN_S))
    state = planned(variants=(variant_state(),), load=load)
    assert state.policy is not None
    evidence = evidence_of(state, state.policy.targets)
    before = need(load)
    found = with_queue(before, evidence, spare_rps, ready_s=60.0)
    assert found.rps == pytest.approx(3.0 + more)
    assert found.observed_rps == 3.0
    expected = replace(before, rps=10.0, source=DemandSource.WORKLOAD)
    assert with_queue(expected, evidence, spare_rps, ready_s=60.0) == expected
    alike = replace(before, rps=3.0 + more, source=DemandSource.WORKLOAD)
    assert with_queue(alike, evidence, spare_rps, ready_s=60.0).source is DemandSource.PROMETHEUS
    unknown, nothing = replace(evidence, arrivals=None), replace(before, rps=0.0)
    assert with_queue(nothing, unknown, spare_rps, ready_s=60.0) == nothing


def test_lengths_of_what_waits_while_nothing_serves_are_not_those_of_short_ones_that_finish() -> (
    None
):
    def counted(running: Signal) -> float:
        signals = {"waiting": Fresh(value=600.0), "input_tokens": Fresh(value=4000.0)}
        found = need(fresh_load(20.0, running=running, **signals), means=PRIOR).means
        assert found is not None
        return found.input_tokens

    short = pytest.approx(1024.0 + (4000.0 - 1024.0) * 15.0 / 215.0)
    assert counted(Fresh(value=0.0)) == pytest.approx(1024.0 + (4000.0 - 1024.0) * 300.0 / 500.0)
    assert counted(Fresh(value=40.0)) == short
    assert counted(Missing(why="renamed")) == short, "unknown is not zero"


def test_the_prior_counts_until_something_is_measured() -> None:
    found = need(ObservedLoad())
    assert (found.rps, found.source, found.observed_rps) == (10.0, DemandSource.WORKLOAD, None)


def test_beside_fresh_evidence_the_prior_counts_only_for_a_young_deployment() -> None:
    assert need(fresh_load(1.0), young=True).rps == 10.0
    assert need(fresh_load(1.0), young=False).rps == 1.0
    assert need(fresh_load(1.0), young=True, measured=True).rps == 1.0
    assert need(fresh_load(20.0), young=True).source is DemandSource.PROMETHEUS


def test_once_measured_the_prior_does_not_come_back_in_an_outage() -> None:
    found = need(fresh_load(1.0, arrival_rps=Missing(why="down")), measured=True)
    assert (found.rps, found.source) == (0.0, DemandSource.UNKNOWN)


def test_a_partial_rate_is_a_lower_bound() -> None:
    partial = Partial(value=30.0, reporting=1, expected=2)
    found = need(fresh_load(1.0, arrival_rps=partial), measured=True)
    assert (found.rps, found.source) == (30.0, DemandSource.PROMETHEUS)


def test_a_stale_rate_is_unknown() -> None:
    stale = Stale(value=30.0, age_s=100.0)
    assert need(fresh_load(1.0, arrival_rps=stale), measured=True).rps == 0.0


def test_the_shape_is_remembered_else_the_prior_where_it_is_not_measured() -> None:
    last = TokenShape(input_tokens=77.0, output_tokens=7.0)
    blind = fresh_load(1.0, input_tokens=Missing(why="none"))
    assert need(blind, shape=last).shape == last
    assert need(blind).shape == PRIOR
    assert need(blind).means is None


def means(rate: float, before: TokenShape | None, *, strained: bool = False) -> TokenShape:
    """What is counted with after 15 s of requests of 1000 + 250 tokens."""
    known = Lengths(before=before, prior=PRIOR, strained=strained)
    found = mean_shape(fresh_load(rate), known, 15.0)
    assert found is not None
    return found


def test_lengths_are_believed_as_far_as_there_are_requests() -> None:
    last = TokenShape(input_tokens=2000.0, output_tokens=250.0)
    few, many = means(0.1, last), means(1000.0, last)
    assert few.input_tokens > 1980.0
    assert many.input_tokens < 1020.0
    half = means(SHAPE_REQUESTS / 15.0, last)
    assert half.input_tokens == pytest.approx(1500.0)


def spread(*rungs: int) -> Spread:
    """Return lengths of which as many lie below each of these rungs."""
    return Spread(
        shares=tuple(rungs.count(i) / len(rungs) for i in range(len(RUNGS) + 1)),
    )


def learnt(load: ObservedLoad, before: TokenShape | None, seconds: float = 60.0) -> TokenShape:
    known = Lengths(before=before, prior=PRIOR, strained=False)
    found = mean_shape(load, known, seconds)
    assert found is not None
    return found


def test_how_lengths_spread_is_unknown_until_a_histogram_tells() -> None:
    assert learnt(fresh_load(50.0), None).inputs is None
    assert learnt(fresh_load(50.0, inputs=spread(8)), None, seconds=0.0).inputs is None
    seen = learnt(fresh_load(50.0, inputs=spread(8)), None)
    assert seen.inputs is not None
    assert seen.outputs is None
    # What nobody tells any more stays as it was.
    assert learnt(fresh_load(50.0), seen).inputs is seen.inputs


def test_how_lengths_spread_is_believed_as_far_as_there_are_requests() -> None:
    few, some, many = (
        learnt(fresh_load(rps, inputs=spread(14)), None) for rps in (1 / 60, 100 / 60, 1000.0)
    )
    shares = [shape.inputs.shares[14] for shape in (few, some, many) if shape.inputs]
    assert shares[0] == pytest.approx(0.01, abs=0.002)
    assert shares[1] == pytest.approx(0.5, abs=0.002)
    assert shares[2] > 0.99
    assert sum(few.inputs.shares if few.inputs else ()) == pytest.approx(1.0)


def test_requests_that_are_said_to_be_all_alike_are_until_others_are_seen() -> None:
    prior = TokenShape(input_tokens=1500.0, output_tokens=250.0, input_cv=0.0)
    known = Lengths(before=None, prior=prior, strained=False)
    found = mean_shape(fresh_load(100 / 60, inputs=spread(14)), known, 60.0)
    assert found is not None
    assert found.inputs is not None
    assert found.inputs.shares[RUNGS.index(2000.0)] == pytest.approx(0.5)
    assert found.inputs.shares[14] == pytest.approx(0.5)


def test_assumed_lengths_have_the_mean_and_the_deviation_that_are_said() -> None:
    # Half of lognormal lengths lie below the mean over the root of 1 + cv squared.
    shares = lognormal(1000.0 * math.sqrt(5.0), cv=2.0).shares
    assert sum(shares[: RUNGS.index(1000.0) + 1]) == pytest.approx(0.5)
    assert sum(shares) == pytest.approx(1.0)


def test_later_requests_count_no_less_than_the_first_thousand() -> None:
    shape: TokenShape | None = None
    for _ in range(100):
        shape = learnt(fresh_load(100.0, inputs=spread(14)), shape)
    later = learnt(fresh_load(1000 / 60, inputs=spread(8)), shape)
    assert later.inputs is not None
    assert later.inputs.shares[8] == pytest.approx(0.5, abs=0.01)


def test_a_remembered_spread_gives_way_to_more_than_chance() -> None:
    def at(long: float) -> TokenShape:
        shares = [0.0] * (len(RUNGS) + 1)
        shares[8], shares[14] = 1.0 - long, long
        return replace(PRIOR, inputs=Spread(shares=tuple(shares)))

    last = on_grid(at(0.01), None)
    assert on_grid(at(0.015), last).inputs == last.inputs
    assert on_grid(at(0.03), last).inputs == at(0.03).inputs
    assert on_grid(at(0.51), at(0.5)).inputs == at(0.5).inputs
    assert on_grid(PRIOR, last).inputs is None


def test_those_that_finish_while_requests_pile_up_say_little() -> None:
    last = TokenShape(input_tokens=2000.0, output_tokens=250.0)
    assert means(20.0, last, strained=True).input_tokens > 1900.0
    assert means(20.0, last).input_tokens < 1500.0


def test_the_first_requests_are_weighed_against_the_workload() -> None:
    first = means(1.0, None)
    assert PRIOR.input_tokens * 0.95 < first.input_tokens < PRIOR.input_tokens


@given(st.floats(2.0, 1e5), st.floats(0.97, 1.03))
def test_a_length_on_the_grid_stays_when_the_measured_one_moves_a_little(
    length: float, factor: float
) -> None:
    def shape(value: float, last: TokenShape | None) -> TokenShape:
        return on_grid(replace(PRIOR, input_tokens=value), last)

    first = shape(length, None)
    assert first.input_tokens == pytest.approx(length, rel=SHAPE_STEP**0.5 - 1 + 0.06)
    # From any point that rounds here, a move of 3 % is no reason to leave: 2.5 % of slack is kept.
    assert shape(first.input_tokens * factor, first) == first


def test_a_length_that_moves_for_good_is_followed() -> None:
    last = TokenShape(input_tokens=1000.0, output_tokens=250.0)
    assert on_grid(replace(last, input_tokens=1100.0), last).input_tokens != 1000.0


def test_the_prefix_hit_is_rounded_down_and_stays() -> None:
    def hit(value: float, last: TokenShape | None = None) -> float:
        return on_grid(replace(PRIOR, prefix_hit=value), last).prefix_hit

    assert hit(0.49) == 0.45
    assert hit(0.5) == 0.5
    assert hit(0.47, TokenShape(input_tokens=1.0, output_tokens=1.0, prefix_hit=0.45)) == 0.45
    assert hit(7.0) == 1.0


def test_lengths_weigh_no_more_than_the_window_that_they_were_taken_over() -> None:
    known = Lengths(before=PRIOR, prior=PRIOR, strained=False)
    load = fresh_load(5.0, input_tokens=Fresh(value=4000.0))
    assert mean_shape(load, known, 9000.0) == mean_shape(load, known, load.window_s)
    assert mean_shape(load, known, -30.0) == mean_shape(load, known, 0.0)


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens"])
@pytest.mark.parametrize(("tokens", "counts"), [(0.99, False), (1.0, True), (1.5, True)])
def test_a_request_has_one_token_at_least(name: str, tokens: float, counts: bool) -> None:
    over: dict[str, Any] = {name: Fresh(value=tokens)}
    known = Lengths(before=PRIOR, prior=PRIOR, strained=False)
    assert (mean_shape(fresh_load(50.0, **over), known, 60.0) != PRIOR) is counts


def test_an_alarm_says_that_requests_pile_up() -> None:
    last = TokenShape(input_tokens=2000.0, output_tokens=250.0)
    calm, queued = (
        need(fresh_load(20.0, waiting=Fresh(value=waiting)), means=last).means
        for waiting in (0.0, 500.0)
    )
    assert calm is not None
    assert queued is not None
    assert calm.input_tokens < 1500.0
    assert queued.input_tokens > 1900.0


@pytest.mark.parametrize(
    "over",
    [
        {"ttft_s": Fresh(value=9.0)},  # late without a queue: prompts that are long
        {"waiting": Fresh(value=1.0)},  # a queue without an alarm
    ],
)
def test_an_alarm_or_a_queue_alone_does_not(over: dict[str, Any]) -> None:
    last = TokenShape(input_tokens=2000.0, output_tokens=250.0)
    found = need(fresh_load(20.0, **over), means=last).means
    assert found is not None
    assert found.input_tokens < 1500.0


@pytest.mark.parametrize(
    ("value", "last", "after"),
    [(0.52, 0.45, 0.5), (0.44, 0.45, 0.45), (0.0, SHAPE_STAY * HIT_STEP, SHAPE_STAY * HIT_STEP)],
)
def test_a_prefix_hit_stays_within_three_quarters_of_a_step(
    value: float, last: float, after: float
) -> None:
    before = replace(PRIOR, prefix_hit=last)
    assert on_grid(replace(PRIOR, prefix_hit=value), before).prefix_hit == after


@pytest.mark.parametrize(("value", "after"), [(1070.0, 1000.0), (1080.0, 1051.2)])
def test_a_length_stays_within_three_quarters_of_a_step(value: float, after: float) -> None:
    before = replace(PRIOR, input_tokens=1000.0)
    assert on_grid(replace(PRIOR, input_tokens=value), before).input_tokens == after
