"""The decision over time: placed at once, up at once, down on evidence, and on record."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest

from builders import NOW, catalogue_pool, planned, variant_state
from fleetworld import (
    CHEAP,
    DEAR,
    condition,
    fresh_load,
    idle_load,
    running,
    usable_rps,
    world,
)
from trimtab.api.conditions import ConditionType, Reason
from trimtab.config import PlannerConfig
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import DemandSource, Verdict, Why
from trimtab.models.signals import Fresh, Stale
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan


class TestFirstPlacement:
    def test_the_prior_decides_without_metrics_and_the_cheaper_pool_gets_it(self) -> None:
        result = world().tick()
        (decision,) = result.decisions
        assert decision.why is Why.INITIAL
        assert decision.demand.source is DemandSource.WORKLOAD
        assert [(t.pool, t.replicas) for t in decision.targets] == [("cheap", 1)]
        assert decision.usd_per_hour == pytest.approx(2.0)
        assert condition(decision, ConditionType.METRICS_AVAILABLE) == (None, Reason.NO_REPLICAS)
        assert condition(decision, ConditionType.OPTIMIZED) == (False, Reason.MOVING)

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
        assert condition(result.decisions[0], ConditionType.CAPACITY_AVAILABLE)[0] is True

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
        stalled = condition(decision, ConditionType.STALLED)
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
        assert condition(decision, ConditionType.CAPACITY_AVAILABLE) == (
            False,
            Reason.CAPACITY_SHORT,
        )


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
                assert " would do now" in decision.message
        # The last high sample leaves the window after 300 s; twenty ticks of 15 s.
        assert sizes[18] == high
        assert sizes[22] < high
        assert sizes[-1] == 1
        falls = [a - b for a, b in zip([high, *sizes], sizes, strict=False)]
        assert max(falls) <= max(1, high // 4)
        moments = [i for i, fall in enumerate(falls) if fall]
        assert min(b - a for a, b in pairwise(moments)) >= 4

    def test_nothing_falls_within_a_window_of_the_last_rise(self) -> None:
        there = running(120.0)
        there.set_load(fresh_load(5.0))
        there.run(315.0)
        (memory,) = there.memory.deployments
        for age, falls in ((299.0, False), (300.0, True)):
            risen = replace(memory, last_up_at=there.now - age, last_down_at=None)
            there.memory = replace(there.memory, deployments=(risen,))
            decision = plan(there.snapshot(), there.config).decisions[0]
            assert decision.changed is falls

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
        reason = condition(decision, ConditionType.CAPACITY_AVAILABLE)
        assert reason == (False, Reason.MAX_REPLICAS_REACHED)
        there.deployments[key] = planned(scaling={"maxReplicas": 2}, load=fresh_load(500.0))
        there.tick()
        assert there.replicas() == 2


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
            assert condition(decision, ConditionType.SLO_MET) == expected

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


class TestLongRequests:
    """Answers of 5,000 tokens stay for longer than the minute over which a rate is counted."""

    ANSWERS = 5000.0

    def asked(self, rates: list[float], answers: float = ANSWERS) -> list[float | None]:
        """What is counted with, after ten minutes at 2 requests/s."""
        there = world(planned(workload={"inputTokens": 1000, "outputTokens": int(answers)}))
        found = []
        for rps in [*[2.0] * 40, *rates]:
            there.set_load(fresh_load(rps, output_tokens=Fresh(value=answers)))
            found.append(there.tick().decisions[0].demand.observed_rps)
        return found[40:]

    def test_a_fuller_minute_counts_for_a_part_of_it_and_a_lasting_rise_for_all(self) -> None:
        minute = self.asked([6.0] * 4 + [2.0] * 20)
        assert max(rps or 0.0 for rps in minute) < 4.5
        assert minute[-1] == pytest.approx(2.0, abs=0.1)
        assert self.asked([6.0] * 40)[-1] == pytest.approx(6.0, abs=0.1)

    def test_short_requests_are_counted_as_they_come(self) -> None:
        rates = [6.0, 2.0, 9.0, 0.5]
        assert self.asked(rates, answers=200.0) == rates

    def test_what_comes_again_after_a_lull_takes_nobody_away_because_it_is_not_in_flight_yet(
        self,
    ) -> None:
        there = world(planned(workload={"inputTokens": 1000, "outputTokens": int(self.ANSWERS)}))
        load = fresh_load(20.0, output_tokens=Fresh(value=self.ANSWERS))
        there.set_load(load)
        there.run(1200.0)
        before = there.replicas()
        assert before > 1
        there.set_load(idle_load())
        there.run(there.config.scale_down_window_s - 30.0)
        there.set_load(load)
        for _ in range(40):
            there.tick()
            assert there.replicas() >= before

    def test_who_is_idle_sleeps_although_the_mean_never_gets_to_zero(self) -> None:
        state = planned(
            scaling={"minReplicas": 0, "maxReplicas": 5, "scaleToZeroAfter": "10m"},
            workload={"inputTokens": 1000, "outputTokens": int(self.ANSWERS)},
        )
        there = world(state)
        there.set_load(fresh_load(2.0, output_tokens=Fresh(value=self.ANSWERS)))
        there.run(600.0)
        there.set_load(idle_load())
        there.run(1200.0)
        assert there.replicas() == 0
