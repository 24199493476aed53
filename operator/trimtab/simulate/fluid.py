"""Fluid mode: replicas that serve a flow of requests, for weeks and hundreds of models.

Equal replicas share one number, the requests in them. It grows by what arrives and shrinks by what
they serve at that number (`response`), one by one and at random: dN = (arrivals - n X(N / n)) dt,
with a deviation of the root of what leaves. Beyond the largest throughput the rest of it is a
queue, which stays where it is when replicas come. How many of the arrivals will meet their targets
is read off at the same number, and counted when they leave.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import ceil, exp, expm1, inf, sqrt

import numpy as np

from trimtab.simulate.curve import Curve
from trimtab.simulate.routers import Router

_LASTING = 0.5
"""Stays over which the number of requests is averaged before speed and fates are read off: what a
request lives through is the mean of its stay, which lags by half of it."""
_NEXT_TO_NONE = 1e-6
_ALIKE = 0.05
"""Difference of what is in two replicas, over it, below which they count as equal."""
_MOST_PARTS = 4
"""Parts of a step: half a mean stay each, but no more of them than this: what lasts many stays is
in balance, whose approach is exact for any part."""


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of requests in some time; numbers of requests are not whole."""

    arrived: float = 0.0
    served: float = 0.0
    lost: float = 0.0
    rejected: float = 0.0
    timed_out: float = 0.0
    met: float = 0.0
    """Served within all targets."""
    met_ttft: float = 0.0
    met_itl: float = 0.0
    met_e2e: float = 0.0

    @property
    def settled(self) -> float:
        """Requests whose fate is known."""
        return self.served + self.lost + self.rejected + self.timed_out

    def add(self, other: "Counts") -> None:
        """Add what another one has counted."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


class _Group:
    """Equal replicas with equally many requests in them."""

    __slots__ = ("curve", "fates", "held", "lately", "leaving", "replicas")

    def __init__(self, curve: Curve, replicas: int) -> None:
        self.curve = curve
        self.replicas = replicas
        self.held = 0.0
        """Requests in all of them."""
        self.lately = 0.0
        """Requests in one of them, averaged over the last stays."""
        self.fates = [0.0, 0.0, 0.0, 0.0]
        """How many of the requests will meet all targets, TTFT, ITL, E2E."""
        self.leaving = False
        """Whether they finish what they have and get no more."""

    @property
    def speed(self) -> float:
        """Share of the requests that is served in a second."""
        level = self.held / self.replicas
        typical = max(level if level > self.curve.full else self.lately, _NEXT_TO_NONE)
        return self.curve.rps(typical) / typical

    def part(self, replicas: int) -> "_Group":
        """Take away some of the replicas, with what is in them."""
        other = _Group(self.curve, replicas)
        share = replicas / self.replicas
        other.held, other.lately = self.held * share, self.lately
        other.fates = [fate * share for fate in self.fates]
        self.held -= other.held
        self.fates = [fate * (1.0 - share) for fate in self.fates]
        self.replicas -= replicas
        return other

    def join(self, other: "_Group") -> None:
        """Take in other replicas with about as much in each."""
        replicas = self.replicas + other.replicas
        self.lately += (other.lately - self.lately) * other.replicas / replicas
        self.held += other.held
        self.fates = [a + b for a, b in zip(self.fates, other.fates, strict=True)]
        self.replicas = replicas


class FluidReplicas:
    """All ready replicas of one variant. Time is the caller's and never goes back."""

    def __init__(
        self,
        curves: Mapping[int, Curve],
        rng: np.random.Generator,
        *,
        router: Router = Router.LEAST_OUTSTANDING,
        client_timeout_s: float = 60.0,
    ) -> None:
        """Start at 0 without a replica.

        Args:
            curves: What one of them does, by how many shared the requests when it was measured;
                that of the largest number up to the actual one holds. There must be one for 1.
            rng: Requests leave one by one and at random, which makes their number uneven.
            router: Whether a replica that has less gets more; all others share evenly.
            client_timeout_s: A client that has no first token after this time gives up.
        """
        self._curves = dict(sorted(curves.items()))
        self._rng = rng
        self._router = router
        self._timeout_s = client_timeout_s
        self._now = 0.0
        self._groups: list[_Group] = []
        """Those that came together share a group, until others have as much in them."""
        self._lost = 0.0
        """Requests that were lost since the last step."""

    @property
    def replicas(self) -> int:
        """Replicas that accept requests."""
        return sum(group.replicas for group in self._groups if not group.leaving)

    @property
    def in_flight(self) -> float:
        """Requests in all replicas."""
        return sum(group.held for group in self._groups)

    @property
    def waiting(self) -> float:
        """Requests beyond the batches."""
        return sum(max(0.0, g.held - g.replicas * g.curve.full) for g in self._groups)

    @property
    def finishing(self) -> float:
        """Requests in replicas that get no more."""
        return sum(group.held for group in self._groups if group.leaving)

    @property
    def most_rps(self) -> float:
        """The largest throughput of the replicas that accept."""
        return sum(g.replicas * g.curve.most_rps for g in self._groups if not g.leaving)

    @property
    def ttft_s(self) -> float:
        """Mean TTFT of who arrives now, where there is least to do; infinite without a replica."""
        return min(
            (g.curve.ttft_s(g.held / g.replicas) for g in self._groups if not g.leaving),
            default=inf,
        )

    def resize(self, replicas: int) -> None:
        """Have so many replicas from now on; the youngest leave, and finish what they have."""
        curve = self._curve(replicas)
        for group in self._groups:
            group.curve = curve
        surplus = self.replicas - replicas
        if surplus < 0:
            self._groups.append(_Group(curve, -surplus))
        for group in self._taken(surplus):
            group.leaving = True
            self._groups.append(group)

    def lose(self, replicas: int) -> None:
        """Take away the youngest replicas at once, with all that is in them."""
        self._lost += sum(group.held for group in self._taken(replicas))

    def levels(self, seconds: float) -> list[tuple[float, int]]:
        """Return (requests in each after that time if none came, replicas) of those that accept."""
        return [
            (g.held * exp(-g.speed * seconds) / g.replicas, g.replicas)
            for g in self._groups
            if not g.leaving
        ]

    def advance(self, until: float, arrivals: float) -> Counts:
        """Return what happened until `until`, while `arrivals` requests came at a steady pace.

        None may come while there is no replica.
        """
        seconds = until - self._now
        self._now = until
        counts = Counts(arrived=arrivals, lost=self._lost)
        self._lost = 0.0
        fastest = max((group.speed for group in self._groups), default=0.0)
        parts = max(1, min(_MOST_PARTS, ceil(2.0 * seconds * fastest)))
        for _ in range(parts):
            self._part(seconds / parts, arrivals / parts, counts)
        self._tidy()
        return counts

    def _part(self, seconds: float, arrivals: float, counts: Counts) -> None:
        levels = self.levels(seconds)
        shares = iter(shared(levels, arrivals, self._router))
        for group in self._groups:
            self._serve(group, seconds, 0.0 if group.leaving else next(shares), counts)

    def _serve(self, group: _Group, seconds: float, arrivals: float, counts: Counts) -> None:
        curve = group.curve
        crowded = group.held > curve.full * group.replicas
        # With the stay that holds now: exact for a constant one, and never below zero.
        speed = group.speed
        balance = arrivals / seconds / speed
        gone = arrivals + (group.held - balance) * -expm1(-speed * seconds)
        if not crowded:
            gone += float(self._rng.standard_normal()) * sqrt(max(gone, 0.0))
        present = group.held + arrivals
        gone = min(max(gone, 0.0), group.replicas * curve.most_rps * seconds, present)
        middle = (group.held + present - gone) / 2.0 / group.replicas
        group.lately += (middle - group.lately) * -expm1(-speed * seconds / _LASTING)
        shares = curve.fates(middle if middle > curve.full else group.lately)
        fates = [fate + arrivals * one for fate, one in zip(group.fates, shares, strict=True)]
        share = gone / present if present > 0.0 else 0.0
        group.fates = [fate * (1.0 - share) for fate in fates]
        counts.served += gone
        counts.met += fates[0] * share
        counts.met_ttft += fates[1] * share
        counts.met_itl += fates[2] * share
        counts.met_e2e += fates[3] * share
        longest = group.replicas * (curve.full + curve.most_rps * self._timeout_s)
        counts.timed_out += max(0.0, present - gone - longest)
        group.held = min(present - gone, longest)

    def _taken(self, replicas: int) -> list[_Group]:
        """Take the youngest of the replicas that accept."""
        taken = []
        for group in [group for group in reversed(self._groups) if not group.leaving]:
            some = min(replicas, group.replicas)
            if some <= 0:
                break
            replicas -= some
            if some == group.replicas:
                self._groups.remove(group)
                taken.append(group)
            else:
                taken.append(group.part(some))
        return taken

    def _tidy(self) -> None:
        """Join groups that have become alike, and forget those that have left."""
        kept: list[_Group] = []
        for group in self._groups:
            if group.leaving and group.held < _NEXT_TO_NONE:
                continue
            if kept and not group.leaving and not kept[-1].leaving:
                mine, last = group.held / group.replicas, kept[-1].held / kept[-1].replicas
                if abs(mine - last) <= _ALIKE * max(mine, last) + 1.0:
                    kept[-1].join(group)
                    continue
            kept.append(group)
        self._groups = sorted(kept, key=lambda group: group.leaving)

    def _curve(self, replicas: int) -> Curve:
        return [c for shared, c in self._curves.items() if shared <= max(replicas, 1)][-1]


