"""How much is asked, and for what requests: measured where it can be trusted, else the prior."""

import math
from dataclasses import dataclass, replace

from trimtab.models.load import ObservedLoad, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import DemandSource
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import fresh_value
from trimtab.planner.evidence import Evidence, checked

DRAIN_S = 120.0
"""Time in which a queue shall be gone once the replicas for it are there."""
SHAPE_STEP = 1.1
"""Ratio of neighbouring lengths on the grid of shapes."""
SHAPE_STAY = 0.75
"""Steps that a measured length moves before its remembered one gives way; above one half."""
HIT_STEP = 0.05
"""Step of the prefix cache's hit share on the grid of shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one deployment asks for now."""

    rps: float
    """Demand that the fleet shall cover, requests/s; 0 when unknown."""
    observed_rps: float | None
    """Arrivals as measured."""
    source: DemandSource
    shape: TokenShape
    shape_measured: bool


def need_of(
    load: ObservedLoad,
    policy: EffectivePolicy,
    evidence: Evidence,
    memory: DeploymentMemory,
    *,
    young: bool,
) -> Need:
    """Return the demand of one deployment.

    The prior rate counts until evidence has been fresh for a whole window (`memory.measured`).
    Beside fresh evidence it counts only for a deployment younger than its window (`young`), so
    that a first placement is completed; what runs is then held by the window anyway. A partial
    measurement is a lower bound.
    """
    shape = measured_shape(load, policy.shape, memory.shape)
    measured = evidence.arrivals
    if measured is not None:
        measured += evidence.waiting / DRAIN_S
    prior = policy.prior_rps
    if prior is not None and (memory.measured or (evidence.fresh and not young)):
        prior = None
    known = [rps for rps in (measured, prior) if rps is not None]
    if measured is not None and measured == max(known):
        source = DemandSource.PROMETHEUS
    elif prior is not None:
        source = DemandSource.WORKLOAD
    else:
        source = DemandSource.UNKNOWN
    return Need(
        rps=max(known, default=0.0),
        observed_rps=evidence.arrivals,
        source=source,
        shape=shape or memory.shape or policy.shape,
        shape_measured=shape is not None,
    )


def measured_shape(
    load: ObservedLoad, prior: TokenShape, last: TokenShape | None
) -> TokenShape | None:
    """Return the measured token shape, or None where it is not measured.

    What is not measured of it comes from `prior`. Lengths stand on a geometric grid and leave a
    remembered point only for good, so that a capacity does not flicker with them.
    """
    load = checked(load)
    inputs, outputs = fresh_value(load.input_tokens), fresh_value(load.output_tokens)
    if inputs is None or outputs is None or inputs < 1 or outputs < 1:
        return None
    hit = fresh_value(load.prefix_hit)
    return replace(
        prior,
        input_tokens=_length(inputs, last.input_tokens if last else None),
        output_tokens=_length(outputs, last.output_tokens if last else None),
        prefix_hit=_hit(prior.prefix_hit if hit is None else hit, last),
    )


def _length(value: float, last: float | None) -> float:
    step = math.log(SHAPE_STEP)
    if last is not None and abs(math.log(value / last)) <= SHAPE_STAY * step:
        return last
    return round(SHAPE_STEP ** round(math.log(value) / step), 1)


def _hit(value: float, last: TokenShape | None) -> float:
    value = min(max(value, 0.0), 1.0)
    if last is not None and abs(value - last.prefix_hit) <= SHAPE_STAY * HIT_STEP:
        return last.prefix_hit
    return round(math.floor(value / HIT_STEP + 1e-9) * HIT_STEP, 2)
