"""What a scenario asks of any policy, as the bound wants it: requests, kinds, devices."""

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from trimtab.errors import Bug
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState
from trimtab.performance.capacity import replica_of
from trimtab.simulate.demands import Horizon, Offer, Service
from trimtab.simulate.kinds import variants_of
from trimtab.simulate.leastwork import Kind, alone_seconds, least_seconds, needs_of
from trimtab.simulate.policy import Variant
from trimtab.simulate.scenario import Clients
from trimtab.simulate.traffic import EMPTY, Floats
from trimtab.simulate.world import Chances, World

MOST_STARTS = 500
"""Of one pool in one run; a policy that starts more may be luckier than the bound allows for."""


def services_of(world: World, seed: int, start_s: float | None = None) -> tuple[Service, ...]:
    """Return what each deployment's clients ask for from `start_s` on; None: when scored."""
    start = world.scenario.warmup_s if start_s is None else start_s
    return tuple(
        _service(world, state, state.policy, seed=seed, start_s=start)
        for state in world.states
        if state.policy is not None and len(world.traffic.get(state.key, EMPTY))
    )


def at_least_prices(services: Iterable[Service], world: World) -> tuple[Service, ...]:
    """Return the services with the least price of the scored time where a pool's price changes.

    Nobody pays less for a replica, whenever he has it.
    """
    scored = world.scenario.warmup_s, world.scenario.duration_s

    def cheapest(offer: Offer) -> Offer:
        history = world.prices.get(offer.pool)
        if history is None:
            return offer
        return replace(offer, usd_per_hour=history.least(*scored) * offer.devices)

    return tuple(
        replace(service, offers=[cheapest(offer) for offer in service.offers])
        for service in services
    )


def horizon_of(world: World, seed: int) -> Horizon:
    """Return the scored time and the devices that can be had in it."""
    chances = Chances(world, seed)
    room = {}
    for pool in world.snapshot.pools:
        rules = chances.pool_rules(pool)
        there = chances.nodes_at_start(pool.name) * pool.devices_per_node
        limits = rules.limits if rules.grows else [(0.0, there)]
        room[pool.name] = [(at, max(devices, there)) for at, devices in limits]
    scenario = world.scenario
    return Horizon(start_s=scenario.warmup_s, end_s=scenario.duration_s, room=room)


def _service(
    world: World, state: DeploymentState, policy: EffectivePolicy, *, seed: int, start_s: float
) -> Service:
    whole = world.traffic[state.key]
    traffic = whole.slice(start_s, world.scenario.duration_s).shifted(start_s)
    variants = variants_of(world.snapshot, state)
    targets = policy.targets
    kinds = [_kind(world, variant) for variant in variants]
    longest = kinds[0].engine.max_model_len if kinds else 1
    needs = needs_of(traffic, longest)
    alone = [alone_seconds(kind, needs) for kind in kinds]
    shortest = np.min([first + rest for first, rest in alone], axis=0) if alone else needs.prompt
    fastest = np.min([rest for _, rest in alone], axis=0) if alone else needs.further
    offers = []
    for variant, kind, (first, rest) in zip(variants, kinds, alone, strict=True):
        least = least_seconds(kind, needs, targets.itl_s)
        late = first > _first_by(targets, world.scenario.clients)
        if targets.e2e_s is not None:
            late |= first + rest > targets.e2e_s + _retried(world.scenario.clients)
        made = world.kinds.of(variant)
        offers.append(
            Offer(
                name=variant.label,
                pool=variant.pool,
                devices=made.devices,
                usd_per_hour=made.usd_per_hour,
                loads_s=_loads(world, variant, seed),
                prompt_s=least.prompt_s,
                least_s=np.where(late, math.inf, least.total_s),
            )
        )
    first_by_s = _first_by(targets, world.scenario.clients)
    return Service(
        key=state.key,
        at_s=traffic.at_s,
        first_by_s=first_by_s,
        last_s=traffic.at_s + _latest(targets, world.scenario.clients, needs.further),
        rest_s=fastest,
        held_from_s=traffic.at_s + first_by_s,
        held_to_s=traffic.at_s + shortest,
        leaning=needs.further / needs.prompt,
        offers=offers,
    )


def _kind(world: World, variant: Variant) -> Kind:
    replica = replica_of(world.kinds.request(variant))
    if isinstance(replica, Infeasible):
        raise Bug(f"{variant.label} was said to fit")
    made = world.kinds.of(variant)
    return Kind(step=replica.step, engine=made.settings, kv_tokens=made.pace.kv_tokens)


def _retried(clients: Clients) -> float:
    """Return how much later the last try of a request may begin."""
    waits: Iterable[float] = (clients.backoff_s * 2**i for i in range(clients.retries))
    return sum(clients.timeout_s + wait for wait in waits)


def _first_by(targets: LatencyTargets, clients: Clients) -> float:
    """Return the latest time to a first token with which a request can meet its targets."""
    limits = (clients.timeout_s, targets.ttft_s, targets.e2e_s)
    return min(limit for limit in limits if limit is not None) + _retried(clients)


def _latest(targets: LatencyTargets, clients: Clients, further: Floats) -> Floats:
    """Return the latest time from arrival to the last token, shape (n,)."""
    latest = np.full(len(further), math.inf)
    if targets.itl_s is not None:
        latest = _first_by(targets, clients) + targets.itl_s * further
    if targets.e2e_s is not None:
        latest = np.minimum(latest, targets.e2e_s + _retried(clients))
    return latest


def _loads(world: World, variant: Variant, seed: int) -> Floats:
    """Return the least times that replicas are paid for before they serve, ascending, shape (n,).

    The fleet draws the times of a pool's starts one after the other from a stream of its own. Which
    of them a policy's replicas live to see is its own affair: so many starts take no less than so
    many of the shortest.
    """
    chances, made = Chances(world, seed), world.kinds.of(variant)
    return np.sort([chances.load_s(variant.pool, made) for _ in range(MOST_STARTS)])
