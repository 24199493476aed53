"""Prints how long one plan takes, by the number of deployments; nothing is asserted.

    python tests/bench/planner/size.py [deployments ...]

Six pools, eight models, demands of 1 to 60 requests/s. "first" places all of them at once on pools
with room, "tight" on pools that hold half of what they want; "steady" and "moved" are later ticks:
nothing changed, and every tenth demand doubled. What a replica can do is worked out before the
clock starts, as it is cached for as long as requests keep their shape; "cold" is the price of that.
"""

import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2]))

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, fresh_load
from trimtab.models.capacity import Pool
from trimtab.models.snapshot import DeploymentState
from trimtab.planner import cover
from trimtab.planner.plan import plan

SIZES = (10, 100, 200, 1000)
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


def pools(devices: int) -> list[Pool]:
    """Six pools with so many devices each."""
    kinds = (
        ("h100", "nvidia-h100-sxm", 3.9),
        ("h200", "nvidia-h200-sxm", 4.9),
        ("a100", "nvidia-a100-80gb-sxm", 2.3),
        ("l40s", "nvidia-l40s", 1.2),
        ("l4", "nvidia-l4", 0.7),
        ("mi300x", "amd-mi300x", 3.4),
    )
    return [catalogue_pool(name, kind, usd, devices=devices) for name, kind, usd in kinds]


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
    cover.cheapest.cache_clear()
    start = time.perf_counter()
    result = plan(snapshot, world.config)
    seconds = time.perf_counter() - start
    world.apply(result)
    world.pass_time(60.0)
    return seconds


def fleet(size: int, devices: int) -> FleetWorld:
    """Return a world with so many deployments."""
    dice = Random(size)
    states = [deployment(index, dice) for index in range(size)]
    return FleetWorld(pools=pools(devices), deployments={s.key: s for s in states})


def measure(size: int) -> dict[str, float]:
    """Return the seconds of each kind of tick."""
    start = time.perf_counter()
    world = fleet(size, 10**6)
    plan(replace(world.snapshot(), deployments=world.snapshot().deployments[:8]), world.config)
    times = {"cold": time.perf_counter() - start}
    plan(world.snapshot(), world.config)
    times["first"] = timed(world)
    wanted = max(world.devices(pool.name) for pool in world.pools)
    for key, state in world.deployments.items():
        assert state.policy is not None
        rate = state.policy.prior_rps or 0.0
        world.deployments[key] = replace(state, load=fresh_load(rate))
    timed(world)
    times["steady"] = timed(world)
    for key in list(world.deployments)[::10]:
        load = world.deployments[key].load
        rate = getattr(load.arrival_rps, "value", 0.0)
        world.deployments[key] = replace(world.deployments[key], load=fresh_load(2 * rate))
    times["moved"] = timed(world)
    times["tight"] = timed(fleet(size, max(8, wanted // 2)))
    return times


def main() -> None:
    """Print one line for each size."""
    sizes = [int(text) for text in sys.argv[1:]] or list(SIZES)
    print(f"{'deployments':>11}  first_s  steady_s  moved_s  tight_s  memory_MiB")  # noqa: T201
    for size in sizes:
        times = measure(size)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(  # noqa: T201
            f"{size:>11}  {times['first']:7.3f}  {times['steady']:8.3f}  {times['moved']:7.3f}"
            f"  {times['tight']:7.3f}  {peak:10.0f}"
        )


if __name__ == "__main__":
    main()
