"""The closed-loop cases: one model on one pool of one kind of node, with a constant start-up.

Nothing is short and nothing is left to luck but the requests, so that what remains is the policy's
own doing: how much it holds, when, and how often it turns round.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bodies import pool_manifest
from trimtab.api.llmdeployment import Routing
from trimtab.simulate.scenario import Scenario, scenario_of

MOST = 64
"""Replicas that the pool holds: more than any case needs."""
LOW_RPS, HIGH_RPS = 6.0, 24.0
"""Of the control shapes: some 3 and some 12 replicas."""
CHANGE_S = 900.0
"""When a step, ramp or spike begins."""
CHAT = {
    "inputTokens": {"mean": 1195, "cv": 0.9, "most": 7000},
    "outputTokens": {"mean": 201, "cv": 0.8, "most": 1000},
}
"""Lengths with the means and deviations of Azure's chat trace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Some traffic and the time that a replica takes from being asked for to being Ready."""

    name: str
    source: Mapping[str, Any]
    start_s: int
    minutes: int
    scale: float = 1.0
    warmup_minutes: int = 5
    input_tokens: int = 1195
    output_tokens: int = 201
    rps: float = 6.0
    """What its manifest says before anything is measured."""
    scored: bool = True
    """Whether it is held against fixed fleets; else how it moves is looked at."""

    def scenario(self, percentile: int, routing: Routing = Routing.EVEN) -> Scenario:
        """Return it as a scenario whose targets hold at `percentile`, for a router of that kind."""
        document = {
            # The start-up is no part of it: cases of one kind of traffic meet the same requests.
            "name": self.name.partition("-")[0] if self.scored else self.name,
            "about": "A closed-loop case of bench.control.",
            "duration": f"{self.minutes}m",
            "warmup": f"{self.warmup_minutes}m",
            "manifests": [_pool(self.start_s), self._deployment(percentile, routing)],
            "traffic": [
                {"deployment": "control/model", "source": self.source, "scale": self.scale}
            ],
            "pools": {"node": {"nodes": MOST, "provisioning": "0s", "load": f"{self.start_s}s"}},
        }
        return scenario_of(document, where=self.name, folder=Path())

    def _deployment(self, percentile: int, routing: Routing) -> dict[str, Any]:
        return {
            "apiVersion": "trimtab.dev/v1alpha1",
            "kind": "LLMDeployment",
            "metadata": {"name": "model", "namespace": "control"},
            "spec": {
                "model": {"name": "Qwen/Qwen2.5-14B-Instruct", "quantization": "fp8"},
                "latency": {
                    "percentile": percentile,
                    "timeToFirstToken": "2s",
                    "interTokenLatency": "80ms",
                },
                "scaling": {"minReplicas": 1, "maxReplicas": MOST},
                "routing": routing.value,
                "workload": {
                    "inputTokens": self.input_tokens,
                    "outputTokens": self.output_tokens,
                    "requestsPerSecond": str(self.rps),
                },
            },
        }


def _pool(start_s: int) -> dict[str, Any]:
    return pool_manifest(
        "node",
        "nvidia-l40s",
        "1.861",
        # One, so that a replica is a node and replica-hours mean one thing.
        devicesPerNode=1,
        capacity={"maxDevices": MOST},
        provisioningTime=f"{start_s}s",
    )


def _code(name: str, start_s: int) -> Case:
    return Case(
        name=name,
        source={"trace": "azure-code"},
        start_s=start_s,
        minutes=40,
        scale=4.0,
        input_tokens=2048,
        output_tokens=28,
        rps=12.0,
    )


def _bursts(name: str, start_s: int) -> Case:
    """Return minutes that differ by a lognormal factor, with gamma arrivals within each."""
    source = {
        "synthetic": {
            "shape": "noise",
            "rate": 10,
            "noise": 0.6,
            "period": "90s",
            "arrivals": "gamma",
            "cv": 4,
            **CHAT,
        }
    }
    return Case(name=name, source=source, start_s=start_s, minutes=60, rps=10.0)


TRAFFIC: Mapping[str, Case] = {
    case.name: case
    for case in (
        _code("code-120", 120),
        _code("code-30", 30),
        Case(
            name="conv-120",
            source={"trace": "azure-conv"},
            start_s=120,
            minutes=40,
            scale=4.0,
            rps=24.0,
        ),
        Case(
            name="servegen-120",
            source={"servegen": "m-large", "rate": 48, "skip": "31h"},
            start_s=120,
            minutes=40,
            input_tokens=922,
            output_tokens=157,
            rps=48.0,
        ),
        _bursts("bursts-120", 120),
        _bursts("bursts-30", 30),
    )
}
"""Cases that are scored by replica-hours against the best fixed fleet."""


def _shape(name: str, minutes: int, synthetic: Mapping[str, Any]) -> Case:
    return Case(
        name=name,
        source={"synthetic": {"rate": LOW_RPS, "peak": HIGH_RPS, **synthetic, **CHAT}},
        start_s=120,
        minutes=minutes,
        warmup_minutes=10,
        rps=LOW_RPS,
        scored=False,
    )


def _rise(shape: str, lasts_s: float) -> dict[str, str]:
    """Return a change that begins at `CHANGE_S`."""
    until_s = CHANGE_S + lasts_s
    return {"shape": shape, "from": f"{CHANGE_S:.0f}s", "until": f"{until_s:.0f}s"}


SHAPES: Mapping[str, Case] = {
    case.name: case
    for case in (
        _shape("step", 45, _rise("ramp", 1.0)),
        _shape("ramp", 45, _rise("ramp", 600.0)),
        _shape("spike", 60, _rise("spike", 900.0)),
        *(
            _shape(f"square-{name}", 60, {"shape": "square", "period": f"{part * 120:.0f}s"})
            for name, part in (("half", 0.5), ("1", 1.0), ("2", 2.0), ("4", 4.0))
        ),
        _shape("sawtooth", 60, {"shape": "sawtooth", "period": "900s"}),
        _shape("noise", 60, {"shape": "noise", "rate": 12.0, "period": "60s", "noise": 0.3}),
    )
}
"""Cases that are judged by how the wanted replicas move; requests are Poisson."""
