"""Measured speed: from PerformanceProfiles to points, and from points to a rate."""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from trimtab.catalog import accelerators, geometries
from trimtab.catalog.modelnames import implied_quantization
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.snapshot import Profile
from trimtab.performance.relatives import (
    BatchLoad,
    Place,
    carrying_error,
    holds,
    slowdown,
)
from trimtab.units import parse_decimal, parse_duration

SAME_SHAPE = 1.15
"""Ratio of mean lengths up to which two measurements are of one load."""
DENSE = 2.5
"""Ratio of mean lengths up to which a load between two measured ones is interpolated."""

_SAME_SHARE = 0.005
"""Percentiles that differ by less are the same."""


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
    error: float = 0.0
    """Relative standard error of having been carried over from a relative; 0 if measured here."""


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
    neither. Where nothing was measured on that very replica, points come from its nearest
    relatives: other numbers of devices, or another device of the family. Those carry an `error`.
    Points of other quantizations are left out.
    """
    by_error: dict[float, set[MeasuredPoint]] = defaultdict(set)
    for profile in profiles:
        places = _places(profile, key)
        error = carrying_error(*places) if places is not None else None
        if _is_of(profile, key):
            by_error[0.0].update(_points(profile))
        elif places is not None and error is not None:
            carried = (_carried(point, places, key, error) for point in _points(profile))
            by_error[error].update(point for point in carried if point is not None)
    _, nearest = min(((e, points) for e, points in by_error.items() if points), default=(0.0, ()))
    return tuple(sorted(nearest, key=lambda p: (p.input_tokens, p.output_tokens, p.rps, p.ttft_s)))


def _points(profile: Profile) -> tuple[MeasuredPoint, ...]:
    return tuple(
        MeasuredPoint(
            input_tokens=float(point.input_tokens),
            output_tokens=float(point.output_tokens),
            rps=parse_decimal(point.requests_per_second, "spec.points[].requestsPerSecond"),
            percentile=(point.percentile or 95) / 100.0,
            ttft_s=parse_duration(point.time_to_first_token, "spec.points[].timeToFirstToken"),
            itl_s=parse_duration(point.inter_token_latency, "spec.points[].interTokenLatency"),
        )
        for point in profile.spec.points
    )


def _places(profile: Profile, key: ProfileKey) -> tuple[Place, Place] | None:
    """Return where `key` asks and where `profile` was measured; None for another model or dtype."""
    here = accelerators.get(key.accelerator)
    there = accelerators.get(profile.spec.accelerator)
    if here is None or there is None or not _is_same_model(profile, key):
        return None
    return (
        Place(accelerator=here, tensor=key.tensor),
        Place(accelerator=there, tensor=profile.spec.tensor_parallel or 1),
    )


def _carried(
    point: MeasuredPoint, places: tuple[Place, Place], key: ProfileKey, error: float
) -> MeasuredPoint | None:
    """Return `point` as it would be here, with the same batch.

    None for an unknown model, and where that batch has no room here.
    """
    geometry = geometries.get(key.model)
    if geometry is None:
        return None
    here, there = places
    load = BatchLoad(
        input_tokens=point.input_tokens,
        output_tokens=point.output_tokens,
        batch=max(point.rps * point.output_tokens * point.itl_s, 1.0),
    )
    stored = _stored(key.model, key.quantization)
    if not holds(geometry, stored, here, load):
        return None
    slower = slowdown(geometry, stored, (there, here), load)
    return replace(
        point,
        rps=point.rps / slower.gap,
        ttft_s=point.ttft_s * slower.prompt,
        itl_s=point.itl_s * slower.gap,
        error=error,
    )


def interpolated_rate(
    points: tuple[MeasuredPoint, ...], shape: TokenShape, targets: LatencyTargets
) -> float | None:
    """Return the rate at which the measured latencies reach a target, between two measured rates.

    Where the token lengths lie between two that were measured, and those differ in one of both
    lengths, the rate does too. None where the points do not bracket it: other lengths or
    percentile, an end-to-end target, or targets that hold at every measured rate or at none.
    """
    if targets.e2e_s is not None or (targets.ttft_s is None and targets.itl_s is None):
        return None
    measured = [
        p for p in points if not p.error and abs(p.percentile - targets.percentile) < _SAME_SHARE
    ]
    same = [p for p in measured if _distance(p, _lengths(shape)) <= math.log(SAME_SHAPE)]
    return _rate_on(same, targets) if same else _rate_between(measured, shape, targets)


def _rate_on(points: Iterable[MeasuredPoint], targets: LatencyTargets) -> float | None:
    """Rate on one curve, of measurements of one load."""
    for good, bad in pairwise(sorted(points, key=lambda p: p.rps)):
        if not _holds(good, targets):
            return None
        if not _holds(bad, targets):
            return _crossing(good, bad, targets)
    return None


def _rate_between(
    points: Iterable[MeasuredPoint], shape: TokenShape, targets: LatencyTargets
) -> float | None:
    """Rate between the curves of two loads, linear in the logarithms: rates go with 1 / length."""
    curves: dict[tuple[float, float], list[MeasuredPoint]] = defaultdict(list)
    for point in points:
        curves[point.input_tokens, point.output_tokens].append(point)
    wanted = _lengths(shape)
    for low, high in combinations(sorted(curves), 2):
        share = _share_between(wanted, low, high)
        if share is None:
            continue
        rates = _rate_on(curves[low], targets), _rate_on(curves[high], targets)
        if rates[0] is not None and rates[1] is not None:
            return math.exp((1.0 - share) * math.log(rates[0]) + share * math.log(rates[1]))
    return None


def _share_between(
    wanted: tuple[float, float], low: tuple[float, float], high: tuple[float, float]
) -> float | None:
    """Return where `wanted` lies between two loads that differ in one length, 0 to 1, or None."""
    for axis in (0, 1):
        other = 1 - axis
        spread = math.log(high[axis] / low[axis])
        beside = max(abs(math.log(one[other] / wanted[other])) for one in (low, high))
        if not 0.0 < spread <= math.log(DENSE) or beside > math.log(SAME_SHAPE):
            continue
        share = math.log(wanted[axis] / low[axis]) / spread
        if 0.0 <= share <= 1.0:
            return share
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


def _lengths(shape: TokenShape) -> tuple[float, float]:
    """Tokens of a prompt that must be worked off, and of an answer."""
    return max(shape.input_tokens * (1.0 - shape.prefix_hit), 1.0), max(shape.output_tokens, 1.0)


def _distance(point: MeasuredPoint, lengths: tuple[float, float]) -> float:
    """Larger of the logarithms of the ratios of both lengths."""
    return max(
        abs(math.log(point.input_tokens / lengths[0])),
        abs(math.log(point.output_tokens / lengths[1])),
    )


def _is_of(profile: Profile, key: ProfileKey) -> bool:
    return (
        _is_same_model(profile, key)
        and _same_accelerator(profile.spec.accelerator, key.accelerator)
        and (profile.spec.tensor_parallel or 1) == key.tensor
    )


def _is_same_model(profile: Profile, key: ProfileKey) -> bool:
    spec = profile.spec
    stored = _stored(spec.model, spec.quantization or "none")
    return _same_model(spec.model, key.model) and stored == _stored(key.model, key.quantization)


def _stored(model: str, quantization: str) -> str:
    """How the weights are stored: as stated, else as the model's name says."""
    return str(quantization) if quantization != "none" else implied_quantization(model) or "none"


def _same_model(left: str, right: str) -> bool:
    if left == right:
        return True
    known, other = geometries.get(left), geometries.get(right)
    return known is not None and other is not None and known.name == other.name


def _same_accelerator(left: str, right: str) -> bool:
    if left == right:
        return True
    known = accelerators.get(left)
    return known is not None and known == accelerators.get(right)
