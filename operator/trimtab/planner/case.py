"""One deployment as the stages see it: what runs, what is asked, what may be done."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.api.conditions import Reason
from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import Why
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState
from trimtab.planner import answered, easing, foresight, history, residence
from trimtab.planner.choice import Choice
from trimtab.planner.classes import carried_by
from trimtab.planner.demand import Need
from trimtab.planner.draft import Draft, Subject, World, drafted, waits
from trimtab.planner.evidence import (
    Alarm,
    Evidence,
    believed,
    is_settling,
    newest_ready_s,
)
from trimtab.planner.foresight import Foresight
from trimtab.planner.place import Place, PlaceKey, vacant
from trimtab.planner.recall import recalls
from trimtab.planner.window import most_asked, past_of, window_of

GUARD_PAUSE_S = 60.0
"""Time after a scale-up, and after a replica got Ready, in which an alarm asks for no more: what
was added must show first."""
GUARD_MOST = 2.0
"""Alarms take a fleet to so many times what its demand asks, and one replica more."""
FALLBACK_AFTER_S = 180.0
"""Time without any knowledge of demand until `fallbackReplicas` counts: what Kubernetes advises for
its autoscaler (KEP-5679), and longer than a Prometheus takes to start anew."""
_NOT_AT_FAULT = frozenset({Reason.NO_REPLICAS, Reason.NO_METRICS_SOURCE})
"""Why demand is unknown where nothing that should tell it is broken."""
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
    foresight: Foresight
    choices: tuple[Choice, ...]
    places: tuple[Place, ...]
    """What runs and what could, sorted by pool and parallelism."""
    running: tuple[Place, ...]
    """Those of them with replicas or pods."""
    memory: DeploymentMemory
    """With this plan's evidence in it."""
    grow_rps: float
    """Demand that the fleet shall cover: of now and as foreseen, more while an alarm holds."""
    keep_rps: float
    """Most that was asked over the time of `recall_s`, in requests of the shape of now."""
    recall_s: float
    """Time for which what was asked keeps replicas: the window, its end, or three windows."""
    may_fall: bool
    """Whether anything may be removed: fresh evidence over a whole window, mode Auto, no brake."""
    minimum: int
    """Fewest replicas: 0 only for a deployment that has been idle for long enough."""
    waits: Mapping[str, float]
    """Seconds to Ready of a replica more, by name of the place, where requests of now wait for
    one; else empty."""
    window_s: float
    reclaims: Mapping[str, float]
    """Reclaims an hour of each spot domain."""
    overrated: float = 1.0
    """How many times as much as they did is believed of the replicas, at least 1: that many times
    the demand is covered."""

    @property
    def total(self) -> int:
        """Replicas that exist."""
        return sum(place.replicas for place in self.running)

    @property
    def supply(self) -> int:
        """Replicas that count: neither stuck nor on their way out."""
        return sum(place.supply for place in self.running)

    @property
    def going(self) -> int:
        """Replicas whose node is about to be taken back."""
        return sum(place.going for place in self.running)

    @property
    def counted(self) -> int:
        """Replicas that the maximum counts: the supply, and what serves until its node goes."""
        return self.supply + sum(place.going for place in self.running if place.stays)

    @property
    def is_initial(self) -> bool:
        """Whether nothing runs yet."""
        return self.total == 0

    @property
    def is_covered(self) -> bool:
        """Whether what runs covers the demand of now, half of the headroom kept."""
        tight = carried_by(
            self.policy,
            ((p.choice, p.choice.tight_rps, p.supply) for p in self.running if p.choice),
        )
        return tight >= self.grow_rps * (1.0 - 1e-9)

    def used(self, counts: Mapping[PlaceKey, int]) -> list[tuple[Place, int]]:
        """Return the places of which `counts` has replicas, in order, and how many."""
        mine = [(place, counts.get(place.key, 0)) for place in self.running]
        # Hundreds of places are looked through only where something is to be where nothing is.
        if sum(n for _, n in mine) != sum(counts.values()):
            mine = [(place, counts.get(place.key, 0)) for place in self.places]
        return [(place, n) for place, n in mine if n]


