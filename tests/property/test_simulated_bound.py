"""No policy pays less than is proven, whatever it is, for as few missed requests."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smallfleet import KEY, make_scenario, make_traffic
from trimtab.models.snapshot import Key
from trimtab.simulate.kinds import variants_of
from trimtab.simulate.optimum import Clairvoyant
from trimtab.simulate.policy import Choice, FixedPolicy, FleetView, Policy, Variant
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.trimtab_policy import TrimtabPolicy
from trimtab.simulate.world import world_of


@dataclass(frozen=True)
class Swings:
    """Asks for other counts again and again, as no sensible policy would."""

    variants: tuple[Variant, ...]
    seed: int
    name: str = "swings"
    interval_s: float = 25.0
    debounce_s: float | None = None

    def decide(self, view: FleetView) -> Choice:
        rng = np.random.default_rng([self.seed, int(view.now)])
        return Choice(replicas={variant: int(rng.integers(0, 4)) for variant in self.variants})


def policies(scenario: Scenario, traffic: dict[Key, Traffic], seed: int) -> list[Policy]:
    world = world_of(scenario, traffic)
    variants = variants_of(world.snapshot, world.states[0])
    single = [variant for variant in variants if variant.parallelism.devices == 1]
    return [
        FixedPolicy(replicas={single[seed % len(single)]: 1 + seed % 4}),
        FixedPolicy(replicas=dict.fromkeys(variants, 1)),
        Swings(variants=variants, seed=seed),
        TrimtabPolicy(base=world.snapshot),
    ]


@given(
    seed=st.integers(0, 10_000),
    rps=st.sampled_from([0.02, 0.3, 2.0, 8.0]),
    burst=st.sampled_from([1.0, 4.0]),
    sizes=st.sampled_from([(300, 200), (2500, 20), (100, 600)]),
    latency=st.sampled_from(
        [
            {"timeToFirstToken": "800ms", "interTokenLatency": "50ms"},
            {"timeToFirstToken": "3s"},
            {"interTokenLatency": "25ms"},
            {"endToEnd": "8s"},
        ]
    ),
    load=st.sampled_from(["0s", "15s", "60s"]),
    timeout=st.sampled_from(["5s", "60s"]),
    retries=st.sampled_from([0, 2]),
)
@settings(deadline=None, max_examples=10)
def test_nobody_pays_less(
    seed: int,
    rps: float,
    burst: float,
    sizes: tuple[int, int],
    latency: dict[str, str],
    load: str,
    timeout: str,
    retries: int,
) -> None:
    scenario = make_scenario(latency, load, timeout, retries)
    traffic = {KEY: make_traffic(seed, rps, burst, *sizes)}
    seer = Clairvoyant(scenario, traffic, seed, run)
    for policy in policies(scenario, traffic, seed):
        result = run(scenario, traffic, policy, seed)
        for bound in (seer.exact_bound(result), seer.bound(result)):
            assert bound is None or bound.usd <= result.cost_usd + 1e-9, policy.name
        assert seer.exact_bound(result) is not None, "what was attained was said to be impossible"


def busy_result(replicas: int) -> tuple[Clairvoyant, RunResult]:
    scenario = make_scenario({"timeToFirstToken": "2s", "interTokenLatency": "50ms"}, "15s", "60s")
    traffic = {KEY: make_traffic(1, 20.0, 1.0, 1000, 250)}
    world = world_of(scenario, traffic)
    (variant,) = (v for v in variants_of(world.snapshot, world.states[0]) if v.label == "h100/tp1")
    result = run(scenario, traffic, FixedPolicy(replicas={variant: replicas}), 1)
    return Clairvoyant(scenario, traffic, 1, run), result


def test_the_bound_is_not_far_below_a_busy_fleet() -> None:
    """A bound of nothing would hold, too."""
    seer, result = busy_result(2)
    bound = seer.exact_bound(result)
    assert result.attainment is not None
    assert result.attainment > 0.9
    assert bound is not None
    assert bound.usd > 0.4 * result.cost_usd


@pytest.mark.parametrize(("high", "low"), [(0.99, 0.95), (0.95, 0.90)])
def test_a_higher_share_never_costs_less(high: float, low: float) -> None:
    seer, _ = busy_result(2)
    dear, cheap = seer.bound_at(high), seer.bound_at(low)
    assert dear is not None
    assert cheap is not None
    assert dear.usd > cheap.usd
