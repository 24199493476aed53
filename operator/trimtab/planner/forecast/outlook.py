"""The distribution of the largest rate over a time to come, and its quantiles."""

from bisect import bisect_right
from dataclasses import dataclass

from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import ANCHORS, EDGES, MINUTE_S

_EDGES: list[float] = EDGES.tolist()
_ANCHORS = [float(anchor) for anchor in ANCHORS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of one rate, over each of the horizons that are learnt."""

    location: Floats
    """(6,), requests/s."""
    scale: Floats
    """(6,), requests/s."""
    below: Floats
    """Chances of no more than each of EDGES, in scales from the location, (6, edges)."""

    def largest(self, q: float, ahead_s: float) -> float:
        """Return quantile `q` of the largest rate in so many seconds; it falls with neither."""
        most, found = 0.0, []
        rows = zip(self.location.tolist(), self.scale.tolist(), self.below.tolist(), strict=True)
        for location, scale, below in rows:
            most = max(most, location + scale * _between(q, below, _EDGES))
            found.append(most)
        return _between(ahead_s / MINUTE_S, _ANCHORS, found)


def _between(x: float, xs: list[float], ys: list[float]) -> float:
    """Return what lies over `x` on the line through the points `xs`, which rise, and `ys`."""
    i = bisect_right(xs, x)
    if i == 0 or i == len(xs):
        return ys[0] if i == 0 else ys[-1]
    slope = (ys[i] - ys[i - 1]) / (xs[i] - xs[i - 1])
    return slope * (x - xs[i - 1]) + ys[i - 1]
