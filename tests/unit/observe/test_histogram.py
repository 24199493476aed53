"""Quantiles and shares from buckets, on numbers that can be checked by hand."""

import math

import pytest

import pages
from trimtab.models.load import RUNGS, Spread
from trimtab.observe.histogram import merge, problem, quantile, share_within, spread

INF = math.inf
HUNDRED = {0.1: 20.0, 0.2: 60.0, 0.4: 100.0, INF: 100.0}


@pytest.mark.parametrize(
    ("share", "value"), [(0.1, 0.05), (0.2, 0.1), (0.4, 0.15), (0.6, 0.2), (0.8, 0.3), (1.0, 0.4)]
)
def test_quantiles_are_linear_within_a_bucket(share: float, value: float) -> None:
    assert quantile(HUNDRED, share) == pytest.approx(value)


@pytest.mark.parametrize(
    ("target", "share"), [(0.1, 0.2), (0.15, 0.4), (0.2, 0.6), (0.3, 0.8), (0.4, 1.0), (9.0, 1.0)]
)
def test_shares_within_a_target(target: float, share: float) -> None:
    assert share_within(HUNDRED, target) == pytest.approx(share)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile({0.1: 1.0, 0.2: 2.0, INF: 10.0}, 0.95) == 0.2


def test_a_target_beyond_the_last_bound_counts_what_is_certain() -> None:
    assert share_within({0.1: 1.0, 0.2: 2.0, INF: 10.0}, 5.0) == pytest.approx(0.2)


def test_a_target_below_the_first_bound_cannot_be_judged() -> None:
    assert share_within(HUNDRED, 0.05) is None


def test_without_observations_there_is_nothing_to_say() -> None:
    assert quantile({0.1: 0.0, INF: 0.0}, 0.95) is None
    assert share_within({0.1: 0.0, INF: 0.0}, 0.2) is None


def test_a_dip_between_buckets_is_no_negative_count() -> None:
    raced = {0.1: 50.0, 0.2: 49.0, 0.4: 100.0, INF: 100.0}
    assert quantile(raced, 0.75) == pytest.approx(0.3)


def test_only_common_bounds_are_merged() -> None:
    merged = merge([{0.1: 1.0, 0.5: 2.0, INF: 4.0}, {0.1: 1.0, 1.0: 5.0, INF: 6.0}])
    assert merged == {0.1: 2.0, INF: 10.0}


@pytest.mark.parametrize(
    "buckets",
    [
        {},
        {0.1: 1.0},
        {INF: 1.0},
        {0.1: math.nan, INF: 1.0},
        {0.1: -1.0, INF: 1.0},
        {-0.1: 0.0, INF: 1.0},
    ],
)
def test_what_is_no_histogram(buckets: dict[float, float]) -> None:
    assert problem(buckets) is not None


def test_the_quantile_of_a_real_page_is_within_its_bucket() -> None:
    """154 first tokens: 76 within 5 s, all within 7.5 s; so the median is just above 5 s."""
    buckets = {
        float(series.split('le="')[1].split('"')[0]): value
        for series, value in pages.samples(pages.page("load2")).items()
        if series.startswith("vllm:time_to_first_token_seconds_bucket")
    }
    assert quantile(buckets, 0.5) == pytest.approx(5.0 + 2.5 / 78)
    assert share_within(buckets, 5.0) == pytest.approx(76 / 154)


def shares(*parts: dict[float, float]) -> dict[float, float]:
    """The shares that are not 0, by the rung that they are up to."""
    found = spread(parts)
    assert isinstance(found, Spread)
    assert math.fsum(found.shares) == pytest.approx(1.0)
    pairs = zip((*RUNGS, INF), found.shares, strict=True)
    return {upto: share for upto, share in pairs if share}


def buckets_of(lengths: list[int], bounds: tuple[float, ...]) -> dict[float, float]:
    return {bound: float(sum(at <= bound for at in lengths)) for bound in (*bounds, INF)}


