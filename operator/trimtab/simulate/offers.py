"""What a rival may choose from: for each pool the parallelism that serves the traffic cheapest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import ReplicaCapacity
from trimtab.models.plan import Verdict
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.planner.plan import plan
from trimtab.simulate.kinds import Kind
from trimtab.simulate.policy import Variant
from trimtab.simulate.traffic import EMPTY, Floats, Traffic
from trimtab.simulate.world import World

BEGIN_S = 300.0
"""Every rival begins with the replicas for the mean rate of this time."""
PEAK_S = 60.0
"""The peak that a fixed fleet is built for is the largest mean rate of so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One pool for one deployment."""

    variant: Variant
    kind: Kind
    pool: Pool
    rps: float
    """Requests/s of one replica within the targets, of the mean shape of all the traffic."""
    concurrency: float
    """Requests in flight on it at that rate."""
    usd_per_hour: float
    """What whole replicas for the mean rate of every five minutes cost on average."""

    @property
    def spot(self) -> bool:
        """Whether its replicas can be taken back."""
        return self.pool.capacity_type is CapacityType.SPOT

    @property
    def most(self) -> int:
        """Replicas that the pool is said to have room for."""
        return self.pool.usable_devices // self.kind.devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One deployment as somebody who sets up a rival knows it, in hindsight."""

    state: DeploymentState
    targets: LatencyTargets
    minimum: int
    maximum: int
    traffic: Traffic
    offers: Mapping[str, Offer]
    """By pool name; a rival that is blind to hardware gets one."""
    world: World

    @property
    def cheapest(self) -> Offer:
        """The offer on which the traffic costs least."""
        return min(self.offers.values(), key=lambda o: (o.usd_per_hour, o.variant.label))

    @property
    def peak_rps(self) -> float:
        """Largest mean rate of a minute."""
        return float(_rates(self.traffic, PEAK_S).max(initial=0.0))

    def replicas(self, offer: Offer, rps: float) -> int:
        """Return the replicas of `offer` for `rps`, within the bounds of the deployment."""
        needed = ceil(rps / offer.rps) if offer.rps > 0.0 else self.maximum
        return max(self.minimum, 1, min(self.maximum, offer.most, needed))

    def beginning(self) -> dict[str, int]:
        """Return the fleet of the start: enough of the cheapest for the first minutes."""
        first = self.traffic.slice(0.0, BEGIN_S)
        offer = self.cheapest
        return {offer.pool.name: self.replicas(offer, len(first) / BEGIN_S)}


def offers_of(world: World) -> dict[Key, dict[str, Offer]]:
    """Return the offers of every deployment, by pool name; a pool that cannot serve is left out.

    A pool counts when the planner itself may use it. Where the targets cannot be met by any pool,
    all that hold the model count.
    """
    candidates = {d.key: d.candidates for d in plan(world.snapshot, PlannerConfig()).decisions}
    pools = {pool.name: pool for pool in world.snapshot.pools}
    found: dict[Key, dict[str, Offer]] = {}
    for key, options in candidates.items():
        offers: dict[str, Offer] = {}
        for option in options:
            if option.verdict is Verdict.NOT_ALLOWED or option.capacity is None:
                continue
            variant = Variant(deployment=key, pool=option.pool, parallelism=option.parallelism)
            offer = _offer(world, variant, pools[option.pool])
            best = offers.get(option.pool)
            if best is None or _rank(offer) < _rank(best):
                offers[option.pool] = offer
        able = {name: offer for name, offer in offers.items() if offer.rps > 0.0}
        found[key] = able or offers
    return found


def scenes_of(
    world: World, offers: Mapping[Key, Mapping[str, Offer]], chosen: Mapping[Key, Sequence[str]]
) -> dict[Key, Scene]:
    """Return the scene of every deployment with the `chosen` pools of its offers."""
    scenes = {}
    for state in world.states:
        policy = state.policy
        if policy is None or not offers[state.key]:
            continue
        scenes[state.key] = Scene(
            state=state,
            targets=policy.targets,
            minimum=policy.min_replicas,
            maximum=policy.max_replicas,
            traffic=world.traffic.get(state.key, EMPTY),
            offers={name: offers[state.key][name] for name in chosen[state.key]},
            world=world,
        )
    return scenes


def _offer(world: World, variant: Variant, pool: Pool) -> Offer:
    kind = world.kinds.of(variant)
    answer = world.kinds.capacity(variant)
    concurrency = answer.at_max.concurrency if isinstance(answer, ReplicaCapacity) else 1.0
    rates = _rates(world.traffic.get(variant.deployment, EMPTY), BEGIN_S)
    usd = inf
    if kind.rps > 0.0:
        replicas = np.maximum(1.0, np.ceil(rates / kind.rps))
        usd = kind.usd_per_hour * (float(replicas.mean()) if len(rates) else 1.0)
    return Offer(
        variant=variant,
        kind=kind,
        pool=pool,
        rps=kind.rps,
        concurrency=max(1.0, concurrency),
        usd_per_hour=usd,
    )


def _rates(traffic: Traffic, step_s: float) -> Floats:
    """Return the mean requests/s of every step."""
    return np.bincount((traffic.at_s / step_s).astype(np.int64)) / step_s


def _rank(offer: Offer) -> tuple[float, int]:
    return offer.usd_per_hour, offer.kind.devices
