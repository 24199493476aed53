"""What would disprove the bound or the clairvoyant row: a policy that attains as much for less."""

from collections.abc import Iterator, Sequence
from itertools import product

from trimtab.simulate.compare import Measured
from trimtab.simulate.contest import Outcome
from trimtab.simulate.result import RunResult


def failures_of(outcome: Outcome) -> list[str]:
    """Return what could not be run, and what undercuts what nothing may, with the scenario."""
    name = outcome.experiment.scenario.name
    return [f"{name}, {words}" for words in (*outcome.failures, *undercut(outcome.measured))]


def undercut(measured: Sequence[Measured]) -> Iterator[str]:
    """Yield what undercuts the bound or the schedule that a result of the same seed is held to.

    The bound of a result is one for all that miss no more requests of any deployment, and what
    one of those did is among the clairvoyant's schedules.
    """
    for held, other in product(measured, measured):
        if held.result.seed != other.result.seed or not _as_good(other.result, held.result):
            continue
        usd = other.result.cost_usd
        for what, least in (("bound", held.bound_usd), ("schedule", held.optimum_usd)):
            if least is not None and usd < least:
                yield (
                    f"seed {other.result.seed}: {other.result.policy} paid {usd:.4f} $, less than "
                    f"the {what} of {least:.4f} $ for what {held.result.policy} attains"
                )


def _as_good(one: RunResult, other: RunResult) -> bool:
    """Tell whether the first misses no more requests of any deployment, nor a larger share."""
    for key, theirs in other.deployments.items():
        ours = one.deployments[key]
        if ours.tally.settled - ours.tally.met > theirs.tally.settled - theirs.tally.met:
            return False
        if (ours.attainment["all"] or 0.0) < (theirs.attainment["all"] or 0.0):
            return False
    return True
