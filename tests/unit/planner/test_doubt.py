"""What the decision does not do: fall on doubt, sleep without leave, act against its mode."""

from dataclasses import replace

import pytest

from builders import planned
from fleetworld import (
    CHEAP,
    DEAR,
    FleetWorld,
    condition,
    decision_for,
    fresh_load,
    idle_load,
    running,
    world,
)
from trimtab.api.conditions import ConditionType, Reason
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Why
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Signal, Stale


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
        assert condition(decision, ConditionType.METRICS_AVAILABLE)[0] is False
        assert condition(decision, ConditionType.OPTIMIZED) == (False, Reason.HOLDING)

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
        assert condition(decision, ConditionType.METRICS_AVAILABLE) == (
            None,
            Reason.NO_METRICS_SOURCE,
        )


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

    def test_it_sleeps_whatever_the_minimum_and_wakes_to_it(self) -> None:
        there = world(planned(scaling={"minReplicas": 2, "maxReplicas": 5,
                                       "scaleToZeroAfter": "10m"}))  # fmt: skip
        there.set_load(idle_load())
        there.run(585.0)
        assert there.replicas() == 2
        there.run(315.0)
        assert there.replicas() == 0
        there.set_load(replace(idle_load(), waiting=Fresh(value=1.0)))
        assert there.tick().decisions[0].why is Why.WAKE
        there.run(60.0)
        assert there.replicas() == 2

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
        assert condition(decision, ConditionType.OPTIMIZED) == (False, Reason.RECOMMENDING)

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
        assert condition(decision, ConditionType.STALLED) == (True, Reason.INVALID_SPEC)


OUTAGE = ObservedLoad(source_error="connection refused")


def with_fallback(rps: float, replicas: int, **scaling: object) -> FleetWorld:
    """A fleet that serves `rps`, and what it falls back on."""
    there = running(rps)
    limits = {"maxReplicas": 20, "fallbackReplicas": replicas} | scaling
    made = planned(scaling=limits)
    there.deployments = {
        key: replace(state, spec=made.spec, policy=made.policy)
        for key, state in there.deployments.items()
    }
    return there


class TestFallback:
    def test_a_long_outage_adds_up_to_it_and_a_short_one_nothing(self) -> None:
        there = with_fallback(10.0, 6)
        before = there.replicas()
        assert before < 6
        there.set_load(OUTAGE)
        for _ in range(12):
            there.tick()  # the first of them at 0 s, the last at 165 s
        assert there.replicas() == before
        decision = there.run(60.0).decisions[0]
        assert there.replicas() == 6
        assert condition(decision, ConditionType.METRICS_AVAILABLE)[0] is False

    def test_it_says_what_decided(self) -> None:
        there = with_fallback(10.0, 6)
        there.set_load(OUTAGE)
        decisions = [there.tick().decisions[0] for _ in range(20)]
        (up,) = {each.message for each in decisions if each.changed and each.why is Why.BOUNDS}
        assert "fallbackReplicas 6" in up
        assert "connection refused" in up

    def test_it_takes_nothing_away(self) -> None:
        there = with_fallback(120.0, 2)
        before = there.replicas()
        assert before > 2
        there.set_load(OUTAGE)
        there.run(3600.0)
        assert there.replicas() == before

    def test_without_one_what_runs_is_held(self) -> None:
        there = running(10.0)
        before = there.replicas()
        there.set_load(OUTAGE)
        there.run(3600.0)
        assert there.replicas() == before

    def test_after_it_a_scale_down_needs_a_whole_window_of_evidence(self) -> None:
        there = with_fallback(10.0, 6)
        before = there.replicas()
        there.set_load(OUTAGE)
        there.run(600.0)
        there.set_load(fresh_load(10.0))
        for _ in range(20):
            there.tick()
            assert there.replicas() == 6
        there.run(900.0)
        assert there.replicas() == before

    def test_one_answer_in_three_is_no_outage(self) -> None:
        there = with_fallback(10.0, 6)
        before = there.replicas()
        for tick in range(200):
            there.set_load(OUTAGE if tick % 3 else fresh_load(10.0))
            there.tick()
            assert there.replicas() == before

    @pytest.mark.parametrize(
        "load",
        [
            fresh_load(10.0, arrival_rps=Partial(value=8.0, reporting=1, expected=2)),
            fresh_load(10.0, kv_utilization=Invalid(why="NaN")),
            ObservedLoad(configured=False),
        ],
    )
    def test_what_is_known_of_demand_decides_and_not_the_fallback(self, load: ObservedLoad) -> None:
        there = with_fallback(10.0, 6)
        there.set_load(load)
        there.run(1200.0)
        assert there.replicas() < 6

    def test_replicas_that_take_long_to_come_are_no_outage(self) -> None:
        there = with_fallback(10.0, 6)
        there.pods, there.start_s = {}, 1800.0
        there.set_load(ObservedLoad())
        there.run(900.0)
        assert 0 < there.replicas() < 6

    def test_what_sleeps_is_woken_by_an_outage_to_what_it_falls_back_on(self) -> None:
        there = with_fallback(10.0, 3, scaleToZeroAfter="10m")
        there.set_load(idle_load())
        there.run(1800.0)
        assert there.replicas() == 0
        there.set_load(OUTAGE)
        there.run(600.0)
        assert there.replicas() == 3

    def test_the_cap_on_cost_holds(self) -> None:
        there = with_fallback(10.0, 6)
        ((key, state),) = there.deployments.items()
        made = planned(scaling={"maxReplicas": 20, "fallbackReplicas": 6}, cost={"maxPerHour": "6"})
        there.deployments = {key: replace(state, spec=made.spec, policy=made.policy)}
        before = there.replicas()
        there.set_load(OUTAGE)
        there.run(900.0)
        assert before <= there.replicas() < 6
