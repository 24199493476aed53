"""A measured response as straight lines, its queue included: what fluid mode reads off."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from trimtab.simulate.response import GRID, Response

Floats = NDArray[np.float64]

_LEAST_LEFT = 0.1
"""Share of a replica's time that prompts leave to others, at the least: they are computed in parts
beside them."""
_MOST_STAGES = 4
_QUEUE_KNOTS = 33
"""Waits at which the shares within targets are worked out, from none to the longest target."""


Load = tuple[float, Floats]
"""Requests/s, and their latencies as in `Curve.latencies`."""


def weighed(parts: Iterable[Load]) -> Load:
    """Return the sum of the rates and the mean latencies, each as often as it came."""
    total, mean = 0.0, np.zeros((4, len(GRID) + 1))
    for rps, latencies in parts:
        total += rps
        if rps > 0.0:
            mean += (latencies - mean) * rps / total
    return total, mean


class Curve:
    """A response as straight lines over the requests in one replica, its queue included."""

    def __init__(self, response: Response) -> None:
        targets = response.targets
        self.most_rps = response.most_rps
        self.full = max(response.batch, 1.001 * float(response.in_flight[-1]))
        """Requests in a replica from which on it serves no faster."""
        stays = response.crowded.e2e_s
        spread = float(stays.std() / stays.mean()) if stays.mean() > 0.0 else 0.0
        self.stages = max(1, min(_MOST_STAGES, round(1.0 / max(spread, 0.1) ** 2)))
        """Stages of a stay, each as long and as uneven as the other, that are as uneven as stays
        were: n exponential stages vary by 1 / sqrt(n) of their mean (Erlang)."""
        quickest = response.latency_s[0, :2, 0]
        self._prompt_s = max(0.0, float(quickest[0] - quickest[1]))
        """What a prompt takes of a replica's time, beside those who decode: a first token with
        next to nothing else to do, less a step."""
        first_wait = (self.full - response.batch) / response.most_rps
        longest = max(targets.ttft_s or 0.0, targets.e2e_s or 0.0, first_wait)
        speeds = [(0.0, 0.0), *zip(response.in_flight.tolist(), response.rps.tolist(), strict=True)]
        waits = [*zip(response.in_flight.tolist(), response.ttft_s.tolist(), strict=True)]
        in_time = [*zip(response.on_arrival.tolist(), response.in_time.tolist(), strict=True)]
        fates = [
            (held, *shares)
            for held, shares in zip(
                response.on_stay.tolist(), response.shares.tolist(), strict=True
            )
        ]
        latencies = [
            (held, *quantiles.ravel().tolist())
            for held, quantiles in zip(response.in_flight.tolist(), response.latency_s, strict=True)
        ]
        self._batch = response.batch
        self._own_s = float(response.crowded.ttft_s.mean())
        for wait in np.linspace(first_wait, longest + 1e-9, _QUEUE_KNOTS).tolist():
            held = response.batch + response.most_rps * wait
            shares = response.crowded.shares(targets, wait).tolist()
            speeds.append((held, response.most_rps))
            fates.append((held, *shares))
            in_time.append((held, shares[1]))
            latencies.append((held, *response.crowded.quantiles(wait).ravel().tolist()))
        self._latencies = _Lines(latencies)
        self._speeds = _Lines(speeds)
        self._waits = _Lines(waits)
        # Chance may have put more into a replica for a while than it holds in the long run.
        self._fates = _Lines([one for one in fates if one[0] < self.full] + fates[-_QUEUE_KNOTS:])
        self._in_time = _Lines(
            [one for one in in_time if one[0] < self.full] + in_time[-_QUEUE_KNOTS:]
        )

    def rps(self, in_flight: float) -> float:
        """Return the requests/s that a replica serves with so many in it."""
        return self._speeds.first_at(in_flight)

    def spared(self, usual_rps: float, rps: float) -> float:
        """Return how much faster answers come than measured at that load, when so many arrive.

        Measured was with as many prompts as answers. When more come, as the number in a replica
        rises, their prompts take time of those who are there; when fewer come, they spare it.
        """
        left = [max(_LEAST_LEFT, 1.0 - self._prompt_s * each) for each in (rps, usual_rps)]
        return left[0] / left[1]

    def ttft_s(self, in_flight: float) -> float:
        """Return the mean TTFT of who comes then."""
        if in_flight > self.full:
            return self._own_s + (in_flight - self._batch) / self.most_rps
        return self._waits.first_at(in_flight)

    def latencies(self, in_flight: float) -> Floats:
        """Return TTFT, mean gaps, single gaps, E2E in s at `GRID`, and means: shape (4, n + 1)."""
        beyond = max(0.0, in_flight - self._latencies.last) / self.most_rps
        found = np.array(self._latencies.at(in_flight)).reshape(4, len(GRID) + 1)
        found[[0, 3]] += beyond
        return found

    def in_time(self, in_flight: float) -> float:
        """Return the share of who comes then whose first token is within its target."""
        return self._in_time.first_at(in_flight)

    def fates(self, in_flight: float) -> tuple[float, ...]:
        """Return the shares within all targets, TTFT, ITL and E2E, by the mean over a stay."""
        return self._fates.at(in_flight)


class _Lines:
    """Straight lines between points (x, y, z, ...), constant beyond them."""

    def __init__(self, points: Sequence[tuple[float, ...]]) -> None:
        self._x = [point[0] for point in points]
        self._y = [point[1:] for point in points]

    @property
    def last(self) -> float:
        """The largest x."""
        return self._x[-1]

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
