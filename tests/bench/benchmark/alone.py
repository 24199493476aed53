"""What the most important deployment of a scenario attains, beside the others and without them."""

from collections.abc import Sequence
from dataclasses import replace

from bench.benchmark.claim import Priority
from trimtab.models.snapshot import Key
from trimtab.planner.offline import snapshot_of
from trimtab.simulate.contest import Outcome
from trimtab.simulate.entrants import policy_on
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.report.scatter import OURS
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.world import world_of


def priority_of(outcome: Outcome) -> Priority | None:
    """Return it for Trimtab, by running each seed once more with that deployment only.

    None where no deployment is more important than all others, or Trimtab was not run.
    """
    first = _first(outcome.experiment.scenario)
    beside = [one.result for one in outcome.measured if one.result.policy == OURS]
    if first is None or not beside:
        return None
    alone = [_alone(outcome.experiment, first, result.seed) for result in beside]
    return Priority(
        scenario=outcome.experiment.scenario.name,
        deployment=str(first),
        beside=_attained(beside, first),
        alone=_attained(alone, first),
    )


def _first(scenario: Scenario) -> Key | None:
    """Return the deployment with the highest priority, if only one has it."""
    snapshot, _ = snapshot_of(scenario.manifests, 0.0)
    ranks = {
        state.key: state.policy.priority
        for state in snapshot.deployments
        if state.policy is not None
    }
    found = [key for key, rank in ranks.items() if rank == max(ranks.values())]
    return found[0] if len(found) == 1 < len(ranks) else None


def _alone(experiment: Experiment, first: Key, seed: int) -> RunResult:
    manifests = experiment.scenario.manifests
    kept = [
        each
        for each in manifests.deployments
        if each.metadata.name == first.name
        and (each.metadata.namespace or "default") == first.namespace
    ]
    scenario = experiment.scenario.model_copy(
        update={"manifests": replace(manifests, deployments=kept)}
    )
    traffic = {first: experiment.traffic(seed)[first]}
    return run(scenario, traffic, policy_on(OURS, world_of(scenario, traffic), {}), seed)


def _attained(results: Sequence[RunResult], key: Key) -> float | None:
    tallies = [result.deployments[str(key)].tally for result in results]
    settled = sum(tally.settled for tally in tallies)
    return sum(tally.met for tally in tallies) / settled if settled else None
