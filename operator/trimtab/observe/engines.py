"""What each engine's metrics page calls the things we need: data, one file per engine."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.engine import EngineType


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """A value of the moment."""

    names: tuple[str, ...]
    """Names over the engine's versions, newest first."""
    over_ranks: str
    """How the ranks of one replica make one value: sum or max."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CachePair:
    """Two counters of prompt tokens: found in the prefix cache, and looked for."""

    found: str
    sought: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Metric names of one engine. Histograms are named without `_bucket`, `_sum`, `_count`."""

    name: str
    labels: tuple[str, ...]
    """Labels that split one replica's series."""
    running: Gauge
    waiting: Gauge
    kv_utilization: Gauge
    rejected: tuple[str, ...]
    prefix_cache: tuple[CachePair, ...]
    ttft: tuple[str, ...]
    itl: tuple[str, ...]
    e2e: tuple[str, ...]
    input_tokens: tuple[str, ...]
    output_tokens: tuple[str, ...]
    health_path: str
    health_port: int


@cache
def get(engine: EngineType) -> Engine:
    """Return the metric names of `engine`."""
    file = resources.files(__package__).joinpath("engines", f"{engine.value}.yaml")
    data: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    histograms = {name: tuple(entry["names"]) for name, entry in data["histograms"].items()}
    gauges = {
        name: Gauge(names=tuple(entry["names"]), over_ranks=entry["over_ranks"])
        for name, entry in data["gauges"].items()
    }
    return Engine(
        name=data["engine"],
        labels=tuple(data["labels"]),
        running=gauges["running"],
        waiting=gauges["waiting"],
        kv_utilization=gauges["kv_utilization"],
        rejected=tuple(data["counters"]["rejected"]["names"]),
        prefix_cache=tuple(CachePair(**pair) for pair in data["prefix_cache"]),
        ttft=histograms["ttft"],
        itl=histograms["itl"],
        e2e=histograms["e2e"],
        input_tokens=histograms["input_tokens"],
        output_tokens=histograms["output_tokens"],
        health_path=data["health"]["path"],
        health_port=data["health"]["port"],
    )
