"""Answers for a whole fleet: each deployment alone, and together where they would collide.

Alone is exact as long as nothing runs out. What would run out couples its users into one
programme, until nothing does: the answer is then the one that a single large programme gives.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.models.snapshot import Key
from trimtab.planner import cover, programme
from trimtab.planner.problem import COVERED, Counts, Problem, Resource, Room, usage

CLASS_WEIGHT = 4.0
"""How much more the shortage of a priority weighs than that of the next lower one."""
SHARES = (0.75, 0.5, 0.25, 0.0)
"""Parts of a demand for which there is an answer to choose where not all can be covered."""
NEAR = 0.6
"""Share of a limit from which its users take part where others clash, as those will come here."""
PROVEN = 0.01
"""Gap up to which an answer counts as the best."""
MOST_CLASSES = 5
"""Priorities beyond so many weigh alike while columns are sought; the choice tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The answer for one deployment."""

    problem: Problem
    counts: Counts
    bound: float | None = None
    """What no answer of those that contend weighs less than, this one's share, $/h; None: proven.

    Summed over all fleets it is a bound of the whole."""

    @property
    def least(self) -> float:
        """What no answer weighs less than, $/h."""
        return self.weight if self.bound is None else self.bound

    @property
    def gap(self) -> float:
        """How much it may weigh more than the best, as a share of that; infinite: not known."""
        if self.bound is None or self.weight <= self.bound:
            return 0.0
        return self.weight / self.bound - 1.0 if self.bound > 0 else math.inf

    @property
    def proven(self) -> bool:
        """Whether the answer is as good as the best: within PROVEN."""
        return self.gap <= PROVEN

    @property
    def short_rps(self) -> float:
        """Demand that is not covered, requests/s."""
        return self.problem.short_rps(self.counts)

    @property
    def missing(self) -> int:
        """Replicas below the minimum."""
        return self.problem.missing(self.counts)

    @property
    def weight(self) -> float:
        """Cost and penalties as the solver weighs them, $/h."""
        return self.problem.cost(self.counts) + self.problem.penalty(self.counts)

    @property
    def is_short(self) -> bool:
        """Whether the answer falls short of the demand or of the minimum."""
        return self.short_rps > 0 or self.missing > 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be added whatever room there is: maxReplicas is reached.

        Replicas that the answer does without count until they are gone.
        """
        return sum(self.problem.added(self.counts)) >= self.problem.surge


def allocate(problems: Sequence[Problem], room: Room) -> dict[Key, Fleet]:
    """Return the fleet of every problem. Additions together stay within `room`."""
    groups: dict[Key, tuple[Problem, ...]] = {problem.key: (problem,) for problem in problems}
    fleets = {problem.key: _alone(problem, room) for problem in problems}
    alone = dict(fleets)
    while _clashes(problems, fleets, room):
        clashes = _clashes(problems, fleets, room, NEAR)
        if sum(len(clash) for clash in clashes) > len(problems):
            # Where most contend, all do.
            clashes = [[problem.key for problem in problems]]
        for clash in clashes:
            merged = {m.key: m for group in _distinct(groups, clash) for m in group}
            groups |= dict.fromkeys(merged, tuple(merged[key] for key in sorted(merged)))
        for group in _distinct(groups, [key for clash in clashes for key in clash]):
            fleets |= _together(group, room, alone)
    return fleets


def _distinct(
    groups: Mapping[Key, tuple[Problem, ...]], keys: Sequence[Key]
) -> list[tuple[Problem, ...]]:
    """Return the groups of `keys`, each once, by their first members."""
    # No deployment is in two groups, so the first member tells them apart.
    first = {groups[key][0].key: groups[key] for key in keys}
    return [first[key] for key in sorted(first)]


def greedy(problems: Sequence[Problem], room: Room) -> dict[Key, Fleet]:
    """Return what one gets after the other, the most important first."""
    order = sorted(problems, key=lambda item: (-item.priority, item.key))
    return _greedy(order, room, {problem.key: _alone(problem, room) for problem in problems})


def _alone(problem: Problem, room: Room) -> Fleet:
    if _irreducible(problem):
        return Fleet(problem=problem, counts=problem.kept)
    answer = cover.solved(problem, room.bounds(problem))
    return Fleet(problem=problem, counts=answer.counts, bound=answer.bound)


def _irreducible(problem: Problem) -> bool:
    """Return whether what exists is the answer because nothing may be added and nothing can go."""
    kept = problem.kept
    if problem.shares or any(option.upper > option.current for option in problem.options):
        return False
    if sum(kept) > problem.maximum:
        return False
    rps, total = problem.covered(kept), sum(kept)
    return all(
        count == option.lower
        or total - 1 < problem.minimum
        or rps - option.rps < problem.rps * COVERED
        for option, count in zip(problem.options, kept, strict=True)
    )


