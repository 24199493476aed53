"""The bound of cases small enough to be worked out by hand; a replica-second costs a dollar."""

from typing import Any

import numpy as np
import pytest

from trimtab.models.snapshot import Key
from trimtab.simulate.bound import lower_bound
from trimtab.simulate.demands import Horizon, Offer, Service

KEY = Key(namespace="a", name="b")
END_S = 100.0


def make_offer(least: list[float], **over: Any) -> Offer:
    values: dict[str, Any] = {
        "name": "h100/tp1",
        "pool": "h100",
        "devices": 1,
        "usd_per_hour": 3600.0,
        "loads_s": np.zeros(1),
        "prompt_s": np.array(least) / 2.0,
        "least_s": np.array(least),
    }
    return Offer(**(values | over))


def make_service(at: list[float], least: list[float], **over: Any) -> Service:
    """Requests that need no replica at any certain moment and may end 10 s after their arrival."""
    count = len(at)
    values: dict[str, Any] = {
        "key": KEY,
        "at_s": np.array(at),
        "first_by_s": 1.0,
        "last_s": np.array(at) + 10.0,
        "rest_s": np.full(count, 5.0),
        "held_from_s": np.zeros(count),
        "held_to_s": np.zeros(count),
        "leaning": np.ones(count),
        "offers": [make_offer(least)],
    }
    return Service(**(values | over))


def usd(service: Service, misses: int = 0, devices: int = 8) -> float | None:
    horizon = Horizon(start_s=0.0, end_s=END_S, room={"h100": [(0.0, devices)]})
    bound = lower_bound([service], horizon, {KEY: misses})
    return None if bound is None else round(bound.usd, 3)


def test_it_is_the_work_of_what_must_be_served() -> None:
    service = make_service([5.0, 6.0, 50.0], [2.0, 3.0, 7.0])
    assert usd(service) == 12.0
    assert usd(service, misses=1) == 5.0
    assert usd(service, misses=3) == 0.0


def test_a_replica_is_there_while_a_request_must_have_one() -> None:
    service = make_service(
        [5.0, 6.0], [1.0, 1.0], held_from_s=np.array([6.0, 7.0]), held_to_s=np.array([26.0, 31.0])
    )
    # From 6 to 31 s there is one, however little it has to do.
    assert usd(service) == 25.0
    assert usd(service, misses=2) == 0.0
    # Without the second, none is needed from 26 s on.
    found = usd(service, misses=1)
    assert found is not None
    assert found < 25.0


def test_what_can_meet_no_target_is_a_miss_of_everybody() -> None:
    service = make_service([5.0, 6.0], [2.0, 3.0], offers=[make_offer([2.0, float("inf")])])
    assert usd(service, misses=1) == 2.0
    assert usd(service, misses=0) is None


def test_a_model_that_fits_nowhere_is_missed_by_everybody_and_costs_nothing() -> None:
    service = make_service([5.0, 6.0], [2.0, 3.0], offers=[])
    assert usd(service, misses=2) == 0.0
    assert usd(service, misses=1) is None


def test_work_may_be_left_to_the_time_after_but_only_what_comes_in_time() -> None:
    # Ends 5 s after the score at the latest, and its tokens take 20 s: a quarter may be left.
    service = make_service(
        [END_S - 10.0], [8.0], last_s=np.array([END_S + 5.0]), rest_s=np.array([20.0])
    )
    assert usd(service) == 8.0 * (1.0 - 0.25 * (2.0 - 0.25))
    # One that need not have begun may be left as a whole.
    late = make_service([END_S - 0.5], [8.0], last_s=np.array([END_S + 50.0]))
    assert usd(late) == 0.0


def test_devices_that_are_had_may_stay_when_no_more_can_be() -> None:
    service = make_service([55.0, 55.0], [10.0, 10.0], last_s=np.full(2, 65.0))
    room = {"h100": [(0.0, 4), (20.0, 0)]}
    horizon = Horizon(start_s=0.0, end_s=END_S, room=room)
    assert lower_bound([service], horizon, {KEY: 0}) is not None
    none = Horizon(start_s=0.0, end_s=END_S, room={"h100": [(0.0, 0)]})
    assert lower_bound([service], none, {KEY: 0}) is None


def test_a_start_is_paid_for_while_it_loads() -> None:
    offers = [make_offer([2.0, 2.0], loads_s=np.array([15.0]))]
    # What serves the first may have been there before; between them 85 s go by.
    service = make_service([1.0, 90.0], [2.0, 2.0], offers=offers)
    assert usd(service) == 2.0 + 2.0 + 15.0


def test_many_starts_are_not_all_as_lucky_as_the_luckiest() -> None:
    loads = np.array([4.0, 6.0, 9.0])
    # Three prompts of 1 s must be computed within 1 s: three replicas, and three loads.
    burst = make_service(
        [1.0, 75.0, 75.0, 75.0], [2.0] * 4, offers=[make_offer([2.0] * 4, loads_s=loads)]
    )
    assert usd(burst) == 8.0 + 4.0 + 6.0 + 9.0


def test_a_larger_replica_loads_once() -> None:
    """Two halves of it take no more luck than one."""
    loads = np.array([4.0, 60.0])
    whole = make_offer([2.0, 1.0], loads_s=loads, devices=2, usd_per_hour=7200.0)
    half = make_offer([4.0, 60.0], loads_s=loads)
    service = make_service([1.0, 90.0], [2.0, 2.0], offers=[whole, half])
    found = usd(service)
    assert found is not None
    assert found <= 4.0 + (4.0 + 1.0) * 2.0


def test_the_cheaper_kind_is_taken_while_it_lasts() -> None:
    cheap = make_offer([20.0, 20.0], pool="l4", usd_per_hour=360.0)
    service = make_service([1.0, 1.0], [5.0, 5.0], offers=[make_offer([5.0, 5.0]), cheap])
    for devices, cost in ((8, 4.0), (1, 2.0 + 5.0), (0, 10.0)):
        room = {"h100": [(0.0, 8)], "l4": [(0.0, devices)]}
        bound = lower_bound([service], Horizon(start_s=0.0, end_s=END_S, room=room), {KEY: 0})
        assert bound is not None
        assert bound.usd == pytest.approx(cost, rel=1e-4)
