"""What is not known is not zero: places where a missing figure would pass for a small one."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, planned, variant_state
from fleetworld import FleetWorld, Pod, fresh_load, running, world
from trimtab.models.hardware import Parallelism
from trimtab.models.load import LatencyTargets, ObservedLoad, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import DemandSource, Why
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import Snapshot, VariantState
from trimtab.planner.demand import Lengths, mean_shape
from trimtab.planner.evidence import evidence_of, over_target
from trimtab.planner.foresight import seen
from trimtab.planner.plan import plan
from trimtab.planner.starts import watched

TARGETS = LatencyTargets(percentile=0.95, ttft_s=0.8, itl_s=0.05)
DOUBTS = (
    Missing(why="gone"),
    Stale(value=0.0, age_s=90.0),
    Invalid(why="NaN"),
    Fresh(value=0.0, age_s=-5.0),
)
LATE = Fresh(value=0.9)
SHAPE = TokenShape(input_tokens=2000.0, output_tokens=500.0, prefix_hit=0.4)
"""Twice as long as what `fresh_load` reports."""


@pytest.mark.parametrize("doubt", DOUBTS)
def test_without_a_count_of_requests_lateness_is_not_put_down_to_chance(doubt: Signal) -> None:
    load = fresh_load(7.0, arrival_rps=doubt, ttft_s=LATE, slo_attainment=Fresh(value=0.94))
    state = planned(variants=(variant_state(),), load=load)
    assert evidence_of(state, TARGETS).alarm is not None


def test_without_a_count_of_late_ones_it_is_not_either() -> None:
    none = Missing(why="no histogram")
    assert over_target(fresh_load(0.0, ttft_s=LATE, slo_attainment=none), TARGETS)
    assert over_target(fresh_load(0.001, ttft_s=LATE, slo_attainment=none), TARGETS)


@pytest.mark.parametrize("name", ["input_tokens", "output_tokens", "arrival_rps"])
@pytest.mark.parametrize(
    "doubt", [*DOUBTS, Partial(value=9.0, reporting=1, expected=2), Stale(value=9.0, age_s=90.0)]
)
def test_lengths_that_are_in_doubt_change_nothing(name: str, doubt: Signal) -> None:
    over: dict[str, Any] = {name: doubt}
    known = Lengths(before=SHAPE, prior=replace(SHAPE, input_tokens=7.0), strained=False)
    assert mean_shape(fresh_load(50.0, **over), known, 60.0) == SHAPE
    # What was never measured is not what the workload says either.
    assert mean_shape(fresh_load(50.0, **over), replace(known, before=None), 60.0) is None


@pytest.mark.parametrize("doubt", [*DOUBTS, Partial(value=0.9, reporting=1, expected=2)])
def test_prefix_hits_that_are_in_doubt_stay_what_they_were(doubt: Signal) -> None:
    known = Lengths(before=SHAPE, prior=SHAPE, strained=False)
    found = mean_shape(fresh_load(50.0, prefix_hit=doubt), known, 60.0)
    assert found is not None
    assert found.prefix_hit == pytest.approx(SHAPE.prefix_hit)


@pytest.mark.parametrize("doubt", [*DOUBTS, Partial(value=5.0, reporting=1, expected=2)])
def test_a_rate_that_is_in_doubt_teaches_the_forecast_nothing(doubt: Signal) -> None:
    memory = DeploymentMemory(namespace="n", name="d", uid="u")
    (memory,) = seen([(memory, fresh_load(20.0))], NOW)
    doubtful = fresh_load(20.0, arrival_rps=doubt)
    assert seen([(memory, doubtful)], NOW + 15.0) == [memory]


def test_a_replica_that_is_not_ready_yet_teaches_nothing_of_starts() -> None:
    starting = VariantState(
        pool="h100", parallelism=Parallelism(), replicas=1, ready=0, pods=1,
        youngest_ready_s=None, placed_s=200.0, loaded_s=60.0,
    )  # fmt: skip
    there = world()
    state = replace(planned(), variants=(starting,))
    pool = replace(there.pools[0], name="h100")
    assert not watched(Snapshot(now=NOW, deployments=(state,), pools=(pool,)))


def quiet(**over: Any) -> FleetWorld:
    """A deployment of which nothing is known: no prior, and nothing reports yet."""
    lengths = {"inputTokens": 1024, "outputTokens": 256}
    values: dict[str, Any] = {"workload": lengths, "scaling": {"minReplicas": 3}}
    return world(planned(**(values | over)))


def test_where_nothing_is_known_no_decision_says_that_fewer_would_do() -> None:
    there = quiet()
    there.tick()
    assert there.replicas() == 3
    decision = plan(there.snapshot(), there.config).decisions[0]
    assert decision.why is Why.STEADY
    assert decision.demand.observed_rps is None
    assert decision.demand.source is DemandSource.UNKNOWN
    assert "would do" not in decision.message


@pytest.mark.parametrize("load", [ObservedLoad(), fresh_load(0.0, arrival_rps=Missing(why="?"))])
def test_what_runs_is_held_for_hours_where_its_demand_was_never_known(load: ObservedLoad) -> None:
    there = quiet(scaling={"minReplicas": 1, "maxReplicas": 9})
    there.set_load(fresh_load(60.0))
    there.run(300.0)
    before = there.replicas()
    assert before > 1
    there.set_load(load)
    there.memory = replace(there.memory, deployments=())
    there.run(7200.0, every=60.0)
    assert there.replicas() == before


@pytest.mark.parametrize("share", [0.94, 1.0])
@pytest.mark.parametrize("stale", [True, False])
def test_a_share_of_late_requests_that_is_in_doubt_excuses_nothing(
    share: float, stale: bool
) -> None:
    doubt: Signal = Stale(value=share, age_s=90.0)
    if not stale:
        doubt = Partial(value=share, reporting=1, expected=2)
    assert over_target(fresh_load(7.0, ttft_s=LATE, slo_attainment=doubt), TARGETS)


@pytest.mark.parametrize("name", ["waiting", "kv_utilization"])
@pytest.mark.parametrize("doubt", [Stale(value=500.0, age_s=90.0), Fresh(value=500.0, age_s=-5.0)])
def test_a_queue_or_full_caches_of_long_ago_ask_for_nothing(name: str, doubt: Signal) -> None:
    over: dict[str, Any] = {name: doubt}
    state = planned(variants=(variant_state(),), load=fresh_load(7.0, **over))
    found = evidence_of(state, TARGETS)
    assert found.waiting == 0
    assert found.alarm is None


def test_a_replica_that_is_to_come_is_no_excuse_for_one_that_fell_silent() -> None:
    there = running(60.0)
    assert there.memory.deployments[0].samples
    (mine,) = there.pods.values()
    mine["dear", Parallelism()] = [Pod(created=there.now)]
    there.stock["dear"] = 0
    silent = Partial(value=40.0, reporting=4, expected=5)
    there.set_load(fresh_load(60.0, arrival_rps=silent))
    there.tick()
    assert not there.memory.deployments[0].samples
