"""The request rate that one replica sustains within its latency targets, and what users wait at it.

`replica_capacity` is the number that every decision rests on; `predict` is its inverse.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from trimtab.errors import Bug
from trimtab.models.hardware import Accelerator, EngineSettings, ModelGeometry, Parallelism
from trimtab.models.load import LatencyTargets, TokenShape
from trimtab.models.performance import (
    Infeasible,
    LatencyPrediction,
    Provenance,
    ReplicaCapacity,
    StepScales,
)
from trimtab.performance.arithmetic import Array
from trimtab.performance.belief import prior, spread, stretched
from trimtab.performance.firsttoken import first_token
from trimtab.performance.fit import kv_budget_bytes, kv_bytes_per_sequence, kv_tokens
from trimtab.performance.gaps import request_gap, wake_of
from trimtab.performance.latency import end_to_end, latencies
from trimtab.performance.lengths import LengthSample, lengths_of
from trimtab.performance.meanfield import Equilibrium, Limit, Replica, equilibrium, limit_of
from trimtab.performance.outlook import LIGHTEST, open_loop, saturation_rate
from trimtab.performance.profiles import MeasuredPoint, interpolated_rate
from trimtab.performance.reach import Nearest, nearest_targets, refusal
from trimtab.performance.steptime import step_model

SAFE_LOAD = 0.85
"""Share of the saturation rate that a replica is given when no target bounds its queue."""
QUEUE_LOAD = 0.92
"""The same when one does: beyond it a queue is too steep for any model to place a target on."""
RESERVE = 0.3
"""Of the requests or gaps that may exceed a target, and of a tenth at most, how many are kept in
reserve: bursts come in finite time."""

_NODE = 8
"""Devices up to which the model's deployments were fitted: beyond, replicas span nodes."""
_ACROSS = 0.4
"""What a replica across nodes adds to a rate's standard error: exchanges between nodes
follow data sheets alone. TPOT of 38 such deployments is off by 43 % in the median, which a normal
error with a deviation of 0.6 is; 11 % on one node (docs/accuracy.md)."""

_UNSEEN = 0.3
"""What a model of which only the size is known adds: rates of catalogue models that were guessed
from their names spread so much around those of their own geometry (`tests/unit/performance`)."""

CALIBRATED = 0.05
"""Relative standard error of a rate whose step times are known: what its queueing model leaves.
Against the token-level simulation rates are 5.7 % too low in the median, and one in ten by more
than 12.5 % (docs/accuracy.md): a normal error about that median has a deviation of 5 %."""

_NUDGE = 1e-3
_GRID = 16
_FINE = 7
_LATE = 0.25
"""Power that makes the share of late requests about straight in the load, to interpolate it."""
_SCALE_STEPS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityRequest:
    """A replica, its requests and its targets. Hashable: answers are cached."""

    geometry: ModelGeometry
    accelerator: Accelerator
    parallelism: Parallelism
    engine: EngineSettings
    shape: TokenShape
    targets: LatencyTargets
    points: tuple[MeasuredPoint, ...] = ()
    """Measurements of this model on this accelerator with this parallelism."""
    scales: StepScales | None = None
    """What its engines have taught of its step times; with it, `points` no longer stretch them."""
    sample: LengthSample | None = None
    """Lengths that were seen together; without any they follow from `shape`."""
    variation: float = 1.0
    """Of the gaps between arrivals, squared (`performance.arrivals`)."""


