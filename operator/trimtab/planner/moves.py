"""Moves to other pools: made when another mix has been cheaper by enough for a whole window.

Where more is needed than there is, what another mix costs is held against what the present one
would cost once it is large enough: then the move takes the place of the growth, at once.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from trimtab.api.llmdeployment import Mode
from trimtab.config import PlannerConfig
from trimtab.models.memory import DeploymentMemory
from trimtab.models.snapshot import Key
from trimtab.planner import cover
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.kept import Kept
from trimtab.planner.place import vacant
from trimtab.planner.problem import Counts, Problem, Room, usage
from trimtab.planner.wishes import free_question, move_name

MOVE_SPARE = 1.2
"""A mix to move to must save enough also at so many times the demand: arrivals are noisy, and what
barely covers them would soon be added to."""
OUTGROWN = 1.0 / 3.0
"""Share that a move must save to take the place of growth: what is asked rises and falls again, and
both fleets are paid for meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moves:
    """The fleets with the moves of this tick, and what is remembered of those to come."""

    fleets: Mapping[Key, Fleet]
    memories: Mapping[Key, DeploymentMemory]
    room: Room
    """What the fleets leave."""


def consider(
    cases: Iterable[Case],
    fleets: Mapping[Key, Fleet],
    room: Room,
    *,
    config: PlannerConfig,
    now: float,
) -> Moves:
    """Return `fleets` with every move that has paid off for a whole window.

    Deployments are looked at one after the other by name, each with what the others leave free. A
    move saves at least `config.switch_saving`, so that none is undone while the demand stays.
    """
    after, memories = dict(fleets), {}
    for case in cases:
        fleet = fleets[case.state.key]
        room = room.minus(fleet.problem, fleet.counts)
    for case in cases:
        key, memory = case.state.key, case.memory
        memories[key] = memory
        if memory.move_fleet and case.minimum == 0:
            memory = memories[key] = _unmoved(memory)  # all of it may go
        if memory.move_fleet and case.may_fall:
            mine = room.plus(fleets[key].problem, fleets[key].counts)
            problem, counts = _begun(case, mine, config)
            if counts is not None:
                after[key] = Fleet(problem=problem, counts=counts)
                room = mine.minus(problem, counts)
                continue
            memory = memories[key] = replace(memory, move_fleet=())
        if _outgrows(case, fleets[key]):
            mine = room.plus(fleets[key].problem, fleets[key].counts)
            problem, counts, target = _instead(case, fleets[key], mine, config)
            if target is not None:
                memories[key] = _under_way(memory, problem, counts, target)
                after[key] = Fleet(problem=problem, counts=counts)
                room = mine.minus(problem, counts)
                continue
        if not _is_steady(case, fleets[key]):
            if memory.move_since is not None:
                memories[key] = _unmoved(memory)
            continue
        problem, counts, target = _best_mix(case, fleets[key].problem, room, config)
        if target is None:
            memories[key] = _unmoved(memory)
            continue
        since = now
        if memory.move_since is not None and memory.move_to == target:
            since = min(memory.move_since, now)
        memories[key] = replace(memory, move_since=since, move_to=target)
        if now - since >= case.window_s:
            memories[key] = _under_way(memory, problem, counts, target)
            after[key] = Fleet(problem=problem, counts=counts)
            room = room.minus(problem, counts)
    return Moves(fleets=after, memories=memories, room=room)


def _under_way(
    memory: DeploymentMemory, problem: Problem, counts: Counts, target: str
) -> DeploymentMemory:
    """Return the memory with the move to `counts` begun: `move_to` alone says so from here on."""
    fleet = zip(problem.options, counts, strict=True)
    return replace(
        memory,
        move_since=None,
        move_to=target or memory.move_to,
        move_fleet=tuple((option.name, n) for option, n in fleet if n),
    )


