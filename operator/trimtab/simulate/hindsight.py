"""The best run of a policy over the hardware that it cannot choose itself."""

from collections.abc import Mapping, Sequence

from trimtab.models.snapshot import Key
from trimtab.simulate.entrants import makers
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of


def best_in_hindsight(
    scenario: Scenario, traffic: Mapping[Key, Traffic], name: str, seed: int
) -> RunResult:
    """Return the best run of the policy `name`: on each hardware it is blind to, the best counts.

    Raises:
        KeyError: No policy is called so.
        InvalidInput: A manifest cannot be understood.
    """
    world = world_of(scenario, traffic)
    return best([run(scenario, traffic, make(), seed) for make in makers(name, world)])


def best(results: Sequence[RunResult]) -> RunResult:
    """Return the cheapest of those that attain; where none does, the one that attains most."""
    return min(results, key=_badness)


def attains(result: RunResult) -> bool:
    """Tell whether every deployment met all its targets as often as its percentile asks."""
    return all(
        (each.attainment["all"] or 0.0) >= each.percentile
        for each in result.deployments.values()
        if each.tally.settled
    )


def _badness(result: RunResult) -> tuple[bool, float, float]:
    if attains(result):
        return False, 0.0, result.cost_usd
    return True, 1.0 - (result.attainment or 0.0), result.cost_usd