def prepare(subjects: Sequence[Subject], world: World) -> list[Case]:
    """Return the case of every subject. One brake is for all of them."""
    evened = [residence.evened(memory, state.load, world.now) for state, _, memory in subjects]
    learnt = foresight.seen(evened, world.now)
    drafts = [
        drafted(subject, memory, load, world)
        for subject, memory, (_, load) in zip(subjects, learnt, evened, strict=True)
    ]
    brake = _is_braked(drafts)
    pasts = [past_of(d.policy, d.memory, d.foresight.horizon_s, world.config) for d in drafts]
    return [
        _finish(draft, world, recall_s=recall_s, brake=brake)
        for draft, recall_s in zip(drafts, recalls(pasts), strict=True)
    ]


def _is_braked(drafts: Iterable[Draft]) -> bool:
    """Return whether load vanished from so many at once that the source is to be doubted."""
    seen = lost = 0
    for draft in drafts:
        samples = draft.memory.samples
        if not draft.evidence.fresh or not samples or samples[-1].rps <= 0:
            continue
        seen += 1
        lost += draft.minute_rps < (1.0 - BRAKE_LOSS) * samples[-1].rps
    return lost >= BRAKE_DEPLOYMENTS and lost >= BRAKE_SHARE * seen


def _finish(draft: Draft, world: World, *, recall_s: float, brake: bool) -> Case:
    now, policy, before = world.now, draft.policy, draft.memory
    window_s = window_of(policy, world.config)
    where = tuple(place.name for place in draft.running)
    before = _eased(draft, before, where, now)
    if eased := easing.eased(before, now, where):
        draft = replace(draft, foresight=replace(draft.foresight, eased=eased))
    before = answered.watched(before, draft.state, draft.evidence, now)
    overrated = answered.times(before, draft.running, now)
    asked = overrated * draft.foresight.demand(draft.need.rps)
    guarded, learnt = _guarded(draft, asked, now, world.config)
    if _is_unfit(draft.running):
        # What is late there is late because of the hardware: no margin of replicas mends that.
        before = replace(before, margin=0.0)
    elif learnt and asked > 0:
        before = foresight.learn(before, guarded / asked, now)
    if brake:
        memory = history.forget(before)
    else:
        seen = history.Observation(
            now=now,
            window_s=window_s,
            evidence=draft.evidence,
            need=draft.need,
            rps=guarded if guarded > asked else draft.need.rps,
            settling=is_settling(draft.state),
        )
        memory = history.remember(before, seen)
    unknown_since = _unknown_since(draft.evidence, before, now)
    if unknown_since != memory.unknown_since:
        memory = replace(memory, unknown_since=unknown_since)
    total = sum(place.replicas for place in draft.running)
    slept = total == 0 and before.idle_since is not None and before.last_down_at is not None
    if slept and not draft.evidence.fresh:
        memory = replace(memory, zero_refused=True)
    whole = draft.evidence.fresh and history.is_whole(memory, now, window_s)
    minimum = _minimum(policy, memory, now, awake=not slept, whole=whole)
    if draft.foresight.hint is not None:
        minimum = max(1, policy.min_replicas)  # the user says that requests will come
    if _falls_back(memory, now):
        minimum = max(minimum, policy.fallback_replicas)
    # What sleeps, or may, is woken by requests and not by a forecast of them.
    rps = guarded if minimum > 0 else draft.need.rps
    reference = vacant(draft.state.key, draft.choices).best
    most_rps = most_asked(memory, draft.query, reference, now=now, recall_s=recall_s)
    return Case(
        state=draft.state,
        policy=policy,
        evidence=draft.evidence,
        need=draft.need,
        foresight=draft.foresight,
        choices=draft.choices,
        places=draft.places,
        running=draft.running,
        memory=memory,
        grow_rps=rps,
        # What comes now is not in flight yet where it comes again after a lull.
        keep_rps=max(rps, most_rps, draft.minute_rps),
        recall_s=recall_s,
        may_fall=whole and policy.mode is not Mode.SCALE_UP_ONLY,
        minimum=minimum,
        waits=waits(draft, world.starts),
        window_s=window_s,
        reclaims=world.reclaims,
        overrated=overrated,
    )


