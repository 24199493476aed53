"""CPU seconds of a whole plan, by the number of deployments and pools.

"first" places all deployments at once on pools with room; "steady" and "moved" are later ticks:
nothing changed, and every tenth demand doubled. What a replica can do is worked out before the
clock starts, as it is cached for as long as requests keep their shape.
"""

import resource
import time
from dataclasses import replace
from random import Random

from bench.planner.fleets import say
from builders import catalogue_pool, planned
from fleetworld import FleetWorld, fresh_load
from trimtab.models.capacity import Pool
from trimtab.models.snapshot import DeploymentState
from trimtab.planner.plan import plan

SIZES = ((10, 10), (100, 10), (200, 12), (1000, 50))
DEVICES = 10**6
WARM = 2
"""Ticks after which what runs is Ready and known."""
MODELS = (
    ("meta-llama/Llama-3.1-8B-Instruct", "none"),
    ("meta-llama/Llama-3.1-70B-Instruct", "fp8"),
    ("Qwen/Qwen2.5-7B-Instruct", "none"),
    ("Qwen/Qwen2.5-32B-Instruct", "fp8"),
    ("Qwen/Qwen3-32B", "fp8"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "none"),
    ("openai/gpt-oss-120b", "mxfp4"),
    ("meta-llama/Llama-3.3-70B-Instruct", "none"),
)


def pools(count: int) -> list[Pool]:
    """So many pools of six kinds, with devices for all."""
    kinds = (
        ("h100", "nvidia-h100-sxm", 3.9),
        ("h200", "nvidia-h200-sxm", 4.9),
        ("a100", "nvidia-a100-80gb-sxm", 2.3),
        ("l40s", "nvidia-l40s", 1.2),
        ("l4", "nvidia-l4", 0.7),
        ("mi300x", "amd-mi300x", 3.4),
    )
    found = []
    for i in range(count):
        name, kind, usd = kinds[i % len(kinds)]
        price = usd * (1.0 + 0.01 * (i // len(kinds)))
        found.append(catalogue_pool(f"{name}-{i:02}", kind, price, devices=DEVICES))
    return found


def deployment(index: int, dice: Random) -> DeploymentState:
    """One of the deployments, by its number."""
    model, quantization = MODELS[index % len(MODELS)]
    return planned(
        f"d{index:04}",
        model={"name": model, "quantization": quantization},
        latency={"timeToFirstToken": "2s", "interTokenLatency": "80ms"},
        workload={
            "inputTokens": 1024,
            "outputTokens": 256,
            "requestsPerSecond": f"{60 ** dice.random():.2f}",
        },
        scaling={"maxReplicas": 40},
        priority=dice.choice([100, 200]),
    )


def timed(world: FleetWorld) -> float:
    """Return the seconds of one plan, and apply it."""
    snapshot = world.snapshot()
    start = time.process_time()
    result = plan(snapshot, world.config)
    seconds = time.process_time() - start
    world.apply(result)
    world.pass_time(60.0)
    return seconds


def measure(deployments: int, count: int) -> dict[str, float]:
    """Return the seconds of each kind of tick."""
    dice = Random(deployments)
    states = [deployment(index, dice) for index in range(deployments)]
    world = FleetWorld(pools=pools(count), deployments={s.key: s for s in states})
    plan(replace(world.snapshot(), deployments=world.snapshot().deployments[:8]), world.config)
    times = {"first": timed(world)}
    for key, state in world.deployments.items():
        assert state.policy is not None
        world.deployments[key] = replace(state, load=fresh_load(state.policy.prior_rps or 0.0))
    for _ in range(WARM):
        timed(world)
    times["steady"] = timed(world)
    for key in list(world.deployments)[::10]:
        load = world.deployments[key].load
        rate = getattr(load.arrival_rps, "value", 0.0)
        world.deployments[key] = replace(world.deployments[key], load=fresh_load(2 * rate))
    times["moved"] = timed(world)
    return times


def show() -> None:
    """Print one line for each size."""
    say("\nA whole plan (CPU seconds on one core)")
    say(
        f"{'deployments':>11} {'pools':>5} {'first s':>8} {'steady s':>8} {'moved s':>8} "
        f"{'memory MiB':>10}"
    )
    for deployments, count in SIZES:
        times = measure(deployments, count)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        say(
            f"{deployments:>11} {count:>5} {times['first']:>8.2f} {times['steady']:>8.2f} "
            f"{times['moved']:>8.2f} {peak:>10.0f}"
        )
