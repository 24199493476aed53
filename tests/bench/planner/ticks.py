"""CPU seconds of a whole plan, by the number of deployments and pools.

"first" places all deployments at once on pools with room; what a replica can do is worked out in it
too. The others are later ticks, 15 s apart, once what runs is Ready, forecasts have learnt and the
window is whole, so that moves are weighed as well:

- "steady": every twentieth rate differs by up to 3 % from the one before. The mean of four, in one
  of which all forecasts close a minute, and the dearest;
- "moved": every tenth demand doubled;
- "sweep" and "search": what the operator's search for garbage takes between two ticks, through what
  is new after each, in the mean of the four, and through all every ten minutes.

Memory is the most that a process of its own held; of it, "before" the first plan: imports and what
is asked.
"""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from random import Random

from bench.planner.fleets import say
from bench.planner.speed import peak_mib
from builders import catalogue_pool, planned
from fleetworld import FleetWorld, fresh_load
from trimtab.controller.garbage import keep, sweep
from trimtab.models.capacity import Pool
from trimtab.models.signals import fresh_value
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.planner.plan import plan

SIZES = ((10, 10), (100, 10), (200, 12), (1000, 50))
DEVICES = 10**6
TICK_S = 15.0
WARM_S, WARM = 60.0, 20
"""Time between the first ticks, and how many there are."""
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


def timed(world: FleetWorld, every: float = TICK_S) -> float:
    """Return the seconds of one plan, apply it, and let `every` seconds pass."""
    snapshot = world.snapshot()
    start = time.process_time()
    result = plan(snapshot, world.config)
    seconds = time.process_time() - start
    world.apply(result)
    world.pass_time(every)
    return seconds


def searched(search: Callable[[], None]) -> float:
    """Return the seconds of one search for garbage."""
    start = time.process_time()
    search()
    return time.process_time() - start


def measure(deployments: int, count: int) -> dict[str, float]:
    """Return the seconds of each kind of tick, and the memory in MiB."""
    dice = Random(deployments)
    states = [deployment(index, dice) for index in range(deployments)]
    world = FleetWorld(pools=pools(count), deployments={s.key: s for s in states})
    keys = sorted(world.deployments)
    before = peak_mib()
    times = {"first": timed(world, WARM_S)}
    # As the operator does: it looks through what the first plan left every ten minutes only.
    keep()
    for key in keys:
        policy = world.deployments[key].policy
        assert policy is not None
        ask(world, key, policy.prior_rps or 0.0)
    for _ in range(WARM):
        timed(world, WARM_S)
        sweep()
    steady, sweeps = [], []
    for _ in range(4):
        for key in dice.sample(keys, max(1, deployments // 20)):
            ask(world, key, rate_of(world, key) * dice.uniform(0.97, 1.03))
        steady.append(timed(world))
        sweeps.append(searched(sweep))
    times |= {"steady": sum(steady) / len(steady), "dearest": max(steady)}
    times["sweep"] = sum(sweeps) / len(sweeps)
    for key in keys[::10]:
        ask(world, key, 2.0 * rate_of(world, key))
    times["moved"] = timed(world)
    times["search"] = searched(keep)
    return times | {"most": peak_mib(), "before": before}


def ask(world: FleetWorld, key: Key, rps: float) -> None:
    """Let requests for one deployment arrive at `rps`."""
    world.deployments[key] = replace(world.deployments[key], load=fresh_load(rps))


def rate_of(world: FleetWorld, key: Key) -> float:
    """Return the rate at which requests for one deployment arrive."""
    return fresh_value(world.deployments[key].load.arrival_rps) or 0.0


def show() -> None:
    """Print one line for each size."""
    say("\nA whole plan (CPU seconds on one core)")
    say(
        f"{'deployments':>11} {'pools':>5} {'first s':>8} {'steady s':>8} {'dearest s':>9} "
        f"{'moved s':>8} {'sweep s':>8} {'search s':>8} {'MiB':>6} {'before':>6}"
    )
    for size in SIZES:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
            found = alone.submit(measure, *size).result()
        say(
            f"{size[0]:>11} {size[1]:>5} {found['first']:>8.2f} {found['steady']:>8.2f} "
            f"{found['dearest']:>9.2f} {found['moved']:>8.2f} {found['sweep']:>8.2f} "
            f"{found['search']:>8.2f} {found['most']:>6.0f} {found['before']:>6.0f}"
        )
