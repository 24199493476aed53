"""The cheapest fleets where a router tells classes apart: by brute force, and never dearer."""

import itertools
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from sizedfleets import carried, kind
from trimtab.models.snapshot import Key
from trimtab.planner.allocate import allocate
from trimtab.planner.problem import Counts, Option, Problem, Resource, Room, usage
from trimtab.planner.split import mixed

FLEETS = 120


def problem(seed: int, name: str = "d", *, survive: bool = False) -> Problem:
    """A deployment of two classes over two to four options, some of which exist or may be lost."""
    dice = random.Random(seed)
    share = dice.choice([0.2, 0.5, 0.9])
    rps = dice.uniform(1.0, 25.0)
    return Problem(
        key=Key(namespace="n", name=name),
        priority=100,
        rps=rps,
        minimum=dice.randint(0, 2),
        maximum=8,
        surge=8,
        money=math.inf,
        switch=0.1,
        options=tuple(option(f"o{i}", share, dice) for i in range(dice.randint(2, 4))),
        shares=(share, 1.0 - share),
        survive=0.6 * rps if survive else 0.0,
    )


def option(name: str, share: float, dice: random.Random) -> Option:
    rates = kind(dice)
    cost = dice.randrange(2, 20) / 2
    return Option(
        name=name,
        pool=name,
        devices=dice.choice([1, 2]),
        rps=mixed((share, 1.0 - share), rates[:-1]),
        rates=rates,
        cost=cost,
        price=cost,
        current=dice.choice([0, 0, 1]),
        lower=0,
        upper=4,
        domain=dice.choice(["", name]),
    )


def weight(asked: Problem, counts: Counts) -> float:
    """What `counts` weigh, with what they carry found without the solver."""
    share = asked.shares[0]

    def carries(lost: str) -> float:
        used = [
            (o.rates, n)
            for o, n in zip(asked.options, counts, strict=True)
            if n and (not lost or o.domain != lost)
        ]
        return carried(share, used) if used else 0.0

    short = max(0.0, asked.rps - carries(""))
    short = short if short > 1e-5 * asked.rps else 0.0
    missing = max(0, asked.minimum - sum(counts))
    total = asked.cost(counts) + short * asked.short_cost + missing * asked.missing_cost
    total += asked.missing_cost if short else 0.0
    if asked.survive:
        left = min(carries(lost) for lost in {"", *(o.domain for o in asked.options)})
        exposed = max(0.0, asked.survive - left)
        total += exposed * asked.exposed_cost if exposed > 1e-5 * asked.survive else 0.0
    return total


def answers(asked: Problem, room: Room) -> list[Counts]:
    spaces = (range(o.upper + 1) for o in asked.options)
    return [
        counts
        for counts in itertools.product(*spaces)
        if sum(counts) <= asked.maximum
        and all(n <= room.limit(r) for r, n in usage(asked, counts, room).items())
    ]


def room_of(seed: int, *problems: Problem) -> Room:
    dice = random.Random(seed + 7)
    return Room(free={o.pool: dice.randint(0, 7) for p in problems for o in p.options})


@pytest.mark.parametrize("survive", [False, True])
@pytest.mark.parametrize("part", range(4))
def test_small_fleets_equal_brute_force(part: int, survive: bool) -> None:
    for seed in range(part, FLEETS, 4):
        asked = problem(seed, survive=survive)
        room = room_of(seed, asked)
        fleet = allocate([asked], room)[asked.key]
        least = min(weight(asked, counts) for counts in answers(asked, room))
        assert fleet.weight == pytest.approx(least, rel=1e-4), seed
        assert fleet.counts in answers(asked, room), seed
        assert fleet.least <= least * (1.0 + 1e-6), seed


@pytest.mark.parametrize("seed", range(25))
def test_two_that_contend_equal_brute_force(seed: int) -> None:
    first = problem(seed, "a")
    second = replace(problem(seed + 1000, "b"), rps=first.rps)
    room = Room(free=dict.fromkeys(("o0", "o1", "o2", "o3"), 3))
    fleets = allocate([first, second], room)
    least = min(
        weight(first, mine) + weight(second, theirs)
        for mine in answers(first, room)
        for theirs in answers(second, room.minus(first, mine))
    )
    found = fleets[first.key].weight + fleets[second.key].weight
    if not any(fleet.is_short for fleet in fleets.values()):
        assert found == pytest.approx(least, rel=1e-4)
    for resource, used in _sum(usage(p, fleets[p.key].counts, room) for p in (first, second)):
        assert used <= room.limit(resource)


def _sum(parts: Iterable[Mapping[Resource, float]]) -> list[tuple[Resource, float]]:
    total: dict[Resource, float] = {}
    for part in parts:
        for resource, amount in part.items():
            total[resource] = total.get(resource, 0.0) + amount
    return sorted(total.items())


@pytest.mark.parametrize("seed", range(60))
def test_no_fleet_costs_more_than_where_each_replica_gets_the_mix(seed: int) -> None:
    asked = problem(seed)
    mix = replace(
        asked,
        shares=(),
        options=tuple(
            replace(o, rates=()) for o in asked.options if all(o.rates[:-1]) or o.current
        ),
    )
    if any(not all(o.rates[:-1]) for o in asked.options if o.current) or not mix.options:
        return
    room = Room(free={o.pool: 99 for o in asked.options})
    apart, together = allocate([asked], room)[asked.key], allocate([mix], room)[mix.key]
    if together.is_short:
        return
    assert not apart.is_short
    assert asked.cost(apart.counts) <= mix.cost(together.counts) * (1.0 + 1e-6)
