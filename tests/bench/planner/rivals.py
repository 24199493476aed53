"""The same fleets as others' programmes were asked for: cost and time side by side."""

import math
import time

from bench.planner.fleets import say
from rivalfleets import melange, vectors, wva
from trimtab.planner import cover
from trimtab.planner.allocate import allocate


def show() -> None:
    """Print a line for each fleet. Their times are those that were measured with their answers."""
    say("\nMelange's fleets ($/h; theirs for a router that knows classes, ours for any by load)")
    say(f"{'fleet':<30} {'theirs':>9} {'s':>7} {'ours':>9} {'s':>7}")
    for case in vectors("melange"):
        if case["output"] is not None:
            problem, room = melange(case)
            cover.solved.cache_clear()
            start = time.process_time()
            fleet = allocate([problem], room)[problem.key]
            seconds = time.process_time() - start
            say(
                f"{case['name']:<30} {case['output']['cost']:>9.2f} {case['wall_s']:>7.3f} "
                f"{problem.cost(fleet.counts):>9.2f} {seconds:>7.3f}"
            )
    say("\nSystems of the workload variant autoscaler (cents/h; short: servers not covered)")
    say(f"{'system':<34} {'theirs':>8} {'s':>7} {'ours':>8} {'s':>7} {'short':>5}")
    for case in vectors("wva_optimizer"):
        problems, room = wva(case)
        cover.solved.cache_clear()
        start = time.process_time()
        fleets = allocate(problems, room)
        seconds = time.process_time() - start
        ours = math.fsum(p.cost(fleets[p.key].counts) for p in problems)
        theirs = math.fsum(one["cost"] for one in case["allocations"].values())
        short = sum(fleet.is_short for fleet in fleets.values())
        say(
            f"{case['name']:<34} {theirs:>8.0f} {case['wall_us'] / 1e6:>7.3f} {ours:>8.0f} "
            f"{seconds:>7.3f} {short:>5}"
        )
