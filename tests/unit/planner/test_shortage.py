"""Pools that run short: when, for how long, and what stays usable."""

import math
from dataclasses import replace
from typing import Any

from builders import NOW, catalogue_pool, planned, variant_state
from trimtab.api.policy import CapacityType
from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import PlannerMemory, PoolMemory, ReclaimMemory, StartMemory
from trimtab.models.snapshot import Snapshot, VariantState
from trimtab.planner.shortage import PoolState, survey

CONFIG = PlannerConfig()


def seen(
    variant: VariantState,
    *,
    now: float = NOW,
    pools: tuple[PoolMemory, ...] = (),
    starts: tuple[StartMemory, ...] = (),
    reclaims: tuple[ReclaimMemory, ...] = (),
    **over: Any,
) -> Snapshot:
    return Snapshot(
        now=now,
        deployments=(planned(variants=(variant,)),),
        pools=(catalogue_pool("h100", "nvidia-h100-sxm", 3.5, **over),),
        memory=PlannerMemory(pools=pools, starts=starts, reclaims=reclaims),
    )


def look(
    variant: VariantState, *memory: PoolMemory, now: float = NOW, **over: Any
) -> tuple[PoolState, tuple[PoolMemory, ...]]:
    states, entries = survey(seen(variant, now=now, pools=memory, **over), CONFIG)
    return states["h100"], entries


def waiting(seconds: float, **over: Any) -> VariantState:
    values: dict[str, Any] = {
        "replicas": 5,
        "ready": 3,
        "pods": 5,
        "unschedulable": 2,
        "unschedulable_s": seconds,
    }
    return variant_state(**(values | over))


def test_devices_are_promised_to_every_pod_that_exists_or_shall_exist() -> None:
    two = Parallelism(tensor=2)
    state, _ = look(variant_state(replicas=3, pods=4, ready=2, parallelism=two))
    assert (state.promised, state.limit, state.free) == (8, 16, 8)
    state, _ = look(variant_state(replicas=5, pods=4, ready=2, parallelism=two))
    assert state.promised == 10


def test_replicas_without_a_node_wait_for_one_be_it_a_single_one() -> None:
    one = variant_state(replicas=3, pods=3, ready=2, unplaced=1)
    assert look(one, node_free=(8,))[0].waiting == ((1, 1),)
    not_made = variant_state(replicas=3, pods=2, ready=2, parallelism=Parallelism(tensor=2))
    assert look(not_made, node_free=(8,))[0].waiting == ((2, 1),)
    assert look(variant_state(replicas=2, pods=2), node_free=(8,))[0].waiting == ()
    assert look(one)[0].waiting == ()


def test_free_is_never_negative_when_nodes_are_lost() -> None:
    assert look(variant_state(replicas=5, pods=5), devices=2)[0].free == 0


def test_pods_that_wait_within_patience_mark_nothing() -> None:
    state, memory = look(waiting(599.0))
    assert not state.short
    assert memory == ()


def test_pods_that_get_no_node_by_the_autoscalers_word_need_not_wait_for_one() -> None:
    state, memory = look(waiting(29.0, refusal="NotTriggerScaleUp"))
    assert not state.short
    assert memory == ()
    state, memory = look(waiting(30.0, refusal="NotTriggerScaleUp"))
    assert state.short
    assert memory[0].backoff_s == 600.0
    placed = variant_state(replicas=5, ready=3, pods=5, refusal="of one that has a node now")
    assert not look(placed)[0].short


def test_pods_that_wait_longer_than_nodes_take_are_late_before_they_wait_in_vain() -> None:
    # Three minutes, and a third of doubt: 264 s is the 90th percentile.
    told: dict[str, Any] = {"provisioning_s": 180.0}
    for seconds, late in ((395.0, False), (398.0, True), (600.0, False)):
        state, _ = look(waiting(seconds), **told)
        assert (state.late, state.short) == (late, seconds == 600.0)
    learnt = StartMemory(
        pool="h100", model=None, log_mean=math.log(60.0), log_var=0.0, count=10, last=NOW
    )
    assert not survey(seen(waiting(300.0), starts=(learnt,), **told), CONFIG)[0]["h100"].late
    slower = replace(learnt, log_mean=math.log(300.0))
    assert not survey(seen(waiting(420.0), starts=(slower,), **told), CONFIG)[0]["h100"].late


