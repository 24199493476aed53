"""Real requests to serve: when they came, how long they were, replayed at any rate."""

import csv
import gzip
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from trimtab.errors import InvalidInput

_WINDOW_S = 60.0
"""Time over which a shaped trace keeps its own unevenness."""
_FOLDER = Path(__file__).with_name("data") / "traces"


@dataclass(frozen=True, slots=True)
class Row:
    """One request of a trace."""

    t_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests in order of time, and how long they took to come (seconds)."""

    rows: tuple[Row, ...]
    span_s: float


@dataclass(frozen=True, slots=True)
class Profile:
    """A request rate over time: (seconds, requests/s) points with straight lines between.

    Before the first point and after the last one no request comes.
    """

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        times = [t for t, _ in self.points]
        rising = all(a < b for a, b in pairwise(times))
        if len(times) < 2 or not rising or any(rate < 0 for _, rate in self.points):
            raise InvalidInput(
                "profile",
                "it is no rate over time",
                "Write two or more [seconds, requests/s] points with rising times",
            )

    def expected(self) -> tuple[float, ...]:
        """Return the number of requests until each point."""
        totals = [0.0]
        for (t0, r0), (t1, r1) in pairwise(self.points):
            totals.append(totals[-1] + (t1 - t0) * (r0 + r1) / 2)
        return tuple(totals)


def load(name: str) -> Trace:
    """Return a trace: one of ours by name (`azure-conv`), or a CSV file, gzipped or not.

    Raises:
        InvalidInput: There is no such trace, or it has no usable rows.
    """
    path = _FOLDER / f"{name}.csv.gz"
    if not path.exists():
        path = Path(name)
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt") as file:
            rows = [
                Row(float(row["t_s"]), int(row["input_tokens"]), int(row["output_tokens"]))
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError) as error:
        raise InvalidInput(
            "trace",
            f"{name} cannot be read: {error!r}",
            "Name azure-conv, or a CSV file with columns t_s,input_tokens,output_tokens",
        ) from error
    rows.sort(key=lambda row: row.t_s)
    if len(rows) < 2 or rows[-1].t_s <= rows[0].t_s:
        raise InvalidInput("trace", f"{name} has no two times", "Give a longer trace")
    first = rows[0].t_s
    rows = [Row(row.t_s - first, row.input_tokens, row.output_tokens) for row in rows]
    # One mean gap after the last request, so that the trace can be repeated.
    return Trace(tuple(rows), rows[-1].t_s * len(rows) / (len(rows) - 1))


def endless(trace: Trace, start: int) -> Iterator[Row]:
    """Yield the rows from number `start` on, over and over, with times from 0."""
    rows, count = trace.rows, len(trace.rows)
    offset = rows[start % count].t_s
    position = start
    while True:
        lap, index = divmod(position - start + start % count, count)
        row = rows[index]
        yield Row(row.t_s + lap * trace.span_s - offset, row.input_tokens, row.output_tokens)
        position += 1


def _steady(trace: Trace) -> Trace:
    """Return the trace on a clock that counts requests: one a second in every minute of it."""
    windows = max(1, round(trace.span_s / _WINDOW_S))
    width = trace.span_s / windows
    times = [row.t_s for row in trace.rows]
    counts = [bisect_left(times, i * width) for i in range(windows)] + [len(times)]
    rows = []
    for row in trace.rows:
        window = min(int(row.t_s / width), windows - 1)
        share = row.t_s / width - window
        count = counts[window] + share * (counts[window + 1] - counts[window])
        rows.append(Row(count, row.input_tokens, row.output_tokens))
    return Trace(tuple(rows), float(len(rows)))


def scale(trace: Trace, factor: float, start: int = 0) -> Iterator[Row]:
    """Yield the trace from row `start` on without end, `factor` times as dense in time."""
    for row in endless(trace, start):
        yield Row(row.t_s / factor, row.input_tokens, row.output_tokens)


def shape(trace: Trace, profile: Profile, start: int = 0) -> Iterator[Row]:
    """Yield real rows, from number `start` on, at a rate that follows `profile`.

    Order, lengths and the unevenness of arrivals within a minute are the trace's; how its rate
    changes from minute to minute is not.
    """
    expected = profile.expected()
    for row in endless(_steady(trace), start):
        count = row.t_s
        if count >= expected[-1]:
            return
        segment = bisect_right(expected, count) - 1
        (t0, r0), (t1, r1) = profile.points[segment : segment + 2]
        # Count since t0 is r0 x + (r1 - r0) / (t1 - t0) x^2 / 2; its root, stable for r1 = r0.
        behind = count - expected[segment]
        slope = (r1 - r0) / (t1 - t0)
        root = (r0 * r0 + 2 * slope * behind) ** 0.5
        x = 2 * behind / (r0 + root) if behind else 0.0
        yield Row(t0 + x, row.input_tokens, row.output_tokens)
