"""The distribution of the largest rate over a time to come, and its quantiles."""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field

from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import ANCHORS, BORDERS, EDGES, JUMPS, MINUTE_S

_EDGES: list[float] = EDGES.tolist()
_JUMPS: list[float] = JUMPS.tolist()
_ANCHORS = [float(anchor) for anchor in ANCHORS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One horizon of an outlook, in plain numbers; `root` is that of the rate of now."""

    location: float
    scale: float
    below: list[float]
    root: float
    jumped: list[float]
    trusted: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of one rate, over each of the horizons that are learnt."""

    location: Floats
    """(6,), requests/s."""
    scale: Floats
    """(6,), requests/s."""
    below: Floats
    """Chances of no more than each of EDGES, in scales from the location, (6, edges)."""
    last: Floats
    """The rate of now, as it usually goes on from this time of day, (6,), requests/s."""
    jumped: Floats
    """Chances that its root rises by no more than each of JUMPS, (6, edges)."""
    trusted: Floats
    """What the first three count beside the last two about each of LEVELS, (6, levels), 0 to 1."""
    _rows: "list[_Row]" = field(init=False, repr=False, compare=False, default_factory=list)
    """What `_read` found, when it is asked for: at several levels."""

    def largest(self, q: float, ahead_s: float) -> float:
        """Return quantile `q` of the largest rate in so many seconds; it falls with neither."""
        if not self._rows:
            self._rows.extend(self._read())
        most, found, minutes = 0.0, [], ahead_s / MINUTE_S
        for row, anchor in zip(self._rows, _ANCHORS, strict=True):
            most = max(most, _mixed(q, row))
            found.append(most)
            if anchor > minutes:
                break  # longer horizons are not asked for
        return _between(minutes, _ANCHORS[: len(found)], found)

    def _read(self) -> "Iterator[_Row]":
        """Yield each horizon: arrays are read faster whole than number by number."""
        columns = (self.location, self.scale, self.below, self.last, self.jumped, self.trusted)
        lists = (column.tolist() for column in columns)
        for location, scale, below, last, jumped, trusted in zip(*lists, strict=True):
            yield _Row(
                location=location,
                scale=scale,
                below=below,
                root=math.sqrt(last),
                jumped=jumped,
                trusted=trusted,
            )


def _mixed(q: float, row: _Row) -> float:
    """Return quantile `q` over one horizon; no lower than any of a lower level."""
    most = 0.0
    for border, share in zip(BORDERS, row.trusted, strict=True):
        level = min(q, border)
        learnt = max(0.0, row.location + row.scale * _between(level, row.below, _EDGES))
        stays = max(0.0, row.root + _between(level, row.jumped, _JUMPS)) ** 2
        most = max(most, share * learnt + (1.0 - share) * stays)
        if q <= border:
            break
    return most


def _between(x: float, xs: list[float], ys: list[float]) -> float:
    """Return what lies over `x` on the line through the points `xs`, which rise, and `ys`."""
    i = bisect_right(xs, x)
    if i == 0 or i == len(xs):
        return ys[0] if i == 0 else ys[-1]
    slope = (ys[i] - ys[i - 1]) / (xs[i] - xs[i - 1])
    return slope * (x - xs[i - 1]) + ys[i - 1]
