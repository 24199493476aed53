"""What replicas teach reaches the plan: its candidates, its headroom, its memory, its record."""

from dataclasses import replace
from typing import Any

import pytest

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, decision_for, fresh_load
from trimtab.config import PlannerConfig
from trimtab.models.codec import Record, dump_record, load_record
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad, VariantReading
from trimtab.models.memory import Calibration, PlannerMemory
from trimtab.models.performance import Infeasible, Provenance, ReplicaCapacity
from trimtab.models.plan import Candidate, Decision, Plan
from trimtab.models.signals import Fresh, Missing, Partial
from trimtab.performance.capacity import CALIBRATED, CapacityRequest, replica_of
from trimtab.performance.window import Load, Moment, seen_in
from trimtab.planner.lessons import relearnt
from trimtab.planner.plan import plan
from trimtab.planner.query import Market, Speeds, query_of, request_of
from trimtab.planner.shortage import survey

SPOT = catalogue_pool("spot", "nvidia-h100-sxm", 9.0)
OTHER = catalogue_pool("other", "nvidia-l40s", 9.0)
CHEAP = catalogue_pool("cheap", "nvidia-h100-sxm", 2.0)
RPS = 30.0
ON_CHEAP = {"tensorParallel": [1]}


def world() -> FleetWorld:
    """One deployment on an H100 without any profile, and two dearer pools."""
    state = planned(placement=ON_CHEAP)
    return FleetWorld(
        pools=[CHEAP, SPOT, OTHER], deployments={state.key: state}, profiles=(), now=0.0
    )


def asked(there: FleetWorld) -> CapacityRequest:
    """One replica on `cheap`, as plans ask for it without a lesson."""
    snapshot = there.snapshot()
    pools, _ = survey(snapshot, there.config)
    market = Market(pools=pools, speeds=Speeds(()), config=there.config)
    state = snapshot.deployments[0]
    assert state.policy is not None
    query = query_of(state, state.policy, state.policy.shape, market)
    request = request_of(query, pools["cheap"], Parallelism())
    assert request is not None
    return request


def reading(there: FleetWorld, factor: float, **over: Any) -> VariantReading:
    """What one replica reports with 8 requests in its batch, when all takes `factor` as long."""
    values: dict[str, Any] = {
        "pool": "cheap",
        "parallelism": Parallelism(),
        "revision": "chat-1-",
        "itl_s": Fresh(value=0.01),
        "gaps_per_s": Fresh(value=800.0),
        "first_tokens_per_s": Fresh(value=800.0 / 250.0),
        "input_tokens": Fresh(value=1000.0),
        "output_tokens": Fresh(value=250.0),
        "prefix_hit": Fresh(value=0.0),
        "waiting": Fresh(value=0.0),
        "kv_utilization": Fresh(value=0.3),
    }
    found = VariantReading(**values)
    for _ in range(30):  # at the batch that such gaps would make
        seen = seen_in(found, Moment(now=0.0, window_s=60.0, ready_s=1e9))
        assert seen is not None
        replica = replica_of(replace(asked(there), shape=seen.shape_of(asked(there))))
        assert not isinstance(replica, Infeasible)
        itl_s = Load.of(replica, seen).gap_s(replica.step) * factor
        found = replace(found, itl_s=Fresh(value=itl_s), gaps_per_s=Fresh(value=8.0 / itl_s))
    return replace(found, **over)


def load(*readings: VariantReading) -> ObservedLoad:
    return fresh_load(RPS, variants=readings)


def serving(factor: float, seconds: float = 600.0, **over: Any) -> FleetWorld:
    """A fleet that has served for so long, `factor` times as slow as predicted."""
    there = world()
    there.set_load(fresh_load(RPS))
    there.run(120)
    there.set_load(load(reading(there, factor, **over)))
    there.run(seconds)
    return there


def on(result: Plan, pool: str) -> Candidate:
    return next(c for c in decision_for(result, "chat").candidates if c.pool == pool)


def capacity(result: Plan, pool: str = "cheap") -> ReplicaCapacity:
    found = on(result, pool).capacity
    assert found is not None
    return found


def lesson(there: FleetWorld) -> Calibration:
    (one,) = there.memory.calibrations
    return one


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_candidates_rest_on_what_was_learnt_and_keep_less_in_reserve(factor: float) -> None:
    before = capacity(plan(world().snapshot(), PlannerConfig()))
    there = serving(factor)
    after = capacity(there.tick())
    assert (before.provenance, after.provenance) == (Provenance.ESTIMATED, Provenance.CALIBRATED)
    assert CALIBRATED < after.uncertainty < 0.10 < before.uncertainty
    assert (after.max_rps > before.max_rps) == (factor < 1.0) or factor == 1.0
    assert lesson(there).revision == "chat-1-"


def test_a_slow_engine_gets_more_replicas_than_one_as_predicted() -> None:
    assert serving(1.4).replicas() > serving(1.0).replicas()


