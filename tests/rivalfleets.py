"""Fleets that others' own programmes were asked for, as ours is asked (tests/data/rivals)."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

from trimtab.models.snapshot import Key
from trimtab.planner.problem import Option, Problem, Room

FOLDER = Path(__file__).parent / "data" / "rivals"
MANY = 10_000


def vectors(name: str) -> list[dict[str, Any]]:
    """Return the cases of one file."""
    with gzip.open(FOLDER / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        cases: list[dict[str, Any]] = json.load(file)["vectors"]
    return cases


def melange(case: dict[str, Any]) -> tuple[Problem, Room]:
    """Return a fleet of Melange; costs are $/h.

    Theirs is for a router that sends each class of requests to a device of its choice. Here each
    replica gets the mix, as much of it as it can take: the time of a request is the mean over the
    classes of its time alone. A device that cannot serve a class is no option.
    """
    asked = case["input"]
    shares = [share for row in asked["workload_distribution"] for share in row]
    options = []
    for name, gpu in sorted(asked["gpu_info"].items()):
        rates = [rate for row in gpu["tputs"] for rate in row]
        used = [(share, rate) for share, rate in zip(shares, rates, strict=True) if share > 0]
        if all(rate > 0 for _, rate in used):
            mean_s = math.fsum(share / rate for share, rate in used) / math.fsum(shares)
            options.append(_option(name, devices=1, rps=1.0 / mean_s, cost=gpu["cost"]))
    problem = Problem(
        key=Key(namespace="melange", name=case["name"]),
        priority=0,
        rps=asked["total_request_rate"] * math.fsum(shares),
        minimum=0,
        maximum=MANY,
        surge=MANY,
        money=math.inf,
        switch=0.0,
        options=tuple(options),
    )
    return problem, Room(free={option.pool: MANY for option in options})


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
