"""A request's mean gap and single gaps: what tells them apart, and how near the engine they are."""

from dataclasses import replace

import pytest

from bench.accuracy.simulated import measured, quantile
from trimtab.models.hardware import EngineSettings
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import LatencyPrediction, ReplicaCapacity
from trimtab.performance.capacity import predict, replica_capacity, replica_of
from trimtab.performance.lengths import LengthSample
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import saturation_rate
from unit.performance.builders import request

BARE = EngineSettings(name="none", max_num_seqs=256, max_num_batched_tokens=4096)


def shape(prompt: float, answer: float) -> TokenShape:
    return TokenShape(input_tokens=prompt, output_tokens=answer)


def at(load: float, lengths: TokenShape, percentile: float) -> tuple[float, LatencyPrediction]:
    targets = LatencyTargets(percentile=percentile)
    asked = request(shape=lengths, engine=BARE, targets=targets)
    replica = replica_of(asked)
    assert isinstance(replica, Replica)
    rate = load * saturation_rate(replica)
    found = predict(asked, rate)
    assert isinstance(found, LatencyPrediction)
    return rate, found


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("lengths", [shape(300, 250), shape(1200, 200), shape(3000, 150)])
def test_both_are_those_of_the_engine(lengths: TokenShape, percentile: float) -> None:
    rate, found = at(0.6, lengths, percentile)
    seen = measured(request(shape=lengths, engine=BARE), rate, 1)
    assert found.itl_s == pytest.approx(quantile(seen.itl, percentile), rel=0.2)
    # Single gaps are short or long: where between them one falls, its quantile leaps.
    if percentile in (0.5, 0.99):
        assert found.gap_s == pytest.approx(seen.gap(percentile), rel=0.2)


def test_long_answers_average_over_the_steps_with_prompts_and_short_ones_do_not() -> None:
    long, short = at(0.6, shape(1200, 2000), 0.99)[1], at(0.6, shape(1200, 40), 0.99)[1]
    assert long.itl_s < 0.7 * long.gap_s
    assert short.itl_s > 2.0 * long.itl_s


def test_an_answer_of_one_token_has_no_gap() -> None:
    targets = LatencyTargets(percentile=0.95)
    half = LengthSample(prompts=(1000.0, 1000.0), answers=(1.0, 100.0), weights=(1.0, 1.0))
    more = LengthSample(prompts=(1000.0, 1000.0), answers=(2.0, 100.0), weights=(1.0, 1.0))
    asked = request(shape=shape(1000, 50), engine=BARE, targets=targets)
    one, two = (predict(replace(asked, sample=sample), 40.0) for sample in (half, more))
    assert isinstance(one, LatencyPrediction)
    assert isinstance(two, LatencyPrediction)
    # A single gap is as long as one step, which may have a prompt; 99 of them average that out.
    assert one.itl_s < 0.8 * two.itl_s


def test_the_target_is_for_a_request_and_not_for_its_longest_gap() -> None:
    targets = LatencyTargets(percentile=0.99, itl_s=0.03)
    found = replica_capacity(request(shape=shape(3000, 400), targets=targets))
    assert isinstance(found, ReplicaCapacity)
    assert found.at_max.itl_s <= 0.03
    assert found.at_max.gap_s > 0.03
