"""The marks that pictures are made of: elements, scales, ticks, paths. Text is always escaped."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

Point = tuple[float, float]


def tag(name: str, /, *children: str, **attributes: object) -> str:
    """Return an element; underscores in names of attributes are written as hyphens.

    Children are elements; text goes through `text` or `html.escape`.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}>{''.join(children)}</{name}>" if children else f"<{name}{given}/>"


def text(words: str, x: float, y: float, **attributes: object) -> str:
    """Return a text element."""
    return tag("text", escape(words), x=x, y=y, **attributes)


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A straight line from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; what is outside lies on the edge."""
        inside = min(max(value, self.low), self.high)
        return self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Return round numbers from `low` to `high`, about `count` of them."""
    if high <= low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * f for f in (1.0, 2.0, 2.5, 5.0, 10.0) if power * f >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def rounded(value: float) -> str:
    """Return a number with as many digits as help: 1200, 12.5, 0.25."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}".rstrip("0").rstrip(".") if digits else f"{value:,.0f}"


TIMES = (10.0, 30.0, 60.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0, 43200.0,
         86400.0, 172800.0)  # fmt: skip
"""Distances in seconds between two marks on an axis of time."""


def time_ticks(seconds: float, count: int = 8) -> list[float]:
    """Return round times up to `seconds`."""
    step = next((step for step in TIMES if seconds / step <= count), TIMES[-1])
    return [n * step for n in range(int(seconds / step) + 1)]


def clock(seconds: float, whole: float) -> str:
    """Return a time on an axis that ends at `whole`, in the unit that suits it."""
    if whole > 4 * 86400:
        return f"{rounded(seconds / 86400)} d"
    if whole > 4 * 3600:
        return f"{rounded(seconds / 3600)} h"
    return f"{rounded(seconds / 60)} min"


def stamp(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def path(points: Iterable[Point]) -> str:
    """Return a path through all points."""
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def paths(points: Sequence[Point | None]) -> str:
    """Return a path with gaps where there is no point."""
    return "".join(path(run) for run in _runs(points))


def _runs(points: Sequence[Point | None]) -> Iterator[list[Point]]:
    run: list[Point] = []
    for point in [*points, None]:
        if point is not None:
            run.append(point)
        elif run:
            # One point alone is drawn as a short line.
            yield run if len(run) > 1 else [run[0], (run[0][0] + 1.0, run[0][1])]
            run = []


def band(upper: Sequence[Point], lower: Sequence[Point]) -> str:
    """Return the path around the area between two lines."""
    return path([*upper, *reversed(lower)]) + "Z"


def stairs(points: Sequence[Point]) -> list[Point]:
    """Return the corners of a line that keeps each value until the next."""
    corners: list[Point] = list(points[:1])
    for x, y in points[1:]:
        if y != corners[-1][1]:
            corners += [(x, corners[-1][1]), (x, y)]
    if points and corners[-1] != points[-1]:
        corners.append(points[-1])
    return corners
