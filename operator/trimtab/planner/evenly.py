"""Where a router gives every replica the same, the slowest sets the pace of all.

A Service, and any router that goes by turns or by open requests, gives a fast replica no more
than a slow one can take. So a mix carries as much as if all its replicas were the slowest of them,
and the question for the solver is asked anew for each pace: the options that keep up with it, each
counted at it. The best answer's pace is the one that is asked for.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeAlias

from trimtab.planner import cover
from trimtab.planner.problem import Bounds, Counts, Option, Problem

_Rank: TypeAlias = tuple[float, int, float]
"""Demand that is not covered, requests/s; replicas below the minimum; cost, $/h."""


def carried(replicas: Iterable[tuple[float, int]], *, even: bool) -> float:
    """Return the rate that replicas take together, requests/s.

    Args:
        replicas: Rate of one, and how many of them, for each kind.
        even: Whether each gets the same, else each what it can take.
    """
    used = [(rate, count) for rate, count in replicas if count > 0]
    if even:
        return min((rate for rate, _ in used), default=0.0) * sum(count for _, count in used)
    return math.fsum(rate * count for rate, count in used)


def paced(problem: Problem, bounds: Bounds) -> Problem:
    """Return `problem` at the pace at which its answer within `bounds` weighs least.

    What exists and is slower than that is done without: it goes once the rest serves. What it
    costs until then counts where the question is of keeping it.
    """
    best: tuple[_Rank, Problem] | None = None
    for least, pace in sorted(_paces(problem)):
        if best is not None and (0.0, 0, least) >= best[0]:
            break
        asked = _at(problem, pace)
        rank = _rank(asked, cover.cheapest(asked, bounds), _sunk(problem, pace))
        if best is None or rank < best[0]:
            best = rank, asked
    return problem if best is None else best[1]


def _rank(problem: Problem, counts: Counts, sunk: float) -> _Rank:
    """Return what answers at several paces are compared by; penalties are not alike at all."""
    cost = problem.cost(counts) + problem.exposure(counts) + sunk
    return round(problem.short_rps(counts), 6), problem.missing(counts), round(cost, 9)


def _paces(problem: Problem) -> Iterable[tuple[float, float]]:
    """Yield each possible pace, after the least that an answer at it can weigh."""
    fastest_first = sorted(problem.options, key=lambda o: -o.rps)
    cheapest, looked = math.inf, 0
    for pace in sorted({o.rps for o in problem.options if o.upper > 0}, reverse=True):
        while looked < len(fastest_first) and fastest_first[looked].rps >= pace:
            cheapest = min(cheapest, fastest_first[looked].cost)
            looked += 1
        count = math.ceil(problem.rps / pace * (1.0 - 1e-6))
        yield count * cheapest + _sunk(problem, pace), pace


def _at(problem: Problem, pace: float) -> Problem:
    slow = [option for option in problem.options if option.rps < pace]
    return replace(
        problem,
        # Replicas that are as many as exist must not be made up for by others.
        minimum=max(min(problem.minimum, 1), problem.minimum - sum(o.lower for o in slow)),
        options=tuple(_option_at(option, pace) for option in problem.options),
    )


def _option_at(option: Option, pace: float) -> Option:
    """Return the option at `pace`; written out, as `replace` takes three times as long."""
    keeps_up = option.rps >= pace
    return Option(
        name=option.name,
        pool=option.pool,
        devices=option.devices,
        rps=pace if keeps_up else option.rps,
        cost=option.cost,
        price=option.price,
        current=option.current,
        lower=option.lower if keeps_up else 0,
        upper=option.upper if keeps_up else 0,
        rates=option.rates,
        domain=option.domain,
    )


def _sunk(problem: Problem, pace: float) -> float:
    """Return what kept replicas slower than `pace` cost, $/h."""
    kept = [option for option in problem.options if option.lower and option.rps < pace]
    return math.fsum(option.cost * option.lower for option in kept)
