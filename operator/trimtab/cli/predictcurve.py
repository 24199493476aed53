"""What one replica does from idle to saturation: rows, a table with bars, and a drawing."""

import math
from dataclasses import dataclass
from html import escape

import numpy as np
from rich.table import Table

from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate

_LOADS = (0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Shares of the rate at which the replica saturates."""
_BAR = 16
_WIDTH, _HEIGHT, _EDGE = 640, 300, 56
_TICKS = (1, 2, 5)
_LINES = (("p95 TTFT", "ttft_p95_ms", "#1f6f8b"), ("p95 ITL", "itl_p95_ms", "#d1495b"))


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """What users of a replica wait at one request rate."""

    request_rate: float
    concurrency: float
    ttft_ms: float
    ttft_p95_ms: float
    tpot_ms: float
    itl_p95_ms: float
    e2e_ms: float
    kv_utilization: float


def curve_of(replica: Replica) -> tuple[float, list[CurvePoint]]:
    """Return the rate at which `replica` saturates, requests/s, and points on the way there."""
    most = saturation_rate(replica)
    outlook = open_loop(replica, most * np.array(_LOADS), 0.95)
    return most, [
        CurvePoint(
            request_rate=float(outlook.rate[i]),
            concurrency=float(outlook.concurrency[i]),
            ttft_ms=float(outlook.ttft_mean_s[i]) * 1e3,
            ttft_p95_ms=float(outlook.ttft_s[i]) * 1e3,
            tpot_ms=float(outlook.tpot_mean_s[i]) * 1e3,
            itl_p95_ms=float(outlook.itl_s[i]) * 1e3,
            e2e_ms=float(outlook.e2e_mean_s[i]) * 1e3,
            kv_utilization=float(outlook.kv_utilization[i]),
        )
        for i in range(len(_LOADS))
    ]


def curve_table(points: list[CurvePoint]) -> Table:
    """Return a table of `points` whose last column draws the TTFT."""
    table = Table("req/s", "in flight", "p95 TTFT", "p95 ITL", "mean TPOT", "KV")
    table.add_column("TTFT, log scale", overflow="crop", no_wrap=True)
    low, high = math.log(points[0].ttft_p95_ms * 0.9), math.log(points[-1].ttft_p95_ms)
    for point in points:
        filled = round(_BAR * (math.log(point.ttft_p95_ms) - low) / max(high - low, 1e-9))
        table.add_row(
            f"{point.request_rate:.3g}",
            f"{point.concurrency:.1f}",
            f"{point.ttft_p95_ms:.0f} ms",
            f"{point.itl_p95_ms:.1f} ms",
            f"{point.tpot_ms:.1f} ms",
            f"{point.kv_utilization:.0%}",
            "█" * filled,
        )
    return table


def curve_svg(points: list[CurvePoint], title: str) -> str:
    """Return an SVG of TTFT and ITL, on one logarithmic axis of milliseconds, over the rate."""
    values = [getattr(point, name) for point in points for _, name, _ in _LINES]
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1
    most = points[-1].request_rate

    def across(rate: float) -> float:
        return _EDGE + rate / most * (_WIDTH - 2 * _EDGE)

    def up(value: float) -> float:
        share = (math.log10(value) - low) / (high - low)
        return _HEIGHT - _EDGE - share * (_HEIGHT - 2 * _EDGE)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_WIDTH / 2}" y="24" text-anchor="middle" font-size="13">{escape(title)}</text>',
    ]
    for tick in _ticks(low, high):
        parts += [
            f'<path d="M{_EDGE} {up(tick):.1f}H{_WIDTH - _EDGE}" stroke="#ddd"/>',
            f'<text x="{_EDGE - 4}" y="{up(tick) + 4:.1f}" text-anchor="end">{_time(tick)}</text>',
        ]
    for rate in _steps(most):
        x, y = across(rate), _HEIGHT - _EDGE + 16
        parts.append(f'<text x="{x:.1f}" y="{y}" text-anchor="middle">{rate:g}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 16}" text-anchor="middle">req/s</text>')
    for row, (label, name, colour) in enumerate(_LINES):
        places = (f"{across(p.request_rate):.1f} {up(getattr(p, name)):.1f}" for p in points)
        parts += [
            f'<path d="M{"L".join(places)}" stroke="{colour}" stroke-width="2" fill="none"/>',
            f'<text x="{_EDGE + 8}" y="{_EDGE + 4 + 14 * row}" fill="{colour}">{label}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def _ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(low), math.ceil(high) + 1)
    values = [tick * 10.0**decade for decade in decades for tick in _TICKS]
    return [value for value in values if low <= math.log10(value) <= high]


def _time(value_ms: float) -> str:
    return f"{value_ms:g} ms" if value_ms < 1000 else f"{value_ms / 1000:g} s"


def _steps(most: float) -> list[float]:
    """Return round numbers from 0 to `most`, four to nine of them."""
    decade = 10.0 ** math.floor(math.log10(most))
    step = next(size * decade for size in (0.2, 0.5, 1.0, 2.0) if most / (size * decade) < 9)
    return [step * number for number in range(math.floor(most / step) + 1)]
