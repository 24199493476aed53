"""Observations with defaults, for the tests of the rivals."""

from collections.abc import Sequence
from typing import Any

from trimtab.simulate.rivals.base import (
    Observation,
    Phase,
    Pool,
    Replica,
    Scrape,
    Source,
)


def replica(phase: str = "ready", name: str = "r", **scrape: Any) -> Replica:
    """One replica; only a ready one has a page, idle unless `scrape` says otherwise."""
    page: dict[str, Any] = {
        "waiting": 0.0,
        "running": 0.0,
        "kv_used": 0.0,
        "prompt_tokens_per_s": 0.0,
        "output_tokens_per_s": 0.0,
        "waiting_prompt_tokens": 0.0,
        "ttft_s": None,
        "itl_s": None,
    } | scrape
    ready = Phase(phase) is Phase.READY
    return Replica(id=name, phase=Phase(phase), scrape=Scrape(**page) if ready else None)


def pool(name: str, replicas: Sequence[Replica] = (), **fields: Any) -> Pool:
    """One on-demand pool with the replicas that were asked for."""
    given: dict[str, Any] = {
        "price": 1.0,
        "spot": False,
        "capacity": 100,
        "desired": len(replicas),
        "lost": 0,
        "kv_tokens": 100_000.0,
    } | fields
    return Pool(name=name, replicas=tuple(replicas), **given)


def observation(*pools: Pool, metrics: str = "answers", **fields: Any) -> Observation:
    """What is seen of one deployment of 1 to 100 replicas, without any request by default."""
    given: dict[str, Any] = {
        "minimum": 1,
        "maximum": 100,
        "arrivals": (),
        "ongoing": 0.0,
        "held": 0.0,
        "latency": None,
    } | fields
    return Observation(pools=pools, metrics=Source(metrics), **given)
