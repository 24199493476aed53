"""What became of the requests of one service: counts, latencies, and how many met the targets."""

from dataclasses import dataclass, field
from math import exp, floor, log

from trimtab.models.load import LatencyTargets
from trimtab.simulate.events import Finished, Steps

WINDOW_S = 60
"""What `Ledger.recent` looks back over, in seconds."""
_RATIO = log(1.01)
"""Logarithm of the ratio of two neighbouring bins: quantiles are within half a percent."""


def _bin(value: float) -> int:
    return floor(log(value if value > 1e-9 else 1e-9) / _RATIO)


class Digest:
    """Positive numbers, counted in bins of one percent."""

    def __init__(self) -> None:
        self._bins: dict[int, int] = {}

    def add(self, value: float, weight: int = 1) -> None:
        """Count `value` as often as `weight` says; below a nanosecond it counts as one."""
        self.add_to(_bin(value), weight)

    def add_to(self, index: int, weight: int) -> None:
        """Count in a bin that is known."""
        self._bins[index] = self._bins.get(index, 0) + weight

    def merge(self, other: "Digest") -> None:
        """Count what another one has counted."""
        for index, weight in other._bins.items():
            self.add_to(index, weight)

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

    def merge(self, other: "Tally") -> None:
        """Add what another one has counted."""
        for name in (*_COUNTS, *_MET, *_GAPS):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ttft_s.merge(other.ttft_s)
        self.itl_s.merge(other.itl_s)

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
_GAPS = ("gaps", "gaps_within")


def _quantiles(digest: Digest) -> dict[str, float | None]:
    return {f"p{percent}": digest.quantile(percent / 100) for percent in (50, 90, 95, 99)}


class Ledger:
    """Tallies of one service, since its beginning and for each of the last seconds."""

    def __init__(self, targets: LatencyTargets) -> None:
        self._targets = targets
        self._seconds: dict[int, Tally] = {}
        self.total = Tally()

    def recent(self, now: float) -> Tally:
        """Return the tally of the last whole minute before `now`."""
        tally = Tally()
        for second in range(int(now) - WINDOW_S, int(now)):
            if second in self._seconds:
                tally.merge(self._seconds[second])
        return tally

    def arrived(self, at: float) -> None:
        """Count a request that a client sent."""
        for tally in self._at(at):
            tally.arrived += 1

    def lost(self, at: float) -> None:
        """Count a request whose replica went away."""
        for tally in self._at(at):
            tally.lost += 1

    def rejected(self, at: float) -> None:
        """Count a request that was refused."""
        for tally in self._at(at):
            tally.rejected += 1

    def timed_out(self, at: float) -> None:
        """Count a request whose client gave up."""
        for tally in self._at(at):
            tally.timed_out += 1

    def retried(self, at: float) -> None:
        """Count an attempt of a client whose request failed before."""
        for tally in self._at(at):
            tally.retried += 1

    def first_token(self, at: float, ttft_s: float) -> None:
        """Count a first token."""
        index = _bin(ttft_s)
        for tally in self._at(at):
            tally.ttft_s.add_to(index, 1)

    def gaps(self, steps: Steps) -> None:
        """Count the gaps before the tokens of some steps, each as long as they were on average."""
        if steps.decoding:
            index = _bin(steps.first_s + steps.growth_s * (steps.count - 1) / 2)
            weight = steps.count * steps.decoding
            within = _steps_within(steps, self._targets.itl_s) * steps.decoding
            for tally in self._at(steps.at):
                tally.itl_s.add_to(index, weight)
                tally.gaps += weight
                tally.gaps_within += within

    def gap(self, at: float, gap_s: float) -> None:
        """Count one gap."""
        index = _bin(gap_s)
        within = _within(gap_s, self._targets.itl_s)
        for tally in self._at(at):
            tally.itl_s.add_to(index, 1)
            tally.gaps += 1
            tally.gaps_within += within

    def served(self, end: Finished) -> None:
        """Count a whole answer, and the targets that it met."""
        sent = end.request.arrival
        targets = self._targets
        first = None if end.first_token_at is None else end.first_token_at - sent
        ttft = _within(first, targets.ttft_s)
        itl = _within(end.mean_itl_s, targets.itl_s)
        e2e = _within(end.at - sent, targets.e2e_s)
        for tally in self._at(end.at):
            tally.served += 1
            tally.met_ttft += ttft
            tally.met_itl += itl
            tally.met_e2e += e2e
            tally.met += ttft and itl and e2e

    def _at(self, at: float) -> tuple[Tally, Tally]:
        second = int(at)
        tally = self._seconds.get(second)
        if tally is None:
            oldest = second - 2 * WINDOW_S
            for old in [s for s in self._seconds if s < oldest]:
                del self._seconds[old]
            tally = self._seconds[second] = Tally()
        return self.total, tally


def _within(seconds: float | None, target: float | None) -> bool:
    return seconds is None or target is None or seconds <= target


def _steps_within(steps: Steps, target: float | None) -> int:
    """Return how many of some steps, each longer than the one before, are within a target."""
    if target is None or steps.first_s + steps.growth_s * (steps.count - 1) <= target:
        return steps.count
    if steps.first_s > target:
        return 0
    return int((target - steps.first_s) / steps.growth_s) + 1
