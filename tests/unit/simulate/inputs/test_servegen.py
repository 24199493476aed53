"""ServeGen's clients are sampled with the rates, burstiness and lengths that were measured."""

from collections import defaultdict

import numpy as np
import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.inputs.servegen import (
    WINDOW_S,
    servegen,
    span_s,
    tilted,
    weibull_shape,
)
from trimtab.simulate.inputs.spec import NamedTrace, ServeGenWorkload
from trimtab.simulate.inputs.traces import named, spot_course, table


@pytest.mark.parametrize("workload", list(ServeGenWorkload))
def test_the_rate_of_every_window_is_the_measured_one(workload: ServeGenWorkload) -> None:
    measured: dict[int, float] = defaultdict(float)
    for row in table(f"servegen-{workload}-clients.csv.gz"):
        measured[round(float(row["t_s"]) / WINDOW_S)] += float(row["rate_rps"])
    start = 4 * 3600.0
    got = servegen(workload, (start, start + 7200.0), np.random.default_rng(3))
    for window in range(12):
        low = window * WINDOW_S
        count = np.count_nonzero((got.at_s >= low) & (got.at_s < low + WINDOW_S))
        expected = measured[round((start + low) / WINDOW_S)] * WINDOW_S
        assert count == pytest.approx(expected, rel=0.15), window


def test_a_rate_that_is_asked_for_is_the_mean() -> None:
    got = servegen(ServeGenWorkload.M_LARGE, (0.0, 14400.0), np.random.default_rng(1), 5.0)
    assert len(got) / 14400.0 == pytest.approx(5.0, rel=0.1)


def test_lengths_have_the_means_of_their_clients() -> None:
    """The busiest client of DeepSeek-R1 alone: 130 tokens in and 992 out, measured."""
    total = weighted_in = weighted_out = 0.0
    for row in table("servegen-deepseek-r1-client-tokens.csv"):
        if row["mean_input_tokens"] and row["mean_output_tokens"]:
            total += float(row["requests"])
            weighted_in += float(row["requests"]) * float(row["mean_input_tokens"])
            weighted_out += float(row["requests"]) * float(row["mean_output_tokens"])
    got = servegen(
        ServeGenWorkload.DEEPSEEK_R1, (0.0, span_s(ServeGenWorkload.DEEPSEEK_R1)),
        np.random.default_rng(2), 2.0,
    )  # fmt: skip
    assert got.input_tokens.mean() == pytest.approx(weighted_in / total, rel=0.15)
    assert got.output_tokens.mean() == pytest.approx(weighted_out / total, rel=0.15)


def test_a_histogram_is_tilted_to_a_mean_and_no_further_than_it_goes() -> None:
    edges = 2.0 ** (np.arange(20) / 4.0)
    shares = np.full(20, 0.05)
    middle = edges * (2**0.25 - 1) / np.log(2**0.25)
    for mean in (2.0, 10.0, 25.0):
        weights = tilted(edges, shares, mean)
        assert weights.sum() == pytest.approx(1.0)
        assert weights @ middle == pytest.approx(mean, rel=1e-3)
    assert tilted(edges, shares, 1e9)[-1] == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("cv", [0.3, 1.0, 2.0, 5.0])
def test_weibull_gaps_have_the_variation_asked_for(cv: float) -> None:
    drawn = np.random.default_rng(1).weibull(weibull_shape(cv), 2_000_000)
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.1)


def test_skipping_all_of_it_is_refused() -> None:
    with pytest.raises(InvalidInput, match="recorded for 18 h"):
        servegen(ServeGenWorkload.DEEPSEEK_R1, (70000.0, 71000.0), np.random.default_rng(1))


@pytest.mark.parametrize(
    ("trace", "rows", "mean_input"),
    [
        (NamedTrace.AZURE_CONV, 14176, 1195),
        (NamedTrace.AZURE_CODE, 7491, 2048),
        (NamedTrace.MOONCAKE, 7851, 12428),
    ],
)
def test_named_traces_are_whole(trace: NamedTrace, rows: int, mean_input: float) -> None:
    traffic = named(trace)
    assert len(traffic) == rows
    # The means that the README of the data states are of the whole hour for two of them.
    assert traffic.input_tokens.mean() == pytest.approx(mean_input, rel=0.02)
    assert (traffic.prefix is not None) == (trace is NamedTrace.MOONCAKE)


@pytest.mark.parametrize("name", ["aws-p3", "aws-g4dn", "gcp-v100", "gcp-a100"])
def test_courses_of_spot_nodes_are_shares_over_rising_times(name: str) -> None:
    at, share = spot_course(name)
    assert np.all(np.diff(at) > 0)
    assert share.max() == 1.0
    assert share.min() >= 0.0
    assert np.count_nonzero(np.diff(share) < 0) > 5
