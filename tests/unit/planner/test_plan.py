"""The whole decision over time: up at once, down on evidence, never on doubt, never twice."""

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from builders import NOW, catalogue_pool, planned, variant_state
from fleetworld import FleetWorld, decision_for, fresh_load, idle_load
from trimtab.api.conditions import ConditionType, Reason
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Price
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision, DemandSource, Verdict, Why
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale
from trimtab.models.snapshot import DeploymentState, Snapshot
from trimtab.planner.plan import plan

CHEAP = catalogue_pool("cheap", "nvidia-h100-sxm", 2.0)
DEAR = catalogue_pool("dear", "nvidia-h100-sxm", 6.0)


def world(*states: DeploymentState, pools: Any = (CHEAP, DEAR), **over: Any) -> FleetWorld:
    states = states or (planned(),)
    return FleetWorld(pools=list(pools), deployments={s.key: s for s in states}, **over)


def running(rps: float = 40.0, seconds: float = 600.0, **over: Any) -> FleetWorld:
    """A deployment that has served `rps` for longer than its window."""
    there = world(**over)
    there.set_load(fresh_load(rps))
    there.run(seconds)
    return there


def usable_rps(there: FleetWorld) -> float:
    """What one replica of the chosen candidate is given."""
    decision = plan(there.snapshot(), there.config).decisions[0]
    capacity = decision.candidates[0].capacity
    assert capacity is not None
    return capacity.max_rps * (1.0 - there.config.headroom - capacity.uncertainty)


def fact(decision: Decision, kind: ConditionType) -> tuple[bool | None, str]:
    return next((f.status, f.reason) for f in decision.facts if f.type == kind)