def _clashes(
    problems: Sequence[Problem], fleets: Mapping[Key, Fleet], room: Room, share: float = 1.0
) -> list[list[Key]]:
    """Return the users of each resource that is promised beyond `share` of its limit."""
    total: dict[Resource, float] = {}
    users: dict[Resource, list[Key]] = {}
    for problem in problems:
        taken = usage(problem, fleets[problem.key].counts, room)
        for resource, amount in taken.items():
            total[resource] = total.get(resource, 0.0) + amount
            users.setdefault(resource, []).append(problem.key)
    return [
        users[resource]
        for resource in sorted(total)
        if total[resource] > share * max(0.0, room.limit(resource)) * (1 + 1e-9) + 1e-9
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """An answer of the programme."""

    fleets: dict[Key, Fleet]
    bound: float
    best: bool


def _together(
    problems: Sequence[Problem], room: Room, alone: Mapping[Key, Fleet]
) -> dict[Key, Fleet]:
    """Return the best of the programme's answer, the greedy one and that of one priority at a time.

    Weights alone do not keep priorities apart, so what the important ones would get without the
    others is among what is chosen from.
    """
    ranks = {priority: rank for rank, priority in enumerate(sorted({p.priority for p in problems}))}
    problems = tuple(
        replace(problem, weight=CLASS_WEIGHT ** min(ranks[problem.priority], MOST_CLASSES))
        for problem in problems
    )
    order = sorted(problems, key=lambda item: (-item.priority, item.key))
    simple = _greedy(order, room, alone)
    answer = _programme(order, room, (simple, alone))
    found = [simple] if answer is None else [answer.fleets, simple]
    if len(ranks) > 1 and any(fleet.is_short for fleet in found[0].values()):
        found.append(_by_priority(order, room, alone))
    best = min(found, key=_worth)
    if answer is not None and answer.best:
        return best
    bound = 0.0 if answer is None else answer.bound
    weight = math.fsum(fleet.weight for fleet in best.values())
    share = max(0.0, min(1.0, bound / weight)) if weight > 0 else 1.0
    return {key: replace(fleet, bound=share * fleet.weight) for key, fleet in best.items()}


def _by_priority(
    order: Sequence[Problem], room: Room, alone: Mapping[Key, Fleet]
) -> dict[Key, Fleet]:
    """Answer one priority after the other, the most important first, from what is left."""
    fleets: dict[Key, Fleet] = {}
    whole = room
    for priority in sorted({problem.priority for problem in order}, reverse=True):
        mine = [problem for problem in order if problem.priority == priority]
        simple = _greedy(mine, room, alone)
        answer = _programme(mine, room, (simple, alone))
        best = min([simple] if answer is None else [answer.fleets, simple], key=_worth)
        fleets |= best
        for fleet in best.values():
            room = room.minus(fleet.problem, fleet.counts)
    return _bettered(fleets, whole, alone)


def _programme(
    order: Sequence[Problem],
    room: Room,
    known: tuple[Mapping[Key, Fleet], Mapping[Key, Fleet]],
) -> _Found | None:
    """Return the programme's answer, bettered where it left room.

    `known` are the greedy answers, which fit together, and what each would get alone.
    """
    simple, alone = known
    shares = SHARES if any(fleet.is_short for fleet in simple.values()) else ()
    seeds = [
        (
            simple[problem.key].counts,
            *(
                [alone[problem.key].counts]
                if _fits(problem, alone[problem.key].counts, room)
                else []
            ),
            *(
                cover.cheapest(replace(problem, rps=share * problem.rps), room.bounds(problem))
                for share in shares
            ),
        )
        for problem in order
    ]
    answer = programme.solve(order, room, seeds)
    if answer is None:
        return None
    fleets = {
        problem.key: Fleet(problem=problem, counts=counts)
        for problem, counts in zip(order, answer.counts, strict=True)
    }
    fleets = _bettered(fleets, room, alone)
    if _clashes(order, fleets, room):
        return None
    return _Found(fleets=fleets, bound=answer.bound, best=answer.best)


def _greedy(
    problems: Sequence[Problem], room: Room, alone: Mapping[Key, Fleet]
) -> dict[Key, Fleet]:
    """Answer one deployment after the other from what the others leave.

    What a deployment would get alone is the best where it fits.
    """
    result: dict[Key, Fleet] = {}
    for problem in problems:
        best = alone[problem.key]
        if best.is_short or not _fits(problem, best.counts, room):
            best = Fleet(problem=problem, counts=cover.cheapest(problem, room.bounds(problem)))
        result[problem.key] = Fleet(problem=problem, counts=best.counts)
        room = room.minus(problem, best.counts)
    return result


def _fits(problem: Problem, counts: Counts, room: Room) -> bool:
    return all(
        amount <= room.limit(resource) + 1e-9
        for resource, amount in usage(problem, counts, room).items()
    )


def _bettered(
    fleets: Mapping[Key, Fleet], room: Room, alone: Mapping[Key, Fleet]
) -> dict[Key, Fleet]:
    """Answer one deployment after the other anew from what all others leave, where that helps."""
    result = dict(fleets)
    for fleet in fleets.values():
        room = room.minus(fleet.problem, fleet.counts)
    for key, before in fleets.items():
        problem = before.problem
        best = alone[key]
        if not best.is_short and before.weight <= best.weight * (1.0 + 1e-6):
            continue
        room = room.plus(problem, before.counts)
        fleet = Fleet(problem=problem, counts=cover.cheapest(problem, room.bounds(problem)))
        # Weights alone would let it get shorter of what the others leave.
        shortage = problem.shortage(fleet.counts) <= problem.shortage(before.counts)
        if shortage and fleet.weight < before.weight:
            result[key] = fleet
        room = room.minus(problem, result[key].counts)
    return result


def _worth(fleets: Mapping[Key, Fleet]) -> tuple[float, ...]:
    """Return what is compared: the shortage of each priority, most important first, then cost."""
    shortages: dict[int, float] = {}
    for fleet in fleets.values():
        priority = fleet.problem.priority
        shortages[priority] = shortages.get(priority, 0.0) + fleet.problem.shortage(fleet.counts)
    cost = math.fsum(
        fleet.problem.cost(fleet.counts) + fleet.problem.exposure(fleet.counts)
        for fleet in fleets.values()
    )
    return (*(round(shortages[key], 6) for key in sorted(shortages, reverse=True)), cost)
