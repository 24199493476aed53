"""What became of the requests of one service: counts, latencies, and how many met the targets."""

from dataclasses import dataclass, field
from math import exp, floor, log

import numpy as np
from numpy.typing import NDArray

from trimtab.models.load import LatencyTargets
from trimtab.simulate.events import Finished, Steps

_RATIO = log(1.01)
"""Logarithm of the ratio of two neighbouring bins: quantiles are within half a percent."""


_LEAST = 1e-9
"""Smallest number that is counted, a nanosecond."""
Floats = NDArray[np.float64]
Counted = NDArray[np.int64]


class Digest:
    """Positive numbers, counted in bins of one percent."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}

    def add(self, value: float, weight: int = 1) -> None:
        """Count `value` as often as `weight` says; below a nanosecond it counts as one."""
        index = floor(log(value if value > _LEAST else _LEAST) / _RATIO)
        bins = self._bins
        bins[index] = bins.get(index, 0) + weight

    @classmethod
    def of(cls, values: Floats, weights: Counted | None = None) -> "Digest":
        """Count many values, one-dimensional, each as often as its weight says, or once."""
        digest = cls()
        if len(values):
            index = np.floor(np.log(np.maximum(values, _LEAST)) / _RATIO).astype(int)
            least = int(index.min())
            many = np.bincount(index - least, weights)
            found = np.flatnonzero(many)
            digest._bins = dict(
                zip((found + least).tolist(), many[found].astype(int).tolist(), strict=True)
            )
        return digest

    def merge(self, other: "Digest") -> None:
        """Count what another one has counted."""
        bins = self._bins
        for index, weight in other._bins.items():
            bins[index] = bins.get(index, 0) + weight

    def remove(self, other: "Digest") -> None:
        """Forget what another one has counted, all of which was merged into this one."""
        bins = self._bins
        for index, weight in other._bins.items():
            left = bins[index] - weight
            if left:
                bins[index] = left
            else:
                del bins[index]

    def quantile(self, q: float) -> float | None:
        """Return the number that the share `q` of all is not above, or None without any."""
        wanted = q * sum(self._bins.values())
        for index in sorted(self._bins):
            wanted -= self._bins[index]
            if wanted <= 0:
                return exp((index + 0.5) * _RATIO)
        return None


@dataclass(slots=True)
class Tally:
    """Counts over some time. A request that gets no whole answer has missed every target."""

    arrived: int = 0
    served: int = 0
    lost: int = 0
    """Their replica went away."""
    rejected: int = 0
    """Refused by the gateway or by an engine."""
    timed_out: int = 0
    """Their clients gave up."""
    retried: int = 0
    """Attempts beyond the first of each request."""
    met: int = 0
    """Served within all targets."""
    met_ttft: int = 0
    met_itl: int = 0
    """Served with a mean gap between tokens within the target."""
    met_e2e: int = 0
    gaps: int = 0
    """Between two tokens of one answer."""
    gaps_within: int = 0
    """Those of them that are each within the target for the mean."""
    ttft_s: Digest = field(default_factory=Digest)
    """From the client's sending to the first token."""
    itl_s: Digest = field(default_factory=Digest)
    """Every gap between two tokens."""

    @property
    def settled(self) -> int:
        """Requests whose fate is known."""
        return self.served + self.lost + self.rejected + self.timed_out

    @property
    def share_of_gaps(self) -> float | None:
        """Share of single gaps within the target for an answer's mean; None without a gap."""
        return self.gaps_within / self.gaps if self.gaps else None

    def summary(self) -> dict[str, object]:
        """Return it as JSON values: shares of settled requests, seconds, null where unknown."""
        settled = self.settled
        shares = {
            label: getattr(self, name) / settled if settled else None
            for name, label in _MET.items()
        }
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            "attainment": shares,
            "gaps_within": self.share_of_gaps,
            "ttft_s": _quantiles(self.ttft_s),
            "itl_s": _quantiles(self.itl_s),
        }


_COUNTS = ("arrived", "served", "lost", "rejected", "timed_out", "retried")
_MET = {"met": "all", "met_ttft": "ttft", "met_itl": "itl", "met_e2e": "e2e"}


def _quantiles(digest: Digest) -> dict[str, float | None]:
    return {f"p{percent}": digest.quantile(percent / 100) for percent in (50, 90, 95, 99)}


class Ledger:
    """The tally of one service."""

    def __init__(self, targets: LatencyTargets) -> None:
        self._targets = targets
        self.total = Tally()

    def arrived(self) -> None:
        """Count a request that a client sent."""
        self.total.arrived += 1

    def lost(self) -> None:
        """Count a request whose replica went away."""
        self.total.lost += 1

    def rejected(self) -> None:
        """Count a request that was refused."""
        self.total.rejected += 1

    def timed_out(self) -> None:
        """Count a request whose client gave up."""
        self.total.timed_out += 1

    def retried(self) -> None:
        """Count an attempt of a client whose request failed before."""
        self.total.retried += 1

    def first_token(self, ttft_s: float) -> None:
        """Count a first token."""
        self.total.ttft_s.add(ttft_s)

    def gaps(self, steps: Steps) -> None:
        """Count the gaps before the tokens of some steps, each as long as they were on average."""
        if steps.decoding:
            total = self.total
            weight = steps.count * steps.decoding
            total.itl_s.add(steps.first_s + steps.growth_s * (steps.count - 1) / 2, weight)
            total.gaps += weight
            total.gaps_within += _steps_within(steps, self._targets.itl_s) * steps.decoding

    def gap(self, gap_s: float) -> None:
        """Count one gap."""
        total = self.total
        total.itl_s.add(gap_s)
        total.gaps += 1
        total.gaps_within += _within(gap_s, self._targets.itl_s)

    def served(self, end: Finished) -> None:
        """Count a whole answer, and the targets that it met."""
        sent = end.request.arrival
        targets, total = self._targets, self.total
        first = None if end.first_token_at is None else end.first_token_at - sent
        ttft = _within(first, targets.ttft_s)
        itl = _within(end.mean_itl_s, targets.itl_s)
        e2e = _within(end.at - sent, targets.e2e_s)
        total.served += 1
        total.met_ttft += ttft
        total.met_itl += itl
        total.met_e2e += e2e
        total.met += ttft and itl and e2e


def _within(seconds: float | None, target: float | None) -> bool:
    return seconds is None or target is None or seconds <= target


def _steps_within(steps: Steps, target: float | None) -> int:
    """Return how many of some steps, each longer than the one before, are within a target."""
    if target is None or steps.first_s + steps.growth_s * (steps.count - 1) <= target:
        return steps.count
    if steps.first_s > target:
        return 0
    return int((target - steps.first_s) / steps.growth_s) + 1
