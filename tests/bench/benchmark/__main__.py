"""`make benchmark`: every scenario, every policy, three seeds, and the page that shows them."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.benchmark.alone import priority_of
from bench.benchmark.page import Run, write
from bench.benchmark.proof import failures_of
from trimtab.simulate.contest import Contest, Progress, outcomes
from trimtab.simulate.entrants import NAMES
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.scenario import load_scenario
from trimtab.simulate.sections import section_of

ROOT = Path(__file__).parents[3]
SCENARIOS = ROOT / "examples" / "scenarios"
QUICK_SCENARIOS = ("long-context", "reasoning", "spot-reclaims")
QUICK_POLICIES = ("trimtab", "static-peak", "hpa-queue", "keda", "dynamo")


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for and write the page after every scenario."""
    parser = argparse.ArgumentParser(prog="benchmark", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few scenarios and policies, one seed")
    parser.add_argument("--scenarios", help="names with commas between; default: all")
    parser.add_argument("--policies", help="names with commas between; default: all")
    parser.add_argument("--seeds", type=int, help="default: each scenario's own")
    parser.add_argument("--jobs", type=int, default=2, help="processes; default: 2")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    given = parser.parse_args(arguments)
    every = sorted(path.stem for path in SCENARIOS.glob("*.yaml"))
    names = _listed(given.scenarios) or (QUICK_SCENARIOS if given.quick else every)
    policies = _listed(given.policies) or (QUICK_POLICIES if given.quick else NAMES)
    seeds = given.seeds or (1 if given.quick else None)
    began = time.monotonic()

    def tell(progress: Progress) -> None:
        seconds = time.monotonic() - began
        left = seconds / progress.done * (progress.total - progress.done)
        sys.stdout.write(
            f"{progress.done}/{progress.total} after {seconds / 60:.1f} min, "
            f"about {left / 60:.0f} min left: {progress.scenario}, {progress.what}\n"
        )
        sys.stdout.flush()

    contest = Contest(
        experiments=[
            Experiment(scenario=load_scenario(SCENARIOS / f"{name}.yaml")) for name in names
        ],
        policies=policies,
        seeds=seeds,
        jobs=given.jobs,
    )
    sections, failures, priorities = {}, [], {}
    for outcome in outcomes(contest, tell):
        name = outcome.experiment.scenario.name
        sections[name] = section_of(outcome)
        failures += failures_of(outcome)
        if (priority := priority_of(outcome)) is not None:
            priorities[name] = priority
        write(
            given.docs,
            Run(
                sections=[sections[each] for each in names if each in sections],
                missing_scenarios=[each for each in every if each not in sections],
                missing_policies=[each for each in NAMES if each not in policies],
                failures=failures,
                minutes=(time.monotonic() - began) / 60.0,
                priorities=[priorities[each] for each in names if each in priorities],
            ),
        )
    return 1 if failures else 0


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