@lru_cache(maxsize=65536)
def replica_capacity(request: CapacityRequest) -> ReplicaCapacity | Infeasible:
    """Return the largest request rate at which every target holds, or why there is none.

    Without targets it is 85 % of the rate at which the replica saturates. Infeasible reasons:
    DoesNotFit, MissesTTFT, MissesITL, MissesE2E; the message states the best figure.
    """
    replica = replica_of(request)
    tokens = kv_tokens(request.geometry, request.accelerator, request.parallelism, request.engine)
    if isinstance(replica, Infeasible):
        return replica
    if isinstance(tokens, Infeasible):
        raise Bug("a replica that fits has no KV cache")
    measured = interpolated_rate(request.points, request.shape, request.targets)
    found = measured if measured is not None else _largest_rate(replica, request.targets)
    if isinstance(found, Infeasible):
        return found
    if measured is not None:
        rate, at_max = measured, _as_measured(replica, measured, request)
    elif isinstance(found, tuple):
        rate, at_max = found
    else:
        rate, at_max = found, _prediction(replica, found, request.targets.percentile)
    return ReplicaCapacity(
        max_rps=rate,
        at_max=at_max,
        provenance=provenance_of(request, measured),
        uncertainty=_uncertainty(request, replica, at_max, measured),
        kv_tokens=tokens,
    )


def nearest(request: CapacityRequest) -> Nearest | Infeasible:
    """Return the nearest targets that one replica can meet at all, and what the others miss.

    Infeasible(DoesNotFit) where there is no replica. Of several candidates, the nearest target is
    the least over them.
    """
    replica = replica_of(request)
    if isinstance(replica, Infeasible):
        return replica
    return nearest_targets(replica, request.targets, limit_of(replica))


def too_long(request: CapacityRequest) -> Infeasible | None:
    """Return the target that requests of the load's lengths miss on an idle replica, or None."""
    answer = nearest(request)
    if isinstance(answer, Infeasible):
        return answer
    return refusal(answer) if answer.missed else None


@lru_cache(maxsize=16384)
def predict(request: CapacityRequest, rps: float) -> LatencyPrediction | Infeasible:
    """Return what users of one replica wait at `rps` requests per second.

    At the percentile of the targets, which are not looked at otherwise. Beyond saturation TTFT and
    E2E are infinite: the queue grows for as long as the load lasts.
    """
    replica = replica_of(request)
    if isinstance(replica, Infeasible):
        return replica
    return _prediction(replica, rps, request.targets.percentile)


@lru_cache(maxsize=16384)
def replica_of(request: CapacityRequest) -> Replica | Infeasible:
    """Return the replica with its load's lengths and its limits, or Infeasible(DoesNotFit).

    Step times are those that its engines have taught, or scaled to the measured points, where there
    are any.
    """
    replica = _uncorrected(request)
    if isinstance(replica, Infeasible):
        return replica
    if request.scales is not None:
        return replace(replica, step=stretched(replica.step, request.scales))
    if request.points:
        return replace(replica, step=replica.step.scaled(_time_scale(request)))
    return replica


def _uncorrected(request: CapacityRequest) -> Replica | Infeasible:
    engine = request.engine
    budget = kv_budget_bytes(request.geometry, request.accelerator, request.parallelism, engine)
    if isinstance(budget, Infeasible):
        return budget
    lengths = lengths_of(request.shape, engine.max_model_len, request.sample)
    held = kv_bytes_per_sequence(request.geometry, float(lengths.resident), engine.kv_dtype)
    kv_slots = max(budget / held, 1.0)
    return Replica(
        step=step_model(request.geometry, request.accelerator, request.parallelism, engine),
        lengths=lengths,
        token_budget=float(engine.max_num_batched_tokens),
        slots=min(float(engine.max_num_seqs), kv_slots),
        sequences=float(engine.max_num_seqs),
        kv_slots=kv_slots,
        variation=request.variation,
    )


@lru_cache(maxsize=4096)
def _time_scale(request: CapacityRequest) -> float:
    """Median over the points of the factor on all times that explains the measured ITL."""
    factors = []
    for point in request.points:
        shape = TokenShape(
            input_tokens=point.input_tokens,
            output_tokens=point.output_tokens,
            input_cv=request.shape.input_cv,
            output_cv=request.shape.output_cv,
        )
        replica = _uncorrected(replace(request, shape=shape, points=(), sample=None))
        if isinstance(replica, Infeasible):
            raise Bug("the fit of a replica depends on the shape of its load")
        low, high = math.log(0.25), math.log(4.0)
        for _ in range(_SCALE_STEPS):
            middle = 0.5 * (low + high)
            slower = replace(replica, step=replica.step.scaled(math.exp(middle)))
            if _prediction(slower, point.rps, point.percentile).itl_s > point.itl_s:
                high = middle
            else:
                low = middle
        factors.append(0.5 * (low + high))
    return math.exp(float(np.median(factors)))


