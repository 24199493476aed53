"""Quantiles and shares from buckets, on numbers that can be checked by hand."""

import math

import pytest

import pages
from trimtab.observe.histogram import merge, problem, quantile, share_within

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
