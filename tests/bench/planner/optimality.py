"""Fifty large fleets, each with its proven bound beside it, and what the greedy answer costs."""

import math
from random import Random

from bench.planner.fleets import Kind, fleet, loose, say, shared
from trimtab.planner.allocate import Fleet, allocate, greedy
from trimtab.planner.problem import Problem, Room

FLEETS = 50
LOOSE, TIGHT = 0.95, 0.7
"""Devices of each pool, over what all would take of it if nothing ran out."""


def case(seed: int) -> tuple[list[Problem], list[Kind], float]:
    """Return one fleet and how tight its pools are."""
    dice = Random(seed)
    problems, kinds = fleet(dice.randrange(60, 240), dice.randrange(6, 24), seed)
    return problems, kinds, TIGHT if seed % 2 else LOOSE


def solved(seed: int) -> tuple[dict[str, Fleet], Room, list[Problem], float]:
    """Return the answer of one fleet, its room and its problems."""
    problems, kinds, share = case(seed)
    room = shared(problems, kinds, allocate(problems, loose(kinds)), share)
    fleets = allocate(problems, room)
    return {str(key): one for key, one in fleets.items()}, room, problems, share


def show() -> None:
    """Print a line for each fleet, and the worst."""
    say("\nFifty large fleets: cost, proven bound, greedy answer ($/h; penalties where short)")
    say(
        f"{'deployments':>11} {'pools':>5} {'room':>5} {'cost':>10} {'bound':>10} "
        f"{'gap %':>6} {'greedy':>10} {'short':>5}"
    )
    worst: dict[float, float] = {LOOSE: 0.0, TIGHT: 0.0}
    for seed in range(FLEETS):
        fleets, room, problems, share = solved(seed)
        cost = math.fsum(one.weight for one in fleets.values())
        bound = math.fsum(one.least for one in fleets.values())
        simple = math.fsum(one.weight for one in greedy(problems, room).values())
        gap = 100.0 * (cost / bound - 1.0)
        worst[share] = max(worst[share], gap)
        short = sum(one.is_short for one in fleets.values())
        say(
            f"{len(problems):>11} {len(room.free):>5} {share:>5} {cost:>10.2f} {bound:>10.2f} "
            f"{gap:>6.2f} {simple:>10.2f} {short:>5}"
        )
    say(f"worst gap: {worst[LOOSE]:.2f} % loose, {worst[TIGHT]:.2f} % tight")
