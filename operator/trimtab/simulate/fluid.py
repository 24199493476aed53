"""Fluid mode: replicas that serve a flow of requests, for weeks and hundreds of models.

Equal replicas share a few numbers: the requests that wait for a place in the batch, and those in it
by stage. A request goes through its stages one by one and at random, each as fast as the number in
the batch allows (`response`); there are as many as make stays as uneven as they were measured, so
that who has just come does not leave at once. Beyond the largest throughput the rest is a queue,
which stays where it is when replicas come. Whether a first token is in time is read off at the
number there is at the arrival, the pace of an answer at the mean number of its stay.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from math import ceil, exp, inf

import numpy as np

from trimtab.simulate.curve import Curve, Load, weighed
from trimtab.simulate.fluidgroup import NEXT_TO_NONE, Counts, Group, Nature
from trimtab.simulate.routers import Router

_ALIKE = 0.05
"""Difference of what is in two replicas, over it, below which they count as equal."""
_PART = 0.75
"""Of the time of a stage, the longest part of a step ..."""
_MOST_PARTS = 8
"""... but no more parts than this: what lasts many stays is in balance, whose approach is exact for
any part."""


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
        self._nature = Nature(stages=self._curve(1).stages, rng=rng, timeout_s=client_timeout_s)
        self._router = router
        self._now = 0.0
        self._groups: list[Group] = []
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
        return sum(group.queued for group in self._groups)

    @property
    def finishing(self) -> float:
        """Requests in replicas that get no more."""
        return sum(group.held for group in self._groups if group.leaving)

    @property
    def ttft_s(self) -> float:
        """Mean TTFT of who arrives now, where there is least to do; infinite without a replica."""
        return min(
            (g.curve.ttft_s(g.held / g.replicas) for g in self._groups if not g.leaving),
            default=inf,
        )

    def latencies(self) -> Load:
        """Return the requests/s served and their latencies.

        First tokens are those of who comes now, the others those of who leaves now.
        """
        found = []
        for group in self._groups:
            now, leaving = group.held / group.replicas, group.lately
            latencies = group.curve.latencies(leaving)
            latencies[0] = group.curve.latencies(now)[0]
            found.append((group.replicas * group.curve.rps(leaving), latencies))
        return weighed(found)

    def resize(self, replicas: int) -> None:
        """Have so many replicas from now on; the youngest leave, and finish what they have."""
        curve = self._curve(replicas)
        for group in self._groups:
            group.curve = curve
        surplus = self.replicas - replicas
        if surplus < 0:
            self._groups.append(Group(curve, -surplus, self._nature))
        for group in self._taken(surplus):
            group.leaving = True
            self._groups.append(group)

    def leave(self) -> Group:
        """Have one replica less, the youngest, and return it: it finishes what it has."""
        self.resize(self.replicas - 1)
        return self._groups[-1]

    def lose(self, replicas: int) -> None:
        """Take away the youngest replicas at once, with all that is in them."""
        self._lost += sum(group.held for group in self._taken(replicas))

    def kill(self, group: Group) -> None:
        """Take away a replica that is leaving, with all that is in it."""
        self._lost += group.clear()

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
        fastest = max((g.speed * len(g.stages) for g in self._groups), default=0.0)
        parts = max(1, min(_MOST_PARTS, ceil(seconds * fastest / _PART)))
        for _ in range(parts):
            self._part(seconds / parts, arrivals / parts, counts)
        self._tidy()
        return counts

    def _part(self, seconds: float, arrivals: float, counts: Counts) -> None:
        levels = self.levels(seconds)
        shares = iter(shared(levels, arrivals, self._router))
        for group in self._groups:
            group.serve(seconds, 0.0 if group.leaving else next(shares), counts)

    def _taken(self, replicas: int) -> list[Group]:
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
        kept: list[Group] = []
        for group in self._groups:
            if group.leaving and group.held < NEXT_TO_NONE:
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
