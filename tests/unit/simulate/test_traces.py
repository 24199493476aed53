from itertools import islice, pairwise
from pathlib import Path
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import InvalidInput
from trimtab_e2e import traces
from trimtab_e2e.traces import Profile, Row, Trace


def variation(rows: list[Row]) -> float:
    gaps = [b.t_s - a.t_s for a, b in pairwise(rows)]
    return pstdev(gaps) / fmean(gaps)


def test_the_azure_trace_is_the_published_one() -> None:
    """Figures of the 2,400 s cut, computed when it was made."""
    trace = traces.load("azure-conv")
    assert len(trace.rows) == 14_176
    assert len(trace.rows) / trace.span_s == pytest.approx(5.91, abs=0.01)
    assert fmean(row.input_tokens for row in trace.rows) == pytest.approx(1195, abs=1)
    assert fmean(row.output_tokens for row in trace.rows) == pytest.approx(201, abs=1)


def test_a_shaped_trace_keeps_rows_and_unevenness_and_follows_the_rate() -> None:
    trace = traces.load("azure-conv")
    profile = Profile(((0, 2), (100, 20), (300, 20), (400, 2)))
    rows = list(traces.shape(trace, profile, start=1000))
    assert len(rows) == pytest.approx(6200, rel=0.01)
    lengths = [(row.input_tokens, row.output_tokens) for row in rows]
    real = [(row.input_tokens, row.output_tokens) for row in trace.rows[1000:]]
    assert lengths == real[: len(rows)]
    plateau = [row for row in rows if 100 <= row.t_s < 300]
    assert len(plateau) / 200 == pytest.approx(20, rel=0.03)
    assert sum(row.t_s < 30 for row in rows) / 30 == pytest.approx(4.7, rel=0.1)
    assert variation(plateau) == pytest.approx(variation(list(trace.rows)), rel=0.1)


@given(
    gaps=st.lists(st.floats(0.1, 60), min_size=1, max_size=5),
    rates=st.lists(st.floats(0, 30), min_size=6, max_size=6),
    start=st.integers(0, 30),
)
def test_shaped_rows_come_in_order_and_as_many_as_expected(
    gaps: list[float], rates: list[float], start: int
) -> None:
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap)
    profile = Profile(tuple(zip(times, rates, strict=False)))
    even = Trace(tuple(Row(t / 2, t + 1, 1) for t in range(10)), 5.0)
    rows = list(traces.shape(even, profile, start))
    assert abs(len(rows) - profile.expected()[-1]) <= 1
    assert all(a.t_s <= b.t_s for a, b in pairwise(rows))
    assert all(0 <= row.t_s <= times[-1] + 1e-6 for row in rows)
    assert [row.input_tokens for row in rows] == [(start + i) % 10 + 1 for i in range(len(rows))]


def test_a_scaled_trace_goes_on_without_end() -> None:
    trace = Trace((Row(0.0, 1, 1), Row(1.0, 2, 1), Row(3.0, 3, 1)), 4.0)
    rows = list(islice(traces.scale(trace, 2.0, start=1), 5))
    assert [row.t_s for row in rows] == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert [row.input_tokens for row in rows] == [2, 3, 1, 2, 3]


@pytest.mark.parametrize(
    "points", [((0, 1),), ((0, 1), (0, 2)), ((5, 1), (0, 2)), ((0, 1), (1, -1))]
)
def test_a_profile_that_is_no_rate_over_time_is_refused(
    points: tuple[tuple[float, float], ...],
) -> None:
    with pytest.raises(InvalidInput, match="profile"):
        Profile(points)


@pytest.mark.parametrize(
    "text", [None, "t_s,input_tokens\n0,1\n", "t_s,input_tokens,output_tokens\n"]
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "trace.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match="trace"):
        traces.load(str(path))


def test_a_trace_from_a_file_starts_at_its_first_request(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("t_s,input_tokens,output_tokens\n7,30,3\n5,10,1\n6,20,2\n")
    trace = traces.load(str(path))
    assert trace.rows == (Row(0.0, 10, 1), Row(1.0, 20, 2), Row(2.0, 30, 3))
    assert trace.span_s == 3.0
