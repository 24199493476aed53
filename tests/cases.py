"""Cases made by hand, with capacities in powers of two, so that a test can meet a bound exactly."""

from dataclasses import replace
from typing import Any

from builders import catalogue_pool, planned
from trimtab.api.conditions import Reason
from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import DeploymentMemory
from trimtab.models.performance import LatencyPrediction, Provenance, ReplicaCapacity
from trimtab.models.plan import DemandSource
from trimtab.models.snapshot import Key, VariantState
from trimtab.planner.allocate import Fleet
from trimtab.planner.case import Case
from trimtab.planner.choice import Choice
from trimtab.planner.demand import Need
from trimtab.planner.evidence import Evidence
from trimtab.planner.foresight import Foresight
from trimtab.planner.place import places_of, vacant
from trimtab.planner.problem import Option, Problem
from trimtab.planner.shortage import PoolState

CONFIG = PlannerConfig()
RPS = 8.0
"""What one replica is given, requests/s; with half of the headroom a quarter more."""
USD = 4.0
"""Price of one device, $/h."""


def capacity(rps: float = RPS) -> ReplicaCapacity:
    """What a replica can take at most: twice what it is given."""
    figures = LatencyPrediction(
        ttft_s=0.1, itl_s=0.01, gap_s=0.02, e2e_s=1.0, kv_utilization=0.5, concurrency=8.0
    )
    return ReplicaCapacity(
        max_rps=2.0 * rps,
        at_max=figures,
        provenance=Provenance.MEASURED,
        uncertainty=0.0,
        kv_tokens=1 << 20,
    )


def pool_state(name: str = "h100", usd: float = USD, **over: Any) -> PoolState:
    """Sixteen H100, none of them in use. `over` are fields of the state, or of the pool."""
    fields = {key: over.pop(key) for key in list(over) if key in PoolState.__dataclass_fields__}
    pool = catalogue_pool(name, "nvidia-h100-sxm", usd, **over)
    values: dict[str, Any] = {"pool": pool, "promised": 0, "limit": 16, "short": False}
    return PoolState(**(values | fields))


def choice(pool: str = "h100", rps: float = RPS, usd: float = USD, **over: Any) -> Choice:
    """One device of a pool that serves `rps` and may grow."""
    parallelism = over.get("parallelism", Parallelism())
    values: dict[str, Any] = {
        "state": pool_state(pool, usd),
        "parallelism": parallelism,
        "refusal": None,
        "message": "",
        "capacity": capacity(rps),
        "usable_rps": rps,
        "tight_rps": 1.25 * rps,
        "price": usd * parallelism.devices,
        "wait_s": None,
        "weight": usd * parallelism.devices,
    }
    return Choice(**(values | over))


def on(pool: str = "h100", replicas: int = 1, **over: Any) -> VariantState:
    """Replicas that have all been Ready for an hour."""
    values: dict[str, Any] = {
        "pool": pool,
        "parallelism": Parallelism(),
        "replicas": replicas,
        "ready": replicas,
        "pods": replicas,
        "youngest_ready_s": 3600.0 if replicas else None,
    }
    return VariantState(**(values | over))


def evidence(**over: Any) -> Evidence:
    """Fresh, without an alarm."""
    values: dict[str, Any] = {
        "reason": Reason.METRICS_FRESH,
        "message": "All needed signals are fresh",
        "arrivals": RPS,
        "waiting": 0.0,
        "idle": False,
        "alarm": None,
    }
    return Evidence(**(values | over))


def memory(name: str = "chat", **over: Any) -> DeploymentMemory:
    """That of `case`, empty."""
    return DeploymentMemory(namespace="assistants", name=name, uid=f"uid-{name}", **over)


def case(*variants: VariantState, **over: Any) -> Case:
    """The deployment chat that may fall, asks for what one replica is given, and gets it.

    `over` are fields of the case, of its policy, or of its spec (camelCase); `choices` are one of
    the pool h100 unless given.
    """
    name = over.pop("name", "chat")
    known = {key: over.pop(key) for key in list(over) if key in Case.__dataclass_fields__}
    state = planned(name, variants=variants)
    assert state.policy is not None
    fields = type(state.policy).__dataclass_fields__
    ruled = {key: over.pop(key) for key in list(over) if key in fields}
    state = planned(name, variants=variants, **over)
    assert state.policy is not None
    policy = replace(state.policy, **ruled)
    choices = tuple(known.pop("choices", (choice(),)))
    places, running = places_of(variants, vacant(state.key, choices), CONFIG)
    rps = known.get("grow_rps", RPS)
    values: dict[str, Any] = {
        "state": replace(state, policy=policy),
        "policy": policy,
        "evidence": evidence(),
        "need": Need(
            rps=rps,
            observed_rps=rps,
            source=DemandSource.PROMETHEUS,
            shape=policy.shape,
            means=policy.shape,
        ),
        "foresight": Foresight(horizon_s=150.0, rps=None, margin=0.0),
        "choices": choices,
        "places": places,
        "running": running,
        "memory": memory(name),
        "grow_rps": rps,
        "keep_rps": rps,
        "recall_s": known.get("window_s", 300.0),
        "may_fall": True,
        "minimum": 1,
        "waits": {},
        "window_s": 300.0,
        "reclaims": {},
    }
    return Case(**(values | known))


def key(name: str = "chat") -> Key:
    """That of `case`."""
    return Key(namespace="assistants", name=name)


def option(name: str = "h100/tp1", **over: Any) -> Option:
    """That of `choice`: nothing runs, and up to twenty may."""
    values: dict[str, Any] = {
        "name": name,
        "pool": name.split("/")[0],
        "devices": 1,
        "rps": RPS,
        "cost": USD,
        "price": USD,
        "current": 0,
        "lower": 0,
        "upper": 20,
    }
    return Option(**(values | over))


def problem(*options: Option, rps: float = RPS, **over: Any) -> Problem:
    """The question for `rps` over `options`."""
    values: dict[str, Any] = {
        "key": key(),
        "priority": 100,
        "minimum": 1,
        "maximum": 20,
        "surge": 20,
        "money": float("inf"),
        "switch": 0.1,
    }
    return Problem(rps=rps, options=options, **(values | over))


def fleet(*options: Option, counts: tuple[int, ...], **over: Any) -> Fleet:
    """An answer to `problem`."""
    return Fleet(problem=problem(*options, **over), counts=counts)
