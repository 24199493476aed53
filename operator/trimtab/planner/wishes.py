"""From a case to the solver's question: which replicas are kept, may go, or may be added."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.memory import DeploymentMemory
from trimtab.models.snapshot import Key
from trimtab.planner import spot
from trimtab.planner.case import Case
from trimtab.planner.classes import shares_of
from trimtab.planner.evenly import paced
from trimtab.planner.kept import Kept
from trimtab.planner.place import Place
from trimtab.planner.problem import Option, Problem, Room
from trimtab.planner.starts import INIT_S

LATENCY_POWER = 8.0
"""Where latency is the objective, a choice weighs as this power of how much slower it is than the
fastest: high enough that the faster one is taken whatever it costs, low enough to be computed."""
SLOWEST = 4.0
"""Choices slower than so many times the fastest weigh alike."""
URGENT_S = 60.0
"""Time to Ready that makes a replica weigh twice as much where requests of now wait for it: in an
overload twice the price is paid for half the wait, and what came dear goes first after it."""
_JOINT = " + "
DEVICE_COST = 1e-4
"""Weight of one device, $/h: of two fleets that cost the same, the smaller one is taken."""


def question(case: Case, config: PlannerConfig, room: Room) -> Problem:
    """Return what is asked for the replicas of `case`, the present mix kept.

    `room` is what its additions may take, were it alone.

    - More than the maximum exist: the best of them stay.
    - Nothing may be removed, or the demand of now is not covered: what exists stays and is added
      to, at the demand of now; what is lost is replaced one for one where nothing may fall.
    - Else nothing is added, and what the window's largest demand does not need may go, but not
      where a move goes to, or a little more demand would undo it.
    """
    maximum, minimum = case.policy.max_replicas, case.minimum
    if case.policy.mode is Mode.SCALE_UP_ONLY:
        maximum = max(maximum, case.supply)
    if case.counted > maximum:
        least = minimum if case.may_fall else maximum
        return _asked(case, config, room, _Wish(kind="keep", rps=case.keep_rps, minimum=least))
    if not case.may_fall:
        lost = sum(place.lost for place in case.running)
        minimum = min(maximum, max(minimum, case.supply + lost))
    elif case.is_covered and case.supply >= minimum:
        keeps = move_places(case.memory)
        wish = _Wish(kind="keep", rps=case.keep_rps, minimum=minimum, keeps=keeps)
        return _asked(case, config, room, wish)
    rps = 0.0 if case.is_covered else case.grow_rps
    keeps = frozenset(place.name for place in case.running)
    grows = rps > 0 or minimum > case.supply
    wish = _Wish(kind="keep", rps=rps, minimum=minimum, keeps=keeps, grows=grows)
    return _asked(case, config, room, wish)


def free_question(case: Case, config: PlannerConfig, room: Room) -> Problem:
    """Return the question whether another mix would be cheaper: all may go, all may be added."""
    wish = _Wish(kind="free", rps=case.keep_rps, minimum=case.minimum, grows=True)
    return _asked(case, config, room, wish)


def demand_question(case: Case, config: PlannerConfig, room: Room) -> Problem:
    """Return the question what the demand of now alone would keep of what exists."""
    wish = _Wish(kind="demand", rps=case.grow_rps, minimum=case.minimum)
    return _asked(case, config, room, wish)


def option_places(case: Case, problem: Problem) -> tuple[Place, ...]:
    """Return the places that are options of the question `problem`, in their order."""
    names = [option.name for option in problem.options]
    known = {place.name: place for place in case.running}
    if not all(name in known for name in names):
        known = {place.name: place for place in case.places}
    return tuple(known[name] for name in names)


def move_name(names: Iterable[str]) -> str:
    """Return the name of the move that adds replicas at the places of these names."""
    return _JOINT.join(names)


def move_places(memory: DeploymentMemory) -> frozenset[str]:
    """Return the names of the places to which a move is under way, or considered."""
    return frozenset(memory.move_to.split(_JOINT) if memory.move_to is not None else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """What one question asks for."""

    kind: str
    """Which of the questions about a deployment it is of."""
    rps: float
    minimum: int
    keeps: frozenset[str] = frozenset()
    """Names of places where what exists stays."""
    grows: bool = False


def _asked(case: Case, config: PlannerConfig, room: Room, wish: _Wish) -> Problem:
    """Return the question of `wish`; that of the plan before where all it follows from stays."""
    inputs = case.choices, case.running, case.policy, case.waits, case.reclaims, config
    known = _asked_of.answer(case.state.key, inputs, _Asked)
    problem = known.problems.answer(wish.kind, wish, lambda: _problem(case, config, wish))
    if not case.policy.even:
        return problem
    bounds = room.bounds(problem)
    return known.paced.answer(wish.kind, (problem, bounds), lambda: paced(problem, bounds))


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last question of each kind about a deployment that stays as it is.

    A kind that is asked no more must not keep hundreds of choices of another time.
    """

    problems: Kept[str, Problem] = field(default_factory=Kept)
    paced: Kept[str, Problem] = field(default_factory=Kept)