def _eased(
    draft: Draft, memory: DeploymentMemory, where: tuple[str, ...], now: float
) -> DeploymentMemory:
    """Return the memory with what the replicas, at `where`, carried lately, and how well."""
    if draft.evidence.alarm is not None:
        return easing.forgotten(memory)
    targets, arrivals = draft.policy.targets, draft.evidence.arrivals
    whole = all(p.ready == p.replicas == p.supply for p in draft.running)
    if not draft.evidence.fresh or not arrivals or not targets.any:
        return memory
    if not whole or is_settling(draft.state):
        return memory
    given = _given(draft)
    attained = believed(draft.state.load.slo_attainment)
    if given <= 0.0 or attained is None:
        return memory
    carried = easing.Carried(
        fullness=arrivals / given,
        late=1.0 - min(attained, 1.0),
        allowed=1.0 - targets.percentile,
        requests=arrivals * draft.since_s,
        since_s=draft.since_s,
        where=where,
    )
    return easing.taught(memory, carried, now)


def _given(draft: Draft) -> float:
    """Return the rate that what runs is given, requests/s."""
    used = ((p.choice, p.usable_rps, p.supply) for p in draft.running if p.choice)
    return carried_by(draft.policy, used)


def _is_unfit(running: Iterable[Place]) -> bool:
    """Return whether replicas run where no load, however small, is served within the targets."""
    return any(p.ready and p.choice is not None and p.choice.capacity is None for p in running)


def _guarded(draft: Draft, rps: float, now: float, config: PlannerConfig) -> tuple[float, bool]:
    """Return the demand `rps`, raised while an alarm says that the fleet does not cover it.

    An alarm keeps what runs for a window. It adds a replica, or half of the headroom, once all
    that was added before serves, and never beyond GUARD_MOST of what the demand asks. The second
    value says whether that is a lesson: whether the fleet should have been enough and was not,
    also for what a rate over a minute does not show yet of a climb. What waits since before the
    newest replica came says how long that took, and teaches nothing.
    """
    alarm = draft.evidence.alarm
    if alarm is None:
        return rps, False
    places = [place for place in draft.running if place.choice is not None and place.supply]
    given = _given(draft)
    tight = carried_by(
        draft.policy, ((p.choice, p.choice.tight_rps, p.supply) for p in places if p.choice)
    )
    largest = max((p.usable_rps for p in places), default=0.0)
    pending = any(p.ready < p.supply for p in places)
    # A replica that never becomes Ready holds the guard back for as long as one may take, and no
    # longer. After a restart what was seen first stands for what was added last.
    pause = config.pending_patience_s if pending else GUARD_PAUSE_S
    since = draft.memory.last_up_at or draft.memory.fresh_since or now
    newest_s = newest_ready_s(draft.state)
    new = newest_s is not None and newest_s < GUARD_PAUSE_S
    waits = 0 <= now - since < pause or new or _echoes(draft, alarm)
    most = GUARD_MOST * draft.foresight.base(draft.need.rps) + largest
    if waits or given > most:
        return max(rps, given), False
    climb = foresight.climb(draft.memory, draft.seen)
    taught = tight >= max(rps, draft.seen.rps + climb) and not is_settling(draft.state)
    return max(rps, tight * (1.0 + 1e-6)), taught


def _echoes(draft: Draft, alarm: Alarm) -> bool:
    """Return whether the latencies are of a time before what serves now was all there."""
    return alarm.why is Why.OVER_TARGET and is_settling(draft.state)


def _unknown_since(evidence: Evidence, before: DeploymentMemory, now: float) -> float | None:
    """Return since when nothing is known of demand, not even what it is not below."""
    if evidence.arrivals is not None or evidence.reason in _NOT_AT_FAULT:
        return None
    since = before.unknown_since
    return now if since is None else min(since, now)


def _falls_back(memory: DeploymentMemory, now: float) -> bool:
    """Return whether demand has been unknown for so long that `fallbackReplicas` counts."""
    since = memory.unknown_since
    return since is not None and now - since >= FALLBACK_AFTER_S


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