def shared(levels: Sequence[tuple[float, int]], arrivals: float, router: Router) -> list[float]:
    """Return how arrivals are shared out among groups of replicas.

    Args:
        levels: (requests in each replica of a group, replicas).
        arrivals: Requests.
        router: Least outstanding fills the emptiest ones up to one level, as water does.
    """
    total = sum(replicas for _, replicas in levels)
    if total == 0 or router is not Router.LEAST_OUTSTANDING:
        return [arrivals * replicas / max(total, 1) for _, replicas in levels]
    below = 0
    volume = 0.0
    surface = inf
    for level, replicas in sorted(levels):
        if level >= surface:
            break
        below += replicas
        volume += level * replicas
        surface = (arrivals + volume) / below
    return [max(0.0, surface - level) * replicas for level, replicas in levels]


class FluidService:
    """The clients of one deployment and all its variants."""

    def __init__(
        self,
        variants: Sequence[FluidReplicas],
        *,
        router: Router = Router.LEAST_OUTSTANDING,
        queue: float = 1000.0,
        client_timeout_s: float = 60.0,
    ) -> None:
        """Start at 0; `queue` and the time-out are those of a gateway without a replica."""
        self._variants = variants
        self._router = router
        self._most = queue
        self._timeout_s = client_timeout_s
        self._held: deque[tuple[float, float]] = deque()
        """(when they came, how many) of those that wait for a first replica."""
        self._now = 0.0

    @property
    def held(self) -> float:
        """Requests that wait because no replica accepts any."""
        return sum(many for _, many in self._held)

    @property
    def in_flight(self) -> float:
        """Requests whose fate is open."""
        return self.held + sum(variant.in_flight for variant in self._variants)

    def advance(self, until: float, arrivals: float) -> Counts:
        """Return what happened until `until`, while `arrivals` requests came at a steady pace.

        Those that had waited for a replica come with them when there is one: their own wait is
        not counted against their targets, only against their patience.
        """
        counts = Counts(arrived=arrivals)
        seconds = until - self._now
        began, self._now = self._now, until
        levels = [variant.levels(seconds) for variant in self._variants]
        flat = [level for each in levels for level in each]
        while self._held and self._held[0][0] + self._timeout_s <= (began if flat else until):
            counts.timed_out += self._held.popleft()[1]
        if flat:
            sent = arrivals + self.held
            self._held.clear()
        else:
            sent = 0.0
            kept = min(arrivals, max(0.0, self._most - self.held))
            counts.rejected += arrivals - kept
            self._held.append(((began + until) / 2.0, kept))
        shares = iter(shared(flat, sent, self._router))
        for variant, each in zip(self._variants, levels, strict=True):
            part = variant.advance(until, sum(next(shares) for _ in each))
            part.arrived = 0.0
            counts.add(part)
        return counts
