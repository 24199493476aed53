"""Judge Trimtab's planner on a fleet and an engine that share nothing with it. Asserts nothing.

Run in tests/: `python -m bench.judge [CASE ...] [--seeds N] [--told] [--trace] [-o table|json]`.

The planner is driven by `trimtab.simulate.adapter` alone: arrivals, requests in flight and states
of replicas, and with `--told` mean lengths and cached prompts of what arrived. It is held against
the cheapest fixed fleet of one variant on demand, in hindsight, for the share of requests that the
planner has in time, and for 99 %.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product

from bench.judge.cases import CASES, Case
from bench.judge.hindsight import Hindsight, together
from bench.judge.play import WARM_S, Outcome, Planner, play

ASKED = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One case and seed."""

    case: str
    seed: int
    attained: dict[str, float]
    cost: float
    cost_fixed_equal: float | None
    """Of fixed fleets that have the same share in time."""
    cost_fixed_asked: float | None
    """Of fixed fleets that have 99 %."""
    fixed: str
    """Those that have 99 %."""
    turns_per_hour: float
    most: int
    took_s: float
    """For the run alone."""

    def line(self) -> str:
        """Return the row of a table."""
        equal = self.cost / self.cost_fixed_equal if self.cost_fixed_equal else None
        asked = self.cost / self.cost_fixed_asked if self.cost_fixed_asked else None
        return (
            f"{self.case:14} {self.seed:4} {_shares(self.attained):>8} {self.cost:8.2f}"
            f" {_number(self.cost_fixed_equal):>8} {_number(equal):>6}"
            f" {_number(self.cost_fixed_asked):>8} {_number(asked):>6}"
            f" {self.turns_per_hour:7.1f} {self.most:4} {self.took_s:6.1f}  {self.fixed}\n"
        )


HEADER = (
    f"{'case':14} {'seed':>4} {'met %':>8} {'$':>8} {'fixed $':>8} {'ratio':>6}"
    f" {'99 % $':>8} {'ratio':>6} {'turns/h':>7} {'most':>4} {'cpu s':>6}  fixed fleet for 99 %\n"
)


def _shares(attained: dict[str, float]) -> str:
    return " ".join(f"{share * 100:.2f}" for share in attained.values())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def judged(case: Case, seed: int, *, told: bool, trace: bool, alone: bool) -> Verdict:
    """Return what the planner does on a case, beside fixed fleets unless it shall run alone."""
    planner = Planner(case, told=told, say=trace)
    start = planner.first()
    begun = time.process_time()
    outcome = play(case, seed, planner, start)
    took_s = time.process_time() - begun
    equal, asked, fleet = (None, None, "") if alone else _fixed(case, seed, planner, outcome)
    return Verdict(
        case=case.name,
        seed=seed,
        attained=dict(outcome.attained),
        cost=outcome.cost,
        cost_fixed_equal=equal,
        cost_fixed_asked=asked,
        fixed=fleet,
        turns_per_hour=outcome.turns / ((case.lasts_s - WARM_S) / 3600.0),
        most=outcome.most,
        took_s=took_s,
    )


def _fixed(
    case: Case, seed: int, planner: Planner, outcome: Outcome
) -> tuple[float | None, float | None, str]:
    """Return the cost of fixed fleets for the same share, and for 99 %, and what those are."""
    variants = {key.name: known for key, known in planner.scaler.variants.items()}
    hindsight = [
        Hindsight(
            case=case,
            name=name,
            seed=seed,
            variants=[
                label
                for label, each in variants[name].items()
                if case.pools[each.pool].spot_per_hour is None
            ],
        )
        for name in case.deployments
    ]
    equal = together([each.cheapest(outcome.attained[each.name]) for each in hindsight])
    best = [each.cheapest(ASKED) for each in hindsight]
    names = ", ".join(f"{each.replicas:.2f} {each.variant}" if each else "none" for each in best)
    return equal, together(best), names


def main(arguments: list[str]) -> None:
    """Print a table, or a list of objects as JSON."""
    parser = argparse.ArgumentParser(prog="bench.judge", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 1 on")
    parser.add_argument(
        "--told", action="store_true", help="tell the planner lengths and cache hits"
    )
    parser.add_argument("--alone", action="store_true", help="without fixed fleets")
    parser.add_argument("--trace", action="store_true", help="one line for each decision")
    parser.add_argument("-o", dest="output", choices=["table", "json"], default="table")
    options = parser.parse_args(arguments)
    found, table = [], options.output == "table"
    if table:
        sys.stdout.write(HEADER)
    for name, seed in product(options.cases or CASES, range(1, options.seeds + 1)):
        verdict = judged(
            CASES[name], seed, told=options.told, trace=options.trace, alone=options.alone
        )
        found.append(asdict(verdict))
        if table:
            sys.stdout.write(verdict.line())
            sys.stdout.flush()
    if not table:
        sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
