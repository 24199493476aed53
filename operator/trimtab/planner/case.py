"""One deployment as the stages see it: what runs, what is asked, what may be done."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.load import TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState
from trimtab.planner import history
from trimtab.planner.candidates import Choice, capacity_at, choices_of
from trimtab.planner.demand import Need, need_of
from trimtab.planner.evidence import Evidence, evidence_of
from trimtab.planner.place import Place, places_of
from trimtab.planner.query import Market, Query, query_of
from trimtab.planner.shortage import PoolState

GUARD_PAUSE_S = 60.0
"""Time after a scale-up in which an alarm asks for no more: what was added must show first."""
GUARD_MOST = 2.0
"""Alarms take a fleet to so many times what its demand asks, and one replica more."""
BRAKE_DEPLOYMENTS = 5
BRAKE_SHARE = 0.5
BRAKE_LOSS = 0.9
"""Where so many deployments, and this share of them, lose this share of their load from one plan
to the next, the source of the figures is doubted and not the load (research/reliability.md S11)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One deployment that can be decided on."""

    state: DeploymentState
    policy: EffectivePolicy
    evidence: Evidence
    need: Need
    choices: tuple[Choice, ...]
    places: tuple[Place, ...]
    """What runs and what could, sorted by pool and parallelism."""
    memory: DeploymentMemory
    """With this plan's evidence in it."""
    grow_rps: float
    """Demand that the fleet shall cover now; more than `need.rps` while an alarm holds."""
    keep_rps: float
    """Most that was asked over the window, in requests of the shape of now."""
    may_fall: bool
    """Whether anything may be removed: fresh evidence over a whole window, mode Auto, no brake."""
    minimum: int
    """Fewest replicas: 0 only for a deployment that has been idle for long enough."""
    window_s: float

    @property
    def total(self) -> int:
        """Replicas that exist."""
        return sum(place.replicas for place in self.places)

    @property
    def supply(self) -> int:
        """Replicas that count: neither stuck nor on their way out."""
        return sum(place.supply for place in self.places)

    @property
    def is_initial(self) -> bool:
        """Whether nothing runs yet."""
        return self.total == 0

    @property
    def is_covered(self) -> bool:
        """Whether what runs covers the demand of now, half of the headroom kept."""
        tight = math.fsum(p.choice.tight_rps * p.supply for p in self.places if p.choice)
        return tight >= self.grow_rps * (1.0 - 1e-9)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What all deployments share."""

    now: float
    market: Market

    @property
    def pools(self) -> Mapping[str, PoolState]:
        """All pools, by name."""
        return self.market.pools

    @property
    def config(self) -> PlannerConfig:
        """What the platform sets."""
        return self.market.config


def window_of(policy: EffectivePolicy, config: PlannerConfig) -> float:
    """Return the scale-down window of one deployment, in seconds."""
    own = policy.scale_down_window_s
    return config.scale_down_window_s if own is None else own


def prepare(
    subjects: Sequence[tuple[DeploymentState, EffectivePolicy, DeploymentMemory]], world: World
) -> list[Case]:
    """Return the case of every subject. One brake is for all of them."""
    drafts = [_draft(state, policy, memory, world) for state, policy, memory in subjects]
    brake = _is_braked(drafts)
    return [_finish(draft, world, brake=brake) for draft in drafts]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draft:
    """A case before it is known whether the brake holds."""

    state: DeploymentState
    policy: EffectivePolicy
    memory: DeploymentMemory
    evidence: Evidence
    need: Need
    query: Query
    choices: tuple[Choice, ...]
    places: tuple[Place, ...]


def _draft(
    state: DeploymentState, policy: EffectivePolicy, memory: DeploymentMemory, world: World
) -> _Draft:
    evidence = evidence_of(state, policy.targets)
    young = world.now - state.created < window_of(policy, world.config)
    need = need_of(state.load, policy, evidence, memory, young=young)
    query = query_of(state, policy, need.shape, world.market)
    choices = choices_of(query)
    return _Draft(
        state=state,
        policy=policy,
        memory=memory,
        evidence=evidence,
        need=need,
        query=query,
        choices=choices,
        places=places_of(state.variants, choices, world.config),
    )


def _is_braked(drafts: Iterable[_Draft]) -> bool:
    """Return whether load vanished from so many at once that the source is to be doubted."""
    seen = lost = 0
    for draft in drafts:
        samples = draft.memory.samples
        if not draft.evidence.fresh or not samples or samples[-1].rps <= 0:
            continue
        seen += 1
        lost += draft.need.rps < (1.0 - BRAKE_LOSS) * samples[-1].rps
    return lost >= BRAKE_DEPLOYMENTS and lost >= BRAKE_SHARE * seen


def _finish(draft: _Draft, world: World, *, brake: bool) -> Case:
    now, policy = world.now, draft.policy
    window_s = window_of(policy, world.config)
    rps = _guarded(draft, now, world.config)
    before = draft.memory
    if brake:
        memory = history.forget(before)
    else:
        memory = history.remember(
            before,
            history.Observation(
                now=now, window_s=window_s, evidence=draft.evidence, need=draft.need, rps=rps
            ),
        )
    total = sum(place.replicas for place in draft.places)
    slept = total == 0 and before.idle_since is not None and before.last_down_at is not None
    if slept and not draft.evidence.fresh:
        memory = replace(memory, zero_refused=True)
    whole = draft.evidence.fresh and history.is_whole(memory, now, window_s)
    return Case(
        state=draft.state,
        policy=policy,
        evidence=draft.evidence,
        need=draft.need,
        choices=draft.choices,
        places=draft.places,
        memory=memory,
        grow_rps=rps,
        keep_rps=max(rps, _window_rps(draft, memory)),
        may_fall=whole and policy.mode is not Mode.SCALE_UP_ONLY,
        minimum=_minimum(policy, memory, now, awake=not slept, whole=whole),
        window_s=window_s,
    )


def _guarded(draft: _Draft, now: float, config: PlannerConfig) -> float:
    """Return the demand, raised while an alarm says that the fleet does not cover it.

    An alarm keeps what runs for a window. It adds a replica, or half of the headroom, once all
    that was added before serves, and never beyond GUARD_MOST of what the demand asks.
    """
    rps = draft.need.rps
    if draft.evidence.alarm is None:
        return rps
    places = [place for place in draft.places if place.choice is not None and place.supply]
    given = math.fsum(p.usable_rps * p.supply for p in places)
    tight = math.fsum(p.choice.tight_rps * p.supply for p in places if p.choice)
    largest = max((p.usable_rps for p in places), default=0.0)
    pending = any(p.ready < p.supply for p in places)
    # A replica that never becomes Ready holds the guard back for as long as one may take, and no
    # longer. After a restart what was seen first stands for what was added last.
    pause = config.pending_patience_s if pending else GUARD_PAUSE_S
    since = draft.memory.last_up_at or draft.memory.fresh_since or now
    if 0 <= now - since < pause or given > GUARD_MOST * rps + largest:
        return max(rps, given)
    return max(rps, tight * (1.0 + 1e-6))


def _window_rps(draft: _Draft, memory: DeploymentMemory) -> float:
    """Return the largest demand in the window, counted in requests of the shape of now.

    Requests of another shape weigh as the reference replica feels them: by its rate for either.
    """
    reference = _reference(draft.places)
    factors: dict[TokenShape, float] = {draft.need.shape: 1.0}
    most = 0.0
    for sample in memory.samples:
        if sample.shape not in factors:
            factors[sample.shape] = _factor(draft.query, reference, sample.shape)
        most = max(most, sample.rps * factors[sample.shape])
    return most


def _factor(query: Query, reference: Choice | None, shape: TokenShape) -> float:
    if reference is None or reference.capacity is None:
        return 1.0
    then = capacity_at(query, reference, shape)
    return 1.0 if then is None else reference.capacity.max_rps / then


def _reference(places: Iterable[Place]) -> Choice | None:
    """Return the choice that carries most of what runs, else the cheapest per request/s."""
    able = [p for p in places if p.choice is not None and p.usable_rps > 0]
    if not able:
        return None
    best = min(
        able,
        key=lambda p: (-p.supply * p.usable_rps, p.ratio, p.name),
    )
    return best.choice


def _minimum(
    policy: EffectivePolicy, memory: DeploymentMemory, now: float, *, awake: bool, whole: bool
) -> int:
    """Return the fewest replicas; none only after the idle time, or while asleep and idle."""
    after, since = policy.scale_to_zero_after_s, memory.idle_since
    if after is not None and since is not None:
        long_idle = whole and now - since >= after and not memory.zero_refused
        if long_idle or not awake:
            return 0
    return max(1, policy.min_replicas)
