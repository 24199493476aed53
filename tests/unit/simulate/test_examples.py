"""Every scenario of the examples runs, and the benchmark's page says what was and was not run."""

from pathlib import Path

import pytest

from bench.benchmark.page import Run, write
from trimtab.simulate.contest import Contest, Outcome, Progress, outcomes
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.scenario import Scenario, load_scenario
from trimtab.simulate.sections import section_of

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "scenarios").glob("*.yaml"))


def short(path: Path) -> Scenario:
    """Return the scenario's first three minutes."""
    return load_scenario(path).model_copy(update={"duration_s": 180.0, "warmup_s": 0.0})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(path: Path) -> None:
    experiment = Experiment(scenario=short(path))
    (result,) = experiment.runs("trimtab", [0])
    requests = experiment.traffic(0)
    for key, part in result.deployments.items():
        sent = sum(len(traffic) for each, traffic in requests.items() if str(each) == key)
        assert part.tally.settled == part.tally.arrived == sent
    assert result.cost_usd > 0
    assert result.attainment is not None


Held = tuple[Outcome, list[Progress]]


@pytest.fixture(scope="module")
def held() -> Held:
    """One contest, two seeds long, with a policy that nobody knows."""
    told: list[Progress] = []
    (path,) = [path for path in EXAMPLES if path.stem == "steady"]
    contest = Contest(
        experiments=[Experiment(scenario=short(path))],
        policies=("trimtab", "hpa-queue", "nobody"),
        seeds=2,
        jobs=1,
    )
    (outcome,) = outcomes(contest, told.append)
    return outcome, told


def test_a_contest_tells_how_far_it_is_and_what_failed(held: Held) -> None:
    outcome, told = held
    assert [(one.done, one.total) for one in told] == [(number, 5) for number in range(1, 6)]
    assert [one.what for one in told] == [
        "trimtab", "hpa-queue", "nobody", "hindsight, seed 0", "hindsight, seed 1",
    ]  # fmt: skip
    (failure,) = outcome.failures
    assert failure.startswith("nobody: --policy: there is no policy nobody")
    policies = [one.result.policy for one in outcome.measured]
    assert policies == ["trimtab", "hpa-queue", "clairvoyant"] * 2
    assert {one.result.seed for one in outcome.measured} == {0, 1}


def test_no_result_is_cheaper_than_its_bound(held: Held) -> None:
    outcome, _ = held
    bounds = [(one.result.cost_usd, one.bound_usd) for one in outcome.measured]
    assert any(bound for _, bound in bounds)
    assert all(bound is None or bound <= cost for cost, bound in bounds)


def test_all_seeds_of_a_policy_run_on_the_hardware_that_the_first_found(held: Held) -> None:
    outcome, _ = held
    pools = [
        {name for name, pool in one.result.pools.items() if pool.replica_hours}
        for one in outcome.measured
        if one.result.policy == "hpa-queue"
    ]
    assert pools[0] == pools[1]
    assert len(pools[0]) == 1


def test_the_page_has_every_row_and_says_what_is_missing(held: Held, tmp_path: Path) -> None:
    outcome, _ = held
    write(
        tmp_path,
        Run(
            sections=[section_of(outcome)],
            missing_scenarios=["stock-out"],
            missing_policies=["keda"],
            failures=["steady, knative: it broke"],
            minutes=12.4,
        ),
    )
    page = (tmp_path / "benchmark.md").read_text()
    for words in (
        "**Not run this time: scenarios stock-out.**",
        "**Not run this time: policies keda.**",
        "**Failed: steady, knative: it broke.**",
        "It took 12 minutes.",
        "| **trimtab** |",
        "| hpa-queue |",
        "| clairvoyant |",
        "![Cost against attainment](images/benchmark-steady.svg)",
    ):
        assert words in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| ")}
    # The claim, the glance, Trimtab against the others, and the table of the scenario.
    assert len(widths) == 4
    assert "<svg" in (tmp_path / "images" / "benchmark-steady.svg").read_text()
