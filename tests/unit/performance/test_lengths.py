"""Token lengths: exact means, tails, joint samples and their moments."""

import numpy as np
import pytest

from trimtab.errors import InvalidInput
from trimtab.models.load import RUNGS, Spread, TokenShape
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


def counted(lengths: np.ndarray) -> Spread:
    """Return the shares of `lengths` between two rungs each."""
    numbers = np.bincount(np.searchsorted(RUNGS, lengths), minlength=len(RUNGS) + 1)
    return Spread(shares=tuple(float(n) / len(lengths) for n in numbers))


def few_long(mean: float) -> TokenShape:
    """Prompts of which one in twenty has 20,000 to 50,000 tokens, the others 50 to 100."""
    shares = dict.fromkeys(range(len(RUNGS) + 1), 0.0) | {6: 0.95, 14: 0.05}
    assert (RUNGS[5], RUNGS[6], RUNGS[13], RUNGS[14]) == (50.0, 100.0, 20_000.0, 50_000.0)
    spread = Spread(shares=tuple(shares.values()))
    return TokenShape(input_tokens=mean, output_tokens=200, inputs=spread)


@pytest.mark.parametrize("spread", [1.0, 1.5, 2.0])
def test_counted_lengths_are_about_those_that_were_counted(spread: float) -> None:
    drawn = lengths_of(TokenShape(input_tokens=1000, output_tokens=200, input_cv=spread), 10**6)
    sigma = np.sqrt(np.log1p(spread**2))
    all_of_them = np.exp(sigma * np.random.default_rng(1).standard_normal(200_000) - sigma**2 / 2)
    shape = TokenShape(input_tokens=1000, output_tokens=200, inputs=counted(1000 * all_of_them))
    found = lengths_of(shape, 10**6)
    assert float(found.prompt) == pytest.approx(1000, rel=1e-6)
    assert found.prompts == pytest.approx(drawn.prompts, rel=0.15)


def test_the_mean_tells_where_between_two_rungs_the_long_ones_are() -> None:
    short, long = (lengths_of(few_long(mean), 10**6) for mean in (1300.0, 2200.0))
    assert 20_000 < short.prompts[-1] < 35_000
    assert 40_000 < long.prompts[-1] < 50_000
    for found in (short, long):
        assert 50 < found.prompts[0] < 55  # the mean of the shortest 12 %


def test_a_mean_that_no_such_counts_can_have_scales_them() -> None:
    found = lengths_of(few_long(10_000.0), 10**6)
    assert float(found.prompt) == pytest.approx(10_000, rel=1e-6)
