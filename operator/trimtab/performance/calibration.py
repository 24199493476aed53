"""What serving engines teach about the step times of their replicas, while they serve.

A Kalman filter moves the belief (see `belief`) with each window of metrics. The model is asked for
its step times at the batch that was measured, never at an arrival rate: the batch is the time
between tokens times their number in a second (Little's law), and that holds under overload too.

What could mislead is kept out: one odd scrape (it must contradict for longer than a window lasts),
windows that overlap (each counts for the time that is new in it), queues (a time to first token
then says nothing of prompts), a full cache (it computes requests twice), new pods, new engines.
"""

import math
from dataclasses import replace

import numpy as np

from trimtab.models.load import VariantReading
from trimtab.models.memory import Calibration
from trimtab.models.performance import Infeasible, StepScales
from trimtab.performance.belief import (
    FARTHEST,
    HUBER,
    compare,
    covariance_of,
    mean_of,
    moved,
    prior,
    scales_of,
    spread,
)
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.window import Load, Moment, Observation, observations, seen_in

ENOUGH_S = 120.0
"""Time of observations from which plans rest on what was learnt: two windows of a minute, so that
no single one decides."""
SCRAPE_S = 15.0
"""Time in which metrics change at least once: plans that come faster see nothing new."""
KEPT_S = 6 * 3600.0
"""What has not been observed for so long is forgotten."""

_MEMORY_S = 36_000.0
"""Time in which a belief fades without observations. At a standard deviation of 0.25 this is a
drift of 1 % in 30 s, which research/models.md 1.3 allows for heat, clocks and neighbours."""
_ODD = 3.0
"""Standard errors beyond which an observation is refused."""
_PATIENCE = 1.25
"""Windows for which observations may contradict before they are believed: an odd scrape is in every
window that ends within one window after it."""
_STRIDE = 0.05
"""Farthest that a logarithm moves in SCRAPE_S: no fleet is resized by a leap of a model."""
_DEAD_BAND = 0.02
"""Plans rest on a belief until it has moved so far: one replica in fifty."""
_SURER = 0.8
"""Or until a standard error has fallen to this share of what it was, or risen by it."""


def learn(
    before: Calibration, reading: VariantReading, request: CapacityRequest, moment: Moment
) -> Calibration:
    """Return what is believed after one more reading of the variant that `before` is of.

    A reading that is not complete and recent changes nothing, nor does one that is of too little
    or of a time in which the engine did not run steadily.

    Args:
        before: What was believed: at first the `prior`.
        reading: What its replicas report.
        request: Model, device and engine of one of them, and how lengths of requests are spread.
        moment: The time, and the reading's window.
    """
    elapsed = moment.now - before.updated
    if elapsed <= 0.0:
        return replace(before, updated=moment.now)  # the clock went back: from here it goes on
    seen = seen_in(reading, moment)
    if seen is None:
        return before
    replica = replica_of(replace(request, shape=seen.shape_of(request), points=(), scales=None))
    if isinstance(replica, Infeasible):
        return before
    new_s = min(elapsed, moment.window_s)
    new = new_s / moment.window_s, min(new_s / SCRAPE_S, 1.0)
    figures = observations(Load.of(replica, seen), replica.step)
    faded = _faded(before.scales, elapsed)
    after = _absorbed(faded, figures, new)
    if after is None:
        refused_s = before.refused_s + new_s
        if refused_s <= _PATIENCE * moment.window_s:
            return replace(before, refused_s=refused_s, updated=moment.now)
        # It is no odd scrape: something has changed, and nothing is sure any more.
        faded = replace(faded, covariance=prior().covariance)
        after = _absorbed(faded, figures, new, hard=True)
    scales = _limited(faded, after or faded, _STRIDE * new[1])
    evidence_s = min(before.evidence_s + new_s, KEPT_S)
    return replace(
        before,
        scales=scales,
        used=_used(before.used, scales) if evidence_s >= ENOUGH_S else None,
        evidence_s=evidence_s,
        refused_s=0.0,
        updated=moment.now,
    )


def _absorbed(
    scales: StepScales,
    observations: list[Observation],
    new: tuple[float, float],
    *,
    hard: bool = False,
) -> StepScales | None:
    """Return the belief after all observations, None when the first one is refused.

    Args:
        scales: What was believed.
        observations: Of one window.
        new: Share of the window that no earlier one had, and of a scrape interval.
        hard: Whether to refuse nothing.
    """
    for i, one in enumerate(observations):
        ratio, slope = compare(scales, one.predict, one.measured)
        ratio -= min(max(ratio, 0.0), one.excess)
        odd = abs(ratio) / math.hypot(spread(scales, slope), one.error, math.sqrt(one.variance))
        if odd > _ODD and not hard:
            if i == 0:
                return None
            continue
        weight = min(1.0, HUBER / max(odd, 1e-9))
        variance = one.variance / new[0] + one.error**2 / new[1]
        scales = moved(scales, ratio, slope, variance / weight)
    return scales


def _faded(scales: StepScales, elapsed: float) -> StepScales:
    """Return the belief after a time without news: it goes back to the prior, mean and all."""
    kept = math.exp(-elapsed / _MEMORY_S)
    start = covariance_of(prior())
    return scales_of(kept * mean_of(scales), start + kept * kept * (covariance_of(scales) - start))


def _limited(before: StepScales, after: StepScales, stride: float) -> StepScales:
    """Return `after`, or what lies on the way to it no farther than `stride` from `before`."""
    way = mean_of(after) - mean_of(before)
    far = float(np.abs(way).max())
    if far <= stride:
        return scales_of(np.clip(mean_of(after), -FARTHEST, FARTHEST), covariance_of(after))
    mean = mean_of(before) + stride / far * way
    return scales_of(np.clip(mean, -FARTHEST, FARTHEST), covariance_of(before))


def _used(used: StepScales | None, scales: StepScales) -> StepScales:
    """Return what plans rest on from now: the same as before, unless the belief has moved."""
    if used is None:
        return scales
    far = float(np.abs(mean_of(scales) - mean_of(used)).max())
    surer = np.sqrt(np.diag(covariance_of(scales)) / np.diag(covariance_of(used)))
    same = far <= _DEAD_BAND and _SURER <= float(surer.min()) <= float(surer.max()) <= 1.0 / _SURER
    return used if same else scales
