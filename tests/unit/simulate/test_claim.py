"""The claim is read off the rows: what counts, what is missed, and against whom."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench.benchmark.alone import priority_of
from bench.benchmark.claim import Priority, cheapest, claims, ratio
from bench.benchmark.proof import failures_of
from trimtab.simulate.compare import Measured, rows_of
from trimtab.simulate.contest import Outcome
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.report.page import Section
from trimtab.simulate.scenario import load_scenario
from unit.simulate.results import deployment_result, measured

EXAMPLES = Path(__file__).parents[3] / "examples" / "scenarios"

Given = tuple[float, int]
"""Cost in $, requests of 1,000 that met their targets."""


def one(policy: str, given: Given, turns: int, optimum: float | None = None) -> Measured:
    usd, met = given
    return measured(
        policy=policy,
        cost_usd=usd,
        deployments={"assistants/chat": deployment_result(met=met, settled=1000)},
        direction_changes=turns,
        optimum_usd=optimum,
    )


def section(name: str, policies: Mapping[str, Given], turns: Mapping[str, int]) -> Section:
    found = [one(policy, given, turns.get(policy, 0), 4.0) for policy, given in policies.items()]
    return Section(name=name, about="For a test.", rows=rows_of(found), runs=[])


WON = section(
    "won",
    {"trimtab": (5.0, 995), "keda": (10.0, 990), "knative": (2.0, 989), "clairvoyant": (4.0, 990)},
    {"trimtab": 2},
)
LOST = section(
    "lost",
    {"trimtab": (6.0, 980), "keda": (9.0, 950), "hpa-queue": (4.0, 999), "hpa-batch": (9.0, 999)},
    {"trimtab": 5, "hpa-queue": 3, "hpa-batch": 9},
)
NOBODY = section("nobody", {"trimtab": (6.0, 500), "clairvoyant": (4.0, 900)}, {})


def test_only_rivals_that_attain_count_and_the_clairvoyant_is_none() -> None:
    found = cheapest(WON)
    assert found is not None
    assert found.policy == "keda"
    assert ratio(WON) == pytest.approx(0.5)
    assert ratio(LOST) == pytest.approx(1.5)
    assert cheapest(NOBODY) is None
    assert ratio(NOBODY) is None


def test_the_claim_says_what_was_missed_and_where() -> None:
    here = [each.here for each in claims([WON, LOST, NOBODY], [])]
    assert here == [
        "1 of 2; missed: lost",
        "1.00 over 2 scenarios; 0.50 over the 1 where Trimtab attains it, too",
        "1 of 2; dearer: lost",
        "1.42 over 3 of 3 scenarios",
        "5.0 and 3.0; no more than HPA's in 0 of 1 scenarios; more: lost",
    ]


def test_the_claim_of_nothing_is_nothing() -> None:
    assert claims([], [])[1].here.startswith("- over 0 scenarios")
    (*_, last) = claims([], [Priority(scenario="s", deployment="a/b", beside=0.5, alone=None)])
    assert last.here == "50.00 % and - %"


def held(policy: str, usd: float, met: int, **over: Any) -> Measured:
    parts = {"assistants/chat": deployment_result(met=met, settled=1000)}
    return measured(policy=policy, cost_usd=usd, deployments=parts, **over)


def test_a_policy_that_undercuts_what_nothing_may_fails_the_benchmark() -> None:
    experiment = Experiment(scenario=load_scenario(EXAMPLES / "steady.yaml"))

    def failures(*found: Measured, failed: tuple[str, ...] = ()) -> list[str]:
        return failures_of(Outcome(experiment=experiment, measured=found, failures=failed))

    ours = held("trimtab", 5.0, 990, bound_usd=4.0, optimum_usd=4.5)
    assert not failures(ours)
    assert failures(ours, failed=("keda: broken",)) == ["steady, keda: broken"]
    # Its own bound, by a millionth.
    (own,) = failures(held("trimtab", 4.0, 990, bound_usd=4.000004))
    assert own.startswith("steady, seed 0: trimtab paid 4.0000 $, less than the bound of 4.0000 $")
    # That of another, which attains no more.
    cheap = held("keda", 3.9, 990)
    assert [words.partition("the ")[2][:8] for words in failures(ours, cheap)] == [
        "bound of",
        "schedule",
    ]
    assert not failures(ours, held("keda", 3.9, 989))
    assert not failures(ours, held("keda", 3.9, 990, seed=1))
    assert not failures(ours, held("keda", 4.5, 999))


def outcome_of(name: str, policy: str) -> Outcome:
    scenario = load_scenario(EXAMPLES / f"{name}.yaml").model_copy(
        update={"duration_s": 240.0, "warmup_s": 60.0}
    )
    experiment = Experiment(scenario=scenario)
    found = [Measured(result=result) for result in experiment.runs(policy, [0])]
    return Outcome(experiment=experiment, measured=tuple(found), failures=())


def test_a_priority_is_held_against_the_same_deployment_alone() -> None:
    outcome = outcome_of("shared-priorities", "trimtab")
    found = priority_of(outcome)
    assert found is not None
    assert found.deployment == "assistants/chat"
    (measured_one,) = outcome.measured
    assert found.beside == measured_one.result.deployments["assistants/chat"].attainment["all"]
    assert found.alone is not None
    assert found.alone > 0.5


@pytest.mark.parametrize(
    ("name", "policy"), [("steady", "trimtab"), ("shared-priorities", "static-peak")]
)
def test_without_a_first_among_several_or_without_trimtab_there_is_none(
    name: str, policy: str
) -> None:
    assert priority_of(outcome_of(name, policy)) is None
