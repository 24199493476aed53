"""Fleets that others' own programmes were asked for, as ours is asked (tests/data/rivals)."""

import gzip
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from builders import NOW, catalogue_pool, planned
from trimtab.api.performanceprofile import PerformanceProfileSpec
from trimtab.config import PlannerConfig
from trimtab.models.snapshot import Key, Profile, Snapshot
from trimtab.planner.problem import Option, Problem, Room
from trimtab.planner.split import mixed

FOLDER = Path(__file__).parent / "data" / "rivals"
MANY = 10_000
README = "readme-example-r30-s1"


def vectors(name: str) -> list[dict[str, Any]]:
    """Return the cases of one file."""
    with gzip.open(FOLDER / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        cases: list[dict[str, Any]] = json.load(file)["vectors"]
    return cases


def melange(case: dict[str, Any], *, apart: bool) -> tuple[Problem, Room]:
    """Return a fleet of Melange; costs are $/h.

    Theirs is for a router that sends each class of requests to a device of its choice, as ours is
    where the classes are told `apart` (`routing: BySize`). Else each replica gets the mix, as much
    of it as it can take (`LoadAware`): the time of a request is the mean over the classes of its
    time alone, and a device that cannot serve a class is no option.
    """
    asked = case["input"]
    given = [share for row in asked["workload_distribution"] for share in row]
    total = math.fsum(given)
    used = [i for i, share in enumerate(given) if share > 0]
    shares = tuple(given[i] / total for i in used)
    options = []
    for name, gpu in sorted(asked["gpu_info"].items()):
        every = [rate for row in gpu["tputs"] for rate in row]
        rates = tuple(every[i] for i in used)
        if any(rates) if apart else all(rates):
            option = _option(name, devices=1, rps=mixed(shares, rates), cost=gpu["cost"])
            # Nothing is known of a mix but what its parts take.
            options.append(replace(option, rates=(*rates, 0.0)) if apart else option)
    problem = Problem(
        key=Key(namespace="melange", name=case["name"]),
        priority=0,
        rps=asked["total_request_rate"] * total,
        minimum=0,
        maximum=MANY,
        surge=MANY,
        money=math.inf,
        switch=0.0,
        options=tuple(options),
        shares=shares if apart else (),
    )
    return problem, Room(free={option.pool: MANY for option in options})


SIZES = ((200, 100), (200, 800), (2000, 100), (2000, 800))
"""Prompts and answers of the classes of Melange's README, which names none, in tokens."""
TAKEN = 0.8
"""What `plan` leaves of a measured rate: headroom of 15 % and 5 % doubt are taken off."""


def readme(rps: float) -> tuple[Snapshot, PlannerConfig]:
    """Return Melange's README fleet as `plan` is asked: objects, and profiles of each device.

    A replica is measured to serve so much more of each class that what `plan` gives it is theirs.
    """
    asked = next(case["input"] for case in vectors("melange") if case["name"] == README)
    shares = [share for row in asked["workload_distribution"] for share in row]
    classes = [
        {
            "name": f"c{i}",
            "weight": round(10 * share),
            "inputTokens": size[0],
            "outputTokens": size[1],
        }
        for i, (share, size) in enumerate(zip(shares, SIZES, strict=True))
    ]
    state = planned(
        "melange",
        latency={"interTokenLatency": "50ms"},
        placement={"tensorParallel": [1]},
        routing="BySize",
        workload={"requestsPerSecond": f"{rps:g}", "classes": classes},
    )
    devices = {"A10G": "nvidia-a10g", "A100-80GB": "nvidia-a100-80gb-sxm"}
    gpus = asked["gpu_info"]
    snapshot = Snapshot(
        now=NOW,
        deployments=(state,),
        pools=tuple(
            catalogue_pool(name.lower(), devices[name], gpus[name]["cost"]) for name in sorted(gpus)
        ),
        profiles=tuple(_measured(devices[name], gpus[name]["tputs"]) for name in sorted(gpus)),
    )
    return snapshot, PlannerConfig(headroom=0.15)


def _measured(accelerator: str, rates: list[list[float]]) -> Profile:
    """Return a profile by which the target of `readme` is met up to these rates, over TAKEN."""
    points = [
        {
            "inputTokens": size[0],
            "outputTokens": size[1],
            "requestsPerSecond": f"{share * rate / TAKEN:.6f}",
            "timeToFirstToken": "100ms",
            "interTokenLatency": itl,
        }
        for rate, size in zip([rate for row in rates for rate in row], SIZES, strict=True)
        for share, itl in ((0.5, "20ms"), (1.5, "80ms"))
    ]
    document = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "accelerator": accelerator,
        "tensorParallel": 1,
        "points": points,
    }
    return Profile(name=accelerator, spec=PerformanceProfileSpec.model_validate(document))


def wva(case: dict[str, Any]) -> tuple[list[Problem], Room]:
    """Return a system of the workload variant autoscaler; costs are cents/h, rates requests/min."""
    asked = case["input"]
    counts = {item["type"]: item["count"] for item in asked["capacityData"]["count"]}
    if asked["optimizerData"]["optimizer"]["unlimited"]:
        counts = dict.fromkeys(counts, MANY)
    per_replica = {
        (model["name"], model["acc"]): model["accCount"] for model in asked["modelData"]["models"]
    }
    classes = {one["name"]: one["priority"] for one in asked["serviceClassData"]["serviceClasses"]}
    problems = []
    for server in asked["serverData"]["servers"]:
        load = server["currentAlloc"]["load"]
        options = tuple(
            _option(
                one["acc"],
                devices=per_replica[server["model"], one["acc"]],
                rps=one["max_rpm_per_replica"],
                cost=one["cost"] / one["replicas"],
            )
            for one in case["candidates"].get(server["name"], ())
            if one["replicas"] and one["max_rpm_per_replica"] > 0
        )
        problems.append(
            Problem(
                key=Key(namespace="wva", name=server["name"]),
                priority=-classes[server["class"]],  # theirs: the lower, the more important
                rps=load["arrivalRate"],
                minimum=server["minNumReplicas"],
                maximum=MANY,
                surge=MANY,
                money=math.inf,
                switch=0.0,
                options=options,
            )
        )
    return problems, Room(free=counts)


def _option(name: str, *, devices: int, rps: float, cost: float) -> Option:
    return Option(
        name=name,
        pool=name,
        devices=devices,
        rps=rps,
        cost=cost,
        price=cost,
        current=0,
        lower=0,
        upper=MANY,
    )
