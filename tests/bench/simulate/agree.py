"""Fluid mode beside exact mode: cost and attainment of the same runs, and how sure that is.

Some policies jump by whole replicas on one look at a queue, so that nothing repeats which is not
equal bit for bit. So seeds are added to a case until the interval of the mean difference is within
the bars or beside them, and it is told how many seeds agree by themselves: of all that were run,
and of the first ones where fluid mode does what exact mode decided, and where exact mode is held
against itself with all requests 3 ms later. Run as `python -m bench.simulate.agree [MOST [WORD
...]]` in tests/, with the most seeds of a case and words that names of cases have; with FROM-TO in
place of MOST, all of those seeds and no look before their end. Prints, and asserts nothing.
"""

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from trimtab.models.snapshot import Key
from trimtab.simulate.compare import CONFIDENCE, t_quantile
from trimtab.simulate.entrants import policy_on
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.policy import Choice, FixedPolicy, FleetView, Policy
from trimtab.simulate.run import Mode, run
from trimtab.simulate.scenario import Scenario, load_scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import World, world_of
from unit.simulate.worlds import scenario, steady, variant

COST, POINTS = 0.05, 0.02
"""The bars: of cost, and of attainment."""
LATER_S = 0.003
LOOKS = (3, 10)
"""Seeds after which it is looked whether a case is decided."""
EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"

Tape = Sequence[tuple[float, Choice]]
"""Decisions with their times."""


@dataclass(frozen=True)
class Served:
    """What came of a run."""

    usd: float
    attained: float

    def agrees(self, other: "Served") -> bool:
        """Tell whether it is within both bars of another."""
        cost = abs(self.usd - other.usd) <= COST * other.usd
        return cost and abs(self.attained - other.attained) <= POINTS