_asked_of: Kept[Key, _Asked] = Kept()


def _problem(case: Case, config: PlannerConfig, wish: _Wish) -> Problem:
    # What has no replica and gets none is no option: there are hundreds of those.
    places = tuple(place for place in case.running if _may_stay(place))
    possible = places
    if wish.grows or any(map(_is_compared, places)):
        possible = _possible(case)
    if wish.grows:
        places = possible
    weights = _Weights.of(possible)
    waits = {place.name: 1.0 + case.waits.get(place.name, 0.0) / URGENT_S for place in places}
    cap = case.policy.max_usd_per_hour
    # Nodes may come for those that are late, too, and what goes is still there.
    besides = sum(place.late + place.going for place in case.running)
    maximum = max(0, case.policy.max_replicas - besides)
    if case.policy.mode is Mode.SCALE_UP_ONLY:
        maximum = max(maximum, case.supply)
    return Problem(
        key=case.state.key,
        priority=case.policy.priority,
        rps=wish.rps,
        minimum=wish.minimum,
        maximum=maximum,
        surge=max(0, maximum - case.supply),
        money=math.inf if cap is None else cap - _spent(case),
        switch=config.switch_saving,
        survive=wish.rps * _survive_share(case, possible),
        shares=shares_of(case.policy),
        options=tuple(
            Option(
                name=place.name,
                pool=place.pool,
                devices=place.parallelism.devices,
                rps=place.usable_rps,
                cost=_cost(case, place, weights) * waits[place.name],
                price=place.price or 0.0,
                current=place.supply,
                lower=place.supply if place.name in wish.keeps else 0,
                upper=_most(place, maximum) if wish.grows else place.supply,
                rates=() if place.choice is None else place.choice.by_class,
                domain="" if place.choice is None else spot.domain_of(place.choice.state.pool),
            )
            for place in places
        ),
    )


def _possible(case: Case) -> tuple[Place, ...]:
    """Return the places where replicas stay, or could be added."""
    return tuple(
        place
        for place in case.places
        if place.stays and place.choice is not None and (place.supply or place.choice.grows)
    )


def _may_stay(place: Place) -> bool:
    return place.stays and place.choice is not None and place.supply > 0


def _is_compared(place: Place) -> bool:
    """Return whether what a replica weighs depends on the other places."""
    choice = place.choice
    if choice is None:
        return False
    is_spot = bool(spot.domain_of(choice.state.pool))
    return choice.weight is None or choice.wait_s is not None or is_spot


def _most(place: Place, maximum: int) -> int:
    if place.choice is None or not place.choice.grows:
        return place.supply
    return max(place.supply, maximum)


def _survive_share(case: Case, places: Iterable[Place]) -> float:
    """Return the share of the demand that must outlast the loss of any one spot domain."""
    risks = [_risk(case, p) for p in places if p.choice and spot.domain_of(p.choice.state.pool)]
    if not risks:
        return 0.0
    worst = max(risks, key=spot.share_down)
    return spot.survive_share(worst, case.policy.targets.percentile)


def _risk(case: Case, place: Place) -> spot.Risk:
    assert place.choice is not None
    pool = place.choice.state.pool
    return spot.Risk(
        ready_s=pool.provisioning_s + INIT_S,
        reclaims_per_hour=case.reclaims.get(spot.domain_of(pool), spot.RECLAIMS_PER_HOUR),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weights:
    """What the places of one question are weighed against."""

    dearest: float
    """Largest weight of one device, $/h."""
    steady: float | None
    """Least weight of one request/s on capacity that is not taken back, $/h; None without any."""
    fastest: float | None
    """Shortest wait over all places where latency is the objective, else None."""

    @classmethod
    def of(cls, places: Sequence[Place]) -> "_Weights":
        """Return those of `places`."""
        steady = [p.ratio for p in places if p.choice and not spot.domain_of(p.choice.state.pool)]
        waits = [p.choice.wait_s for p in places if p.choice and p.choice.wait_s]
        return cls(
            dearest=max(
                (p.weight / p.parallelism.devices for p in places if p.weight), default=1.0
            ),
            steady=min((ratio for ratio in steady if math.isfinite(ratio)), default=None),
            fastest=min(waits, default=None),
        )


def _cost(case: Case, place: Place, weights: _Weights) -> float:
    """Return what the solver weighs one replica at; what has no weight weighs as the heaviest."""
    devices = place.parallelism.devices
    price = weights.dearest * devices if place.weight is None else place.weight
    money = price + DEVICE_COST * devices
    if place.choice is not None and spot.domain_of(place.choice.state.pool):
        substitute = 0.0 if weights.steady is None else weights.steady * place.usable_rps
        money += spot.interruption_cost(price, substitute, _risk(case, place))
    wait = place.choice.wait_s if place.choice else None
    if weights.fastest is None or wait is None:
        return money
    slower: float = min(wait / weights.fastest, SLOWEST) ** LATENCY_POWER
    return place.usable_rps * slower + 1e-3 * money


def _spent(case: Case) -> float:
    return math.fsum(place.held * (place.price or 0.0) for place in case.running)
