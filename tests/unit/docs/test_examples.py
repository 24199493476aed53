"""Every example can be planned, gets a fleet or says why not, and stands in the list of them."""

import re
from pathlib import Path

import pytest

from trimtab.api.conditions import ConditionType
from trimtab.cli import manifests
from trimtab.config import PlannerConfig
from trimtab.models.plan import Plan, Verdict
from trimtab.models.snapshot import Snapshot
from trimtab.planner.offline import snapshot_of
from trimtab.planner.plan import plan
from trimtab.planner.whatif import Lever, whatif

FOLDER = Path(__file__).parents[3] / "examples"
POOLS = FOLDER / "pools.yaml"
FILES = sorted(FOLDER.glob("*.yaml"))
NOW = 1_790_000_000.0
CONFIG = PlannerConfig()


def world(path: Path) -> Snapshot:
    """The example, with the pools that are there to plan with where it brings none."""
    written, _ = manifests.read([str(path)])
    if not written.pools and path != POOLS:
        written, _ = manifests.read([str(path), str(POOLS)])
    return snapshot_of(written, NOW)[0]


def planned(path: Path) -> Plan:
    return plan(world(path), CONFIG)


WITH_DEPLOYMENTS = [path for path in FILES if world(path).deployments]


def test_most_examples_are_about_deployments() -> None:
    assert len(WITH_DEPLOYMENTS) >= 12


@pytest.mark.parametrize("path", WITH_DEPLOYMENTS, ids=lambda path: path.stem)
def test_an_example_gets_a_fleet_that_covers_what_it_expects_and_has_a_price(path: Path) -> None:
    for state, decision in zip(world(path).deployments, planned(path).decisions, strict=True):
        assert state.policy is not None, state.error
        replicas = sum(target.replicas for target in decision.targets)
        assert replicas >= max(1, state.policy.min_replicas), decision.message
        assert decision.usd_per_hour is not None
        capacity = next(f for f in decision.facts if f.type == ConditionType.CAPACITY_AVAILABLE)
        assert capacity.status, capacity.message
        cap = state.policy.max_usd_per_hour
        assert cap is None or decision.usd_per_hour <= cap


@pytest.mark.parametrize("path", WITH_DEPLOYMENTS, ids=lambda path: path.stem)
def test_every_candidate_that_lost_says_why(path: Path) -> None:
    for decision in planned(path).decisions:
        for candidate in decision.candidates:
            assert candidate.message
            assert candidate.verdict is not Verdict.UNKNOWN_MODEL
            assert candidate.verdict is not Verdict.NO_PRICE, candidate


@pytest.mark.parametrize("path", WITH_DEPLOYMENTS, ids=lambda path: path.stem)
def test_what_would_change_it_can_be_asked(path: Path) -> None:
    snapshot = world(path)
    state = snapshot.deployments[0]
    found = whatif(snapshot, CONFIG, state.key)
    assert all(one.message and one.fleet for one in found)
    asks_for_more = state.policy is not None and state.policy.prior_rps
    assert not asks_for_more or Lever.DEMAND in {one.lever for one in found}


def test_the_budget_of_the_team_binds_and_the_important_one_comes_first() -> None:
    snapshot = world(FOLDER / "budgeted-team.yaml")
    (budget,) = snapshot.budgets
    total = sum(d.usd_per_hour or 0.0 for d in plan(snapshot, CONFIG).decisions)
    assert budget.spec.max_per_hour is not None
    assert 0 < total <= float(budget.spec.max_per_hour)


def test_the_spot_example_prefers_spot() -> None:
    (decision,) = planned(FOLDER / "spot-heavy.yaml").decisions
    used = [target.pool for target in decision.targets if target.replicas]
    assert used
    assert used[0].startswith("l40s-spot")


def test_the_pools_to_plan_with_all_have_a_catalogue_price() -> None:
    for pool in world(POOLS).pools:
        assert pool.price is not None
        assert pool.price.source.startswith("Catalogue"), pool.name


def test_the_list_of_examples_is_complete() -> None:
    listed = re.findall(r"^\| \[(\S+)\]\(\1\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == [path.name for path in FILES]


def test_short_and_long_prompts_get_what_is_cheapest_for_each() -> None:
    decisions = planned(FOLDER / "by-length.yaml").decisions
    pools = {d.key.name: {t.pool for t in d.targets if t.replicas} for d in decisions}
    assert pools == {"questions": {"hall-l40s"}, "documents": {"hall-h100"}}


def test_what_may_run_anywhere_runs_where_it_emits_least() -> None:
    (decision,) = planned(FOLDER / "low-carbon.yaml").decisions
    assert {t.pool for t in decision.targets if t.replicas} == {"l40s-hydro"}
    assert decision.watts is not None
    assert decision.grams_per_hour == pytest.approx(decision.watts / 1000 * 28)