@dataclass
class Taped:
    """A policy whose decisions are kept with their times, or one that repeats those of another."""

    inner: Policy
    tape: Tape = ()
    made: list[tuple[float, Choice]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """That of the policy."""
        return self.inner.name

    @property
    def interval_s(self) -> float:
        """That of the policy."""
        return self.inner.interval_s

    @property
    def debounce_s(self) -> float | None:
        """That of the policy."""
        return self.inner.debounce_s

    def decide(self, view: FleetView) -> Choice:
        """Return the last decision of the tape so far, or what the policy says."""
        before = [choice for at, choice in self.tape if at <= view.now]
        choice = before[-1] if before else self.inner.decide(view)
        self.made.append((view.now, choice))
        return choice


@dataclass(frozen=True)
class Case:
    """One policy on one scenario."""

    name: str
    scenario: Scenario
    policy: Callable[[World], Policy]


def _ramp(peak: float) -> Scenario:
    over: dict[str, Any] = {
        "name": f"ramp-to-{peak:.0f}",
        "duration": "40m",
        "warmup": "5m",
        "traffic": [steady(8.0, shape="ramp", peak=peak, **{"from": "10m", "until": "25m"})],
        "pools": {
            name: {"nodes": 4, "provisioning": "0s", "load": "60s"} for name in ("h100", "l40s")
        },
    }
    return scenario(**over)


def cases() -> list[Case]:
    """Return the cases, all on one kind of hardware."""

    def ruled(policy: str, on: Scenario) -> Case:
        def made(world: World) -> Policy:
            return policy_on(policy, world, {state.key: ("l40s",) for state in world.states})

        return Case(f"`{policy}`, {on.name}", on, made)

    def fixed(replicas: int, on: Scenario) -> Case:
        fleet = {variant("l40s"): replicas}
        return Case(
            f"{replicas} replicas, {on.name}", on, lambda world: FixedPolicy(replicas=fleet)
        )

    steep, far = _ramp(40.0), _ramp(120.0)
    examples = {
        name: load_scenario(EXAMPLES / f"{name}.yaml")
        for name in ("steady", "cold-start", "stock-out")
    }
    return [
        *(
            ruled(policy, examples[name])
            for policy, name in (
                ("static-peak", "cold-start"),
                ("hpa-batch", "cold-start"),
                ("hpa-queue", "steady"),
                ("hpa-queue", "stock-out"),
                ("kubeai", "steady"),
                ("dynamo", "stock-out"),
                ("trimtab", "cold-start"),
            )
        ),
        *(
            ruled(policy, steep)
            for policy in ("ray-serve", "keda", "hpa-batch", "trimtab", "dynamo", "knative")
        ),
        ruled("llm-d-slo", steep),
        fixed(4, far),
        fixed(3, far),
    ]


@dataclass(frozen=True)
class Runs:
    """One case and seed: exact mode, and fluid mode."""

    exact: Served
    fluid: Served

    @property
    def cost(self) -> float:
        """By which part of it the cost of fluid mode is off."""
        return self.fluid.usd / self.exact.usd - 1.0

    @property
    def attained(self) -> float:
        """By how much its attainment is."""
        return self.fluid.attained - self.exact.attained


@dataclass(frozen=True)
class Told(Runs):
    """The same with exact mode all of whose requests come later, and fluid mode as it decided."""

    later: Served
    following: Served


@dataclass(frozen=True)
class Off:
    """By how much fluid mode is off on average, and half of the interval of that."""

    mean: float
    half: float
    bar: float

    @property
    def verdict(self) -> bool | None:
        """Whether all of the interval is within the bar; None where it is neither in nor out."""
        if abs(self.mean) + self.half <= self.bar:
            return True
        return False if abs(self.mean) - self.half > self.bar else None

    @property
    def within(self) -> bool:
        """Whether the mean is within the bar."""
        return abs(self.mean) <= self.bar

    def __str__(self) -> str:
        """Return it in percent."""
        return f"{100.0 * self.mean:+.1f} ± {100.0 * self.half:.1f}"


def off(differences: Sequence[float], bar: float, looks: int) -> Off:
    """Return the mean of `differences`, with what holds in 95 % of all cases after `looks`."""
    confidence = 1.0 - (1.0 - CONFIDENCE) / looks
    width = t_quantile(len(differences) - 1, confidence) / math.sqrt(len(differences))
    return Off(fmean(differences), width * stdev(differences), bar)


def _run(
    case: Case, of: Mapping[Key, Traffic], seed: int, mode: Mode, tape: Tape = ()
) -> tuple[Served, Tape]:
    policy = Taped(inner=case.policy(world_of(case.scenario, of)), tape=tape)
    result = run(case.scenario, of, policy, seed, mode)
    return Served(result.cost_usd, result.attainment or 0.0), policy.made


def runs_of(case: Case, seed: int) -> Runs:
    """Return what became of one case and seed in both modes."""
    requests = Experiment(scenario=case.scenario).traffic(seed)
    return Runs(*(_run(case, requests, seed, mode)[0] for mode in (Mode.EXACT, Mode.FLUID)))


def told(case: Case, seed: int) -> Told:
    """Return what became of one case and seed in each of the four ways."""
    requests = Experiment(scenario=case.scenario).traffic(seed)
    later = {key: replace(one, at_s=one.at_s + LATER_S) for key, one in requests.items()}
    exact, tape = _run(case, requests, seed, Mode.EXACT)
    return Told(
        exact=exact,
        fluid=_run(case, requests, seed, Mode.FLUID)[0],
        later=_run(case, later, seed, Mode.EXACT)[0],
        following=_run(case, requests, seed, Mode.FLUID, tape)[0],
    )


def row_of(case: Case, looks: Sequence[int]) -> tuple[str, list[Off]]:
    """Return the row of a case, and by how much fluid mode is off in cost and in attainment.

    Seeds are added from look to look until that is known.
    """
    first = [told(case, seed) for seed in range(looks[0])]
    runs: list[Runs] = [*first]
    for count in looks:
        runs += [runs_of(case, seed) for seed in range(len(runs), count)]
        found = _found(runs, len(looks))
        if None not in (one.verdict for one in found):
            break
    alike = (
        f"{sum(others)} of {len(first)}"
        for others in (
            [one.following.agrees(one.exact) for one in first],
            [one.later.agrees(one.exact) for one in first],
        )
    )
    return _row(case, runs, found, *alike), found


def fresh_row_of(case: Case, seeds: Iterable[int]) -> tuple[str, list[Off]]:
    """Return the same for seeds that are all run, whatever the first of them show."""
    runs = [runs_of(case, seed) for seed in seeds]
    found = _found(runs, 1)
    return _row(case, runs, found, "", ""), found


def _found(runs: Sequence[Runs], looks: int) -> list[Off]:
    return [
        off([one.cost for one in runs], COST, looks),
        off([one.attained for one in runs], POINTS, looks),
    ]


def _row(case: Case, runs: Sequence[Runs], found: Sequence[Off], *alike: str) -> str:
    exact = fmean(one.exact.usd for one in runs), fmean(one.exact.attained for one in runs)
    cells = [
        f"{case.name} | {exact[0]:.2f} $, {exact[1]:.1%}",
        *map(str, found),
        f"{sum(one.fluid.agrees(one.exact) for one in runs)} of {len(runs)}",
        *alike,
    ]
    return f"| {' | '.join(cells)} |\n"


def main(seeds: str, words: Sequence[str]) -> None:
    """Print the table for the cases whose names have one of `words`, or for all."""
    first, fresh, last = seeds.partition("-")
    looks = [count for count in LOOKS if count <= int(first)]
    out = sys.stdout.write
    out(
        "| run | exact | fluid is off: cost, % | attained, points | seeds | as exact decided "
        "| exact, 3 ms later |\n|---|---:|---:|---:|---:|---:|---:|\n"
    )
    found: list[list[Off]] = []
    for case in cases():
        if words and not any(word in case.name for word in words):
            continue
        row, differences = (
            fresh_row_of(case, range(int(first), int(last) + 1)) if fresh else row_of(case, looks)
        )
        found.append(differences)
        out(row)
        sys.stdout.flush()
    agree = sum(all(one.verdict for one in each) for each in found)
    apart = sum(any(one.verdict is False for one in each) for each in found)
    within = sum(all(one.within for one in each) for each in found)
    out(
        f"\nOf {len(found)} cases {agree} agree and {apart} do not; in the others the interval is "
        f"wider than that. The means of {within} are within the bars.\n"
    )


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(LOOKS[-1]), sys.argv[2:])