def test_pods_are_late_sooner_where_spot_nodes_were_just_taken_back() -> None:
    def is_late(seconds: float, lost_s: float) -> bool:
        reclaims = ReclaimMemory(
            domain="h100", taken=1.0, watched_s=900.0, lost_at=NOW - lost_s, placed=3, last=NOW
        )
        spot: dict[str, Any] = {"capacity_type": CapacityType.SPOT, "provisioning_s": 180.0}
        there = seen(waiting(seconds), reclaims=(reclaims,), **spot)
        return survey(there, CONFIG)[0]["h100"].late

    assert [is_late(59.0, 100.0), is_late(60.0, 100.0), is_late(60.0, 500.0)] == [
        False,
        True,
        False,
    ]


def test_pods_that_wait_longer_mark_the_pool_and_what_is_scheduled_stays_usable() -> None:
    state, memory = look(waiting(600.0))
    assert state.short
    assert (state.limit, state.free) == (3, 0)
    assert memory == (PoolMemory(pool="h100", short_until=NOW + 300.0, backoff_s=600.0, held=3),)


def test_a_pool_that_cannot_have_room_is_short_without_patience() -> None:
    assert not look(waiting(29.0), devices=3)[0].short
    assert look(waiting(30.0), devices=3)[0].short
    assert not look(waiting(30.0), devices=4)[0].short


def test_a_rest_lasts_and_doubles_when_it_is_short_again() -> None:
    _, (entry,) = look(waiting(600.0))
    assert look(waiting(700.0), entry, now=NOW + 299.0)[0].short
    state, (again,) = look(waiting(900.0), entry, now=NOW + 300.0)
    assert state.short
    assert again.short_until == NOW + 300.0 + 600.0
    assert again.backoff_s == 1200.0
    _, (third,) = look(waiting(900.0), again, now=again.short_until)
    assert third.backoff_s == CONFIG.shortage_backoff_max_s


def test_after_the_rest_the_pool_is_tried_again_and_at_last_forgotten() -> None:
    _, (entry,) = look(waiting(600.0))
    well = variant_state(replicas=3, pods=3, ready=3)
    state, memory = look(well, entry, now=entry.short_until)
    assert not state.short
    assert state.limit == 16
    assert memory == (entry,)
    assert look(well, entry, now=entry.short_until + entry.backoff_s)[1] == ()


def test_what_is_scheduled_during_a_rest_counts_as_usable() -> None:
    _, (entry,) = look(waiting(600.0))
    state, _ = look(waiting(700.0, unschedulable=1), entry, now=NOW + 60.0)
    assert state.limit == 4


def test_a_clock_that_went_back_does_not_make_a_rest_endless() -> None:
    _, (entry,) = look(waiting(600.0))
    _, (kept,) = look(variant_state(), entry, now=NOW - 10 * 86400.0)
    assert kept.short_until == NOW - 10 * 86400.0 + CONFIG.shortage_backoff_max_s


def test_a_pool_that_is_gone_is_remembered_until_its_rest_is_over() -> None:
    entry = PoolMemory(pool="gone", short_until=NOW + 10.0, backoff_s=600.0)
    snapshot = Snapshot(now=NOW, deployments=(), pools=(), memory=PlannerMemory(pools=(entry,)))
    assert survey(snapshot, CONFIG) == ({}, (entry,))
    assert survey(replace(snapshot, now=NOW + 611.0), CONFIG) == ({}, ())


def test_more_waiting_pods_than_there_are_hold_nothing_and_never_less() -> None:
    state, memory = look(waiting(700.0, ready=0, pods=1, unschedulable=3))
    assert (state.short, state.limit, memory[0].held) == (True, 0, 0)


def test_pods_that_do_not_exist_yet_hold_no_devices() -> None:
    # Two of four devices are in use: a third pod has room, and waits within patience.
    state, _ = look(waiting(60.0, pods=3, unschedulable=1), devices=4)
    assert not state.short


def test_one_pod_that_waits_in_vain_is_enough() -> None:
    assert look(waiting(600.0, unschedulable=1))[0].short
    assert not look(waiting(600.0, unschedulable=0))[0].short


def test_a_short_pool_counts_no_more_than_its_nodes_have() -> None:
    entry = PoolMemory(pool="h100", short_until=NOW + 60, backoff_s=600, held=12)
    assert look(waiting(0.0), entry, devices=4)[0].limit == 4
    assert look(waiting(0.0), entry)[0].limit == 12
