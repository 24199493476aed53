"""The same fleets as others' programmes were asked for: cost and time side by side."""

import math
import time

from bench.planner.fleets import say
from classsplit import cheapest_split
from rivalfleets import melange, vectors, wva
from trimtab.planner import cover
from trimtab.planner.allocate import allocate


def show() -> None:
    """Print a line for each fleet. Their times are those that were measured with their answers."""
    say("\nMelange's fleets ($/h; their slices, our continuous split)")
    say(f"{'fleet':<30} {'theirs':>9} {'s':>7} {'ours':>9} {'s':>7} {'bound':>9}")
    for case in vectors("melange"):
        if case["output"] is not None:
            start = time.process_time()
            answer = cheapest_split(*melange(case))
            seconds = time.process_time() - start
            if answer is not None:
                say(
                    f"{case['name']:<30} {case['output']['cost']:>9.2f} {case['wall_s']:>7.3f} "
                    f"{answer.cost:>9.2f} {seconds:>7.3f} {answer.bound:>9.2f}"
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
