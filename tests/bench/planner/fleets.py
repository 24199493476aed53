"""Fleets made by dice: problems over pools of many kinds, with room for all of it or for less."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from trimtab.models.snapshot import Key
from trimtab.planner.allocate import Fleet
from trimtab.planner.problem import Option, Problem, Room

DEGREES = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A pool: what a device costs, and how fast it is beside others."""

    name: str
    price: float
    speed: float


def kinds(count: int, dice: Random) -> list[Kind]:
    """Return so many pools. Faster devices cost more, and spot pools about a third."""
    found = []
    for i in range(count):
        speed = 2.0 ** dice.uniform(0.0, 4.0)
        price = 0.6 * speed ** dice.uniform(0.8, 1.1) * dice.choice([1.0, 1.0, 0.35])
        found.append(Kind(name=f"p{i:02}", price=round(price, 2), speed=speed))
    return found


def problem(index: int, pools: list[Kind], dice: Random) -> Problem:
    """Return one deployment: a small or a large model, a little or much demand."""
    size = dice.choice([1, 1, 1, 2, 4])
    """Least devices that hold the model."""
    options = []
    for pool in pools:
        for devices in DEGREES:
            if devices < size or devices > 4 * size:
                continue
            # Twice the devices are not quite twice the rate; a model prefers some kinds.
            rate = 3.0 * pool.speed / size * (devices / size) ** 0.9 * dice.uniform(0.7, 1.3)
            options.append(
                Option(
                    name=f"{pool.name}/tp{devices}",
                    pool=pool.name,
                    devices=devices,
                    rps=rate,
                    cost=pool.price * devices + 1e-4 * devices,
                    price=pool.price * devices,
                    current=0,
                    lower=0,
                    upper=40,
                )
            )
    return Problem(
        key=Key(namespace="bench", name=f"d{index:05}"),
        priority=dice.choice([100, 200]),
        rps=2.0 * 60.0 ** dice.random(),
        minimum=1,
        maximum=40,
        surge=40,
        money=math.inf,
        switch=0.1,
        options=tuple(options),
    )


def fleet(deployments: int, pools: int, seed: int = 0) -> tuple[list[Problem], list[Kind]]:
    """Return so many problems over so many pools."""
    dice = Random(f"{deployments}/{pools}/{seed}")
    those = kinds(pools, dice)
    return [problem(i, those, dice) for i in range(deployments)], those


def loose(those: list[Kind]) -> Room:
    """Return room that nothing runs out of."""
    return Room(free={kind.name: 10**6 for kind in those})


def shared(
    problems: list[Problem], those: list[Kind], alone: Mapping[Key, Fleet], share: float
) -> Room:
    """Return room for so much of what all take of each pool alone, and for some who must move."""
    used = dict.fromkeys((kind.name for kind in those), 0)
    for one in problems:
        for option, count in zip(one.options, alone[one.key].counts, strict=True):
            used[option.pool] += option.devices * count
    spare = sum(used.values()) / (2 * len(used))
    return Room(free={name: int(share * taken + spare) for name, taken in used.items()})


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
