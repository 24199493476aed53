"""Traffic keeps its contract through cutting, scaling, repeating and merging."""

import numpy as np
import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.traffic import EMPTY, Traffic, merge


def traffic(at: list[float], prefix: tuple[tuple[int, ...], ...] | None = None) -> Traffic:
    numbers = np.arange(1, len(at) + 1)
    return Traffic(
        at_s=np.array(at), input_tokens=numbers, output_tokens=numbers * 10, prefix=prefix
    )


@pytest.mark.parametrize(
    ("at", "tokens"), [([0.0, 2.0, 1.0], 1), ([0.0, np.inf], 1), ([0.0, 1.0], 0)]
)
def test_what_breaks_the_contract_is_refused(at: list[float], tokens: int) -> None:
    counts = np.full(len(at), tokens)
    with pytest.raises(InvalidInput):
        Traffic(at_s=np.array(at), input_tokens=counts, output_tokens=counts)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(InvalidInput, match="differ in length"):
        Traffic(at_s=np.zeros(2), input_tokens=np.ones(1, int), output_tokens=np.ones(2, int))


def test_a_slice_has_its_own_clock_and_takes_the_start_but_not_the_end() -> None:
    part = traffic([0.0, 1.0, 2.0, 3.0], prefix=((1,), (2,), (3,), (4,))).slice(1.0, 3.0)
    assert part.at_s.tolist() == [0.0, 1.0]
    assert part.input_tokens.tolist() == [2, 3]
    assert part.prefix == ((2,), (3,))


def test_merging_sorts_rows_as_a_whole_and_keeps_prefixes() -> None:
    merged = merge([traffic([0.0, 5.0], prefix=((7,), (8,))), traffic([1.0, 5.0]), EMPTY])
    assert merged.at_s.tolist() == [0.0, 1.0, 5.0, 5.0]
    assert merged.input_tokens.tolist() == [1, 1, 2, 2]
    assert merged.output_tokens.tolist() == [10, 10, 20, 20]
    assert merged.prefix == ((7,), (), (8,), ())


def test_repeating_goes_on_after_its_span_with_new_prefixes() -> None:
    one = traffic([0.0, 1.0, 2.0], prefix=((1,), (1, 2), ()))
    laps = one.repeated(7.0, one.span_s)
    assert laps.at_s.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert laps.prefix is not None
    first, second = laps.prefix[0][0], laps.prefix[3][0]
    assert first != second
    assert laps.prefix[4][0] == second


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0, 2.5])
def test_scaling_multiplies_the_number_and_keeps_course_and_lengths(factor: float) -> None:
    rng = np.random.default_rng(5)
    at = np.sort(np.concatenate((rng.uniform(0, 1800, 2000), rng.uniform(1800, 3600, 8000))))
    one = Traffic(
        at_s=at,
        input_tokens=rng.integers(1, 1000, len(at)),
        output_tokens=rng.integers(1, 100, len(at)),
    )
    more = one.scaled(factor, rng)
    assert len(more) == pytest.approx(factor * len(one), rel=0.05)
    first_half = np.mean(more.at_s < 1800)
    assert first_half == pytest.approx(0.2, abs=0.02)
    assert more.input_tokens.mean() == pytest.approx(one.input_tokens.mean(), rel=0.03)


def test_scaled_copies_are_other_users() -> None:
    one = traffic([0.0, 100.0, 200.0], prefix=((1,), (1,), (2,)))
    two = one.scaled(2.0, np.random.default_rng(1))
    assert two.prefix is not None
    assert len(two) == 6
    assert len({blocks[0] for blocks in two.prefix}) == 4
    assert len(set(two.at_s.tolist())) == 6


def test_a_factor_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not above 0"):
        traffic([0.0]).scaled(0.0, np.random.default_rng(1))
