"""Fluid mode beside exact mode: cost and attainment of the same runs, and what a run is worth.

Some policies jump by whole replicas on one look at a queue, so that nothing repeats which is not
equal bit for bit. Three things are therefore shown of each case, each the mean over seeds: how far
exact mode is from itself when all requests come 3 ms later, how far fluid mode is from exact mode,
and the same where fluid mode does what exact mode decided. Then by how much fluid mode is off on
average, with half of the 95 % interval. Run as `python -m bench.simulate.agree [SEEDS [WORD ...]]`
in tests/, with words that names of cases have; prints, and asserts nothing.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from trimtab.models.snapshot import Key
from trimtab.simulate.compare import estimate
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
SEEDS = 6
EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"


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
    tape: Sequence[tuple[float, Choice]] = ()
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
    """One case and seed, four times."""

    exact: Served
    later: Served
    fluid: Served
    following: Served


def runs_of(case: Case, seed: int) -> Runs:
    """Return what became of one case and seed in each of the four ways."""
    requests = Experiment(scenario=case.scenario).traffic(seed)
    later = {key: replace(one, at_s=one.at_s + LATER_S) for key, one in requests.items()}

    def made(
        of: Mapping[Key, Traffic], mode: Mode, tape: Sequence[tuple[float, Choice]] = ()
    ) -> tuple[Served, list[tuple[float, Choice]]]:
        policy = Taped(inner=case.policy(world_of(case.scenario, of)), tape=tape)
        result = run(case.scenario, of, policy, seed, mode)
        return Served(result.cost_usd, result.attainment or 0.0), policy.made

    exact, tape = made(requests, Mode.EXACT)
    return Runs(
        exact=exact,
        later=made(later, Mode.EXACT)[0],
        fluid=made(requests, Mode.FLUID)[0],
        following=made(requests, Mode.FLUID, tape)[0],
    )


def _mean(of: Sequence[Served]) -> Served:
    return Served(fmean(one.usd for one in of), fmean(one.attained for one in of))


def _off(runs: Sequence[Runs]) -> str:
    """Return by how much fluid mode is off in cost, and in points of attainment."""
    cells = []
    for differences in (
        [100.0 * (one.fluid.usd / one.exact.usd - 1.0) for one in runs],
        [100.0 * (one.fluid.attained - one.exact.attained) for one in runs],
    ):
        found = estimate(differences)
        assert found is not None
        half = "" if found.half_width is None else f" ± {found.half_width:.1f}"
        cells.append(f"{found.mean:+.1f}{half}")
    return " | ".join(cells)


def main(seeds: int, words: Sequence[str]) -> None:
    """Print both tables for the cases whose names have one of `words`, or for all."""
    out = sys.stdout.write
    out(
        f"Means over {seeds} seeds; beside them how many of these are within {COST:.0%} and "
        f"{100 * POINTS:.0f} points of exact mode.\n\n"
        "| run | exact | exact, 3 ms later | fluid | fluid, as exact decided |\n"
        "|---|---:|---:|---:|---:|\n"
    )
    agree = 0
    off = []
    for case in cases():
        if words and not any(word in case.name for word in words):
            continue
        runs = [runs_of(case, seed) for seed in range(seeds)]
        exact = _mean([one.exact for one in runs])
        cells = [f"{exact.usd:.2f} $, {exact.attained:.1%}"]
        for name in ("later", "fluid", "following"):
            mean = _mean([getattr(one, name) for one in runs])
            alike = sum(getattr(one, name).agrees(one.exact) for one in runs)
            cells.append(f"{mean.usd:.2f} $, {mean.attained:.1%}, {alike} of {seeds}")
            if name == "fluid":
                agree += mean.agrees(exact)
        off.append(f"| {case.name} | {_off(runs)} |\n")
        out(f"| {case.name} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    out(f"\nOf {len(off)} means, {agree} of fluid mode agree with exact mode.\n\n")
    out("| fluid mode is off in | cost, % | attained, points |\n|---|---:|---:|\n")
    out("".join(off))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS, sys.argv[2:])
