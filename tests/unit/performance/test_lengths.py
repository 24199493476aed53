"""Token lengths: exact means, tails, joint samples and their moments."""

import numpy as np
import pytest

from trimtab.errors import InvalidInput
from trimtab.models.load import TokenShape
from trimtab.performance.lengths import EDGES, WEIGHTS, LengthSample, length_sample, lengths_of

SHAPE = TokenShape(input_tokens=1000, output_tokens=200, input_cv=1.0, output_cv=0.8)


def test_lognormal_lengths_keep_their_means_and_spreads() -> None:
    lengths = lengths_of(SHAPE, 1_000_000)
    assert float(lengths.prompt) == pytest.approx(1000, rel=1e-6)
    assert float(lengths.answer) == pytest.approx(200, rel=1e-6)
    assert float(lengths.prompts @ WEIGHTS) == pytest.approx(1000, rel=1e-6)
    assert float(lengths.answer_square) == pytest.approx(200**2 * 1.64, rel=0.02)
    # E[O (I + O/2)] / E[O] of independent lengths.
    assert float(lengths.resident) == pytest.approx(1000 + 200 * 1.64 / 2, rel=0.02)


def test_points_are_ascending_and_reach_into_the_tail() -> None:
    lengths = lengths_of(SHAPE, 1_000_000)
    assert np.all(np.diff(lengths.prompts) > 0)
    assert len(lengths.prompts) == len(EDGES) - 1
    assert lengths.prompts[-1] > 5000  # the mean of the longest 1.5 % of such prompts


def test_what_is_cached_is_not_computed_but_held() -> None:
    plain = lengths_of(SHAPE, 100_000)
    hit = lengths_of(TokenShape(input_tokens=1000, output_tokens=200, prefix_hit=0.5), 100_000)
    assert float(hit.prompt) == pytest.approx(float(plain.prompt) / 2, rel=1e-6)
    assert float(hit.cached) == pytest.approx(500, rel=0.01)
    assert float(hit.resident) > 1000


def test_equal_lengths_have_no_spread() -> None:
    equal = TokenShape(input_tokens=512, output_tokens=64, input_cv=0, output_cv=0)
    lengths = lengths_of(equal, 8192)
    assert set(lengths.prompts) == {512.0}
    assert float(lengths.answer_variation) == 0.0
    assert float(lengths.resident) == pytest.approx(512 + 32)


def test_a_sample_keeps_what_goes_together() -> None:
    together = LengthSample(prompts=(100, 2000), answers=(10, 400), weights=(1, 1))
    crossed = LengthSample(prompts=(100, 2000), answers=(400, 10), weights=(1, 1))
    longest = 100_000
    one, other = (lengths_of(SHAPE, longest, sample) for sample in (together, crossed))
    assert float(one.prompt) == float(other.prompt) == 1050
    assert float(one.answer) == float(other.answer) == 205
    # Long answers behind long prompts fill the cache for longer.
    assert float(one.resident) == pytest.approx((10 * 105 + 400 * 2200) / 410)
    assert float(one.resident) > 2 * float(other.resident)
    assert one.prompts_of_answers[-1] == pytest.approx(2000)
    assert other.prompts_of_answers[-1] == pytest.approx(100)


def test_a_histogram_of_a_trace_keeps_its_means() -> None:
    pairs = [(100.0 + 7 * i, 10.0 + i % 50) for i in range(500)]
    sample = length_sample(pairs)
    assert len(sample.weights) < 200
    lengths = lengths_of(SHAPE, 100_000, sample)
    assert float(lengths.prompt) == pytest.approx(sum(p for p, _ in pairs) / 500)
    assert float(lengths.answer) == pytest.approx(sum(a for _, a in pairs) / 500)


@pytest.mark.parametrize(
    ("prompts", "answers", "weights"),
    [((), (), ()), ((1, 2), (1,), (1, 1)), ((1,), (1,), (0,)), ((0.5,), (1,), (1,))],
)
def test_what_is_no_sample_is_refused(
    prompts: tuple[float, ...], answers: tuple[float, ...], weights: tuple[float, ...]
) -> None:
    with pytest.raises(InvalidInput):
        LengthSample(prompts=prompts, answers=answers, weights=weights)
