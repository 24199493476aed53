"""The cheapest fleet that never changes and does as well, found by running it on the same requests.

It knows the whole run beforehand, nothing befalls it, and between two whole numbers of replicas a
straight line is drawn: no policy can have that, so it is a bar and not a rival.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.judge.cases import Case
from bench.judge.fleet import Variant
from bench.judge.play import WARM_S, play, undisturbed


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """Replicas of one variant, for the whole run."""

    variant: str
    replicas: float
    cost: float
    """Dollars of the judged time."""


@dataclass(slots=True, kw_only=True)
class Hindsight:
    """What fixed fleets of one deployment of a case do. Runs are made once each."""

    case: Case
    name: str
    seed: int
    variants: Sequence[str]
    _shares: dict[tuple[str, int], float] = field(default_factory=dict)

    def cheapest(self, share: float) -> Fixed | None:
        """Return the cheapest that has this share in time; None where none of one variant has."""
        found = [fixed for each in self.variants if (fixed := self._least(each, share))]
        return min(found, key=lambda each: each.cost, default=None)

    def _least(self, label: str, share: float) -> Fixed | None:
        variant = Variant.of(label)
        pool = self.case.pools[variant.pool]
        low, high = 0, 1
        while self._share(label, high) < share:
            if high * variant.devices >= pool.most:
                return None
            low, high = high, min(2 * high, pool.most // variant.devices)
        while high - low > 1:
            middle = (low + high) // 2
            if self._share(label, middle) >= share:
                high = middle
            else:
                low = middle
        replicas = float(high)
        if low:
            below, above = self._share(label, low), self._share(label, high)
            replicas = low + (share - below) / (above - below) if above > below else replicas
        hours = (self.case.lasts_s - WARM_S) / 3600.0
        cost = replicas * variant.devices * pool.per_hour * hours
        return Fixed(variant=label, replicas=replicas, cost=cost)

    def _share(self, label: str, replicas: int) -> float:
        key = label, replicas
        if key not in self._shares:
            calm = {name: undisturbed(pool) for name, pool in self.case.pools.items()}
            alone = replace(
                self.case, pools=calm, deployments={self.name: self.case.deployments[self.name]}
            )
            fleet = {self.name: {label: replicas}}
            self._shares[key] = play(alone, self.seed, lambda _: fleet, fleet).worst
        return self._shares[key]


def together(fixed: Sequence[Fixed | None]) -> float | None:
    """Return what fixed fleets cost together; None where there is none for one of them."""
    costs = [each.cost for each in fixed if each is not None]
    return sum(costs) if len(costs) == len(fixed) else None
