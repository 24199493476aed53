"""Hold policies against fixed fleets in hindsight, and look at how they move. Asserts nothing.

Run in tests/: `python -m bench.control [CASE ...] [--policy NAME] [--routing NAME] [--seed N]
[--trace]`.

Replicas are counted from being asked for until they are gone. The fixed fleet is the one whose
share of requests within all targets equals the policy's, interpolated between two whole counts.
"""

import argparse
import sys
import time

import numpy as np

from bench.control.cases import SHAPES, TRAFFIC, Case
from bench.control.fleets import FixedCurve
from bench.control.moves import moves, plateau
from bench.control.watch import Watched
from trimtab.api.llmdeployment import Routing
from trimtab.simulate.entrants import NAMES, hardware_to_try, policy_on
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import run
from trimtab.simulate.world import world_of

LEAST = 0.90
"""Goodput below which the ratio says nothing."""


def simulated(case: Case, options: argparse.Namespace) -> tuple[RunResult, Watched]:
    """Return one run of the policy, and the policy."""
    scenario = case.scenario(options.percentile, options.routing)
    traffic = Experiment(scenario=scenario).traffic(options.seed)
    world = world_of(scenario, traffic)
    (hardware, *_) = hardware_to_try(options.policy, world)
    watched = Watched(policy=policy_on(options.policy, world, hardware))
    return run(scenario, traffic, watched, options.seed), watched


def scored(case: Case, options: argparse.Namespace) -> str:
    """Return one line about a case that is held against fixed fleets."""
    begun = time.process_time()
    result, watched = simulated(case, options)
    cpu_s = time.process_time() - begun
    scenario = case.scenario(options.percentile, options.routing)
    traffic = Experiment(scenario=scenario).traffic(options.seed)
    curve = FixedCurve(scenario, traffic, options.seed)
    share = result.attainment or 0.0
    hours = sum(pool.replica_hours for pool in result.pools.values())
    fixed = curve.replicas_for(share)
    scored_h = result.duration_s / 3600.0
    ratio = hours / (fixed * scored_h) if fixed else np.nan
    if options.trace:
        _trace(watched)
    return (
        f"{case.name:13} {result.policy:16} {share * 100:7.2f} {hours:8.2f}"
        f" {(fixed or np.nan) * scored_h:8.2f} {fixed or np.nan:6.2f} {ratio:6.3f}"
        f"{' ' if share >= LEAST else '!'}"
        f" {result.direction_changes / scored_h:7.1f} {_most(watched, case):4} {cpu_s:6.1f}\n"
    )


def moved(case: Case, settled: float, options: argparse.Namespace) -> str:
    """Return one line about a control shape."""
    result, watched = simulated(case, options)
    found = moves(case, watched.ticks, settled)
    if options.trace:
        _trace(watched)
    settling = "-" if found.settling_s is None else f"{found.settling_s:.0f}"
    missed = [name for name, met in found.verdicts(case.start_s).items() if not met]
    return (
        f"{case.name:13} {result.policy:16} {(result.attainment or 0.0) * 100:7.2f}"
        f" {found.turns:5} {found.demand_turns:6} {found.turns / found.demand_turns:6.2f}"
        f" {found.most:5} {found.settled:7.1f} {found.overshoot:9.1f} {settling:>8}"
        f"  {'missed: ' + ', '.join(missed) if missed else 'ok'}\n"
    )


def _most(watched: Watched, case: Case) -> int:
    return max(t.wanted for t in watched.ticks if t.at_s >= case.warmup_minutes * 60.0)


def _trace(watched: Watched) -> None:
    for tick in watched.ticks:
        sys.stdout.write(tick.line() + "\n")


def main(arguments: list[str]) -> None:
    """Print a table of traffic cases and one of control shapes."""
    parser = argparse.ArgumentParser(prog="bench.control", description=__doc__)
    known = [*TRAFFIC, *SHAPES]
    parser.add_argument("cases", nargs="*", choices=[*known, []], default=[])
    parser.add_argument("--policy", choices=NAMES, default="trimtab")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--percentile", type=int, default=95, help="in the manifest's policy")
    parser.add_argument("--routing", type=Routing, choices=list(Routing), default=Routing.EVEN)
    parser.add_argument("--trace", action="store_true", help="one line for each decision")
    options = parser.parse_args(arguments)
    wanted = options.cases or known
    traffic = [TRAFFIC[name] for name in wanted if name in TRAFFIC]
    shapes = [SHAPES[name] for name in wanted if name in SHAPES]
    if traffic:
        sys.stdout.write(
            f"{'case':13} {'policy':16} {'met %':>7} {'repl-h':>8} {'fixed-h':>8} {'fixed':>6}"
            f" {'ratio':>6}  {'turns/h':>7} {'most':>4} {'cpu s':>6}\n"
        )
    for case in traffic:
        sys.stdout.write(scored(case, options))
        sys.stdout.flush()
    if not shapes:
        return
    settled = plateau(simulated(SHAPES["step"], options)[1].ticks)
    sys.stdout.write(
        f"{'case':13} {'policy':16} {'met %':>7} {'turns':>5} {'demand':>6} {'each':>6}"
        f" {'most':>5} {'settles':>7} {'overshoot':>9} {'in s':>8}\n"
    )
    for case in shapes:
        sys.stdout.write(moved(case, settled, options))
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
