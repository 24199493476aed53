"""Complete results of runs for tests: override by keyword what the test is about."""

from typing import Any

from trimtab.simulate.compare import Measured
from trimtab.simulate.ledger import Tally
from trimtab.simulate.result import (
    DeploymentResult,
    DeploymentSeries,
    Marker,
    PoolHours,
    RunResult,
    Series,
)

KEY = "assistants/chat"


def deployment_result(met: int = 95, settled: int = 100, **over: Any) -> DeploymentResult:
    """`met` of `settled` requests in time; the others timed out."""
    tally = Tally(
        arrived=settled,
        served=met,
        timed_out=settled - met,
        met=met,
        met_ttft=met,
        met_itl=met,
        met_e2e=met,
    )
    share = met / settled if settled else None
    values: dict[str, Any] = {
        "tally": tally,
        "in_flight_before": 0,
        "percentile": 0.95,
        "attainment": dict.fromkeys(("all", "ttft", "itl", "e2e"), share),
        "goodput_rps": met / 3600.0,
        "input_tokens": 900_000,
        "output_tokens": 100_000,
        "over_target_s": 15.0,
        "short_s": 30.0,
        "usd": 4.0,
        "direction_changes": 3,
    }
    return DeploymentResult(**(values | over))


def marker(**over: Any) -> Marker:
    """A scale-up after ten minutes."""
    values: dict[str, Any] = {
        "at_s": 600.0,
        "deployment": KEY,
        "why": "DemandRose",
        "message": "Demand rose to 8 requests/s",
        "fleet": {"h100/tp1": 2},
    }
    return Marker(**(values | over))


def deployment_series(steps: int, **over: Any) -> DeploymentSeries:
    """Two pools, a gap in the latencies."""
    values: dict[str, Any] = {
        "demand_rps": tuple(5.0 + i % 7 for i in range(steps)),
        "capacity_rps": tuple(8.0 + i % 3 for i in range(steps)),
        "wanted": {"h100/tp1": tuple(2 for _ in range(steps)), "l4/tp1": (0,) * steps},
        "ready": {"h100/tp1": tuple(1 + i % 2 for i in range(steps)), "l4/tp1": (1,) * steps},
        "queue": tuple(i % 4 for i in range(steps)),
        "ttft_s": tuple(None if i % 10 == 3 else 0.4 + 0.01 * i for i in range(steps)),
        "itl_s": tuple(0.03 for _ in range(steps)),
    }
    return DeploymentSeries(**(values | over))


def run_result(*, steps: int = 40, key: str = KEY, **over: Any) -> RunResult:
    """An hour of one deployment on two pools, for $4."""
    values: dict[str, Any] = {
        "scenario": "steady",
        "policy": "trimtab",
        "seed": 0,
        "duration_s": 3600.0,
        "warmup_s": 600.0,
        "cost_usd": 4.0,
        "deployments": {key: deployment_result()},
        "pools": {
            "h100": PoolHours(replica_hours=1.5, device_hours=1.5, usd=3.5, watt_hours=900.0),
            "l4": PoolHours(replica_hours=1.0, device_hours=1.0, usd=0.5, watt_hours=70.0),
        },
        "decisions": (marker(deployment=key),),
        "series": Series(
            step_s=105.0,
            at_s=tuple(105.0 * (i + 1) for i in range(steps)),
            usd_per_hour=tuple(4.0 for _ in range(steps)),
            devices={"h100": tuple(1 + i % 2 for i in range(steps)), "l4": (1,) * steps},
            room={"h100": (8,) * steps, "l4": (4,) * steps},
            deployments={key: deployment_series(steps)},
        ),
        "direction_changes": 3,
        "device_hours": 2.5,
        "watt_hours": 970.0,
        "lost_replicas": 0,
    }
    return RunResult(**(values | over))


def measured(**over: Any) -> Measured:
    """A result beside nothing; fields of the result by keyword."""
    beside = {
        name: over.pop(name) for name in ("optimum_usd", "bound_usd", "fixed") if name in over
    }
    return Measured(result=run_result(**over), **beside)
