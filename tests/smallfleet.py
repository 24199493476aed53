"""A few minutes of a small model on two pools, for tests that run whole fleets."""

from pathlib import Path
from typing import Any

import numpy as np

from bodies import pool_manifest
from trimtab.models.snapshot import Key
from trimtab.simulate.scenario import Scenario, scenario_of
from trimtab.simulate.traffic import Traffic

KEY = Key(namespace="assistants", name="chat")


def make_scenario(
    latency: dict[str, str],
    load: str,
    timeout: str,
    retries: int = 0,
    *,
    only: str | None = None,
) -> Scenario:
    size = {"devicesPerNode": 2, "capacity": {"maxDevices": 12}}
    document: dict[str, Any] = {
        "name": "small",
        "about": "A few minutes of a small model.",
        "duration": "4m",
        "warmup": "1m",
        "manifests": [
            pool_manifest("h100", "nvidia-h100-sxm", "6.88", **size),
            pool_manifest("l4", "nvidia-l4", "0.80", **size),
            {
                "apiVersion": "trimtab.dev/v1alpha1",
                "kind": "LLMDeployment",
                "metadata": {"name": KEY.name, "namespace": KEY.namespace},
                "spec": {
                    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
                    "latency": {"percentile": 95, **latency},
                    **({"placement": {"pools": [only]}} if only else {}),
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
        "clients": {"timeout": timeout, "retries": retries},
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
