"""Numbers in status: rounded, finite, spelled without exponents."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.actuate import figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (4.0, "4"),
        (0.000123456, "0.000123"),
        (1.2345, "1.23"),
        (12.345, "12.3"),
        (1234.5, "1230"),
        (999.96, "1000"),
        (123456789.0, "123000000"),
        (0.9999, "1"),
        (None, None),
        (math.nan, None),
        (math.inf, None),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str | None) -> None:
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.1844, "184ms"),
        (0.0, "0ms"),
        (0.9996, "1s"),
        (1.2345, "1.23s"),
        (59.99, "60s"),
        (90, "1m30s"),
        (-1.0, None),
        (math.nan, None),
    ],
)
def test_latencies_are_read_at_a_glance(seconds: float, text: str | None) -> None:
    assert figures.duration(seconds) == text


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        ("1s", "1000ms", False),
        ("1s", "1.1s", False),
        ("1s", "1.2s", True),
        ("950ms", "1.02s", False),
        ("38%", "41%", False),
        ("38%", "44%", True),
        ("0", "0", False),
        ("0", "0.01", True),
        (None, "1", True),
        ("1", None, True),
        (None, None, False),
        (1000, 1050, False),
        ("1m30s", "1m30s", False),
        ("1m30s", "5m", True),
        ("59s", "1m1s", False),
    ],
)
def test_a_number_moves_by_more_than_a_tenth(
    old: float | str | None, new: float | str | None, moves: bool
) -> None:
    assert figures.moved(old, new) is moves


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_rounding_costs_less_than_a_percent(value: float) -> None:
    text = figures.number(value)
    assert text is not None
    assert "e" not in text
    assert len(text) <= 16
    assert float(text) == pytest.approx(value, rel=0.006)
