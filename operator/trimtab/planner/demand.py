"""How much is asked, and for what requests: measured where it can be trusted, else the prior."""

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from statistics import NormalDist

from trimtab.models.load import RUNGS, ObservedLoad, Spread, TokenShape
from trimtab.models.memory import DeploymentMemory
from trimtab.models.plan import DemandSource
from trimtab.models.policy import EffectivePolicy
from trimtab.models.signals import fresh_value
from trimtab.planner.evidence import Evidence, believed

DRAIN_S = 120.0
"""Time in which what still waits then shall be gone once the replicas for it are there."""
SHAPE_REQUESTS = 200.0
"""Requests that count as much as all before them: a mean of lengths that vary as much as they are
long is then sure to about 5 %, and a few long prompts make no replica look too small."""
STRAINED = 20.0
"""How many times as many it takes while requests pile up: those that finish then are short ones."""
SPREAD_REQUESTS = 1000.0
"""The same for how lengths spread: of what one in a hundred exceeds, ten are then seen."""
ASSUMED_REQUESTS = 100.0
"""Requests that count as much as what is assumed of how lengths spread before any was seen."""
SHAPE_STEP = 1.1
"""Ratio of neighbouring lengths on the grid of shapes."""
SHAPE_STAY = 0.75
"""Steps that a measured length moves before its remembered one gives way; above one half."""
LEAST_CV = 1e-3
"""Deviation over the mean of lengths that are all equal, as far as a distribution can be."""
SPREAD_STAY = 0.04
"""Change of the square root of the share of requests that are longer than some length, up to which
the remembered spread stays: what chance makes of 150 requests, whatever the share."""
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
    """On the planner's grid, so that capacities do not flicker with it."""
    means: TokenShape | None
    """What it stands for: means over the latest requests; None when nothing was ever measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What else decides what a measurement says."""

    young: bool
    """Whether the deployment is younger than its window."""
    since_s: float
    """Seconds since the plan before."""


def need_of(
    load: ObservedLoad,
    policy: EffectivePolicy,
    evidence: Evidence,
    memory: DeploymentMemory,
    around: Circumstances,
) -> Need:
    """Return the demand of one deployment.

    The prior rate counts until evidence has been fresh for a whole window (`memory.measured`).
    Beside fresh evidence it counts only for a young deployment, so that a first placement is
    completed; what runs is then held by the window anyway. A partial measurement is a lower bound.
    What waits is none of it yet: see `with_queue`.
    """
    # Where none runs either, nothing serves: then no short ones finish before long ones.
    serves = fresh_value(load.running) != 0.0
    strained = serves and evidence.alarm is not None and evidence.waiting > 0.0
    lengths = Lengths(before=memory.means, prior=policy.shape, strained=strained)
    means = mean_shape(load, lengths, around.since_s)
    measured = evidence.arrivals
    prior = policy.prior_rps
    if prior is not None and (memory.measured or (evidence.fresh and not around.young)):
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
        shape=(memory.shape or policy.shape) if means is None else on_grid(means, memory.shape),
        means=means,
    )


