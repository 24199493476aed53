"""Measured speed: from PerformanceProfiles to points, and from points to a rate."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from trimtab.catalog import accelerators, geometries
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.snapshot import Profile
from trimtab.units import parse_decimal, parse_duration

SAME_SHAPE = 1.15
"""Ratio of mean lengths up to which two measurements are of one load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """One measurement of one replica under a steady load, in SI units."""

    input_tokens: float
    output_tokens: float
    rps: float
    percentile: float
    """0 to 1."""
    ttft_s: float
    itl_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileKey:
    """What a measurement must be of, to say something about a replica."""

    model: str
    accelerator: str
    quantization: str = "none"
    tensor: int = 1


def points_for(profiles: Iterable[Profile], key: ProfileKey) -> tuple[MeasuredPoint, ...]:
    """Return all points measured on what `key` names, sorted.

    Models are the same when the catalogue gives them the same geometry, or by name where it knows
    neither. Points of other quantizations or devices are left out.
    """
    found = {
        MeasuredPoint(
            input_tokens=float(point.input_tokens),
            output_tokens=float(point.output_tokens),
            rps=parse_decimal(point.requests_per_second, "spec.points[].requestsPerSecond"),
            percentile=(point.percentile or 95) / 100.0,
            ttft_s=parse_duration(point.time_to_first_token, "spec.points[].timeToFirstToken"),
            itl_s=parse_duration(point.inter_token_latency, "spec.points[].interTokenLatency"),
        )
        for profile in profiles
        if _is_of(profile, key)
        for point in profile.spec.points
    }
    return tuple(sorted(found, key=lambda p: (p.input_tokens, p.output_tokens, p.rps, p.ttft_s)))


def interpolated_rate(
    points: tuple[MeasuredPoint, ...], shape: TokenShape, targets: LatencyTargets
) -> float | None:
    """Return the rate at which the measured latencies reach a target, between two measured rates.

    None where the points do not bracket it: other token lengths or percentile, an end-to-end
    target, or targets that hold at every measured rate or at none.
    """
    if targets.e2e_s is not None or (targets.ttft_s is None and targets.itl_s is None):
        return None
    curve = sorted(
        (p for p in points if _same_load(p, shape, targets.percentile)), key=lambda p: p.rps
    )
    for good, bad in pairwise(curve):
        if not _holds(good, targets):
            return None
        if not _holds(bad, targets):
            return _crossing(good, bad, targets)
    return None


def _crossing(good: MeasuredPoint, bad: MeasuredPoint, targets: LatencyTargets) -> float:
    """Rate between two measurements at which the first target is reached, linear in the rate."""
    share = 1.0
    for target, low, high in (
        (targets.ttft_s, good.ttft_s, bad.ttft_s),
        (targets.itl_s, good.itl_s, bad.itl_s),
    ):
        if target is not None and high > target:
            share = min(share, (target - low) / (high - low))
    return good.rps + share * (bad.rps - good.rps)


def _holds(point: MeasuredPoint, targets: LatencyTargets) -> bool:
    return not (
        (targets.ttft_s is not None and point.ttft_s > targets.ttft_s)
        or (targets.itl_s is not None and point.itl_s > targets.itl_s)
    )


def _same_load(point: MeasuredPoint, shape: TokenShape, percentile: float) -> bool:
    prompt = shape.input_tokens * (1.0 - shape.prefix_hit)
    apart = max(
        abs(math.log(point.input_tokens / max(prompt, 1.0))),
        abs(math.log(point.output_tokens / max(shape.output_tokens, 1.0))),
    )
    return apart <= math.log(SAME_SHAPE) and abs(point.percentile - percentile) < 0.005


def _is_of(profile: Profile, key: ProfileKey) -> bool:
    spec = profile.spec
    quantization = spec.quantization.value if spec.quantization else "none"
    return (
        _same_model(spec.model, key.model)
        and _same_accelerator(spec.accelerator, key.accelerator)
        and quantization == key.quantization
        and (spec.tensor_parallel or 1) == key.tensor
    )


def _same_model(left: str, right: str) -> bool:
    if left == right:
        return True
    geometry = geometries.get(left)
    return geometry is not None and geometry == geometries.get(right)


def _same_accelerator(left: str, right: str) -> bool:
    if left == right:
        return True
    known = accelerators.get(left)
    return known is not None and known == accelerators.get(right)
