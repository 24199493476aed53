"""Made-up requests follow the rate, the variation and the lengths that were asked for."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from trimtab.simulate.inputs.shapes import arrivals, synthetic
from trimtab.simulate.inputs.spec import Synthetic

HOUR = 3600.0


def spec(**changes: Any) -> Synthetic:
    return Synthetic.model_validate(
        {
            "shape": "steady",
            "rate": 10,
            "inputTokens": {"mean": 1000, "cv": 1.0},
            "outputTokens": {"mean": 200, "cv": 0.5},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {(0, 3600): 10}),
        ({"shape": "spike", "peak": 40, "from": "10m", "until": "20m"},
         {(0, 600): 10, (600, 1200): 40, (1200, 3600): 10}),
        ({"shape": "ramp", "peak": 30, "from": "10m", "until": "30m"},
         {(0, 600): 10, (600, 1800): 20, (1800, 3600): 30}),
        ({"shape": "square", "peak": 20, "period": "30m"},
         {(0, 900): 10, (900, 1800): 20, (1800, 2700): 10}),
        ({"shape": "sawtooth", "peak": 30, "period": "30m"}, {(0, 900): 15, (900, 1800): 25}),
        ({"shape": "diurnal", "peak": 30, "period": "5m", "weekend": 0.5},
         {(0, 1500): 20, (1500, 2100): 10, (2100, 3600): 20}),
    ],
)  # fmt: skip
def test_shapes(changes: dict[str, Any], parts: dict[tuple[float, float], float]) -> None:
    got = synthetic(spec(**changes), HOUR, np.random.default_rng(4))
    for (start, end), rate in parts.items():
        count = np.count_nonzero((got.at_s >= start) & (got.at_s < end))
        # Five standard deviations of a Poisson count.
        expected = rate * (end - start)
        assert abs(count - expected) < 5 * np.sqrt(expected), (start, end)


def test_lengths_have_the_mean_and_the_variation() -> None:
    got = synthetic(spec(), HOUR, np.random.default_rng(4))
    assert got.input_tokens.mean() == pytest.approx(1000, rel=0.03)
    assert got.input_tokens.std() / got.input_tokens.mean() == pytest.approx(1.0, rel=0.1)
    assert got.output_tokens.mean() == pytest.approx(200, rel=0.03)


@pytest.mark.parametrize("cv", [0.5, 3.0])
def test_gamma_gaps_have_the_variation(cv: float) -> None:
    got = synthetic(spec(arrivals="gamma", cv=cv, rate=20), HOUR, np.random.default_rng(4))
    gaps = np.diff(got.at_s)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.1)
    assert len(got) == pytest.approx(20 * HOUR, rel=0.1)


def test_noise_has_the_mean_rate_and_lasts_a_period() -> None:
    noisy = spec(shape="noise", period="1m", noise=0.5)
    got = synthetic(noisy, 20 * HOUR, np.random.default_rng(4))
    counts = np.histogram(got.at_s, bins=np.arange(0, 20 * HOUR + 1, 60))[0]
    assert counts.mean() == pytest.approx(600, rel=0.05)
    # A lognormal factor with this sigma varies by sqrt(exp(sigma^2) - 1), 0.53.
    assert counts.std() / counts.mean() == pytest.approx(0.53, rel=0.1)


def test_no_request_comes_while_the_rate_is_zero() -> None:
    at = arrivals(
        np.array([0.0, 10.0, 10.0, 20.0, 20.0, 30.0]),
        np.array([5.0, 5.0, 0.0, 0.0, 5.0, 5.0]),
        np.random.default_rng(1),
    )
    assert len(at) > 50
    assert not np.any((at > 10.0) & (at < 20.0))
    assert np.any(at > 20.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": "ramp", "peak": 3, "from": "10m", "until": "5m"},
        {"shape": "square"},
        {"period": "1800"},
        {"period": 1800},
        {"rate": -1},
        {"speed": 1},
    ],
)
def test_what_makes_no_shape_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        spec(**changes)