def with_queue(need: Need, evidence: Evidence, spare_rps: float, ready_s: float) -> Need:
    """Return `need` with what will still wait when a replica that is asked for now is Ready.

    Until then, in `ready_s` seconds, those that serve work off `spare_rps` more than arrive. Where
    that is not so, the queue does not fall, and is an alarm.
    """
    if evidence.arrivals is None:
        return need
    left = max(0.0, evidence.waiting - max(0.0, spare_rps) * ready_s)
    measured = evidence.arrivals + left / DRAIN_S
    if measured < need.rps:
        return need
    return replace(need, rps=measured, source=DemandSource.PROMETHEUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """What is known of lengths before they are measured again."""

    before: TokenShape | None
    """What was counted with; None while nothing was measured."""
    prior: TokenShape
    """What the workload says: the first measurements are weighed against it."""
    strained: bool
    """Whether requests pile up."""


def mean_shape(load: ObservedLoad, known: Lengths, since_s: float) -> TokenShape | None:
    """Return the lengths to count with; None while none were measured.

    Those of the last `since_s` seconds count as much as requests arrived in them: what a handful
    of requests says of lengths is luck.
    """
    inputs, outputs = believed(load.input_tokens), believed(load.output_tokens)
    rate = believed(load.arrival_rps)
    if inputs is None or outputs is None or rate is None or inputs < 1 or outputs < 1:
        return known.before
    last = known.prior if known.before is None else known.before
    requests = rate * min(max(since_s, 0.0), load.window_s)
    if known.strained:
        requests /= STRAINED
    weight = requests / (requests + SHAPE_REQUESTS)
    hit = believed(load.prefix_hit)
    return replace(
        known.prior,
        input_tokens=_mixed(last.input_tokens, inputs, weight),
        output_tokens=_mixed(last.output_tokens, outputs, weight),
        prefix_hit=_mixed(last.prefix_hit, last.prefix_hit if hit is None else hit, weight),
        inputs=_spread(last.inputs, load.inputs, requests, (last.input_tokens, last.input_cv)),
        outputs=_spread(last.outputs, load.outputs, requests, (last.output_tokens, last.output_cv)),
    )


def lognormal(mean: float, cv: float) -> Spread:
    """Return the spread of lognormal lengths with this mean and deviation over the mean."""
    sigma = math.sqrt(math.log1p(max(cv, LEAST_CV) ** 2))
    normal = NormalDist(math.log(mean) - sigma * sigma / 2.0, sigma)
    upto = [*(normal.cdf(math.log(rung)) for rung in RUNGS), 1.0]
    shares = tuple(b - a for a, b in zip([0.0, *upto], upto, strict=False))
    return Spread(shares=shares, requests=ASSUMED_REQUESTS)


def _spread(
    before: Spread | None, now: Spread | None, requests: float, assumed: tuple[float, float]
) -> Spread | None:
    """Return `before` as `requests` more change it, whose lengths `now` tells.

    Before any was seen, lengths with the `assumed` mean and deviation over the mean.
    """
    if now is None or requests <= 0.0:
        return before
    before = before or lognormal(*assumed)
    weight = requests / (requests + before.requests)
    return Spread(
        shares=tuple(_mixed(a, b, weight) for a, b in zip(before.shares, now.shares, strict=True)),
        requests=min(before.requests + requests, SPREAD_REQUESTS),
    )


def _mixed(before: float, now: float, weight: float) -> float:
    return before * (1.0 - weight) + now * weight


def on_grid(means: TokenShape, last: TokenShape | None) -> TokenShape:
    """Return `means` on a geometric grid; a remembered point of it is left only for good.

    Where it is not left, `last` itself: dozens of samples have it, and are told to be of the shape
    of now at a glance.
    """
    found = replace(
        means,
        input_tokens=_length(means.input_tokens, last.input_tokens if last else None),
        output_tokens=_length(means.output_tokens, last.output_tokens if last else None),
        prefix_hit=_hit(means.prefix_hit, last),
        inputs=_steady(means.inputs, last.inputs if last else None),
        outputs=_steady(means.outputs, last.outputs if last else None),
    )
    return last if last is not None and found == last else found


def _steady(value: Spread | None, last: Spread | None) -> Spread | None:
    if value is None or last is None:
        return value
    longer = zip(_longer(value), _longer(last), strict=True)
    moved = max(abs(math.sqrt(now) - math.sqrt(then)) for now, then in longer)
    return last if moved <= SPREAD_STAY else value


def _longer(spread: Spread) -> list[float]:
    """Return the share of requests beyond each rung."""
    return list(accumulate(reversed(spread.shares[1:])))


def _length(value: float, last: float | None) -> float:
    step = math.log(SHAPE_STEP)
    if last is not None and abs(math.log(value / last)) <= SHAPE_STAY * step:
        return last
    return round(SHAPE_STEP ** round(math.log(value) / step), 1)


def _hit(value: float, last: TokenShape | None) -> float:
    value = min(value, 1.0)
    if last is not None and abs(value - last.prefix_hit) <= SHAPE_STAY * HIT_STEP:
        return last.prefix_hit
    return round(math.floor(value / HIT_STEP + 1e-9) * HIT_STEP, 2)
