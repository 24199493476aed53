"""Fleets that others' own programmes were asked for, as ours is asked (tests/data/rivals)."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

from classsplit import SplitOption
from trimtab.models.snapshot import Key
from trimtab.planner.problem import Option, Problem, Room

FOLDER = Path(__file__).parent / "data" / "rivals"
MANY = 10_000


def vectors(name: str) -> list[dict[str, Any]]:
    """Return the cases of one file."""
    with gzip.open(FOLDER / f"{name}.json.gz", "rt", encoding="utf-8") as file:
        cases: list[dict[str, Any]] = json.load(file)["vectors"]
    return cases


def melange(case: dict[str, Any]) -> tuple[list[float], list[SplitOption]]:
    """Return the rates of the classes, and the options in the order of their names."""
    asked = case["input"]
    rps = [
        share * asked["total_request_rate"]
        for row in asked["workload_distribution"]
        for share in row
    ]
    options = [
        SplitOption(
            cost=gpu["cost"],
            rates=tuple(float(rate) for row in gpu["tputs"] for rate in row),
            most=MANY,
        )
        for _, gpu in sorted(asked["gpu_info"].items())
    ]
    return rps, options


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
            Option(
                name=one["acc"],
                pool=one["acc"],
                devices=per_replica[server["model"], one["acc"]],
                rps=one["max_rpm_per_replica"],
                cost=one["cost"] / one["replicas"],
                price=one["cost"] / one["replicas"],
                current=0,
                lower=0,
                upper=MANY,
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
