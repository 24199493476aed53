"""Small fleets by brute force: no fleet that fits leaves less uncovered, or costs less."""

import itertools
import math
import random
from collections.abc import Iterator

import pytest

from trimtab.models.snapshot import Key
from trimtab.planner.allocate import Fleet, allocate
from trimtab.planner.problem import BudgetRoom, Counts, Option, Problem, Room, usage

FLEETS = 300
PARTS = 10


def fleet_of(seed: int) -> tuple[list[Problem], Room]:
    """A few deployments of two priorities over pools that two in three times are too small."""
    dice = random.Random(seed)
    pools = ["a", "b", "c"][: dice.randint(2, 3)]
    count = dice.randint(2, 3)
    problems = [
        Problem(
            key=Key(namespace="n", name=f"d{i}"),
            priority=dice.choice([100, 100, 200]),
            rps=dice.randrange(5, 60) / 2,
            minimum=dice.randint(0, 1),
            maximum=9,
            surge=9,
            money=math.inf,
            switch=0.1,
            options=tuple(option(pool, dice) for pool in pools),
        )
        for i in range(count)
    ]
    budgets: tuple[BudgetRoom, ...] = ()
    if dice.random() < 0.3:
        budgets = (
            BudgetRoom(
                name="cap",
                members=frozenset(problem.key for problem in problems[:2]),
                money=dice.randrange(4, 40) / 2,
                devices=math.inf,
            ),
        )
    blocks = {("a", 2): dice.randint(0, 1)} if dice.random() < 0.3 else {}
    free = {pool: dice.randrange(8) for pool in pools}
    return problems, Room(free=free, budgets=budgets, blocks=blocks)


def option(pool: str, dice: random.Random) -> Option:
    cost = dice.randrange(2, 20) / 2
    current = dice.choice([0, 0, 0, 1])
    return Option(
        name=pool,
        pool=pool,
        devices=dice.choice([1, 2]),
        rps=dice.randrange(4, 20) / 2,
        cost=cost,
        price=cost,
        current=current,
        lower=0,
        upper=3,
    )


Measure = tuple[tuple[float, ...], float]


def brute(problems: list[Problem], room: Room) -> Measure:
    """The least shortage by priority, and then the least cost, over every fleet that fits."""
    spaces = [list(answers(problem, room)) for problem in problems]
    best: Measure = ((math.inf,), math.inf)
    for chosen in itertools.product(*spaces):
        used: dict[tuple[str, str], float] = {}
        for _, taken in chosen:
            for resource, amount in taken.items():
                used[resource] = used.get(resource, 0.0) + amount
        if all(amount <= room.limit(resource) + 1e-9 for resource, amount in used.items()):
            best = min(best, measure(problems, [counts for counts, _ in chosen]))
    return best


def answers(problem: Problem, room: Room) -> Iterator[tuple[Counts, dict[tuple[str, str], float]]]:
    for counts in itertools.product(*(range(o.upper + 1) for o in problem.options)):
        spare = problem.covered(counts) - min(
            (o.rps for o, n in zip(problem.options, counts, strict=True) if n), default=math.inf
        )
        # What covers all without one of its replicas is dearer than without it, and no better.
        if sum(counts) > problem.maximum or (
            spare >= problem.rps and sum(counts) > max(1, problem.minimum)
        ):
            continue
        if sum(problem.added(counts)) <= problem.surge:
            yield counts, usage(problem, counts, room)


def measure(problems: list[Problem], chosen: list[Counts]) -> Measure:
    short: dict[int, float] = {problem.priority: 0.0 for problem in problems}
    for problem, counts in zip(problems, chosen, strict=True):
        short[problem.priority] += problem.shortage(counts)
    cost = math.fsum(p.cost(counts) for p, counts in zip(problems, chosen, strict=True))
    return tuple(round(short[key], 6) for key in sorted(short, reverse=True)), round(cost, 6)


def counts_of(problems: list[Problem], fleets: dict[Key, Fleet]) -> list[Counts]:
    return [fleets[problem.key].counts for problem in problems]


@pytest.mark.parametrize("part", range(PARTS))
def test_small_fleets_equal_brute_force(part: int) -> None:
    for seed in range(part, FLEETS, PARTS):
        problems, room = fleet_of(seed)
        fleets = allocate(problems, room)
        short, cost = measure(problems, counts_of(problems, fleets))
        least_short, least_cost = brute(problems, room)
        assert short == pytest.approx(least_short, rel=1e-4, abs=1e-4), seed
        assert cost == pytest.approx(least_cost, rel=1e-4), seed
