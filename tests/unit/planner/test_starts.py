"""Times to Ready: learnt from replicas that came, with a prior before, and never from old news."""

import math
from dataclasses import replace
from typing import Any

import pytest

from builders import catalogue_pool, planned
from trimtab.catalog import geometries
from trimtab.models.hardware import EngineSettings, Parallelism
from trimtab.models.memory import PlannerMemory, StartMemory
from trimtab.models.snapshot import Snapshot, VariantState
from trimtab.planner.shortage import PoolState
from trimtab.planner.starts import LONGEST_S, Starts, watched, weights_of

NOW = 1e6


def seen(now: float, *, memory: PlannerMemory | None = None, **variant: float) -> Snapshot:
    """A fleet whose youngest replica got Ready with these times."""
    values: dict[str, Any] = {"youngest_ready_s": 10.0, "placed_s": 1.0, "loaded_s": 60.0} | variant
    state = VariantState(
        pool="l4", parallelism=Parallelism(), replicas=1, ready=1, pods=1, **values
    )
    return Snapshot(
        now=now,
        deployments=(replace(planned("chat"), variants=(state,)),),
        pools=(catalogue_pool("l4", "nvidia-l4", 0.7, devices=8),),
        memory=memory or PlannerMemory(),
    )


def after(starts: int, **variant: float) -> PlannerMemory:
    memory = PlannerMemory()
    for i in range(starts):
        memory = PlannerMemory(starts=watched(seen(NOW + 60 * i, memory=memory, **variant)))
    return memory


def pool_state(free: int) -> PoolState:
    pool = catalogue_pool("l4", "nvidia-l4", 0.7, devices=8)
    return PoolState(pool=pool, promised=8 - free, limit=8, short=False)


def ready_s(memory: PlannerMemory, *, free: int = 8, weights: float | None = None) -> float:
    model = planned("chat").spec.model.name
    state = pool_state(free)
    starts = Starts(memory.starts)
    return starts.ready_s(state.pool, model, weights, needs_node=state.at_hand < 1)


def test_larger_weights_take_longer_before_anything_was_watched() -> None:
    assert ready_s(PlannerMemory(), weights=140e9) > ready_s(PlannerMemory(), weights=16e9) + 100


def test_many_equal_starts_are_believed() -> None:
    assert ready_s(after(10)) == pytest.approx(60.0, rel=0.15)
    assert ready_s(after(10)) < ready_s(after(1)) < ready_s(PlannerMemory())


def test_a_full_pool_waits_for_its_node() -> None:
    assert ready_s(after(10), free=0) > ready_s(after(10), free=1)


def test_the_wait_for_a_node_is_learnt_where_there_was_one() -> None:
    assert {one.model for one in after(3).starts} == {planned("chat").spec.model.name}
    slow = after(10, placed_s=400.0)
    assert ready_s(slow, free=0) - ready_s(slow, free=1) == pytest.approx(400.0, rel=0.15)


def test_the_image_counts_to_a_new_node_and_to_none_that_is_at_hand() -> None:
    told = after(10, placed_s=400.0, image_s=80.0, loaded_s=140.0)
    assert ready_s(told, free=1) == pytest.approx(60.0, rel=0.15)
    assert ready_s(told, free=0) == pytest.approx(400.0 + 80.0 + 60.0, rel=0.15)


def test_an_image_that_a_node_at_hand_lacks_is_part_of_what_it_takes() -> None:
    told = after(10, placed_s=1.0, image_s=80.0, loaded_s=140.0)
    assert ready_s(told, free=1) == pytest.approx(140.0, rel=0.15)
    assert [one.image for one in told.starts] == [False]


def test_one_replica_teaches_once() -> None:
    first = after(1)
    again = watched(seen(NOW + 15, memory=first, youngest_ready_s=25.0))
    assert again == first.starts


def test_a_replica_that_is_ready_again_after_hours_teaches_nothing() -> None:
    assert not watched(seen(NOW, loaded_s=LONGEST_S + 1))
    assert not watched(seen(NOW, loaded_s=0.0))


def test_a_pool_that_is_gone_is_forgotten() -> None:
    assert not watched(replace(seen(NOW, memory=after(1), loaded_s=0.0), pools=()))


def test_figures_are_finite() -> None:
    for one in after(30, loaded_s=LONGEST_S).starts:
        assert math.isfinite(one.log_mean)
        assert math.isfinite(one.log_var)


def test_as_long_as_they_are_few_all_starts_count_the_same() -> None:
    memory = PlannerMemory()
    for i, loaded_s in enumerate((60.0, 120.0, 240.0)):
        snapshot = seen(NOW + 60 * i, memory=memory, loaded_s=loaded_s)
        memory = PlannerMemory(starts=watched(snapshot))
    (one,) = memory.starts
    assert one.log_mean == pytest.approx(math.log(120.0))
    assert one.log_var == pytest.approx(2 / 3 * math.log(2.0) ** 2)


def test_many_starts_of_long_ago_make_nobody_surer_than_the_last_ones() -> None:
    assert ready_s(after(40)) == pytest.approx(ready_s(after(20)))


def test_few_starts_leave_as_much_doubt_as_one_more_of_unknown_spread() -> None:
    model = planned("chat").spec.model.name
    known = StartMemory(
        pool="l4", model=model, log_mean=math.log(64.0), log_var=0.04, count=3, last=NOW
    )
    spread = math.sqrt((3 * 0.04 + 0.3 * 0.3) / 4)
    assert ready_s(PlannerMemory(starts=(known,))) == pytest.approx(
        64.0 * math.exp(1.2816 * spread)
    )


def test_a_start_counts_for_a_tenth_once_there_were_many() -> None:
    memory = after(40)
    (last,) = watched(seen(NOW + 3600, memory=memory, loaded_s=120.0))
    assert last.log_mean == pytest.approx(math.log(60.0) + math.log(2.0) / 10)


def test_a_second_of_rounding_is_no_other_replica() -> None:
    first = after(1)
    assert watched(seen(NOW + 1, memory=first)) == first.starts
    assert watched(seen(NOW + 2, memory=first)) != first.starts


def test_the_weights_of_an_unknown_model_are_unknown() -> None:
    assert weights_of(None, EngineSettings()) is None
    geometry = geometries.get("meta-llama/Llama-3.1-8B-Instruct")
    assert geometry is not None
    assert weights_of(geometry, EngineSettings()) == pytest.approx(16.06e9, rel=0.01)
