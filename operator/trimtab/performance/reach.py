"""What one request alone gets from a replica: no target below that can be met by any count of them.

Alone means at the lightest load: an idle engine, and prompts and answers as long as the load's are
at the percentile.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.performance.latency import Latencies, latencies
from trimtab.performance.meanfield import Limit, Replica, equilibrium
from trimtab.performance.outlook import LIGHTEST

_STEP_S = 1e-5
"""Reachable targets are rounded up to as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """A target that one request alone misses. Seconds."""

    name: str
    """TTFT, ITL or E2E."""
    target_s: float
    alone_s: float
    """What one request alone gets, at the percentile."""
    why: str
    """What that time is spent on, with figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """The nearest targets that a replica can meet, and which of the asked ones are not among them.

    Some load meets them; how much, `replica_capacity` says.
    """

    targets: LatencyTargets
    """Those that were asked where they can be met, else what one request alone gets, rounded up."""
    missed: tuple[Missed, ...]
    """Worst first; empty where everything that was asked can be met."""


def alone(replica: Replica, percentile: float, limit: Limit) -> Latencies:
    """Return what one request alone waits, as arrays of one load."""
    state = equilibrium(replica, np.array([float(replica.most_arrivals) * LIGHTEST]))
    return latencies(replica, state, percentile, limit)


def nearest_targets(replica: Replica, targets: LatencyTargets, limit: Limit) -> Nearest:
    """Return the nearest targets that `replica` can meet, each for itself.

    `limit` is where it saturates.
    """
    waits = alone(replica, targets.percentile, limit)
    reached = {
        "ttft_s": float(waits.ttft_s[0]),
        "itl_s": float(waits.itl_s[0]),
        "e2e_s": float(waits.e2e_s[0]),
    }
    asked = {name: getattr(targets, name) for name in reached}
    missed = {
        name: Missed(
            name=name.removesuffix("_s").upper(),
            target_s=asked[name],
            alone_s=reached[name],
            why=_why(replica, name, waits),
        )
        for name in reached
        if asked[name] is not None and reached[name] > asked[name]
    }
    met = {name: round(math.ceil(reached[name] / _STEP_S) * _STEP_S, 5) for name in missed}
    return Nearest(
        targets=replace(targets, **met),
        missed=tuple(sorted(missed.values(), key=lambda one: one.target_s / one.alone_s)),
    )


def refusal(nearest: Nearest) -> Infeasible:
    """Say which target is missed worst, by how much, why, and what could be met instead."""
    worst = nearest.missed[0]
    reached = getattr(nearest.targets, f"{worst.name.lower()}_s")
    percentile = round(nearest.targets.percentile * 100.0, 1)
    return Infeasible(
        reason=f"Misses{worst.name}",
        message=(
            f"p{percentile:g} {worst.name} is {worst.alone_s * 1e3:.0f} ms "
            f"without load, the target is {worst.target_s * 1e3:.0f} ms, "
            f"the nearest that can be met {reached * 1e3:.2f} ms: {worst.why}"
        ),
    )


def _why(replica: Replica, name: str, waits: Latencies) -> str:
    ttft_s, itl_s, e2e_s = (float(one[0]) for one in (waits.ttft_s, waits.itl_s, waits.e2e_s))
    step = replica.step
    host_s = float(step.fixed_s) + float(step.row_s)
    engine_s = float(step.request_s) + float(step.late_steps) * itl_s
    if name == "ttft_s":
        prompt_s = max(ttft_s - engine_s, 0.0)
        return (
            f"{prompt_s * 1e3:.0f} ms to compute the prompt, {engine_s * 1e3:.0f} ms in the engine"
        )
    if name == "itl_s":
        read_s = max(itl_s - host_s, 0.0)
        return (
            f"{read_s * 1e3:.1f} ms to read the model and the cache, "
            f"{host_s * 1e3:.1f} ms for launches, exchanges and the engine"
        )
    return (
        f"{ttft_s * 1e3:.0f} ms to the first token, then {(e2e_s - ttft_s) * 1e3:.0f} ms "
        f"at {itl_s * 1e3:.1f} ms a token"
    )
