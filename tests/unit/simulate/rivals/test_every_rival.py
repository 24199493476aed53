"""What holds for every rival, whatever it sees: it is pure, and asks for what can exist."""

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.simulate.rivals.aibrix import Apa, GpuOptimizer, Profiles
from trimtab.simulate.rivals.base import Arrival, Latency, Observation, Rival, Source
from trimtab.simulate.rivals.dynamo import Dynamo
from trimtab.simulate.rivals.hpa import Hpa
from trimtab.simulate.rivals.hpa_metrics import PodsMetric
from trimtab.simulate.rivals.keda import production_stack
from trimtab.simulate.rivals.kpa import Kpa
from trimtab.simulate.rivals.kthena import Kthena
from trimtab.simulate.rivals.kubeai import KubeAi
from trimtab.simulate.rivals.llmd import Llmd
from trimtab.simulate.rivals.ray_serve import RayServe
from trimtab.simulate.rivals.skyserve import SkyServe, Spot
from trimtab.simulate.rivals.static import Static
from trimtab.simulate.rivals.wva_optimizer import Profile, WvaOptimizer
from trimtab.simulate.rivals.wva_queue import Targets
from trimtab.simulate.rivals.wva_saturation import WvaSaturation
from trimtab.simulate.rivals.wva_tokens import WvaTokens
from unit.simulate.rivals.builders import observation, pool, replica

A100 = Profile(
    accelerator="a",
    cost=3.7,
    devices=1,
    alpha=8.0,
    beta=0.045,
    gamma=4e-5,
    max_batch=128,
    at_tokens=256,
)
BENCHMARKS = Profiles(
    input_tokens=(128.0, 2048.0),
    output_tokens=(128.0,),
    throughputs={"a": ((10.0, 2.0),), "b": ((3.0, 0.5),), "c": ((3.0, 0.0),)},
)
RIVALS: tuple[Rival[Any], ...] = (
    Static(replicas={"a": 3}),
    Hpa(pool="a", metrics=(PodsMetric(read=lambda scrape: scrape.waiting, target=5.0),)),
    production_stack("a"),
    Kpa(pool="a"),
    KubeAi(pool="a"),
    RayServe(pool="a"),
    Llmd(pool="a"),
    WvaSaturation(),
    WvaTokens(),
    WvaOptimizer(profiles=(A100,), targets=Targets(ttft_ms=500, itl_ms=50)),
    Dynamo(pool="a", capacity=lambda inputs, outputs: 500.0 / (inputs + outputs), gpus=1),
    Apa(pool="a", read=lambda scrape: scrape.kv_used, target=0.5),
    GpuOptimizer(profiles=BENCHMARKS),
    SkyServe(target_qps=1.0, spot=Spot(base_ondemand=1, dynamic_ondemand=True, overprovision=1)),
    Kthena(read=lambda scrape: scrape.running, target=20.0),
)

NUMBERS = st.floats(0.0, 1e4)
REPLICAS = st.builds(
    replica,
    phase=st.sampled_from(["pending", "loading", "ready", "ready"]),
    name=st.sampled_from(["r0", "r1", "r2"]),
    waiting=NUMBERS,
    running=NUMBERS,
    kv_used=st.floats(0.0, 1.0),
    prompt_tokens_per_s=NUMBERS,
    output_tokens_per_s=NUMBERS,
    waiting_prompt_tokens=NUMBERS,
    ttft_s=st.none() | NUMBERS,
    itl_s=st.none() | NUMBERS,
)
POOLS = st.builds(
    pool,
    name=st.just(""),
    replicas=st.lists(REPLICAS, max_size=4),
    price=st.floats(0.1, 100.0),
    spot=st.booleans(),
    lost=st.integers(0, 2),
    capacity=st.integers(0, 20),
)
ARRIVALS = st.builds(
    Arrival,
    at=st.just(0.0),
    input_tokens=st.floats(1.0, 1e5),
    output_tokens=st.floats(1.0, 1e4),
    count=st.floats(0.0, 1e3),
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    pools = [
        pool(
            name,
            one.replicas,
            price=one.price,
            spot=one.spot,
            lost=one.lost,
            capacity=one.capacity,
        )
        for name, one in zip("abc", draw(st.lists(POOLS, min_size=3, max_size=3)), strict=True)
    ]
    return observation(
        *pools,
        metrics=draw(st.sampled_from(Source)).value,
        minimum=draw(st.integers(0, 2)),
        maximum=draw(st.integers(2, 50)),
        arrivals=tuple(draw(st.lists(ARRIVALS, max_size=3))),
        ongoing=draw(NUMBERS),
        held=draw(NUMBERS),
        latency=draw(st.none() | st.builds(Latency, ttft_s=NUMBERS, itl_s=NUMBERS)),
    )


@settings(max_examples=40, deadline=None)
@given(seen=st.lists(observations(), min_size=2, max_size=4))
def test_it_is_pure_and_asks_for_what_can_exist(seen: list[Observation]) -> None:
    for rival in RIVALS:
        memory = rival.start(seen[0], 0.0)
        for step, one in enumerate(seen, start=1):
            decision = rival.decide(one, memory, step * rival.interval_s)
            assert rival.decide(one, memory, step * rival.interval_s) == decision, rival.name
            for name, count in decision.replicas.items():
                assert name in {"a", "b", "c"}, rival.name
                assert isinstance(count, int), rival.name
                assert count >= 0, rival.name
            memory = decision.memory


@pytest.mark.parametrize("rival", RIVALS, ids=[rival.name for rival in RIVALS])
def test_its_memory_is_frozen(rival: Rival[Any]) -> None:
    memory = rival.start(observation(pool("a"), pool("b"), pool("c")), 0.0)
    if memory is not None:
        with pytest.raises(FrozenInstanceError):
            setattr(memory, fields(memory)[0].name, None)


def test_names_tell_rivals_apart() -> None:
    assert len({rival.name for rival in RIVALS}) == len(RIVALS)
