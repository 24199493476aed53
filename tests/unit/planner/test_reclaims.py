"""How often spot nodes are taken back: what counts as taken, and what it says of the rate."""

from typing import Any

import pytest

from builders import NOW, catalogue_pool, planned, variant_state
from trimtab.api.policy import CapacityType
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import PlannerMemory, ReclaimMemory
from trimtab.models.snapshot import Snapshot, VariantState
from trimtab.planner.reclaims import HALF_LIFE_S, STEP, rates, watched
from trimtab.planner.spot import RECLAIMS_PER_HOUR

HOUR = 3600.0


def there(
    *variants: VariantState, known: tuple[ReclaimMemory, ...] = (), now: float = NOW
) -> Snapshot:
    return Snapshot(
        now=now,
        deployments=(planned(variants=variants),),
        pools=(
            catalogue_pool("h100", "nvidia-h100-sxm", 3.5, capacity_type=CapacityType.SPOT),
            catalogue_pool("other", "nvidia-h100-sxm", 9.0),
        ),
        memory=PlannerMemory(reclaims=known),
    )


def placed(replicas: int, pods: int | None = None, **over: Any) -> VariantState:
    """So many are wanted and, unless said otherwise, placed."""
    values = {"pods": replicas if pods is None else pods, "ready": 0} | over
    return variant_state(replicas=replicas, **values)


def known(count: int = 8, **over: Any) -> tuple[ReclaimMemory, ...]:
    values = {"taken": 0.0, "watched_s": 0.0, "placed": count, "last": NOW - 15.0}
    return (ReclaimMemory(domain="h100", **(values | over)),)


def taken(variant: VariantState, *, count: int = 8, now: float = NOW) -> float:
    (one,) = watched(there(variant, known=known(count), now=now))
    return one.taken


@pytest.mark.parametrize(
    ("variant", "share"),
    [
        (placed(8), 0.0),
        (placed(8, 6), 0.25),
        (placed(8, 8, unplaced=2), 0.25),
        # What has notice counts when it has it, and what comes for it beside it.
        (placed(8, 8, noticed=2), 0.25),
        (placed(10, 10, noticed=2), 0.0),
        (placed(8, 0), 1.0),
        # What is wanted no more goes by itself, and may take its time to end.
        (placed(6, 8), 0.0),
        (placed(6), 0.0),
        (placed(6, 4), 0.25),
        (placed(4, 4, parallelism=Parallelism(tensor=2)), 0.0),
        (placed(4, 3, parallelism=Parallelism(tensor=2)), 0.25),
        (placed(12, 12, unplaced=4), 0.0),
    ],
)
def test_what_was_placed_and_is_wanted_and_is_placed_no_more_was_taken(
    variant: VariantState, share: float
) -> None:
    assert taken(variant) == share


def test_nothing_is_told_by_a_silence_a_clock_that_went_back_or_where_nothing_was() -> None:
    gone = placed(8, 0)
    assert taken(gone, now=NOW + 60.0) == 1.0
    assert taken(gone, now=NOW + 90.0) == taken(gone, now=NOW - 60.0) == 0.0
    assert taken(gone, count=0) == 0.0


def test_only_spot_is_watched_and_remembered_with_when_it_was_last_taken() -> None:
    assert watched(Snapshot(now=NOW, deployments=(), pools=())) == ()
    (first,) = watched(there(placed(8), placed(3, pool="other")))
    assert first == ReclaimMemory(domain="h100", taken=0.0, watched_s=0.0, placed=8, last=NOW)
    (calm,) = watched(there(placed(8), known=known(lost_at=NOW - 600.0)))
    assert (calm.watched_s, calm.lost_at) == (15.0, NOW - 600.0)
    (hit,) = watched(there(placed(8, 7), known=known(lost_at=NOW - 600.0)))
    assert hit.lost_at == NOW


def test_what_was_seen_fades() -> None:
    old = known(taken=4.0, watched_s=8.0 * HOUR, last=NOW - HALF_LIFE_S)
    (after,) = watched(there(placed(8), known=old))
    assert (after.taken, after.watched_s) == (2.0, 4.0 * HOUR)


@pytest.mark.parametrize(
    ("times", "hours", "rate"),
    [(0.0, 0.0, 0.05), (0.0, 180.0, 0.005), (3.0, 2.0, 4.0 / 22.0), (48.0, 24.0, 49.0 / 44.0)],
)
def test_the_rate_is_that_of_what_is_believed_before_and_was_seen(
    times: float, hours: float, rate: float
) -> None:
    found = rates(known(taken=times, watched_s=hours * HOUR))["h100"]
    assert found == pytest.approx(rate, rel=STEP**0.5 - 1.0)
    assert rates(known())["h100"] == RECLAIMS_PER_HOUR


def test_a_little_more_is_told_apart_no_more_than_it_matters() -> None:
    assert rates(known(watched_s=HOUR)) == rates(known(watched_s=1.1 * HOUR))