def _largest_rate(
    replica: Replica, targets: LatencyTargets
) -> float | tuple[float, LatencyPrediction] | Infeasible:
    """Rate just below the first load at which a target is missed, by two grids of loads."""
    if not targets.any:
        return SAFE_LOAD * saturation_rate(replica)
    loads = float(replica.most_arrivals) * np.geomspace(LIGHTEST, 1.0, _GRID)
    state = equilibrium(replica, loads)
    limit = limit_of(replica)
    reserve = RESERVE * min(1.0 - targets.percentile, 0.1)
    careful = replace(targets, percentile=targets.percentile + reserve)
    worst = _worst(replica, state, careful, limit)
    if worst[0] > 1.0:
        # The lightest load is judged without reserve: there it is what can be met at all.
        reach = nearest_targets(replica, targets, limit)
        if reach.missed:
            return refusal(reach)
    bad = _first_bad(worst)
    loads = np.linspace(loads[bad - 1], loads[bad], _FINE)
    worst = _worst(replica, equilibrium(replica, loads), careful, limit)
    bad = _first_bad(worst)
    # Linear between the last load that holds and the first that does not.
    good, over = worst[bad - 1], worst[bad]
    share = min(max((1.0 - good) / max(over - good, 1e-12), 0.0), 1.0)
    load = loads[bad - 1] + share * (loads[bad] - loads[bad - 1])
    found = equilibrium(replica, np.array([load]))
    waits = latencies(replica, found, targets.percentile, limit)
    held = float(np.minimum(waits.in_flight, replica.slots)[0])
    return float(found.rate[0]), LatencyPrediction(
        ttft_s=float(waits.ttft_s[0]),
        itl_s=float(waits.itl_s[0]),
        gap_s=float(waits.gap_s[0]),
        e2e_s=float(waits.e2e_s[0]),
        kv_utilization=min(held / float(replica.kv_slots), 1.0),
        concurrency=held,
    )


def _first_bad(worst: Array) -> int:
    """Index of the first load that misses, at least 1; the last if none does."""
    missed = worst > 1.0
    return max(int(np.argmax(missed)), 1) if missed.any() else len(worst) - 1


def _worst(replica: Replica, state: Equilibrium, targets: LatencyTargets, limit: Limit) -> Array:
    """The largest of the latencies over their targets, and of the load over a safe one; 1 holds."""
    # No answer ends before its first token.
    begun_s = min((s for s in (targets.ttft_s, targets.e2e_s) if s is not None), default=None)
    worst = state.rate / ((SAFE_LOAD if begun_s is None else QUEUE_LOAD) * limit.rate)
    first = first_token(replica, state, limit)
    # Who is too late is counted: as good as the percentile to tell, and far quicker.
    if begun_s is not None:
        late = first.missed(begun_s) / (1.0 - targets.percentile)
        worst = np.maximum(worst, late**_LATE)
    if targets.itl_s is not None:
        slow = request_gap(replica, state, first).missed(targets.itl_s)
        worst = np.maximum(worst, (slow / (1.0 - targets.percentile)) ** _LATE)
    if targets.e2e_s is not None:
        wake = wake_of(replica, state, first)
        e2e = end_to_end(replica, state, (first, wake), targets.percentile)[1]
        worst = np.maximum(worst, e2e / targets.e2e_s)
    return worst