def _begun(case: Case, room: Room, config: PlannerConfig) -> tuple[Problem, Counts | None]:
    """Return the question with the fleet of the move that was begun, and has replicas to add.

    Asked anew, with some of them there and all that they replace, the next plan would find either
    superfluous. None where all of them were asked for, or it would not do any more.
    """
    fleet = dict(case.memory.move_fleet)
    problem = free_question(case, config, room)
    counts = tuple(fleet.pop(option.name, 0) for option in problem.options)
    may_be = all(o.lower <= n <= o.upper for o, n in zip(problem.options, counts, strict=True))
    within = all(n <= room.limit(of) for of, n in usage(problem, counts, room).items())
    will_do = not fleet and may_be and within and problem.shortage(counts) == 0
    return problem, counts if will_do and any(problem.added(counts)) else None


def _unmoved(memory: DeploymentMemory) -> DeploymentMemory:
    """Return the memory without a move."""
    if memory.move_since is None and memory.move_to is None and not memory.move_fleet:
        return memory
    return replace(memory, move_since=None, move_to=None, move_fleet=())


_Mix: TypeAlias = tuple[Problem, Counts, str | None]
"""A question with its answer, and the name of the move to it where that saves enough."""

_mixes: Kept[Key, _Mix] = Kept()


def _best_mix(case: Case, asked: Problem, room: Room, config: PlannerConfig) -> _Mix:
    """Return the best mix for the demand of the window; kept while all that it follows from stays.

    `asked` is what the case was asked before: it has the same limits.
    """

    def found() -> _Mix:
        problem = free_question(case, config, room)
        counts = cover.cheapest(problem, room.bounds(problem))
        now = math.fsum(option.cost * option.current for option in problem.options)
        saves = _saves(problem, room, (1.0 - config.switch_saving) * now)
        return problem, counts, _target(problem, counts) if saves else None

    there = vacant(case.state.key, case.choices)
    left = room.left_to(asked, there.pools, asked.surge * there.widest)
    wish = case.keep_rps, case.minimum, case.policy, config
    return _mixes.answer(case.state.key, (case.choices, case.running, wish, left), found)


def _outgrows(case: Case, fleet: Fleet) -> bool:
    """Return whether replicas are added to some that run, may stay and could go."""
    moves = case.policy.mode is not Mode.SCALE_UP_ONLY and not case.is_initial
    return moves and case.supply > 0 and any(fleet.problem.added(fleet.counts))


def _instead(case: Case, fleet: Fleet, room: Room, config: PlannerConfig) -> _Mix:
    """Return the best mix in place of `fleet`, which keeps all that runs and adds to it."""
    problem = free_question(case, config, room)
    counts = cover.cheapest(problem, room.bounds(problem))
    grown = math.fsum(o.cost * n for o, n in zip(fleet.problem.options, fleet.counts, strict=True))
    saves = _saves(problem, room, (1.0 - OUTGROWN) * grown)
    gone = any(n < option.current for option, n in zip(problem.options, counts, strict=True))
    return problem, counts, _name(problem, counts) if saves and gone else None


def _is_steady(case: Case, fleet: Fleet) -> bool:
    """Return whether what runs is complete, wanted as it is, and may be removed."""
    return (
        case.may_fall
        and not case.is_initial
        and fleet.counts == tuple(option.current for option in fleet.problem.options)
        and all(
            place.ready == place.replicas and (place.stays or not place.replicas)
            for place in case.running
        )
    )


def _saves(problem: Problem, room: Room, most: float) -> bool:
    """Return whether another mix, with room for more demand, weighs `most` at most, in $/h."""
    roomy = replace(problem, rps=MOVE_SPARE * problem.rps)
    counts = cover.cheapest(roomy, room.bounds(roomy))
    then = math.fsum(o.cost * n for o, n in zip(problem.options, counts, strict=True))
    return roomy.shortage(counts) == 0 and then <= most


def _target(problem: Problem, counts: Counts) -> str | None:
    """Return the name of the move to `counts`, None when it is none."""
    if problem.shortage(counts) > 0 or not any(problem.added(counts)):
        return None
    return _name(problem, counts)


def _name(problem: Problem, counts: Counts) -> str:
    added = zip(problem.options, problem.added(counts), strict=True)
    return move_name(option.name for option, n in added if n)
