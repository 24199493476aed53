"""What changes under a deployment: cheaper pools, lost pools, stock-outs and overload."""

import math
from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, catalogue_pool, planned, variant_state
from fleetworld import (
    CHEAP,
    DEAR,
    Pod,
    fresh_load,
    running,
    usable_rps,
    world,
)
from trimtab.models.capacity import Price
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Verdict, Why
from trimtab.models.signals import Fresh, Missing, Stale
from trimtab.planner.plan import plan


class TestOverload:
    """Two pools of one accelerator: the dearer one has nodes to spare, the other must get some."""

    AT_HAND = catalogue_pool("at-hand", "nvidia-h100-sxm", 4.0)
    ORDERED = catalogue_pool("ordered", "nvidia-h100-sxm", 2.0, nodes=0, devices=0, max_devices=16)

    def grown(self, rps: float) -> dict[str, int]:
        """What is added where one replica served 10 requests/s, of the 16 that one sustains."""
        there = running(10.0, pools=(self.AT_HAND,))
        assert there.replicas() == 1
        there.pools.append(self.ORDERED)
        there.set_load(fresh_load(rps))
        there.tick()
        return {
            "at-hand": there.replicas(pool="at-hand") - 1,
            "ordered": there.replicas(pool="ordered"),
        }

    def test_who_is_overloaded_pays_for_a_node_that_is_there(self) -> None:
        grown = self.grown(26.0)
        assert grown["ordered"] == 0
        assert grown["at-hand"] >= 1

    def test_who_is_not_waits_for_the_cheaper_one(self) -> None:
        grown = self.grown(15.0)
        assert grown["ordered"] >= 1
        assert grown["at-hand"] == 0


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

    def test_a_little_more_demand_does_not_undo_a_move(self) -> None:
        # One dear replica of four devices is given 23.8 requests/s, a cheap one of one 13.6.
        there = world(planned(placement={"tensorParallel": [4]}), pools=(DEAR,))
        there.set_load(fresh_load(13.0))
        there.run(600.0)
        assert there.devices("dear") == 4
        (key,) = there.deployments
        there.deployments[key] = planned(
            placement={"tensorParallel": [1, 4]}, load=fresh_load(13.0)
        )
        there.pools.append(CHEAP)
        cheap = []
        for _ in range(200):
            there.tick()
            cheap.append(there.replicas(pool="cheap"))
            if cheap[-1]:
                there.set_load(fresh_load(14.0))
        assert cheap == sorted(cheap)
        assert cheap[-1] == 2
        assert there.replicas(pool="dear") == 0

    def test_on_doubt_a_ready_replacement_lets_nothing_go(self) -> None:
        old = variant_state(pool="cheap", replicas=3, ready=3, pods=3, youngest_ready_s=9e3)
        new = variant_state(pool="dear", replicas=3, ready=3, pods=3, youngest_ready_s=9e3)
        state = planned(
            placement={"excludePools": ["cheap"]},
            scaling={"minReplicas": 5, "maxReplicas": 20},
            variants=(old, new),
            load=ObservedLoad(source_error="down"),
        )
        there = world(state)
        snapshot = replace(there.snapshot(), deployments=(state,))
        decision = plan(snapshot, there.config).decisions[0]
        assert {t.pool: t.replicas for t in decision.targets} == {"cheap": 3, "dear": 5}

    def test_a_small_saving_is_not_worth_a_move(self) -> None:
        there = running(40.0, pools=(DEAR,))
        there.pools.append(
            replace(DEAR, name="a-little", price=Price(usd_per_hour=5.7, source="x"))
        )
        there.run(3600.0)
        assert there.replicas(pool="a-little") == 0

    @pytest.mark.parametrize(
        "load",
        [
            fresh_load(40.0, arrival_rps=Missing(why="gone")),
            fresh_load(40.0, waiting=Stale(value=0.0, age_s=90.0)),
            ObservedLoad(source_error="down"),
        ],
    )
    def test_nothing_moves_on_doubt(self, load: ObservedLoad) -> None:
        there = running(40.0, pools=(DEAR,))
        there.pools.append(CHEAP)
        there.set_load(load)
        there.run(3600.0)
        assert there.replicas(pool="cheap") == 0

    def test_a_move_never_holds_more_than_the_maximum(self) -> None:
        there = running(40.0, pools=(DEAR,))
        (key,) = there.deployments
        before = there.replicas()
        there.pools.append(CHEAP)
        for spare, moves in ((0, False), (before, True)):
            there.deployments[key] = planned(
                scaling={"maxReplicas": before + spare}, load=fresh_load(40.0)
            )
            for _ in range(240):
                there.tick()
                assert there.replicas() <= before + spare
            assert (there.replicas(pool="cheap") > 0) is moves

    def test_a_rise_adds_only_what_is_missing_wherever_it_is_cheapest(self) -> None:
        there = running(40.0, pools=(DEAR,))
        before = there.replicas()
        there.pools.append(CHEAP)
        there.set_load(fresh_load(70.0))
        there.tick()
        assert there.replicas(pool="dear") == before
        assert there.replicas() == math.ceil(70.0 / usable_rps(there))

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

    def test_a_lower_maximum_is_met_at_once_whatever_waits_in_vain(self) -> None:
        there = running(120.0, pools=(DEAR,))
        before = there.replicas()
        (key,) = there.deployments
        there.pods[key]["gone", Parallelism()] = [Pod(created=there.now) for _ in range(3)]
        there.deployments[key] = planned(scaling={"maxReplicas": 2}, load=fresh_load(120.0))
        there.tick()
        assert there.replicas() == there.replicas(pool="dear") == 2 < before

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

    @pytest.mark.parametrize("over", [{"kv_utilization": 0.97}, {"ttft_s": 9.0}])
    def test_an_alarm_without_any_demand_is_no_lesson(self, over: dict[str, float]) -> None:
        there = running(0.0)
        signals: dict[str, Any] = {name: Fresh(value=value) for name, value in over.items()}
        there.set_load(fresh_load(0.0, **signals))
        there.run(900.0)
        (memory,) = there.memory.deployments
        assert memory.margin == 0.0

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
        for _ in range(240):
            there.tick()
            assert there.replicas() >= before
