"""One picture over time: lines, areas and marks on common axes, with numbers for the pointer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from trimtab.simulate.report.svg import (
    Scale,
    band,
    clock,
    paths,
    rounded,
    stairs,
    tag,
    text,
    ticks,
    time_ticks,
)

WIDTH, HEIGHT = 540.0, 200.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 22.0, 46.0, 22.0
_LETTER = 6.4
"""Width of a letter of the legend, in pixels."""
_ROW = 13.0
"""Height of one of its rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of numbers; None where there is none."""

    label: str
    values: Sequence[float | None]
    colour: int
    """Of the palette."""
    dashed: bool = False
    filled: bool = False
    steps: bool = False
    """Whether a value holds until the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened."""

    at_s: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What a picture shows."""

    title: str
    unit: str
    at_s: Sequence[float]
    """Of all values."""
    lines: Sequence[Line]
    stacked: bool = False
    """Whether filled lines lie upon each other."""
    limit: tuple[str, float] | None = None
    """A level to stay below, and its name."""
    marks: Sequence[Mark] = field(default_factory=tuple)

    def svg(self) -> str:
        """Return the picture as an element of an HTML page."""
        end = max(self.at_s, default=0.0) or 1.0
        x = Scale(low=0.0, high=end, start=_LEFT, end=WIDTH - _RIGHT)
        places = self._places()
        roof = _TOP + max((drop for _, drop in places), default=0.0)
        y = Scale(low=0.0, high=self._top(), start=HEIGHT - _BOTTOM, end=roof)
        numbers = [[line.label, [_short(value) for value in line.values]] for line in self.lines]
        return tag(
            "svg",
            tag("title", escape(f"{self.title} ({self.unit}) over time")),
            *self._axes(x, y, end),
            *self._lines(x, y),
            *self._limit(y),
            *self._marks(x, roof),
            *self._legend(places),
            tag("line", class_="cursor", x1=0, x2=0, y1=roof, y2=HEIGHT - _BOTTOM),
            class_="chart",
            viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
            role="img",
            data_unit=self.unit,
            data_at=_json([_short(at) for at in self.at_s]),
            data_lines=_json(numbers),
            data_span=_json([x.start, x.end, end]),
        )

    def _top(self) -> float:
        """Return the highest value of the axis; a limit far above the lines is left out."""
        sums = [
            sum(line.values[i] or 0.0 for line in self.lines if line.filled)
            for i in range(len(self.at_s))
        ]
        highest = max((v for line in self.lines for v in line.values if v is not None), default=0.0)
        if self.stacked:
            highest = max([highest, *sums])
        if self.limit is not None and (highest == 0 or self.limit[1] < 20 * highest):
            highest = max(highest, self.limit[1])
        return highest * 1.12 or 1.0

    def _axes(self, x: Scale, y: Scale, end: float) -> list[str]:
        marks = [text(f"{self.title} ({self.unit})", _LEFT, 13, class_="heading")]
        for value in ticks(0.0, y.high):
            at = y(value)
            marks.append(tag("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at))
            marks.append(text(rounded(value), _LEFT - 6, at + 4, class_="tick", text_anchor="end"))
        marks += [
            text(clock(at, end), x(at), HEIGHT - 8, class_="tick", text_anchor="middle")
            for at in time_ticks(end, 6)
        ]
        return marks

    def _lines(self, x: Scale, y: Scale) -> list[str]:
        marks = []
        below = [0.0] * len(self.at_s)
        for line in self.lines:
            values = [
                None if value is None else value + (base if self.stacked and line.filled else 0.0)
                for value, base in zip(line.values, below, strict=True)
            ]
            points = [
                None if value is None else (x(at), y(value))
                for at, value in zip(self.at_s, values, strict=True)
            ]
            whole = [point for point in points if point is not None]
            if line.filled and whole:
                floor = [(x(at), y(base)) for at, base in zip(self.at_s, below, strict=True)]
                shape = band(stairs(whole), stairs(floor)) if line.steps else band(whole, floor)
                marks.append(tag("path", class_=f"area c{line.colour}", d=shape))
                if self.stacked:
                    below = [value or 0.0 for value in values]
            if whole and not (self.stacked and line.filled):
                drawn = stairs(whole) if line.steps else points
                style = f"line c{line.colour}" + (" dashed" if line.dashed else "")
                marks.append(tag("path", class_=style, d=paths(drawn)))
        return marks

    def _limit(self, y: Scale) -> list[str]:
        if self.limit is None or self.limit[1] > y.high:
            return []
        name, level = self.limit
        at = y(level)
        return [
            tag("line", class_="limit", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at),
            text(name, WIDTH - _RIGHT - 4, at - 4, class_="tick", text_anchor="end"),
        ]

    def _marks(self, x: Scale, roof: float) -> list[str]:
        return [
            tag(
                "path",
                tag("title", escape(mark.words)),
                class_="mark",
                d=f"M{x(mark.at_s):.1f} {roof:.0f}l-4.5 -8h9Z",
            )
            for mark in self.marks
        ]

    def _places(self) -> list[tuple[float, float]]:
        """Return where each line is named, and how far below the legend's first row."""
        places = []
        left, drop = _LEFT, 0.0
        for line in self.lines:
            width = _LETTER * len(line.label) + 18
            if left > _LEFT and left + width > WIDTH:
                left, drop = _LEFT, drop + _ROW
            places.append((left, drop))
            left += width + 14
        return places

    def _legend(self, places: Sequence[tuple[float, float]]) -> list[str]:
        """Name the lines below the title, from left to right, in as many rows as they take."""
        marks = []
        for line, (left, drop) in zip(self.lines, places, strict=True):
            style = f"c{line.colour}" + (" dashed" if line.dashed else "")
            box = f"M{left:.0f} {20 + drop:.0f}h13v9h-13Z"
            shape = box if line.filled else f"M{left:.0f} {25 + drop:.0f}h14"
            kind = "area" if line.filled else "line"
            marks.append(tag("path", class_=f"{kind} {style}", d=shape))
            marks.append(text(line.label, left + 18, 29 + drop, class_="tick"))
        return marks


def _short(value: float | None) -> float | None:
    """Return a number with as many digits as anybody reads."""
    if value is None:
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() else short


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
