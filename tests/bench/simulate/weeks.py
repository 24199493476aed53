"""How fast fluid mode is: many services through a day and more, each with an HPA of its own.

Run as `python -m bench.simulate.weeks [SERVICES] [HOURS]` in tests/; prints, and asserts nothing.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bodies import pool_manifest
from trimtab.api.base import API_VERSION
from trimtab.simulate.entrants import policy_on
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import Mode, run
from trimtab.simulate.scenario import Scenario, scenario_of, traffic_of
from trimtab.simulate.world import world_of

RPS, PEAK_RPS = 1.0, 6.0
POLICY = "hpa-batch"
HOURS_OF_A_WEEK = 168


def services(count: int, hours: int) -> Scenario:
    """Return so many services of one kind, each with days and nights."""
    pool = pool_manifest(
        "l40s",
        "nvidia-l40s",
        "0.90",
        capacity={"maxDevices": 8 * count},
        provisioningTime="2m",
    )
    source = {
        "shape": "diurnal",
        "rate": RPS,
        "peak": PEAK_RPS,
        "inputTokens": {"mean": 1000, "cv": 0.8},
        "outputTokens": {"mean": 200, "cv": 0.8},
    }
    names = [f"chat-{number}" for number in range(count)]
    document: dict[str, Any] = {
        "name": "weeks",
        "about": "How fast it is.",
        "duration": f"{hours}h",
        "manifests": [pool, *(_deployment(name) for name in names)],
        "traffic": [{"deployment": f"default/{n}", "source": {"synthetic": source}} for n in names],
    }
    return scenario_of(document, where="bench", folder=Path())


def _deployment(name: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "latency": {"timeToFirstToken": "2s", "interTokenLatency": "60ms"},
            "workload": {"inputTokens": 1000, "outputTokens": 200, "requestsPerSecond": "2"},
            "scaling": {"maxReplicas": 8},
        },
    }


def seconds_of(scenario: Scenario) -> tuple[float, int, RunResult]:
    """Return the seconds of CPU of a run, its requests, and what came of it."""
    traffic = traffic_of(scenario, np.random.default_rng(0))
    world = world_of(scenario, traffic)
    (pool,) = [pool.name for pool in world.snapshot.pools]
    policy = policy_on(POLICY, world, {state.key: (pool,) for state in world.states})
    begun = time.process_time()
    result = run(scenario, traffic, policy, 0, Mode.FLUID)
    return time.process_time() - begun, sum(len(each) for each in traffic.values()), result


def main(count: int, hours: int) -> None:
    """Print the CPU seconds of following a service through a week."""
    seconds, requests, result = seconds_of(services(count, hours))
    weeks = count * hours / HOURS_OF_A_WEEK
    sys.stdout.write(
        f"{count} services, {hours} h, {requests:,} requests, {POLICY}: "
        f"{seconds / weeks:.1f} s for a week of a service, "
        f"{1e6 * seconds / requests:.1f} s a million requests; "
        f"attained {(result.attainment or 0.0):.2%}\n"
    )


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    main(given[0] if given else 20, given[1] if len(given) > 1 else 24)
