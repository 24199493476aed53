"""From the outcome of a contest to a section of the report."""

from statistics import fmean

from trimtab.planner.offline import snapshot_of
from trimtab.simulate.compare import rows_of
from trimtab.simulate.contest import Outcome
from trimtab.simulate.optimum import ATTAINS
from trimtab.simulate.report.page import Section
from trimtab.simulate.report.scatter import HINDSIGHT


def section_of(outcome: Outcome) -> Section:
    """Return the section of one scenario: rows over all seeds, pictures of the first."""
    scenario = outcome.experiment.scenario
    snapshot, _ = snapshot_of(scenario.manifests, 0.0)
    first = min((one.result.seed for one in outcome.measured), default=0)
    # A result is held against the bound of its attainment, and this one has the goal's.
    bounds = [
        one.bound_usd
        for one in outcome.measured
        if one.result.policy == HINDSIGHT and (one.result.attainment or 0.0) >= ATTAINS
    ]
    known = [bound for bound in bounds if bound is not None]
    return Section(
        name=scenario.name,
        about=scenario.about,
        rows=rows_of(outcome.measured),
        runs=[one.result for one in outcome.measured if one.result.seed == first],
        targets={
            str(state.key): state.policy.targets
            for state in snapshot.deployments
            if state.policy is not None
        },
        goal=ATTAINS,
        bound_usd=fmean(known) if known and len(known) == len(bounds) else None,
    )
