"""Scenarios and policies for tests of whole runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bodies import pool_manifest
from trimtab.api.base import API_VERSION
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.snapshot import Key
from trimtab.simulate.policy import Choice, FleetView, Variant
from trimtab.simulate.scenario import Scenario, scenario_of, traffic_of
from trimtab.simulate.traffic import Traffic

CHAT = Key(namespace="default", name="chat")


def pool(name: str, accelerator: str, usd: str, **over: Any) -> dict[str, Any]:
    """A pool of 32 devices, eight to a node, that grows within two minutes."""
    spec = {"capacity": {"maxDevices": 32}, "provisioningTime": "2m"} | over
    return pool_manifest(name, accelerator, usd, **spec)


def deployment(name: str = "chat", **over: Any) -> dict[str, Any]:
    """Llama 3.1 8B with targets that an H100 and an L40S meet."""
    spec: dict[str, Any] = {
        "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
        "latency": {"timeToFirstToken": "2s", "interTokenLatency": "60ms"},
        "workload": {"inputTokens": 1200, "outputTokens": 200, "requestsPerSecond": "8"},
        "scaling": {"maxReplicas": 20},
    }
    return {
        "apiVersion": API_VERSION,
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec | over,
    }


H100 = pool("h100", "nvidia-h100-sxm", "2.50")
L40S = pool("l40s", "nvidia-l40s", "0.90")


def scenario(**over: Any) -> Scenario:
    """Ten minutes of Azure's chat trace for one deployment on two pools."""
    document: dict[str, Any] = {
        "name": "two-pools",
        "about": "A test.",
        "duration": "10m",
        "manifests": [H100, L40S, deployment()],
        "traffic": [{"deployment": "default/chat", "source": {"trace": "azure-conv"}}],
    }
    return scenario_of(document | over, where="test", folder=Path())


def traffic(of: Scenario, seed: int = 0) -> Mapping[Key, Traffic]:
    """Return the requests of a scenario."""
    return traffic_of(of, np.random.default_rng(seed))


def steady(rps: float, **over: Any) -> dict[str, Any]:
    """Return traffic of `chat` at a steady rate, as a scenario has it."""
    source: dict[str, Any] = {
        "shape": "steady",
        "rate": rps,
        "inputTokens": {"mean": 1000, "cv": 0.5},
        "outputTokens": {"mean": 200, "cv": 0.5},
    }
    return {"deployment": "default/chat", "source": {"synthetic": source | over}}


def variant(pool: str = "h100", tensor: int = 1, key: Key = CHAT) -> Variant:
    """Return a variant of `chat`."""
    return Variant(deployment=key, pool=pool, parallelism=Parallelism(tensor=tensor))


def _same(load: ObservedLoad) -> ObservedLoad:
    return load


@dataclass(slots=True)
class Script:
    """A policy that asks for what a function says, and keeps what it saw."""

    asks: Callable[[float], Mapping[Variant, int]]
    name: str = "script"
    interval_s: float = 15.0
    debounce_s: float | None = None
    views: list[FleetView] = field(default_factory=list)

    def decide(self, view: FleetView) -> Choice:
        """Return what the function says."""
        asked = tuple(replace(each, load=partial(_same, each.load())) for each in view.deployments)
        self.views.append(replace(view, deployments=asked))
        return Choice(replicas=self.asks(view.now))
