"""Cost against attainment: every policy a point, what is cheap and good at the upper left.

Both axes are logarithmic, the upright one in what is missed: policies that nobody would run would
else take all the room.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from trimtab.simulate.compare import Row
from trimtab.simulate.report.svg import Scale, rounded, tag, text

WIDTH, HEIGHT = 860.0, 500.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 66.0, 20.0, 34.0, 46.0
_LEAST_MISS = 1e-4
"""What misses less is drawn here: 99.99 %."""
_LEVELS = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
_LEAST_USD = 0.01
"""What costs less is drawn here."""
_BESIDE = 1.2
"""Room beside the cheapest and the dearest, as a factor."""
_LETTER = 6.6
"""Width of a letter, in pixels."""
_FAR = 16.0
"""A name that is farther from its point, in pixels, is tied to it with a line."""
OURS = "trimtab"
HINDSIGHT = "clairvoyant"

STYLE = """
text{font:12px system-ui,sans-serif;fill:#1b1f24}
.tick{font-size:11px;fill:#57606a}.heading{font-weight:600}
.grid{stroke:#d8dee4;stroke-width:1}.limit{stroke:#1b1f24;stroke-dasharray:5 4}
.bound{stroke:#009e73;stroke-width:1.5;stroke-dasharray:2 3}
.point{stroke:#fff;stroke-width:1.2}.c0{fill:#0072b2}.c1{fill:#d55e00}.c2{fill:#009e73}
.back{fill:#fff}.own{font-weight:700}
.halo{fill:#fff;stroke:#fff;stroke-width:3px}.lead{stroke:#57606a;stroke-width:.8}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.tick{fill:#9198a1}.grid{stroke:#30363d}
.limit{stroke:#e6edf3}.point{stroke:#0d1117}.back{fill:#0d1117}.halo{fill:#0d1117;stroke:#0d1117}.lead{stroke:#9198a1}
.c0{fill:#58a6d6}.c1{fill:#f0883e}.c2{fill:#3fc79a}.bound{stroke:#3fc79a}}
"""
"""Of a picture that stands alone; in the report the page's own style holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """One scenario."""

    title: str
    rows: Sequence[Row]
    goal: float
    """Attainment to reach."""
    bound_usd: float | None = None
    """What no policy that reaches the goal undercuts."""

    def svg(self, *, alone: bool = False) -> str:
        """Return the picture, `alone` as a file of its own or else as a part of a page."""
        spots = self._spots()
        costs = [cost for _, cost, _ in spots] + [self.bound_usd or 0.0]
        costs = [cost for cost in costs if cost >= _LEAST_USD] or [1.0]
        worst = max([miss for *_, miss in spots] + [2 * (1 - self.goal)])
        worst = next((level for level in reversed(_LEVELS) if level >= worst), 1.0)
        x = Scale(
            low=math.log10(min(costs) / _BESIDE), high=math.log10(max(costs) * _BESIDE),
            start=_LEFT, end=WIDTH - _RIGHT,
        )  # fmt: skip
        y = Scale(
            low=-math.log10(worst), high=-math.log10(_LEAST_MISS),
            start=HEIGHT - _BOTTOM, end=_TOP,
        )  # fmt: skip
        return tag(
            "svg",
            tag("title", escape(f"Cost against attainment, {self.title}")),
            *([tag("style", STYLE), tag("rect", class_="back", width="100%", height="100%")]
              if alone else []),
            *self._axes(x, y, worst),
            *self._points(spots, x, y),
            viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
            role="img",
            class_="scatter",
            xmlns="http://www.w3.org/2000/svg" if alone else None,
            width=WIDTH if alone else None,
            height=HEIGHT if alone else None,
        )  # fmt: skip

    def _spots(self) -> list[tuple[Row, float, float]]:
        """Return what can be drawn: row, cost, share of missed requests."""
        spots = []
        for row in self.rows:
            cost, attained = row.mean("usd"), row.mean("attainment")
            if cost is not None and attained is not None:
                spots.append((row, cost, min(max(1.0 - attained, _LEAST_MISS), 1.0)))
        return spots

    def _axes(self, x: Scale, y: Scale, worst: float) -> list[str]:
        marks = [
            text(f"Cost against attainment: {self.title}", _LEFT, 18, class_="heading"),
            text(
                "cost of the run ($), logarithmic",
                (x.start + x.end) / 2,
                HEIGHT - 8,
                text_anchor="middle",
            ),
            tag(
                "text",
                "requests within all targets (%)",
                transform=f"translate(14 {(y.start + y.end) / 2:.0f}) rotate(-90)",
                text_anchor="middle",
            ),
        ]
        for value in _round_numbers(10**x.low, 10**x.high):
            at = x(math.log10(value))
            marks.append(tag("line", class_="grid", x1=at, x2=at, y1=y.start, y2=y.end))
            marks.append(
                text(rounded(value), at, y.start + 16, class_="tick", text_anchor="middle")
            )
        for level in _LEVELS:
            if level <= worst:
                at = y(-math.log10(level))
                label = "≥ 99.99" if level == _LEAST_MISS else f"{100 - level * 100:g}"
                marks.append(tag("line", class_="grid", x1=x.start, x2=x.end, y1=at, y2=at))
                marks.append(text(label, x.start - 6, at + 4, class_="tick", text_anchor="end"))
        at = y(-math.log10(1.0 - self.goal))
        marks.append(tag("line", class_="limit", x1=x.start, x2=x.end, y1=at, y2=at))
        marks.append(
            text(f"goal {self.goal * 100:g} %", x.end - 4, at - 4, class_="tick", text_anchor="end")
        )
        if self.bound_usd is not None:
            at = x(math.log10(max(self.bound_usd, _LEAST_USD)))
            words = f"proven: nothing at {self.goal * 100:g} % is cheaper"
            marks.append(tag("line", class_="bound", x1=at, x2=at, y1=y.start, y2=y.end))
            marks.append(
                tag(
                    "text", words, class_="tick",
                    text_anchor="end",
                    transform=f"translate({at - 4:.1f} {y.end + 2:.1f}) rotate(-90)",
                )
            )  # fmt: skip
        return marks

    def _points(self, spots: Sequence[tuple[Row, float, float]], x: Scale, y: Scale) -> list[str]:
        taken = [(_x(x, cost) - 6, y(-math.log10(miss)) - 6, 12.0, 12.0) for _, cost, miss in spots]
        if self.bound_usd is not None:
            # The words beside the bound stand upright, from its top down.
            taken.append((_x(x, self.bound_usd) - 15, y.end, 15.0, 230.0))
        marks, labels = [], []
        for row, cost, miss in sorted(spots, key=lambda spot: spot[0].policy != OURS):
            at, level = _x(x, cost), y(-math.log10(miss))
            colour = {OURS: "c1", HINDSIGHT: "c2"}.get(row.policy, "c0")
            words = (
                f"{row.policy}: {(1.0 - miss) * 100:.2f} % within all targets, ${cost:.2f}, "
                f"{row.seeds} seed{'s' * (row.seeds > 1)}"
            )
            shape = f"M{at:.1f} {level - 6:.1f}l6 6l-6 6l-6 -6Z"
            mark = (
                tag("path", tag("title", escape(words)), class_=f"point {colour}", d=shape)
                if row.policy in (OURS, HINDSIGHT)
                else tag("circle", tag("title", escape(words)), class_=f"point {colour}",
                         cx=at, cy=level, r=4.5)
            )  # fmt: skip
            marks.append(mark)
            place = _place(row.policy, at, level, taken)
            if place is not None:
                style = "own" if row.policy == OURS else "tick"
                labels += _named(row.policy, (at, level), place, style)
        return marks + labels


def _x(x: Scale, usd: float) -> float:
    return x(math.log10(max(usd, _LEAST_USD)))


def _round_numbers(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between `low` and `high`."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    every = [lead * 10.0**power for power in powers for lead in (1, 2, 5)]
    return [value for value in every if low <= value <= high]


def _named(
    words: str, point: tuple[float, float], place: tuple[float, float], style: str
) -> list[str]:
    """Return a name at its place, tied to its point where it is far from it.

    Its halo is a text of its own, below it: not every viewer knows `paint-order`.
    """
    x, y = place
    nearest = min(max(point[0], x), x + _LETTER * len(words)), min(max(point[1], y - 9), y)
    lines = []
    if math.dist(point, nearest) > _FAR:
        lines.append(
            tag("line", class_="lead", x1=point[0], y1=point[1], x2=nearest[0], y2=nearest[1])
        )
    return [*lines, text(words, x, y, class_=f"{style} halo"), text(words, x, y, class_=style)]


def _place(
    words: str, x: float, y: float, taken: list[tuple[float, float, float, float]]
) -> tuple[float, float] | None:
    """Return where a point's name overlaps nothing, None where there is no such place."""
    width, height = _LETTER * len(words), 11.0
    near = [(8.0, 4.0), (-8 - width, 4.0), (-width / 2, -9.0), (-width / 2, 18.0)]
    far = [
        (dx, 4.0 + sign * step * 12.0)
        for step in range(1, 7)
        for sign in (-1, 1)
        for dx in (8.0 + 3.0 * step, -8 - 3.0 * step - width)
    ]
    for dx, dy in near + far:
        box = (x + dx, y + dy - height + 2, width, height)
        inside = box[0] >= _LEFT and box[0] + width <= WIDTH
        inside = inside and _TOP - 8 <= box[1] <= HEIGHT - _BOTTOM - height
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return x + dx, y + dy
    return None


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
