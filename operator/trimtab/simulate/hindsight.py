"""The best hardware for a policy that cannot choose it, known when all is over."""

from collections.abc import Callable, Mapping, Sequence

from trimtab.models.snapshot import Key
from trimtab.simulate.entrants import Hardware, hardware_to_try, policy_on
from trimtab.simulate.result import DeploymentResult, RunResult
from trimtab.simulate.run import Mode, SoFar, started
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of

Tried = tuple[Hardware, RunResult]

_ROUNDING = 1e-6
"""Of requests."""


def best_in_hindsight(
    scenario: Scenario,
    traffic: Mapping[Key, Traffic],
    name: str,
    seed: int,
    mode: Mode = Mode.EXACT,
) -> Tried:
    """Return the hardware on which the policy `name` does best, and its run there.

    It is tried with all deployments on each kind, and then with each deployment on the kind that
    was best for it. With one deployment a run ends as soon as it is certain that it is not the
    best; of several each may have its best there.

    Raises:
        KeyError: No policy is called so.
        InvalidInput: A manifest cannot be understood.
    """
    world = world_of(scenario, traffic)
    alone = len(world.states) == 1 and mode is Mode.EXACT  # a flow's counts are rounded
    requests = sum(len(each) for each in traffic.values())

    def tried_on(hardware: Hardware, best: Tried | None = None) -> Tried | None:
        begun = started(scenario, traffic, policy_on(name, world, hardware), seed, mode)
        if best is None or not alone:
            return hardware, begun.result()
        result = begun.result_unless(_beaten_by(best[1], requests))
        return None if result is None else (hardware, result)

    best: Tried | None = None
    tried: list[Tried] = []
    for hardware in hardware_to_try(name, world):
        if (one := tried_on(hardware, best)) is not None:
            tried.append(one)
            best = min(tried, key=lambda each: _badness(each[1]))
    mixed = {key: _best_for(key, tried) for key in tried[0][0]}
    if all(mixed != hardware for hardware, _ in tried) and (one := tried_on(mixed)) is not None:
        tried.append(one)
    return min(tried, key=lambda each: _badness(each[1]))


def _beaten_by(best: RunResult, requests: int) -> Callable[[SoFar], bool]:
    """Return what tells whether a run of one deployment is worse than `best`, whatever follows.

    Cost and misses never fall, and no more than all `requests` are ever counted.
    """
    (goal,) = (each.percentile for each in best.deployments.values())
    good, usd = attains(best), best.cost_usd
    allowed = (1.0 - goal) * requests + _ROUNDING
    missed_by_best = (1.0 - (best.attainment or 0.0)) * requests + _ROUNDING

    def beaten(so_far: SoFar) -> bool:
        (tally,) = so_far.tallies.values()
        if good and so_far.cost_usd > usd:
            return True
        least = min(tally.met_ttft, tally.met_itl, tally.met_e2e)
        fails = tally.settled - least > allowed
        return fails and (good or tally.settled - tally.met > missed_by_best)

    return beaten


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