def test_on_the_bounds_of_vllm_each_request_is_counted_where_it_is() -> None:
    """Bounds up to the context length, here 8,192 tokens, as vLLM's `build_1_2_5_buckets`."""
    lengths = [1, 1, 2, 3, 20, 21, 480, 500, 501, 5000]
    bounds = tuple(rung for rung in RUNGS if rung <= 8192)
    expected = {1.0: 0.2, 2.0: 0.1, 5.0: 0.1, 20.0: 0.1, 50.0: 0.1, 500.0: 0.2, 1e3: 0.1, 5e3: 0.1}
    assert shares(buckets_of(lengths, bounds)) == pytest.approx(expected)


def test_the_lengths_of_a_real_page_are_counted_exactly() -> None:
    """146 finished requests: of 19 the prompt is 21 to 50 tokens, and so on."""
    found = {
        name: shares(
            {
                float(series.split('le="')[1].split('"')[0]): value
                for series, value in pages.samples(pages.page("load2")).items()
                if series.startswith(f"vllm:request_{name}_tokens_bucket")
            }
        )
        for name in ("prompt", "generation")
    }
    prompts = {50.0: 19 / 146, 100.0: 30 / 146, 200.0: 44 / 146, 500.0: 53 / 146}
    assert found["prompt"] == pytest.approx(prompts)
    answers = {50.0: 18 / 146, 100.0: 42 / 146, 200.0: 86 / 146}
    assert found["generation"] == pytest.approx(answers)


def test_within_a_bucket_equal_ratios_have_equal_shares() -> None:
    # From 25 to 400 are four doublings, of which 25 to 50 is one, and so on.
    assert shares({25.0: 0.0, 400.0: 8.0, INF: 8.0}) == pytest.approx(
        {50.0: 0.25, 100.0: 0.25, 200.0: 0.25, 500.0: 0.25}
    )
    # A length is one token at least: what is within 100 is within two decades.
    assert shares({100.0: 1.0, INF: 1.0}) == pytest.approx(
        {
            upto: math.log10(ratio) / 2
            for upto, ratio in zip(RUNGS[1:7], (2, 2.5, 2, 2, 2.5, 2), strict=True)
        }
    )


@pytest.mark.parametrize(
    ("last", "upto"), [(0.5, 2.0), (1000.0, 2000.0), (1100.0, 2000.0), (1e6, INF), (3e6, INF)]
)
def test_beyond_the_last_bound_is_just_above_it(last: float, upto: float) -> None:
    assert shares({last: 0.0, INF: 4.0}) == {upto: 1.0}


def test_lengths_of_several_engines_count_by_their_number_whatever_their_bounds() -> None:
    short = {100.0: 1.0, 200.0: 3.0, INF: 4.0}
    long = {100.0: 0.0, 200.0: 0.0, 500.0: 4.0, 50_000.0: 4.0, INF: 4.0}
    both = shares(short, long)
    assert both[200.0] == pytest.approx(2 / 8)
    assert both[500.0] == pytest.approx(5 / 8)
    assert sum(share for upto, share in both.items() if upto <= 100.0) == pytest.approx(1 / 8)


def test_a_dip_between_buckets_of_lengths_takes_nothing_away() -> None:
    assert shares({100.0: 0.0, 200.0: 6.0, 500.0: 5.0, 1e3: 8.0, INF: 7.5}) == pytest.approx(
        {200.0: 0.75, 1e3: 0.25}
    )


@pytest.mark.parametrize(
    "bad",
    [{}, {100.0: 1.0}, {INF: 1.0}, {100.0: 0.0, INF: 0.0}, {100.0: math.nan, INF: 1.0},
     {-1.0: 0.0, INF: 1.0}, {100.0: INF, INF: INF}],
)  # fmt: skip
def test_one_histogram_that_is_none_leaves_the_spread_unknown(bad: dict[float, float]) -> None:
    assert spread([bad]) is None
    assert spread([{100.0: 1.0, INF: 1.0}, bad]) is None


def test_of_no_histogram_or_of_more_than_a_number_holds_nothing_is_said() -> None:
    assert spread([]) is None
    huge = {100.0: 1e308, INF: 1e308}
    assert spread([huge, huge]) is None
