"""A measured response as straight lines, its queue included: what fluid mode reads off."""

from bisect import bisect_right
from collections.abc import Sequence

import numpy as np

from trimtab.simulate.response import Response

_QUEUE_KNOTS = 33
"""Waits at which the shares within targets are worked out, from none to the longest target."""


class Curve:
    """A response as straight lines over the requests in one replica, its queue included."""

    def __init__(self, response: Response) -> None:
        targets = response.targets
        self.most_rps = response.most_rps
        self.full = max(response.batch, 1.001 * float(response.in_flight[-1]))
        """Requests in a replica from which on it serves no faster."""
        first_wait = (self.full - response.batch) / response.most_rps
        longest = max(targets.ttft_s or 0.0, targets.e2e_s or 0.0, first_wait)
        speeds = [(0.0, 0.0), *zip(response.in_flight.tolist(), response.rps.tolist(), strict=True)]
        waits = [*zip(response.in_flight.tolist(), response.ttft_s.tolist(), strict=True)]
        fates = [
            (held, *shares)
            for held, shares in zip(
                response.in_flight.tolist(), response.shares.tolist(), strict=True
            )
        ]
        self._batch = response.batch
        self._own_s = float(response.crowded.ttft_s.mean())
        for wait in np.linspace(first_wait, longest + 1e-9, _QUEUE_KNOTS).tolist():
            held = response.batch + response.most_rps * wait
            shares = response.crowded.shares(targets, wait).tolist()
            speeds.append((held, response.most_rps))
            fates.append((held, *shares))
        self._speeds = _Lines(speeds)
        self._waits = _Lines(waits)
        self._fates = _Lines(fates)

    def rps(self, in_flight: float) -> float:
        """Return the requests/s that a replica serves with so many in it."""
        return self._speeds.first_at(in_flight)

    def ttft_s(self, in_flight: float) -> float:
        """Return the mean TTFT of who comes then."""
        if in_flight > self.full:
            return self._own_s + (in_flight - self._batch) / self.most_rps
        return self._waits.first_at(in_flight)

    def fates(self, in_flight: float) -> tuple[float, ...]:
        """Return the shares within all targets, TTFT, ITL and E2E of who comes then."""
        return self._fates.at(in_flight)


class _Lines:
    """Straight lines between points (x, y, z, ...), constant beyond them."""

    def __init__(self, points: Sequence[tuple[float, ...]]) -> None:
        self._x = [point[0] for point in points]
        self._y = [point[1:] for point in points]

    def at(self, x: float) -> tuple[float, ...]:
        i, weight = self._place(x)
        low, high = self._y[i], self._y[min(i + 1, len(self._y) - 1)]
        return tuple([a + weight * (b - a) for a, b in zip(low, high, strict=True)])

    def first_at(self, x: float) -> float:
        i, weight = self._place(x)
        low, high = self._y[i][0], self._y[min(i + 1, len(self._y) - 1)][0]
        return low + weight * (high - low)

    def _place(self, x: float) -> tuple[int, float]:
        """Return the point before `x` and the share of the way to the next."""
        i = bisect_right(self._x, x) - 1
        if i < 0:
            return 0, 0.0
        if i == len(self._x) - 1:
            return i, 0.0
        low, high = self._x[i], self._x[i + 1]
        return i, (x - low) / (high - low)
