"""CPU seconds of one solve by the number of deployments and pools, with room and without."""

import math
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bench.planner.fleets import fleet, loose, say, shared
from trimtab.planner import cover
from trimtab.planner.allocate import allocate

SIZES = ((10, 10), (100, 10), (200, 12), (1000, 10), (1000, 50), (5000, 10), (5000, 50))
TIGHT = 0.7


def show() -> None:
    """Print one line for each size, each of a process of its own: memory is the most it held."""
    say("\nOne solve from nothing (CPU seconds on one core; MiB at most, of them before the solve)")
    say(
        f"{'deployments':>11} {'pools':>5} {'options':>8} {'loose s':>8} {'tight s':>8} "
        f"{'gap %':>6} {'MiB':>6} {'before':>6}"
    )
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            say(alone.submit(line, *size).result())


def line(deployments: int, pools: int) -> str:
    """Return the line of one size. Before the solve there are imports and the questions."""
    problems, kinds = fleet(deployments, pools)
    before = peak_mib()
    start = time.process_time()
    alone = allocate(problems, loose(kinds))
    loose_s = time.process_time() - start
    room = shared(problems, kinds, alone, TIGHT)
    cover.solved.cache_clear()
    start = time.process_time()
    fleets = allocate(problems, room)
    tight_s = time.process_time() - start
    cost = math.fsum(one.weight for one in fleets.values())
    bound = math.fsum(one.least for one in fleets.values())
    options = sum(len(problem.options) for problem in problems)
    return (
        f"{deployments:>11} {pools:>5} {options:>8} {loose_s:>8.2f} {tight_s:>8.2f} "
        f"{100.0 * (cost / bound - 1.0):>6.2f} {peak_mib():>6.0f} {before:>6.0f}"
    )


def peak_mib() -> float:
    """Return the most memory that this process has held, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
