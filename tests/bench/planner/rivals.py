"""The same fleets as others' programmes were asked for: cost and time side by side."""

import math
import time
from typing import Any

from bench.planner.fleets import say
from rivalfleets import melange, readme, vectors, wva
from trimtab.planner import cover
from trimtab.planner.allocate import allocate
from trimtab.planner.plan import plan


def show() -> None:
    """Print a line for each fleet. Their times are those that were measured with their answers."""
    say("\nMelange's fleets ($/h; theirs and BySize for a router that knows classes)")
    say(f"{'fleet':<30} {'theirs':>9} {'s':>7} {'BySize':>9} {'s':>7} {'LoadAware':>9} {'s':>7}")
    for case in vectors("melange"):
        if case["output"] is not None:
            known = f"{case['output']['cost']:>9.2f} {case['wall_s']:>7.3f}"
            say(f"{case['name']:<30} {known} {_ours(case, True)} {_ours(case, False)}")
    (decision,) = plan(*readme(30.0)).decisions
    mix = " + ".join(f"{target.replicas} x {target.pool}" for target in decision.targets)
    say(f"the first by a whole plan, from profiles: {mix}, ${decision.usd_per_hour:.2f}/h")
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


def _ours(case: dict[str, Any], apart: bool) -> str:
    """Return what the fleet costs that we answer with, and the CPU seconds of the answer."""
    problem, room = melange(case, apart=apart)
    cover.solved.cache_clear()
    start = time.process_time()
    fleet = allocate([problem], room)[problem.key]
    seconds = time.process_time() - start
    return f"{problem.cost(fleet.counts):>9.2f} {seconds:>7.3f}"
