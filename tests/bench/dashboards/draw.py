"""The panels of a Grafana dashboard as one SVG: where Grafana puts them, without Grafana."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from trimtab.simulate.report.chart import HEIGHT, WIDTH, Chart, Line
from trimtab.simulate.report.svg import rounded

CELL_W, CELL_H = 60.0, 32.0
"""Pixels of one cell of Grafana's grid of 24 columns."""
MOST_LINES = 7
_UNITS = {
    "currencyUSD": "$/h", "percentunit": "share", "reqps": "1/s", "ops": "1/s", "s": "s",
    "bytes": "MB", "none": "count",
}  # fmt: skip
_STYLE = """
text{font:12px Helvetica,Arial,sans-serif;fill:#1b1f24}.tick{font-size:11px;fill:#57606a}
.heading{font-weight:600}.row{font-size:15px;font-weight:600}.value{font-size:30px;font-weight:600}
.dashed{stroke-dasharray:6 4}
.grid{stroke:#d8dee4}.line{fill:none;stroke-width:1.8}.area{fill-opacity:.3}.cursor{display:none}
.panel{fill:#fff;stroke:#d8dee4}
.c0{stroke:#0072b2}.c1{stroke:#d55e00}.c2{stroke:#009e73}.c3{stroke:#cc79a7}.c4{stroke:#e69f00}
.c5{stroke:#56b4e9}.c6{stroke:#6e7781}
"""

Answers = Mapping[str, Sequence[Mapping[str, Any]]]
"""What Prometheus answers to each expression of the dashboard."""


def picture(dashboard: Mapping[str, Any], answers: Answers, at: Sequence[float]) -> str:
    """Return the dashboard; `at` are the Unix seconds that were asked for."""
    panels = dashboard["panels"]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    width, height = 24 * CELL_W, bottom * CELL_H
    parts = [_panel(panel, answers, at) for panel in panels]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'role="img" aria-label="{escape(dashboard["title"])}"><style>{_STYLE}</style>'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#f6f8fa"/>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Mapping[str, Any], answers: Answers, at: Sequence[float]) -> str:
    place = panel["gridPos"]
    x, y = place["x"] * CELL_W, place["y"] * CELL_H
    w, h = place["w"] * CELL_W, place["h"] * CELL_H
    title = escape(panel["title"])
    if panel["type"] == "row":
        return f'<text class="row" x="{x + 8:.0f}" y="{y + h - 10:.0f}">{title}</text>'
    frame = (
        f'<rect class="panel" x="{x + 3:.0f}" y="{y + 3:.0f}" width="{w - 6:.0f}" '
        f'height="{h - 6:.0f}" rx="5"/>'
    )
    unit = _UNITS[panel["fieldConfig"]["defaults"].get("unit", "none")]
    dashed = {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        if any(each["id"] == "custom.lineStyle" for each in override["properties"])
    }
    lines = [
        (
            _legend(target.get("legendFormat", ""), row["metric"]),
            _values(row, at, unit),
            target["refId"] in dashed,
        )
        for target in panel["targets"]
        for row in answers[target["expr"]]
    ]
    middle = f'x="{x + w / 2:.0f}" y="{y + h / 2 + 12:.0f}" text-anchor="middle"'
    if not lines:
        text = f'<text class="tick" {middle}>no data</text>'
        return (
            f'{frame}<text class="heading" x="{x + 12:.0f}" y="{y + 22:.0f}">{title}</text>{text}'
        )
    if panel["type"] == "stat":
        last = next((value for value in reversed(lines[0][1]) if value is not None), 0.0)
        text = f'<text class="value" {middle}>{rounded(last)} {escape(unit)}</text>'
        return (
            f'{frame}<text class="heading" x="{x + 12:.0f}" y="{y + 22:.0f}">{title}</text>{text}'
        )
    chart = Chart(
        title=panel["title"],
        unit=unit,
        at_s=[moment - at[0] for moment in at],
        lines=[
            Line(label=label, values=values, colour=number, dashed=dash)
            for number, (label, values, dash) in enumerate(lines[:MOST_LINES])
        ],
    ).svg()
    # What a pointer would be told; a picture has none.
    inner = re.sub(r' data-\w+="[^"]*"', "", chart).replace(
        "<svg ",
        f'<svg x="{x + 8:.0f}" y="{y + 10:.0f}" width="{w - 16:.0f}" height="{h - 16:.0f}" '
        f'preserveAspectRatio="{_fit(w, h)}" ',
        1,
    )
    return frame + inner


def _fit(width: float, height: float) -> str:
    """Fill the panel where its shape is near that of a chart, else keep the letters upright."""
    return "none" if 0.7 < (width / height) / (WIDTH / HEIGHT) < 1.4 else "xMidYMid meet"


def _legend(pattern: str, metric: Mapping[str, str]) -> str:
    for name, value in metric.items():
        pattern = pattern.replace("{{" + name + "}}", value)
    return re.sub(r"{{\w+}}", "", pattern).strip(" ,/") or metric.get("instance", "value")


def _values(row: Mapping[str, Any], at: Sequence[float], unit: str) -> list[float | None]:
    factor = 1e-6 if unit == "MB" else 1.0
    found = {round(moment): float(value) * factor for moment, value in row["values"]}
    return [found.get(round(moment)) for moment in at]
