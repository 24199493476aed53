"""The best hardware for a policy that cannot choose it, known when all is over."""

from collections.abc import Mapping, Sequence

from trimtab.models.snapshot import Key
from trimtab.simulate.entrants import Hardware, hardware_to_try, policy_on
from trimtab.simulate.result import DeploymentResult, RunResult
from trimtab.simulate.run import Mode, run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of

Tried = tuple[Hardware, RunResult]


def best_in_hindsight(
    scenario: Scenario,
    traffic: Mapping[Key, Traffic],
    name: str,
    seed: int,
    mode: Mode = Mode.EXACT,
) -> Tried:
    """Return the hardware on which the policy `name` does best, and its run there.

    It is tried with all deployments on each kind, and then with each deployment on the kind that
    was best for it.

    Raises:
        KeyError: No policy is called so.
        InvalidInput: A manifest cannot be understood.
    """
    world = world_of(scenario, traffic)

    def tried_on(hardware: Hardware) -> Tried:
        return hardware, run(scenario, traffic, policy_on(name, world, hardware), seed, mode)

    tried = [tried_on(hardware) for hardware in hardware_to_try(name, world)]
    mixed = {key: _best_for(key, tried) for key in tried[0][0]}
    if all(mixed != hardware for hardware, _ in tried):
        tried.append(tried_on(mixed))
    return min(tried, key=lambda one: _badness(one[1]))


def attains(result: RunResult) -> bool:
    """Tell whether every deployment met each of its targets as often as its percentile asks."""
    return not any(_misses(each) for each in result.deployments.values())


def _badness(result: RunResult) -> tuple[bool, float, float]:
    """Order runs: the cheapest of those that attain, then those that attain most."""
    if attains(result):
        return False, 0.0, result.cost_usd
    return True, 1.0 - (result.attainment or 0.0), result.cost_usd


def _misses(one: DeploymentResult) -> bool:
    shares = (one.attainment[name] for name in ("ttft", "itl", "e2e"))
    return any(share is not None and share < one.percentile for share in shares)


def _best_for(key: Key, tried: Sequence[Tried]) -> tuple[str, ...]:
    def badness(one: Tried) -> tuple[bool, float, float]:
        result = one[1].deployments[str(key)]
        if _misses(result):
            return True, 1.0 - (result.attainment["all"] or 0.0), result.usd
        return False, 0.0, result.usd

    return min(tried, key=badness)[0][key]
