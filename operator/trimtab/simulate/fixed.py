"""The best fleet that never changes, in hindsight: what does as well as a result, for the least.

Found by running it. Each deployment is tried alone, so that what one gets never depends on what
another holds. Goodput is taken to rise with the count; between two counts it and the cost are
shared out in proportion, as if the fleet had the higher count for that part of the time, so that
goodput is equal and not merely at least equal. It is counted as a share of the requests that were
settled: those in flight when the score begins are not the same for all.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from trimtab.models.snapshot import Key
from trimtab.simulate.asked import horizon_of, services_of
from trimtab.simulate.compare import FixedFleet
from trimtab.simulate.demands import Horizon, Service
from trimtab.simulate.kinds import variants_of
from trimtab.simulate.policy import FixedPolicy, Policy, Variant
from trimtab.simulate.result import RunResult
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import EMPTY, Floats, Traffic
from trimtab.simulate.world import world_of

Run = Callable[[Scenario, Mapping[Key, Traffic], Policy, int], RunResult]

COMPARED = 0.5
"""Share of requests below which a result is not compared."""
COMMON = (0.95, 0.99)
"""Shares of requests for which variants are compared with each other: the nearest one counts."""
KINDS = 2
"""Variants of a deployment that are looked at for each result."""
EQUAL = 0.999
"""Share of a goodput that counts as it: chance moves single requests."""
FINE = 8
"""Counts that differ by less than this part are not told apart, but shared out in between."""
_DOUBT = 1.5
"""How much a variant's factor over its least cost may differ from that of the best one."""
_NEAR = 1.15
"""A variant that costs so many times what the best one does is not looked at again."""
_HELPS = 0.1
"""Part of what is missing that half as many replicas more must bring, or more will not do: where
less comes each time, ten times half as many more leave a third of it missing."""
_GUESS = 1.5
"""Replicas for each that is needed at least: where the search begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tried:
    """What a fixed fleet of one deployment gave."""

    share: float
    """Of the settled requests, those that met their targets."""
    usd: float
    replica_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """A fleet between two counts of one variant, beside all that a full pool holds of another."""

    usd: float
    replica_hours: float
    replicas: Mapping[Variant, float]


class FixedFleets:
    """Fixed fleets of one scenario and seed; what was run once is remembered."""

    def __init__(
        self, scenario: Scenario, traffic: Mapping[Key, Traffic], seed: int, run: Run
    ) -> None:
        """Take what every fleet meets; `run` is `trimtab.simulate.run.run`."""
        self._scenario, self._traffic, self._seed, self._run = scenario, traffic, seed, run
        world = world_of(scenario, traffic)
        self._services = {service.key: service for service in services_of(world, seed)}
        self._variants = {state.key: variants_of(world.snapshot, state) for state in world.states}
        self._horizon = horizon_of(world, seed)
        self._tried: dict[tuple[Key, tuple[tuple[str, int], ...]], _Tried] = {}
        self._kinds: dict[tuple[Key, float], list[int]] = {}

    def like(self, result: RunResult) -> FixedFleet | None:
        """Return the cheapest fixed fleets with the goodput of `result` for each deployment.

        None where a deployment has a goodput that no fixed fleet reaches, or one below `COMPARED`
        of its requests: the fleet that serves next to nothing costs next to nothing.
        """
        usd = hours = 0.0
        replicas: dict[str, float] = {}
        for key in self._services:
            share = _share(result, key)
            found = self.cheapest(key, share) if share >= COMPARED else None
            if found is None:
                return None
            usd += found.usd
            hours += found.replica_hours
            for variant, count in found.replicas.items():
                replicas[f"{key} on {variant.label}"] = count
        return FixedFleet(usd=usd, replica_hours=hours, replicas=replicas) if usd > 0 else None

    def cheapest(self, key: Key, share: float) -> Fleet | None:
        """Return the cheapest fixed fleet with which that share of requests meets its targets.

        Of one variant, or of two where a pool ends. Which variants are worth a try is found out
        once for each common goodput: the `KINDS` that serve it for the least.
        """
        service = self._services[key]
        common = min(COMMON, key=lambda one: abs(one - share))
        if (key, common) not in self._kinds:
            self._kinds[key, common] = self._promising(service, common)
        best: Fleet | None = None
        for number in self._kinds[key, common]:
            found = self._of_one(service, number, share, best.usd if best else math.inf)
            if found and (best is None or found.usd < best.usd):
                best = found
        return best

    def _promising(self, service: Service, common: float) -> list[int]:
        """Return the numbers of the best variants, by what they cost for a common goodput.

        Looked at in order of the least that each could cost. The best one so far costs more than
        its least by some factor; a variant that would be much dearer at that factor is left out.
        """
        floors = _floors(service, common, self._horizon)
        costs: dict[int, float] = {}
        factor = 1.0
        for number in (int(n) for n in np.argsort(floors)):
            least = min(costs.values(), default=math.inf)
            if not math.isfinite(floors[number]) or floors[number] * factor > _DOUBT * least:
                break
            found = self._of_one(service, number, common, _NEAR * least)
            if found is not None:
                costs[number] = found.usd
                if found.usd < least:
                    factor = max(1.0, found.usd / floors[number])
        return sorted(costs, key=lambda number: costs[number])[:KINDS]

    def _of_one(self, service: Service, number: int, share: float, usd: float) -> Fleet | None:
        """Return a fleet of one variant for at most about `usd`, filled up where its pool ends."""
        variant = self._variants[service.key][number]
        room, affordable = self._room(service, number), self._affordable(service, number, usd)
        if min(room, affordable) < 1:
            return None
        found = self._between(service.key, {}, variant, (min(room, affordable), share))
        if found is not None or affordable <= room:
            return found
        left = usd - room * self._replica_usd(service, number)
        for other in (int(n) for n in np.argsort(_floors(service, share, self._horizon))):
            filler = self._variants[service.key][other]
            most = min(self._room(service, other), self._affordable(service, other, left))
            if filler.pool != variant.pool and most > 0:
                return self._between(service.key, {variant: room}, filler, (most, share))
        return None

    def _room(self, service: Service, number: int) -> int:
        """Return the replicas of an offer that its pool can hold all the time."""
        offer = service.offers[number]
        devices = min(devices for _, devices in self._horizon.room[offer.pool])
        # One replica for each request is more than any goodput needs.
        return min(int(devices) // offer.devices, max(1, len(service.at_s)))

    def _affordable(self, service: Service, number: int, usd: float) -> int:
        each = self._replica_usd(service, number)
        return int(min(usd / each + 1.0, 1e9)) if each > 0 and usd > 0 else int(usd > 0) * 10**9

    def _replica_usd(self, service: Service, number: int) -> float:
        """Return what a replica costs over the scored time."""
        hours = (self._horizon.end_s - self._horizon.start_s) / 3600.0
        return service.offers[number].usd_per_hour * hours

    def _between(
        self, key: Key, base: Mapping[Variant, int], variant: Variant, wanted: tuple[int, float]
    ) -> Fleet | None:
        """Return the fleet with an equal share; `wanted` is the most replicas and the share."""
        most, share = wanted
        low, high = (
            (0, self._guess(key, variant, wanted)) if base else self._known(key, variant, share)
        )
        high = min(most, high or self._guess(key, variant, wanted))
        while self._try(key, base, variant, high).share < share * EQUAL:
            if high >= most or self._hopeless((key, base, variant), (low, high), share):
                return None
            low, high = high, min(most, high + max(1, high // 2))
        while high - low > max(1, high // FINE):
            # From above the next lower count is likelier than half: guesses are good.
            middle = max(low + 1, high - max(1, high // 4)) if low == 0 else (low + high) // 2
            if self._try(key, base, variant, middle).share < share * EQUAL:
                low = middle
            else:
                high = middle
        above = self._try(key, base, variant, high)
        none = _Tried(share=0.0, usd=0.0, replica_hours=0.0)
        below = self._try(key, base, variant, low) if low or base else none
        part = (share * EQUAL - below.share) / max(above.share - below.share, 1e-9)
        part = min(max(part, 0.0), 1.0) if low or base else 1.0
        return Fleet(
            usd=below.usd + part * (above.usd - below.usd),
            replica_hours=below.replica_hours + part * (above.replica_hours - below.replica_hours),
            replicas={**base, variant: low + part * (high - low)},
        )

    def _known(self, key: Key, variant: Variant, share: float) -> tuple[int, int]:
        """Return the largest count known to do too little and the least known to do; 0 for none."""
        counts = {
            fleet[0][1]: tried.share >= share * EQUAL
            for (other, fleet), tried in self._tried.items()
            if other == key and len(fleet) == 1 and fleet[0][0] == variant.label
        }
        enough = min((count for count, does in counts.items() if does), default=0)
        return max(
            (n for n, does in counts.items() if not does and (n < enough or not enough)), default=0
        ), enough

    def _guess(self, key: Key, variant: Variant, wanted: tuple[int, float]) -> int:
        """Return a count to begin with: more than the least work would take."""
        most, share = wanted
        service = self._services[key]
        least = service.offers[self._variants[key].index(variant)].least_s
        work = float(_lightest(least[np.isfinite(least)], share).sum())
        replicas = work / (self._horizon.end_s - self._horizon.start_s)
        failed, _ = self._known(key, variant, share)
        return max(1, failed + 1, min(most, math.ceil(_GUESS * replicas)))

    def _hopeless(
        self,
        fleet: tuple[Key, Mapping[Variant, int], Variant],
        counts: tuple[int, int],
        share: float,
    ) -> bool:
        """Tell whether more replicas will not do: the last half more gave next to nothing of it.

        A fleet that is overloaded serves nearly nobody in time and may soon serve all.
        """
        low, high = counts
        if low < 2:
            return False
        before, after = self._try(*fleet, low).share, self._try(*fleet, high).share
        gain = after - before
        return gain <= 0 or (after >= COMPARED and gain < _HELPS * (share - after))

    def _try(self, key: Key, base: Mapping[Variant, int], variant: Variant, count: int) -> _Tried:
        fleet = {**base, variant: count}
        known = key, tuple(sorted((each.label, n) for each, n in fleet.items()))
        if known not in self._tried:
            traffic = {other: EMPTY for other in self._traffic} | {key: self._traffic[key]}
            result = self._run(self._scenario, traffic, FixedPolicy(replicas=fleet), self._seed)
            self._tried[known] = _Tried(
                share=_share(result, key),
                usd=result.cost_usd,
                replica_hours=sum(pool.replica_hours for pool in result.pools.values()),
            )
        return self._tried[known]


def _share(result: RunResult, key: Key) -> float:
    tally = result.deployments[str(key)].tally
    return tally.met / tally.settled if tally.settled else 0.0


def _lightest(work: Floats, share: float) -> Floats:
    return np.sort(work)[: math.ceil(share * len(work) - 1e-9)]


def _floors(service: Service, share: float, horizon: Horizon) -> list[float]:
    """Return the least that fixed fleets of each offer cost that serve a share in time.

    At least one replica, and at least the work of the lightest requests (see `leastwork`).
    """
    hours = (horizon.end_s - horizon.start_s) / 3600.0
    floors = []
    for offer in service.offers:
        replicas = max(1.0, float(_lightest(offer.least_s, share).sum()) / 3600.0 / hours)
        floors.append(replicas * hours * offer.usd_per_hour)
    return floors
