"""Answers for a whole fleet: each deployment alone, and together where they would collide.

Alone is exact as long as nothing runs out. What would run out couples its users into one
programme, until nothing does: the answer is then the one that a single large programme gives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.models.snapshot import Key
from trimtab.planner import cover, programme
from trimtab.planner.problem import COVERED, Counts, Problem, Resource, Room, usage

CLASS_WEIGHT = 4.0
"""How much more the shortage of a priority weighs than that of the next lower one."""
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of a demand for which there is an answer to choose where not all can be covered."""
MOST_CLASSES = 5
"""Priorities beyond so many weigh alike while columns are sought; the choice tells them apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The answer for one deployment."""

    problem: Problem
    counts: Counts
    proven: bool = True
    """False when the solver stopped early: the answer is the better of it and the greedy one."""

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


def allocate(problems: Sequence[Problem], room: Room) -> dict[Key, Fleet]:
    """Return the fleet of every problem. Additions together stay within `room`."""
    groups: dict[Key, tuple[Problem, ...]] = {problem.key: (problem,) for problem in problems}
    fleets: dict[Key, Fleet] = {}
    for problem in problems:
        fleets |= _alone(problem, room)
    known: dict[Key, tuple[Counts, ...]] = {}
    while clashes := _clashes(problems, fleets, room):
        for clash in clashes:
            merged = {member.key: member for key in clash for member in groups[key]}
            groups |= dict.fromkeys(merged, tuple(merged[key] for key in sorted(merged)))
        touched = {groups[key] for clash in clashes for key in clash}
        for group in sorted(touched, key=lambda members: members[0].key):
            fleets |= _together(group, room, known)
    return fleets


def _alone(problem: Problem, room: Room) -> dict[Key, Fleet]:
    counts = problem.kept
    if not _irreducible(problem):
        counts = cover.cheapest(problem, room.bounds(problem))
    return {problem.key: Fleet(problem=problem, counts=counts)}


def _irreducible(problem: Problem) -> bool:
    """Return whether what exists is the answer because nothing may be added and nothing can go."""
    kept = problem.kept
    if any(option.upper > option.current for option in problem.options):
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
    problems: Sequence[Problem], fleets: Mapping[Key, Fleet], room: Room
) -> list[list[Key]]:
    """Return the users of each resource that is promised beyond its limit."""
    total: dict[Resource, float] = {}
    users: dict[Resource, list[Key]] = {}
    for problem in problems:
        taken = usage(problem, fleets[problem.key].counts, room.budgets)
        for resource, amount in taken.items():
            total[resource] = total.get(resource, 0.0) + amount
            users.setdefault(resource, []).append(problem.key)
    return [
        users[resource]
        for resource in sorted(total)
        if total[resource] > max(0.0, room.limit(resource)) * (1 + 1e-9) + 1e-9
    ]


def _together(
    problems: Sequence[Problem], room: Room, known: dict[Key, tuple[Counts, ...]]
) -> dict[Key, Fleet]:
    """Return the better of the programme's answer and the greedy one.

    `known` holds the columns of earlier programmes, and receives those of this one.
    """
    ranks = {priority: rank for rank, priority in enumerate(sorted({p.priority for p in problems}))}
    problems = tuple(
        replace(problem, weight=CLASS_WEIGHT ** min(ranks[problem.priority], MOST_CLASSES))
        for problem in problems
    )
    order = sorted(problems, key=lambda item: (-item.priority, item.key))
    greedy = _greedy(order, room, {})
    reverse = _greedy(sorted(order[::-1], key=lambda item: -item.priority), room, {})
    scarce = any(fleet.is_short for fleet in greedy.values())
    important = tuple(problem for problem in order if problem.priority > order[-1].priority)
    if scarce and important:
        # What they would get without the others must be among what is chosen from.
        _together(important, room, known)
    seeds = [
        (
            greedy[problem.key].counts,
            reverse[problem.key].counts,
            *(
                cover.cheapest(replace(problem, rps=share * problem.rps), room.bounds(problem))
                for share in (SHARES if scarce else (1.0,))
            ),
            *known.get(problem.key, ()),
        )
        for problem in problems
    ]
    answer = programme.solve(problems, room, seeds)
    if answer is None:
        return {key: replace(fleet, proven=False) for key, fleet in greedy.items()}
    exact = {
        problem.key: Fleet(problem=problem, counts=counts, proven=answer.proven)
        for problem, counts in zip(problems, answer.counts, strict=True)
    }
    exact = _greedy(order, room, exact)
    known |= {
        problem.key: (*answer.columns[i], exact[problem.key].counts)
        for i, problem in enumerate(problems)
    }
    if not _clashes(problems, exact, room) and _worth(exact) <= _worth(greedy):
        return exact
    return {key: replace(fleet, proven=answer.proven) for key, fleet in greedy.items()}


def _greedy(
    problems: Sequence[Problem], room: Room, fleets: Mapping[Key, Fleet]
) -> dict[Key, Fleet]:
    """Answer one deployment after the other from what the others leave.

    What `fleets` already answers is only ever improved.
    """
    result = dict(fleets)
    for problem in problems:
        if problem.key in result:
            room = room.minus(problem, result[problem.key].counts)
    for problem in problems:
        before = result.get(problem.key)
        if before is not None:
            room = room.plus(problem, before.counts)
        counts = cover.cheapest(problem, room.bounds(problem))
        fleet = Fleet(problem=problem, counts=counts, proven=before is None or before.proven)
        if before is not None and not fleet.weight < before.weight:
            fleet = before
        result[problem.key] = fleet
        room = room.minus(problem, fleet.counts)
    return result


def _worth(fleets: Mapping[Key, Fleet]) -> tuple[float, ...]:
    """Return what is compared: the shortage of each priority, most important first, then cost."""
    shortages: dict[int, float] = {}
    for fleet in fleets.values():
        priority = fleet.problem.priority
        shortages[priority] = shortages.get(priority, 0.0) + fleet.problem.shortage(fleet.counts)
    cost = sum(fleet.problem.cost(fleet.counts) for fleet in fleets.values())
    return (*(round(shortages[key], 6) for key in sorted(shortages, reverse=True)), cost)
