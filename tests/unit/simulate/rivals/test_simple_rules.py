"""Rules for which there are no decisions of the original: each does what its page says."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from trimtab.simulate.rivals.base import Latency, Observation, Rival, Source
from trimtab.simulate.rivals.kthena import Kthena, spread
from trimtab.simulate.rivals.kubeai import KubeAi
from trimtab.simulate.rivals.llmd import Llmd
from trimtab.simulate.rivals.ray_serve import RayServe
from trimtab.simulate.rivals.static import Static
from unit.simulate.rivals.builders import observation, pool, replica


def play(rival: Rival[Any], steps: Sequence[Observation], replicas: int) -> list[int]:
    """What is asked for of pool "a" at each step, when it always comes at once."""
    first = replace(steps[0], pools=(pool("a", [replica()] * replicas),))
    memory, asked = rival.start(first, 0.0), []
    for step, seen in enumerate(steps):
        seen = replace(seen, pools=(pool("a", [replica()] * replicas),))
        decision = rival.decide(seen, memory, step * rival.interval_s)
        memory = decision.memory
        replicas = decision.replicas.get("a", replicas)
        asked.append(replicas)
    return asked


def ongoing(requests: float, **fields: Any) -> Observation:
    return observation(ongoing=requests, **fields)


def latency(ttft_s: float, itl_s: float, **fields: Any) -> Observation:
    return observation(latency=Latency(ttft_s=ttft_s, itl_s=itl_s), **fields)


def test_static_never_moves() -> None:
    static = Static(replicas={"a": 3, "b": 1})
    assert static.decide(ongoing(1e6), None, 0.0).replicas == {"a": 3, "b": 1}


def test_kubeai_follows_the_mean_of_ten_minutes() -> None:
    # From 2 x 100 to 1000 requests in flight: the mean passes 300 at 8 of 60 samples.
    asked = play(KubeAi(pool="a"), [ongoing(1000.0)] * 61, 2)
    assert asked[:8] == [3] * 7 + [4]
    assert asked[-2:] == [10, 10]


def test_kubeai_waits_for_three_lower_answers_in_a_row() -> None:
    rival = KubeAi(pool="a")
    # The mean reaches 100 at the 30th sample.
    assert play(rival, [ongoing(0.0)] * 34, 2) == [2] * 31 + [1] * 3
    # One sample that asks for two starts the count anew.
    broken = [ongoing(0.0)] * 31 + [ongoing(500.0)] + [ongoing(0.0)] * 4
    assert play(rival, broken, 2) == [2] * 34 + [1] * 2


def test_kubeai_wakes_for_a_held_request() -> None:
    rival = KubeAi(pool="a")
    assert play(rival, [ongoing(0.0, minimum=0), ongoing(1.0, held=1.0, minimum=0)], 0) == [0, 1]


def test_ray_serve_needs_30_s_to_add_and_600_s_to_remove() -> None:
    rival = RayServe(pool="a")
    assert play(rival, [ongoing(8.0)] * 5, 1) == [1, 1, 1, 4, 4]
    assert play(rival, [ongoing(2.0)] * 62, 4) == [4] * 60 + [1, 1]
    pause = [ongoing(requests) for requests in (8.0, 0.0, 0.0, 0.0, 8.0, 8.0)]
    assert play(rival, pause, 1) == [1] * 6


def test_ray_serve_comes_from_zero_at_once() -> None:
    assert play(RayServe(pool="a"), [ongoing(3.0, minimum=0)], 0) == [2]


def test_llmd_holds_inside_its_band_and_moves_in_proportion_outside() -> None:
    rival = Llmd(pool="a")
    assert play(rival, [latency(1.5, 0.03)] * 40, 4) == [4] * 40
    # TPOT at 0.88 of its target: 4 x 0.88 / 0.55 is 6.4.
    assert play(rival, [latency(1.0, 0.088)], 4) == [7]
    # At 1.5: twice the pods or 4 more within 60 s.
    assert play(rival, [latency(4.5, 0.01)] * 5, 4) == [8, 8, 8, 8, 16]


def test_llmd_removes_one_pod_in_120_s_after_the_window_and_drains_without_a_signal() -> None:
    rival = Llmd(pool="a")
    down = play(rival, [latency(0.6, 0.01)] * 37, 4)
    assert down == [4] * 20 + [3] * 8 + [2] * 9
    assert play(rival, [latency(1.5, 0.05, metrics="empty")] * 60, 4)[-1] == 1


def test_llmd_does_not_ask_twice_for_a_warming_replica() -> None:
    strained = latency(2.0, 0.01)
    rival = Llmd(pool="a")
    for ready, expected in ((4, 5), (3, 4)):
        pods = [replica()] * ready + [replica(phase="loading")] * (4 - ready)
        seen = replace(strained, pools=(pool("a", pods),))
        # At 2/3 of the target; with three of four ready at 1/2, inside the band.
        assert rival.decide(seen, rival.start(seen, 0.0), 0.0).replicas == {"a": expected}


KTHENA = Kthena(read=lambda scrape: scrape.waiting, target=10.0)


def kthena(waiting: float, count: int) -> Observation:
    return observation(pool("a", [replica(waiting=waiting)] * count))


def test_kthena_spreads_over_backends_by_the_cost_of_growing_blocks() -> None:
    backends = [pool("a", price=1.0, capacity=4), pool("b", price=1.5, capacity=4)]
    # Blocks of a: 1, 2, 1 for 1, 2, 1; of b: 1, 2, 1 for 1.5, 3, 1.5.
    assert spread(backends, 3) == {"a": 2, "b": 1}
    assert spread(backends, 5) == {"a": 3, "b": 2}
    assert spread(backends, 99) == {"a": 4, "b": 4}


@pytest.mark.parametrize(
    ("waiting", "count", "expected"), [(10.9, 4, 4), (15.0, 4, 6), (18.0, 4, 8), (30.0, 4, 12)]
)
def test_kthena_follows_the_ratio_and_panics_at_twice(
    waiting: float, count: int, expected: int
) -> None:
    seen = kthena(waiting, count)
    assert KTHENA.decide(seen, KTHENA.start(seen, 0.0), 0.0).replicas == {"a": expected}


def test_kthena_removes_nothing_in_panic_and_without_metrics() -> None:
    seen = kthena(30.0, 4)
    memory = KTHENA.decide(seen, KTHENA.start(seen, 0.0), 0.0).memory
    old = replace(memory, hpa=replace(memory.hpa, recommendations=()))
    assert KTHENA.decide(kthena(1.0, 8), old, 45.0).replicas == {"a": 8}
    assert KTHENA.decide(kthena(1.0, 8), old, 60.0).replicas == {"a": 1}
    silent = observation(pool("a", [replica(phase="loading")] * 4))
    assert KTHENA.decide(silent, memory, 60.0).replicas == {}
    # Its pods are asked, and no Prometheus.
    assert KTHENA.decide(replace(seen, metrics=Source.EMPTY), memory, 60.0).replicas == {"a": 12}
