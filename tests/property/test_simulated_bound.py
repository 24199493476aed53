"""No policy pays less than is proven, whatever it is, for as few missed requests."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.snapshot import Key
from trimtab.simulate.asked import variants_of
from trimtab.simulate.optimum import Clairvoyant
from trimtab.simulate.policy import Choice, FixedPolicy, FleetView, Policy, Variant
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario, scenario_of
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.trimtab_policy import TrimtabPolicy
from trimtab.simulate.world import world_of

KEY = Key(namespace="assistants", name="chat")


def make_scenario(latency: dict[str, str], load: str, timeout: str) -> Scenario:
    def pool(name: str, accelerator: str, usd: str) -> dict[str, Any]:
        return {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "AcceleratorPool",
            "metadata": {"name": name},
            "spec": {
                "accelerator": accelerator,
                "resourceName": "nvidia.com/gpu",
                "devicesPerNode": 2,
                "nodeSelector": {"pool": name},
                "price": {"perDeviceHour": usd},
                "capacity": {"maxDevices": 12},
            },
        }

    document: dict[str, Any] = {
        "name": "small",
        "about": "A few minutes of a small model.",
        "duration": "4m",
        "warmup": "1m",
        "manifests": [
            pool("h100", "nvidia-h100-sxm", "6.88"),
            pool("l4", "nvidia-l4", "0.80"),
            {
                "apiVersion": "trimtab.dev/v1alpha1",
                "kind": "LLMDeployment",
                "metadata": {"name": KEY.name, "namespace": KEY.namespace},
                "spec": {
                    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                    "latency": {"percentile": 95, **latency},
                },
            },
        ],
        "traffic": [
            {
                "deployment": str(KEY),
                "source": {
                    "synthetic": {
                        "shape": "steady",
                        "rate": 1,
                        "inputTokens": {"mean": 500},
                        "outputTokens": {"mean": 100},
                    }
                },
            }
        ],
        "pools": {name: {"provisioning": "20s", "load": load} for name in ("h100", "l4")},
        "clients": {"timeout": timeout},
    }
    return scenario_of(document, where="test", folder=Path())


def make_traffic(seed: int, rps: float, burst: float, prompt: int, answer: int) -> Traffic:
    """Minutes in which quiet and busy half-minutes take turns."""
    rng = np.random.default_rng(seed)
    at: list[float] = []
    for start in range(0, 240, 30):
        mean = rps * (burst if rng.random() < 0.4 else 1.0) * 30.0
        at += list(start + 30.0 * rng.random(int(rng.poisson(mean))))
    n = max(len(at), 1)
    at = at or [90.0]
    return Traffic(
        at_s=np.sort(np.array(at)),
        input_tokens=np.clip(rng.lognormal(np.log(prompt), 0.8, n), 1, 6000).astype(np.int64),
        output_tokens=np.clip(rng.lognormal(np.log(answer), 0.8, n), 1, 1500).astype(np.int64),
    )


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
    variants = variants_of(world, world.states[0])
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
)
@settings(deadline=None, max_examples=12)
def test_nobody_pays_less(
    seed: int,
    rps: float,
    burst: float,
    sizes: tuple[int, int],
    latency: dict[str, str],
    load: str,
    timeout: str,
) -> None:
    scenario = make_scenario(latency, load, timeout)
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
    (variant,) = (v for v in variants_of(world, world.states[0]) if v.label == "h100/tp1")
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
