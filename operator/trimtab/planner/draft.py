"""What is known of one deployment before anything is decided: what is asked, what can be had."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from trimtab.config import PlannerConfig
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import DeploymentMemory
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import at_least
from trimtab.models.snapshot import DeploymentState
from trimtab.planner import foresight, proven, residence
from trimtab.planner.candidates import choices_of
from trimtab.planner.choice import Choice
from trimtab.planner.classes import carried_by
from trimtab.planner.demand import Circumstances, Need, need_of, with_queue
from trimtab.planner.evidence import Evidence, evidence_of
from trimtab.planner.foresight import Ahead, Foresight, Seen
from trimtab.planner.place import Place, places_of, vacant
from trimtab.planner.query import Market, Query, query_of
from trimtab.planner.shortage import PoolState
from trimtab.planner.starts import Starts, weights_of
from trimtab.planner.window import window_of

Subject: TypeAlias = tuple[DeploymentState, EffectivePolicy, DeploymentMemory]
"""A deployment, what it shall follow, and what the plan before remembered of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all deployments share."""

    now: float
    market: Market
    starts: Starts
    reclaims: Mapping[str, float]
    """Reclaims an hour of each spot domain."""

    @property
    def pools(self) -> Mapping[str, PoolState]:
        """All pools, by name."""
        return self.market.pools

    @property
    def config(self) -> PlannerConfig:
        """What the platform sets."""
        return self.market.config


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A case before it is known whether the brake holds."""

    state: DeploymentState
    policy: EffectivePolicy
    memory: DeploymentMemory
    evidence: Evidence
    need: Need
    minute_rps: float
    """The same demand by the arrivals of the last minute, nothing evened out, requests/s."""
    seen: Seen
    since_s: float
    foresight: Foresight
    query: Query
    choices: tuple[Choice, ...]
    places: tuple[Place, ...]
    running: tuple[Place, ...]


def drafted(subject: Subject, memory: DeploymentMemory, load: ObservedLoad, world: World) -> Draft:
    """Return the draft of `subject`, whose memory with the rate of now is `memory`.

    That rate is the one in `load`, evened out.
    """
    state, policy, before = subject
    evidence = evidence_of(state, policy.targets)
    measured = evidence.arrivals
    if measured is not None and load is not state.load:
        evidence = replace(evidence, arrivals=at_least(load.arrival_rps))
    since_s = 0.0 if before.forecast.at is None else world.now - before.forecast.at
    around = Circumstances(
        young=world.now - state.created < window_of(policy, world.config),
        since_s=since_s,
    )
    need = need_of(load, policy, evidence, memory, around)
    most_rps = foresight.most(memory, need.rps)
    memory = proven.served(memory, state, evidence, policy.targets, since_s)
    query = query_of(
        state,
        policy,
        need.shape,
        world.market,
        most_rps=most_rps,
        proven=proven.proven(memory, policy.targets.percentile),
    )
    choices = choices_of(query)
    places, running = places_of(state.variants, vacant(state.key, choices), world.config)
    seen = Seen(now=world.now, rps=evidence.arrivals or 0.0, window_s=state.load.window_s)
    ready_s = partial(_ready_s, query, choices, running, world.starts)
    one_s = ready_s(0.0)
    able = [p.choice.capacity for p in running if p.choice and p.choice.capacity]
    memory = residence.aged(memory, able, need.shape)
    need = _queued(need, evidence, policy, running, one_s)
    memory, found = foresight.foresee(memory, policy, seen, one_s)
    memory, found = foresight.scheduled(
        memory, policy, found, Ahead(now=world.now, ready_s=ready_s)
    )
    return Draft(
        state=state,
        policy=policy,
        memory=memory,
        evidence=evidence,
        need=need,
        minute_rps=need.rps + (measured or 0.0) - (evidence.arrivals or 0.0),
        seen=seen,
        since_s=min(since_s, state.load.window_s),
        foresight=found,
        query=query,
        choices=choices,
        places=places,
        running=running,
    )


def _queued(
    need: Need,
    evidence: Evidence,
    policy: EffectivePolicy,
    running: Sequence[Place],
    ready_s: float,
) -> Need:
    """Return `need` with the queue that no replica of today will have worked off.

    Only once all of them serve: before, a queue says how long they take to come, and they will
    drain it.
    """
    if not evidence.waiting or any(place.ready < place.replicas for place in running):
        return need
    able = ((p.choice, p.largest_rps, p.ready) for p in running if p.choice)
    spare_rps = carried_by(policy, able) - (evidence.arrivals or 0.0)
    return with_queue(need, evidence, spare_rps, ready_s)


def _ready_s(
    query: Query, choices: tuple[Choice, ...], running: Sequence[Place], starts: Starts, rps: float
) -> float:
    """Return how long replicas for `rps` take, and be it one, where they would most likely be."""
    best = vacant(query.state.key, choices).growing
    if best is None:
        return 0.0
    given = math.fsum(p.usable_rps * p.supply for p in running)
    return _ready_at(query, best, starts, max(1, math.ceil((rps - given) / best.usable_rps)))


def _ready_at(query: Query, choice: Choice, starts: Starts, more: int) -> float:
    """Return how long `more` replicas of `choice` take."""
    return starts.ready_s(
        choice.state.pool,
        query.state.spec.model.name,
        weights_of(query.geometry, query.engine),
        needs_node=choice.state.at_hand < choice.parallelism.devices * more,
    )


def waits(draft: Draft, starts: Starts) -> Mapping[str, float]:
    """Return what a replica more takes at each place, where those that serve are overloaded.

    Nothing serves yet at first, when what is bought is there to stay.
    """
    able = ((p.choice, p.choice.capacity, p.ready) for p in draft.running if p.choice and p.ready)
    serving = [
        (choice, capacity.max_rps, ready)
        for choice, capacity, ready in able
        if capacity is not None
    ]
    if not serving or carried_by(draft.policy, serving) >= draft.need.rps:
        return {}
    growing = ((p.name, p.choice) for p in draft.places if p.choice is not None and p.choice.grows)
    return {name: _ready_at(draft.query, choice, starts, 1) for name, choice in growing}