def _as_measured(replica: Replica, rps: float, request: CapacityRequest) -> LatencyPrediction:
    """What users wait at a measured rate: as measured, and the rest at a load the model can carry.

    Measurements may show more than the model believes in; its queue would be endless there.
    """
    believed = min(rps, QUEUE_LOAD * saturation_rate(replica))
    model = _prediction(replica, believed, request.targets.percentile)

    def apart(point: MeasuredPoint) -> float:
        lengths = (point.input_tokens, replica.lengths.prompt + replica.lengths.cached)
        answers = (point.output_tokens, replica.lengths.answer)
        return sum(abs(math.log(mine / float(other))) for mine, other in (lengths, answers))

    nearest = min(apart(point) for point in request.points)
    curve = sorted(
        (point.rps, point.ttft_s, point.itl_s)
        for point in request.points
        if apart(point) <= nearest + 1e-9
    )
    rates, ttft, itl = (list(column) for column in zip(*curve, strict=True))
    ttft_s, itl_s = float(np.interp(rps, rates, ttft)), float(np.interp(rps, rates, itl))
    later_s = max(model.e2e_s - model.ttft_s, 0.0) * max(itl_s / model.itl_s, 1.0)
    return replace(model, ttft_s=ttft_s, itl_s=itl_s, e2e_s=ttft_s + later_s)


def _prediction(replica: Replica, rps: float, percentile: float) -> LatencyPrediction:
    outlook = open_loop(replica, np.array([rps]), percentile)
    return LatencyPrediction(
        ttft_s=float(outlook.ttft_s[0]),
        itl_s=float(outlook.itl_s[0]),
        gap_s=float(outlook.gap_s[0]),
        e2e_s=float(outlook.e2e_s[0]),
        kv_utilization=float(outlook.kv_utilization[0]),
        concurrency=float(outlook.concurrency[0]),
    )


def provenance_of(request: CapacityRequest, measured: float | None = None) -> Provenance:
    """Return where a figure for `request` comes from."""
    if measured is not None:
        return Provenance.MEASURED
    if request.points or request.scales is not None:
        return Provenance.CALIBRATED
    return Provenance.GUESSED if request.geometry.guessed else Provenance.ESTIMATED


def _uncertainty(
    request: CapacityRequest, replica: Replica, at_max: LatencyPrediction, measured: float | None
) -> float:
    """Relative standard error of the rate, by what it rests on.

    0.15 is CALIBRATED and step times that are off by 10 % in the median (docs/accuracy.md), which a
    normal error with a deviation of 0.14 is; a device that is not fitted, a mixture of experts near
    its knee (research/models.md 1.2), a replica across nodes and a model of unknown shape add.
    What engines have taught takes away as much of that as it made the step times surer.
    """
    if measured is not None:
        return 0.05
    unsure = 0.15 + 0.4 * (1.0 - request.accelerator.confidence)
    unsure += 0.05 if request.geometry.experts else 0.0
    unsure += _UNSEEN if request.geometry.guessed else 0.0
    unsure += _ACROSS if request.parallelism.devices > _NODE else 0.0
    if request.scales is not None:
        left = _doubt_left(replica, request.scales, at_max.concurrency)
        return CALIBRATED + (unsure - CALIBRATED) * left
    if request.points:
        return math.hypot(CALIBRATED, max(point.error for point in request.points))
    return unsure


def _doubt_left(replica: Replica, scales: StepScales, held: float) -> float:
    """Standard error of the step time with `held` requests, over what it was before any lesson."""
    load = np.minimum(held / (replica.decode_steps + 1.0), replica.most_arrivals)

    def log_step_s(**logarithms: float) -> float:
        factors = {"read": 0.0, "compute": 0.0, "host": 0.0} | logarithms
        step = replica.step.stretched(**{name: math.exp(x) for name, x in factors.items()})
        state = equilibrium(replace(replica, step=step), np.array([float(load)]))
        return math.log(float(state.step_s[0]))

    here = log_step_s()
    slope = (
        (log_step_s(read=_NUDGE) - here) / _NUDGE,
        (log_step_s(compute=_NUDGE) - here) / _NUDGE,
        (log_step_s(host=_NUDGE) - here) / _NUDGE,
    )
    return min(spread(scales, slope) / spread(prior(), slope), 1.0)