class TestFirstPlacement:
    def test_the_prior_decides_without_metrics_and_the_cheaper_pool_gets_it(self) -> None:
        result = world().tick()
        (decision,) = result.decisions
        assert decision.why is Why.INITIAL
        assert decision.demand.source is DemandSource.WORKLOAD
        assert [(t.pool, t.replicas) for t in decision.targets] == [("cheap", 1)]
        assert decision.usd_per_hour == pytest.approx(2.0)
        assert fact(decision, ConditionType.METRICS_AVAILABLE) == (None, Reason.NO_REPLICAS)
        assert fact(decision, ConditionType.OPTIMIZED) == (False, Reason.MOVING)

    def test_it_goes_to_its_size_in_one_step(self) -> None:
        state = planned(workload={"inputTokens": 1024, "outputTokens": 256,
                                  "requestsPerSecond": "100"})  # fmt: skip
        there = world(state)
        there.tick()
        assert there.replicas() == 8

    def test_two_pools_share_what_one_cannot_hold(self) -> None:
        small = replace(CHEAP, devices=3)
        state = planned(workload={"inputTokens": 1024, "outputTokens": 256,
                                  "requestsPerSecond": "100"})  # fmt: skip
        there = world(state, pools=(small, DEAR))
        result = there.tick()
        assert there.devices("cheap") == 3
        assert there.devices("dear") > 0
        assert fact(result.decisions[0], ConditionType.CAPACITY_AVAILABLE)[0] is True

    def test_without_any_prior_the_minimum_is_placed(self) -> None:
        there = world(planned(workload=None))
        assert there.tick().decisions[0].demand.source is DemandSource.UNKNOWN
        assert there.replicas() == 1

    def test_with_no_device_left_it_is_short_and_not_asleep(self) -> None:
        (decision,) = world(pools=(replace(CHEAP, devices=0),)).tick().decisions
        assert decision.targets == ()
        assert decision.wanted_replicas == 1
        assert decision.why is Why.CAPACITY_SHORT

    def test_no_pool_at_all_stalls_and_says_so(self) -> None:
        (decision,) = world(pools=()).tick().decisions
        assert decision.why is Why.NO_CANDIDATE
        assert decision.targets == ()
        stalled = fact(decision, ConditionType.STALLED)
        assert stalled == (True, Reason.NO_FEASIBLE_CANDIDATE)

    def test_an_unreachable_target_is_refused_and_never_answered_with_a_count(self) -> None:
        (decision,) = world(planned(latency={"timeToFirstToken": "1ms"})).tick().decisions
        assert decision.why is Why.NO_CANDIDATE
        assert decision.targets == ()
        assert {c.verdict for c in decision.candidates} == {Verdict.MISSES_TTFT}

    def test_full_pools_leave_a_shortage_with_figures(self) -> None:
        there = world(pools=(replace(CHEAP, devices=1),))
        there.set_load(ObservedLoad())
        there.deployments = {
            key: planned(
                workload={"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "100"}
            )
            for key in there.deployments
        }
        there.tick()
        decision = there.tick().decisions[0]
        assert decision.why is Why.CAPACITY_SHORT
        assert decision.wanted_replicas == 8
        assert "of 100 req/s are not covered" in decision.message
        assert fact(decision, ConditionType.CAPACITY_AVAILABLE) == (False, Reason.CAPACITY_SHORT)


class TestUpAndDown:
    def test_a_rise_is_followed_at_once_and_doubles_at_most(self) -> None:
        there = running(10.0)
        assert there.replicas() == 1
        there.set_load(fresh_load(120.0))
        sizes = []
        for _ in range(4):
            assert there.tick().decisions[0].why in (Why.DEMAND_ROSE, Why.STEADY)
            sizes.append(there.replicas())
        needed = math.ceil(120.0 / usable_rps(there))
        assert sizes == [3, 6, needed, needed]

    def test_a_fall_waits_for_the_window_and_goes_in_steps(self) -> None:
        there = running(120.0)
        high = there.replicas()
        there.set_load(fresh_load(5.0))
        sizes = []
        for i in range(120):
            decision = there.tick().decisions[0]
            sizes.append(there.replicas())
            if i == 5:
                assert decision.why is Why.WINDOW
                assert "1 would do" in decision.message
        # The last high sample leaves the window after 300 s; twenty ticks of 15 s.
        assert sizes[18] == high
        assert sizes[22] < high
        assert sizes[-1] == 1
        falls = [a - b for a, b in zip([high, *sizes], sizes, strict=False)]
        assert max(falls) <= max(1, high // 4)
        moments = [i for i, fall in enumerate(falls) if fall]
        assert min(b - a for a, b in pairwise(moments)) >= 4

    def test_a_fall_goes_to_the_largest_demand_of_the_window(self) -> None:
        there = running(120.0)
        for i in range(60):
            # A burst every four minutes holds what it needs.
            there.set_load(fresh_load(60.0 if i % 16 == 0 else 5.0))
            there.tick()
        assert there.replicas() == math.ceil(60.0 / usable_rps(there))

    def test_a_demand_that_moves_within_half_the_headroom_changes_nothing(self) -> None:
        there = running(40.0)
        before = there.replicas()
        for i in range(120):
            there.set_load(fresh_load(40.0 * (1.05 if i % 2 else 0.95)))
            assert not there.tick().decisions[0].changed
        assert there.replicas() == before

    def test_a_queue_asks_for_more_than_the_arrivals(self) -> None:
        there = running(40.0)
        before = there.replicas()
        there.set_load(fresh_load(40.0, waiting=Fresh(value=4000.0)))
        there.tick()
        assert there.replicas() > before

    def test_shorter_requests_do_not_shrink_the_fleet_before_the_window_is_over(self) -> None:
        there = running(40.0)
        before = there.replicas()
        short = fresh_load(40.0, input_tokens=Fresh(value=100.0), output_tokens=Fresh(value=50.0))
        there.set_load(short)
        for _ in range(19):
            there.tick()
        assert there.replicas() == before
        there.run(900.0)
        assert there.replicas() < before

    def test_the_minimum_and_the_maximum_hold(self) -> None:
        there = running(10.0)
        (key,) = there.deployments
        there.deployments[key] = planned(
            scaling={"minReplicas": 4, "maxReplicas": 5}, load=fresh_load(10.0)
        )
        assert there.tick().decisions[0].why is Why.BOUNDS
        assert there.replicas() == 4
        there.set_load(fresh_load(500.0))
        there.tick()
        decision = there.tick().decisions[0]
        assert there.replicas() == 5
        assert decision.why is Why.BOUNDS
        reason = fact(decision, ConditionType.CAPACITY_AVAILABLE)
        assert reason == (False, Reason.MAX_REPLICAS_REACHED)
        there.deployments[key] = planned(scaling={"maxReplicas": 2}, load=fresh_load(500.0))
        there.tick()
        assert there.replicas() == 2


class TestDoubt:
    @pytest.mark.parametrize(
        "signal",
        [
            Missing(why="gone"),
            Stale(value=0.0, age_s=90.0),
            Invalid(why="NaN"),
            Partial(value=0.0, reporting=1, expected=9),
        ],
    )
    def test_nothing_falls_for_as_long_as_it_lasts(self, signal: Signal) -> None:
        there = running(120.0)
        before = there.replicas()
        there.set_load(fresh_load(1.0, arrival_rps=signal))
        decision = there.run(3600.0).decisions[0]
        assert there.replicas() == before
        assert decision.why is Why.DOUBT
        assert fact(decision, ConditionType.METRICS_AVAILABLE)[0] is False
        assert fact(decision, ConditionType.OPTIMIZED) == (False, Reason.HOLDING)

    def test_an_outage_of_prometheus_changes_nothing_and_recovery_needs_a_window(self) -> None:
        there = running(120.0)
        before = there.replicas()
        there.set_load(ObservedLoad(source_error="connection refused"))
        assert not there.run(600.0).decisions[0].changed
        there.set_load(fresh_load(5.0))
        for _ in range(20):
            assert not there.tick().decisions[0].changed
        there.run(60.0)
        assert there.replicas() < before

    def test_a_partial_rise_is_followed(self) -> None:
        there = running(10.0)
        partial = Partial(value=100.0, reporting=1, expected=2)
        there.set_load(fresh_load(0.0, arrival_rps=partial))
        there.tick()
        assert there.replicas() == 3

    def test_a_restart_holds_until_the_window_is_rebuilt(self) -> None:
        there = running(120.0)
        before = there.replicas()
        there.set_load(fresh_load(5.0))
        there.run(200.0)
        there.memory = PlannerMemory()
        for _ in range(20):
            assert not there.tick().decisions[0].changed
        assert there.replicas() == before
        there.run(60.0)
        assert there.replicas() < before

    def test_a_restart_does_not_bring_the_prior_back(self) -> None:
        there = running(1.0, seconds=1200.0)
        there.memory = PlannerMemory()
        there.deployments = {
            key: replace(
                planned(
                    workload={"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "200"}
                ),
                load=state.load,
            )
            for key, state in there.deployments.items()
        }
        assert not there.tick().decisions[0].changed

    def test_a_deployment_that_loses_its_load_is_doubted_when_many_do_at_once(self) -> None:
        states = [planned(f"d{i}") for i in range(6)]
        pools = (replace(CHEAP, devices=64),)
        there = world(*states, pools=pools)
        there.set_load(fresh_load(60.0))
        there.run(600.0)
        before = there.replicas()
        there.set_load(fresh_load(1.0))
        there.tick()
        # The window began anew for all: one window and no tick less.
        for _ in range(20):
            there.tick()
        assert there.replicas() == before
        there.run(60.0)
        assert there.replicas() < before

    def test_without_a_source_of_metrics_the_prior_places_and_nothing_falls(self) -> None:
        there = world(planned(load=ObservedLoad(configured=False)))
        decision = there.run(600.0).decisions[0]
        assert there.replicas() == 1
        assert fact(decision, ConditionType.METRICS_AVAILABLE) == (None, Reason.NO_METRICS_SOURCE)


class TestZero:
    def asleep(self) -> FleetWorld:
        there = world(planned(scaling={"minReplicas": 0, "maxReplicas": 5,
                                       "scaleToZeroAfter": "10m"}))  # fmt: skip
        there.set_load(idle_load())
        there.run(900.0)
        return there

    def test_it_sleeps_after_the_idle_time_and_stays_asleep(self) -> None:
        there = self.asleep()
        assert there.replicas() == 0
        decision = there.run(600.0).decisions[0]
        assert there.replicas() == 0
        assert decision.why is Why.IDLE
        assert not decision.changed

    def test_it_does_not_sleep_before(self) -> None:
        there = world(planned(scaling={"minReplicas": 0, "maxReplicas": 5,
                                       "scaleToZeroAfter": "10m"}))  # fmt: skip
        there.set_load(idle_load())
        there.run(585.0)
        assert there.replicas() == 1

    def test_it_never_sleeps_without_leave(self) -> None:
        there = world(planned(scaling={"minReplicas": 0, "maxReplicas": 5}))
        there.set_load(idle_load())
        there.run(7200.0)
        assert there.replicas() == 1

    def test_a_request_wakes_it(self) -> None:
        there = self.asleep()
        there.set_load(replace(idle_load(), waiting=Fresh(value=1.0)))
        assert there.tick().decisions[0].why is Why.WAKE
        assert there.replicas() == 1

    def test_where_nothing_would_report_a_waiting_request_it_wakes_and_sleeps_no_more(
        self,
    ) -> None:
        there = self.asleep()
        there.set_load(ObservedLoad())
        there.tick()
        assert there.replicas() == 1
        there.set_load(idle_load())
        there.run(7200.0)
        assert there.replicas() == 1


class TestModes:
    def test_recommend_publishes_and_touches_nothing(self) -> None:
        there = world(planned(mode="Recommend"))
        for _ in range(3):
            decision = there.tick().decisions[0]
        assert there.replicas() == 0
        assert not decision.write
        assert decision.targets[0].replicas == 1
        assert fact(decision, ConditionType.OPTIMIZED) == (False, Reason.RECOMMENDING)

    def test_recommend_is_promised_nothing(self) -> None:
        tiny = replace(CHEAP, devices=1)
        auto, advised = planned("zz"), planned("aa", mode="Recommend")
        result = world(auto, advised, pools=(tiny,)).tick()
        assert decision_for(result, "zz").targets[0].replicas == 1
        assert decision_for(result, "aa").targets == ()

    def test_scale_up_only_never_removes(self) -> None:
        there = world(planned(mode="ScaleUpOnly"))
        there.set_load(fresh_load(120.0))
        there.run(600.0)
        before = there.replicas()
        there.set_load(fresh_load(1.0))
        decision = there.run(3600.0).decisions[0]
        assert there.replicas() == before
        assert decision.why is Why.MODE

    def test_scale_up_only_never_moves_for_it_could_not_leave(self) -> None:
        there = world(planned(mode="ScaleUpOnly"), pools=(DEAR,))
        there.set_load(fresh_load(40.0))
        there.run(600.0)
        there.pools.append(CHEAP)
        there.run(3600.0)
        assert there.replicas(pool="cheap") == 0

    def test_paused_keeps_what_runs_and_holds_its_devices(self) -> None:
        there = running(120.0, pools=(CHEAP,))
        before = there.replicas()
        (key,) = there.deployments
        there.deployments[key] = replace(there.deployments[key], paused=True)
        other = planned("other", workload={"inputTokens": 1024, "outputTokens": 256,
                                           "requestsPerSecond": "900"})  # fmt: skip
        there.deployments[other.key] = other
        result = there.tick()
        mine = decision_for(result, "chat")
        assert (mine.why, mine.write, mine.changed) == (Why.PAUSED, False, False)
        assert sum(t.replicas for t in mine.targets) == before
        assert there.devices("cheap") == 16

    def test_unpausing_needs_fresh_evidence_for_a_window(self) -> None:
        there = running(120.0)
        (key,) = there.deployments
        there.deployments[key] = replace(there.deployments[key], paused=True)
        there.set_load(fresh_load(1.0))
        there.run(1200.0)
        there.deployments[key] = replace(there.deployments[key], paused=False)
        for _ in range(20):
            assert not there.tick().decisions[0].changed

    def test_an_invalid_spec_keeps_what_runs(self) -> None:
        there = running(120.0)
        (key,) = there.deployments
        broken = replace(there.deployments[key], policy=None, error="spec.scaling: nonsense")
        there.deployments[key] = broken
        decision = there.tick().decisions[0]
        assert (decision.why, decision.write, decision.changed) == (Why.INVALID, False, False)
        assert "nonsense" in decision.message
        assert fact(decision, ConditionType.STALLED) == (True, Reason.INVALID_SPEC)


class TestMoves:
    def test_a_cheaper_pool_is_taken_after_a_window_and_before_it_breaks(self) -> None:
        there = running(40.0, pools=(DEAR,))
        before = there.replicas("chat", "dear")
        there.pools.append(CHEAP)
        first = None
        for i in range(200):
            needed = there.ready()
            there.tick()
            assert there.ready() >= min(needed, before)
            if first is None and there.replicas(pool="cheap"):
                first = i
        assert first is not None
        assert first >= 20
        assert there.replicas(pool="dear") == 0
        assert there.replicas(pool="cheap") == before

    def test_a_small_saving_is_not_worth_a_move(self) -> None:
        there = running(40.0, pools=(DEAR,))
        there.pools.append(
            replace(DEAR, name="a-little", price=Price(usd_per_hour=5.7, source="x"))
        )
        there.run(3600.0)
        assert there.replicas(pool="a-little") == 0

    def test_a_pool_that_is_no_longer_allowed_is_left_for_a_ready_replacement(self) -> None:
        there = running(40.0, pools=(CHEAP, DEAR))
        (key,) = there.deployments
        there.deployments[key] = planned(
            placement={"excludePools": ["cheap"]}, load=fresh_load(40.0)
        )
        before = there.ready()
        decision = there.tick().decisions[0]
        assert decision.why is Why.POOL_GONE
        while there.replicas(pool="cheap"):
            there.tick()
            assert there.ready() >= before
            assert there.now < NOW + 7200
        assert there.ready(pool="dear") == before

    @pytest.mark.parametrize(("age_s", "left"), [(29.0, 3), (30.0, 2)])
    def test_a_replacement_counts_once_it_has_been_ready_for_long_enough(
        self, age_s: float, left: int
    ) -> None:
        there = running(40.0, pools=(CHEAP, DEAR))
        (key,) = there.deployments
        state = there.deployments[key] = planned(
            placement={"excludePools": ["cheap"]}, load=fresh_load(40.0)
        )
        snapshot = there.snapshot()
        old = variant_state(pool="cheap", replicas=3, ready=3, pods=3, youngest_ready_s=9e3)
        new = variant_state(pool="dear", replicas=3, ready=3, pods=3, youngest_ready_s=age_s)
        both = replace(state, variants=(old, new))
        decision = plan(replace(snapshot, deployments=(both,)), there.config).decisions[0]
        assert {t.pool: t.replicas for t in decision.targets} == {"cheap": left, "dear": 3}

    def test_a_replica_that_became_infeasible_serves_until_another_does(self) -> None:
        there = running(10.0, pools=(CHEAP, DEAR))
        there.pools = [DEAR]
        there.tick()
        assert there.replicas(pool="cheap") == 1
        assert there.replicas(pool="dear") == 1
        there.run(300.0)
        assert there.replicas(pool="cheap") == 0


class TestShortage:
    def test_pods_that_wait_in_vain_go_elsewhere_and_come_back_later(self) -> None:
        there = world(pools=(replace(CHEAP, max_devices=16), DEAR), stock={"cheap": 0})
        there.tick()
        assert there.replicas(pool="cheap") == 1
        for _ in range(41):
            result = there.tick()
        assert there.replicas(pool="dear") == 1
        assert there.replicas(pool="cheap") == 0
        candidates = {c.pool: c.verdict for c in result.decisions[0].candidates[::-1]}
        assert candidates["cheap"] is Verdict.POOL_SHORT
        there.stock.clear()
        there.set_load(fresh_load(5.0))
        there.run(3600.0)
        assert there.replicas(pool="cheap") == 1
        assert there.replicas(pool="dear") == 0

    def test_a_pool_that_vanishes_under_load_is_replaced_although_nothing_is_measured(
        self,
    ) -> None:
        there = running(40.0)
        before = there.replicas()
        there.pools = [replace(CHEAP, devices=0, nodes=0), DEAR]
        there.lose_pool("cheap")
        there.set_load(ObservedLoad())
        there.run(120.0)
        assert there.ready(pool="dear") == before
        assert there.replicas(pool="cheap") == 0

    def test_with_nowhere_to_go_pods_keep_their_place(self) -> None:
        there = world(pools=(replace(CHEAP, max_devices=16),), stock={"cheap": 0})
        there.run(3600.0)
        assert there.replicas(pool="cheap") == 1
        there.stock.clear()
        there.run(60.0)
        assert there.ready() == 1


class TestGuard:
    @pytest.mark.parametrize("over", [{"kv_utilization": 0.97}, {"ttft_s": 2.0}, {"waiting": 30.0}])
    def test_overload_adds_although_the_rate_is_covered_and_not_without_end(
        self, over: dict[str, float]
    ) -> None:
        there = running(40.0)
        before = there.replicas()
        signals: dict[str, Any] = {name: Fresh(value=value) for name, value in over.items()}
        there.set_load(fresh_load(40.0, **signals))
        decision = there.tick().decisions[0]
        assert decision.why in (Why.QUEUE_GREW, Why.OVER_TARGET)
        assert there.replicas() == before + 1
        there.tick()
        assert there.replicas() == before + 1
        there.run(7200.0)
        assert there.replicas() <= 2 * before + 1

    def test_a_replica_that_never_starts_does_not_silence_the_guard_for_ever(self) -> None:
        there = running(40.0)
        before = there.replicas()
        there.start_s = float("inf")
        there.set_load(fresh_load(40.0, ttft_s=Fresh(value=2.0)))
        there.run(120.0)
        assert there.replicas() == before + 1
        there.run(900.0)
        assert there.replicas() > before + 1

    def test_a_restart_during_a_start_adds_nothing_more(self) -> None:
        there = running(40.0)
        there.set_load(fresh_load(40.0, ttft_s=Fresh(value=2.0)))
        there.tick()
        there.tick(1.0)
        before = there.replicas()
        there.memory = PlannerMemory()
        for _ in range(3):
            there.tick()
            assert there.replicas() == before

    def test_while_it_lasts_nothing_falls(self) -> None:
        there = running(120.0)
        before = there.replicas()
        there.set_load(fresh_load(1.0, ttft_s=Fresh(value=9.0)))
        there.run(3600.0)
        assert there.replicas() == before


class TestRecord:
    def test_a_decision_names_the_demand_the_price_the_saving_and_every_candidate(self) -> None:
        there = running(40.0)
        decision = there.tick().decisions[0]
        assert decision.why is Why.STEADY
        assert decision.demand.observed_rps == 40.0
        assert decision.usd_per_hour == pytest.approx(2.0 * there.replicas())
        assert decision.saving is not None
        assert decision.saving.baseline == f"static peak: {there.replicas()} x cheap (tp1)"
        tokens_per_hour = 40.0 * decision.demand.output_tokens * 3600
        price = 2.0 * there.replicas()
        assert decision.usd_per_million_tokens == pytest.approx(price / tokens_per_hour * 1e6)
        assert decision.candidates[0].verdict is Verdict.CHOSEN
        assert {c.pool for c in decision.candidates} == {"cheap", "dear"}
        assert all(c.message for c in decision.candidates)
        dear = next(c for c in decision.candidates if c.pool == "dear")
        assert dear.verdict is Verdict.DEARER
        assert "$" in dear.message

    def test_the_policys_baseline_wins(self) -> None:
        there = world(planned(cost={"baseline": {"pool": "dear", "replicas": 8}}))
        saving = there.tick().decisions[0].saving
        assert saving is not None
        assert saving.baseline == "baseline: 8 x dear (tp1)"
        assert saving.saved_share == pytest.approx(1 - 2.0 / 48.0)

    def test_latencies_answer_whether_the_targets_are_met(self) -> None:
        cases: list[tuple[ObservedLoad, tuple[bool | None, Reason]]] = [
            (fresh_load(4.0), (True, Reason.WITHIN_TARGETS)),
            (fresh_load(4.0, itl_s=Fresh(value=0.2)), (False, Reason.OVER_TARGET)),
            (fresh_load(4.0, itl_s=Stale(value=0.2, age_s=60.0)), (None, Reason.LATENCY_UNKNOWN)),
            (idle_load(), (None, Reason.NO_TRAFFIC)),
        ]
        for load, expected in cases:
            state = planned(load=load, variants=(variant_state(pool="cheap"),))
            snapshot = Snapshot(now=NOW, deployments=(state,), pools=(CHEAP,))
            decision = plan(snapshot, PlannerConfig()).decisions[0]
            assert fact(decision, ConditionType.SLO_MET) == expected

    def test_latency_as_the_objective_takes_the_faster_pool_at_any_price(self) -> None:
        slow = catalogue_pool("slow", "nvidia-l40s", 0.2)
        for objective, chosen in (("MinimizeLatency", "dear"), ("MinimizeCost", "slow")):
            state = planned(cost={"objective": objective}, placement={"tensorParallel": [1]})
            there = world(state, pools=(slow, DEAR))
            there.tick()
            assert there.replicas(pool=chosen) == there.replicas() > 0

    def test_a_recreated_deployment_is_a_new_one(self) -> None:
        there = running(120.0)
        (key,) = there.deployments
        there.deployments[key] = replace(there.deployments[key], uid="another")
        there.tick()
        assert there.memory.deployments[0].uid == "another"
        assert len(there.memory.deployments[0].samples) == 1