def test_more_of_the_same_devices_are_told_of_too_with_more_doubt_for_each_doubling() -> None:
    there = world()
    state = planned(placement={"tensorParallel": [1, 2, 4, 8]})
    there.deployments[state.key] = state
    there.set_load(fresh_load(RPS))
    there.run(120)
    unsure = there.tick().decisions[0]
    there.set_load(load(reading(there, 1.3)))
    there.run(600.0)
    sure = there.tick().decisions[0]

    def doubts(decision: Decision) -> list[float]:
        known = {c.parallelism.tensor: c.capacity for c in decision.candidates if c.pool == "cheap"}
        return [one.uncertainty for tensor in (1, 2, 4, 8) if (one := known[tensor]) is not None]

    one, two, four, eight = doubts(sure)
    assert CALIBRATED < one < two < four < eight
    # Beyond four times the devices corrections have nothing in common.
    assert eight == doubts(unsure)[3]


def test_other_pools_of_the_same_devices_learn_and_other_devices_do_not() -> None:
    result = serving(1.3).tick()
    assert capacity(result, "spot") == capacity(result, "cheap")
    assert capacity(result, "other").provenance is Provenance.ESTIMATED


def test_a_new_revision_begins_anew_and_a_rollout_teaches_nothing() -> None:
    there = serving(1.3)
    learnt = lesson(there)
    old, new = reading(there, 1.3), reading(there, 0.8, revision="chat-2-")
    there.set_load(load(old, new))
    there.run(120)
    assert lesson(there) == learnt
    there.set_load(load(new))
    result = there.tick()
    assert lesson(there).revision == "chat-2-"
    assert lesson(there).used is None
    there.tick()
    assert capacity(result).provenance is Provenance.ESTIMATED
    there.run(600)
    assert lesson(there).scales.read < 0.0


def test_changed_settings_are_not_judged_by_pods_that_run_the_old_ones() -> None:
    there = serving(1.3)
    learnt = lesson(there)
    changed = planned(
        placement=ON_CHEAP, engine={"maxNumBatchedTokens": 2048}, load=load(reading(there, 1.3))
    )
    there.deployments[changed.key] = changed
    result = there.tick()
    assert lesson(there) == learnt
    assert capacity(result).provenance is Provenance.ESTIMATED


def test_a_restart_of_the_operator_falls_back_to_the_estimate_and_removes_nothing() -> None:
    there = serving(1.4)
    before = there.replicas()
    there.memory = PlannerMemory()
    for tick in range(40):
        result = there.tick()
        assert there.replicas() >= before, tick
        if tick == 0:
            assert capacity(result).provenance is Provenance.ESTIMATED
    assert capacity(result).provenance is Provenance.CALIBRATED


@pytest.mark.parametrize(
    "doubt",
    [Missing(why="gone"), Partial(value=0.9, reporting=1, expected=3)],
    ids=["gone", "half"],
)
def test_doubt_and_silence_leave_what_was_learnt(doubt: Any) -> None:
    there = serving(1.3)
    learnt = lesson(there)
    for quiet in (load(reading(there, 1.3, itl_s=doubt)), ObservedLoad(source_error="down")):
        there.set_load(quiet)
        there.run(300)
        assert lesson(there) == learnt
    there.run(7 * 3600, every=600.0)
    assert there.memory.calibrations == ()


def test_what_was_learnt_of_a_deployment_goes_with_it() -> None:
    there = serving(1.3)
    there.deployments.clear()
    there.tick()
    assert there.memory.calibrations == ()


def test_noise_does_not_resize_the_fleet() -> None:
    there = serving(1.15)
    sizes: list[int] = []
    for tick in range(120):
        noisy = reading(there, 1.15 * (1.03 if tick % 2 else 0.97))
        there.set_load(load(noisy))
        there.tick()
        sizes.append(there.replicas())
    # What is learnt may grow the fleet once; it must not go back and forth.
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 2


def test_a_record_of_the_decision_holds_what_was_learnt() -> None:
    there = serving(1.3)
    snapshot = there.snapshot()
    result = plan(snapshot, there.config)
    record = Record(snapshot=snapshot, config=there.config, plan=result)
    again = load_record(dump_record(record))
    assert again == record
    assert again.plan.memory.calibrations
    assert plan(again.snapshot, again.config) == result


def test_a_restart_relearns_from_what_was_seen_before_it() -> None:
    there = world()
    there.set_load(fresh_load(RPS))
    there.run(120)
    there.set_load(load(reading(there, 1.4)))
    seen = []
    for _ in range(20):
        seen.append(there.snapshot())
        there.run(60)
    memory = PlannerMemory()
    for snapshot in seen:
        memory = plan(replace(snapshot, memory=memory), there.config).memory
    (relearned,) = relearnt(seen, there.config)
    assert (relearned,) == memory.calibrations
    assert relearned.used is not None
    (kept,) = there.memory.calibrations
    assert kept.used is not None
    assert relearned.used.read == pytest.approx(kept.used.read, abs=0.03)
