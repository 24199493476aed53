"""Predicted against measured, as an SVG without a plotting library."""

import math
from collections.abc import Mapping, Sequence

from bench.accuracy.score import Pair

_SIZE, _EDGE = 420, 48
_COLOURS = ("#1f6f8b", "#d1495b", "#66a182", "#8d6a9f")


def scatter(series: Mapping[str, Sequence[Pair]], *, title: str, unit: str) -> str:
    """Return an SVG of all pairs on logarithmic axes, with the diagonal and lines at 20 % off."""
    values = [v for pairs in series.values() for p in pairs for v in (p.predicted, p.measured)]
    low, high = math.log10(min(values)) - 0.05, math.log10(max(values)) + 0.05

    def at(value: float) -> float:
        return _EDGE + (math.log10(value) - low) / (high - low) * (_SIZE - 2 * _EDGE)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_SIZE} {_SIZE}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{_SIZE}" height="{_SIZE}" fill="white"/>',
        f'<text x="{_SIZE / 2}" y="20" text-anchor="middle" font-size="13">{title}</text>',
    ]
    for decade in range(math.ceil(low), math.floor(high) + 1):
        x = at(10.0**decade)
        label = f"{10.0**decade:g} {unit}"
        parts += [
            f'<path d="M{x:.1f} {_EDGE}V{_SIZE - _EDGE}M{_EDGE} {_SIZE - x:.1f}H{_SIZE - _EDGE}" '
            'stroke="#ddd" fill="none"/>',
            f'<text x="{x:.1f}" y="{_SIZE - _EDGE + 14}" text-anchor="middle">{label}</text>',
            f'<text x="{_EDGE - 4}" y="{_SIZE - x + 4:.1f}" text-anchor="end">{label}</text>',
        ]
    for factor, dash in ((1.0, ""), (1.2, "4 3"), (1 / 1.2, "4 3")):
        first, last = 10.0**low * max(1.0, 1 / factor), 10.0**high / max(1.0, factor)
        parts.append(
            f'<path d="M{at(first):.1f} {_SIZE - at(first * factor):.1f}'
            f'L{at(last):.1f} {_SIZE - at(last * factor):.1f}" stroke="#888" fill="none" '
            f'stroke-dasharray="{dash}"/>'
        )
    for i, (name, pairs) in enumerate(series.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        dots = "".join(
            f'<circle cx="{at(p.measured):.1f}" cy="{_SIZE - at(p.predicted):.1f}" r="1.6"/>'
            for p in pairs
        )
        parts += [
            f'<g fill="{colour}" fill-opacity="0.45">{dots}</g>',
            f'<text x="{_EDGE + 8}" y="{_EDGE + 14 + 14 * i}" fill="{colour}">{name}</text>',
        ]
    parts += [
        f'<text x="{_SIZE / 2}" y="{_SIZE - 8}" text-anchor="middle">measured</text>',
        f'<text x="12" y="{_SIZE / 2}" text-anchor="middle" '
        f'transform="rotate(-90 12 {_SIZE / 2})">predicted</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"
