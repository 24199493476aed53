"""What serving engines teach about the step times of their replicas, while they serve.

A Kalman filter moves the belief (see `belief`) with each window of metrics. The model is asked for
its step times at the batch that was measured, never at an arrival rate: the batch is the time
between tokens times their number in a second (Little's law), and that holds under overload too.

What could mislead is kept out: one odd scrape (it must contradict for longer than a window lasts),
windows that overlap (each counts for the time that is new in it), queues (a time to first token
then says nothing of prompts), a full cache (it computes requests twice), new pods, new engines.
"""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from trimtab.models.load import TokenShape, VariantReading
from trimtab.models.memory import Calibration
from trimtab.models.performance import Infeasible, StepScales
from trimtab.models.signals import Signal, fresh_value
from trimtab.performance.belief import (
    ERROR,
    FARTHEST,
    HUBER,
    Measurement,
    compare,
    covariance_of,
    mean_of,
    moved,
    prior,
    scales_of,
    spread,
    stretched,
)
from trimtab.performance.capacity import CapacityRequest, replica_of
from trimtab.performance.meanfield import Replica
from trimtab.performance.steptime import Array, StepModel

WARM_UP_S = 30.0
"""A replica that became Ready so recently still compiles, captures graphs and fills its caches."""
ENOUGH_S = 120.0
"""Time of observations from which plans rest on what was learnt: two windows of a minute, so that
no single one decides."""
KEPT_S = 6 * 3600.0
"""What has not been observed for so long is forgotten."""
FULL_CACHE = 0.95
"""Share of KV blocks from which requests may lose theirs and be computed again."""
COMPUTED_AGAIN = 0.10
"""Part of the mean gap that this may be, which it only ever lengthens: the most that the simulated
engine showed, with answers of 800 tokens."""
FEWEST_STEPS = 100
FEWEST_PROMPTS = 20
"""Fewer steps or prompts in a window than this are a sample too small."""

_MEMORY_S = 36_000.0
"""Time in which a belief fades without observations. At a standard deviation of 0.25 this is a
drift of 1 % in 30 s, which research/models.md 1.3 allows for heat, clocks and neighbours."""
_PROMPT_ERROR = 0.10
"""Standard error of a mean time to first token: half of what research/models.md 1.2 found for its
95th percentile, for the waiting in it is modelled and not measured."""
_ODD = 3.0
"""Standard errors beyond which an observation is refused."""
_PATIENCE = 1.25
"""Windows for which observations may contradict before they are believed: an odd scrape is in every
window that ends within one window after it."""
_STRIDE = 0.05
_STRIDE_S = 15.0
"""Farthest that a logarithm moves in so many seconds: no fleet is resized by a leap of a model."""
_DEAD_BAND = ERROR
"""Plans rest on a belief until it has moved by as much as any one window may be wrong."""
_SURER = 0.8
"""Or until a standard error has fallen to this share of what it was, or risen by it."""
_MOST_WAITING = 0.5
"""Share of a predicted time to first token that may be anything but the prompt itself."""
_MOST_UNSEEN = 0.10
"""Share of it that may be time of which it is unknown whether the engine's clock sees it."""
_BUSIEST = 0.5
"""Share of the token budget that prompts use, and of the batch, up to which queues are small."""
_SLICES = np.array([NormalDist().inv_cdf((i + 0.5) / 6) for i in range(6)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and over what a reading was taken, in seconds."""

    now: float
    """Unix seconds."""
    window_s: float
    youngest_ready_s: float | None
    """How long the youngest replica has been Ready; None without one."""


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
        return replace(before, updated=moment.now)
    seen = _seen(reading, moment)
    if seen is None:
        return before
    replica = replica_of(replace(request, shape=seen.shape_of(request), points=(), scales=None))
    if isinstance(replica, Infeasible):
        return before
    new_s = min(elapsed, moment.window_s)
    observations = _observations(_Load.of(replica, seen), replica.step)
    faded = _faded(before.scales, elapsed)
    after = _absorbed(faded, observations, new_s / moment.window_s)
    if after is None:
        refused_s = before.refused_s + new_s
        if refused_s <= _PATIENCE * moment.window_s:
            return replace(before, refused_s=refused_s, updated=moment.now)
        # It is no odd scrape: something has changed, and nothing is sure any more.
        unsure = replace(faded, covariance=prior().covariance)
        after = _absorbed(unsure, observations, new_s / moment.window_s, hard=True)
    scales = _limited(before.scales, after or faded, _STRIDE * min(new_s / _STRIDE_S, 1.0))
    evidence_s = min(before.evidence_s + new_s, KEPT_S)
    return replace(
        before,
        scales=scales,
        used=_used(before.used, scales) if evidence_s >= ENOUGH_S else None,
        evidence_s=evidence_s,
        refused_s=0.0,
        updated=moment.now,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One usable window of one replica."""

    input_tokens: float
    output_tokens: float
    prefix_hit: float | None
    itl_s: float
    ttft_s: float | None
    """None when it says nothing of prompts."""
    full: bool
    """Whether the cache was full: some gaps then hold a request that was computed again."""
    batch: float
    """Mean number of requests that decode."""
    prompts_per_s: float
    steps: float
    """In the window."""
    prompts: float
    """In the window."""

    def shape_of(self, request: CapacityRequest) -> TokenShape:
        """Return the lengths of the window's requests, spread like those of `request`."""
        hit = request.shape.prefix_hit if self.prefix_hit is None else self.prefix_hit
        return replace(
            request.shape,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            prefix_hit=hit,
        )


def _seen(reading: VariantReading, moment: Moment) -> _Seen | None:
    itl_s, gaps = _positive(reading.itl_s), _positive(reading.gaps_per_s)
    prompts = _positive(reading.first_tokens_per_s)
    inputs, outputs = _positive(reading.input_tokens), _positive(reading.output_tokens)
    waiting, used = _number(reading.waiting), _number(reading.kv_utilization)
    hit = _number(reading.prefix_hit)
    if itl_s is None or gaps is None or prompts is None or inputs is None or outputs is None:
        return None
    if waiting is None or used is None or (hit is not None and hit > 1.0):
        return None
    batch = itl_s * gaps
    steps = gaps * moment.window_s / (batch + 1.0)
    # Those that are served must be of all ages, or their caches are smaller than they will be.
    steady_s = moment.window_s + max(WARM_UP_S, itl_s * outputs)
    ready_s = moment.youngest_ready_s
    if ready_s is None or ready_s < steady_s or not FEWEST_STEPS <= steps < math.inf:
        return None
    idle = waiting == 0.0 and hit is not None and prompts * moment.window_s >= FEWEST_PROMPTS
    return _Seen(
        input_tokens=inputs,
        output_tokens=outputs,
        prefix_hit=hit,
        itl_s=itl_s,
        ttft_s=_positive(reading.ttft_s) if idle else None,
        full=used >= FULL_CACHE,
        batch=batch,
        prompts_per_s=prompts,
        steps=steps,
        prompts=prompts * moment.window_s,
    )


def _number(signal: Signal) -> float | None:
    """Return a fresh value that can be true, or None: finite and not negative."""
    value = fresh_value(signal)
    return value if value is not None and 0.0 <= value < math.inf else None


def _positive(signal: Signal) -> float | None:
    return _number(signal) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Observation(Measurement):
    """A measurement, and how far it can be trusted."""

    variance: float
    """Of its logarithm."""
    excess: float = 0.0
    """How much of its logarithm may be something else than slow steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    """One replica at a batch and a rate of prompts that were measured."""

    seen: _Seen
    prompt: float
    """Mean prompt tokens to compute."""
    variation: float
    """Their squared deviation over their mean."""
    context: float
    """Tokens that one of them attends to."""
    resident: float
    """Cached tokens of a request that decodes."""
    slots: float
    """Most requests in the batch."""
    budget: float
    """Most new tokens of one step."""

    @classmethod
    def of(cls, replica: Replica, seen: _Seen) -> "_Load":
        lengths = replica.lengths
        prompt = float(lengths.prompt)
        return cls(
            seen=seen,
            prompt=prompt,
            variation=max(float(lengths.prompt_square) / prompt**2 - 1.0, 0.0),
            context=float(lengths.prompt_context),
            resident=float(lengths.resident),
            slots=float(replica.slots),
            budget=float(replica.token_budget),
        )

    def gap_s(self, step: StepModel) -> float:
        """Mean time between two tokens, in seconds."""
        quiet_s, prompts_s = self._gap(step)
        return quiet_s + prompts_s

    def prompt_share(self, step: StepModel) -> float:
        """Share of it that prompts of others add."""
        quiet_s, prompts_s = self._gap(step)
        return prompts_s / (quiet_s + prompts_s)

    def first_s(self, step: StepModel) -> float:
        """Mean time to first token without a queue, in seconds."""
        return sum(self._first(step))

    def shows_prompts(self, step: StepModel) -> bool:
        """Whether the time to first token is mostly that of the prompt."""
        own_s, rest_s, unseen_s = self._first(step)
        total_s = own_s + rest_s + unseen_s
        batch = self.seen.batch
        chunk = self._chunk(batch)
        full_s = step.mixed_s(chunk, self.context, batch, batch * self.resident)
        busy = self.seen.prompts_per_s * self.prompt / chunk * full_s
        return (
            max(busy, batch / self.slots) <= _BUSIEST
            and rest_s <= _MOST_WAITING * total_s
            and unseen_s <= _MOST_UNSEEN * total_s
        )

    def _gap(self, step: StepModel) -> tuple[float, float]:
        """Seconds of a step without prompts, and what prompts add to the mean one."""
        seen = self.seen
        arrivals = seen.prompts_per_s * seen.itl_s
        loud = -math.expm1(-arrivals)
        # The batch that a token sees is one larger than that of a random moment, and varies like a
        # crowd that comes and goes at random: its variance is its mean.
        most = max(seen.batch, self.slots)
        batch, deviation = min(seen.batch + 1.0, most), math.sqrt(seen.batch)
        crowds = max(1.0, batch - deviation), min(batch + deviation, most)
        quiet_s = sum(float(step.decode_s(n, n * self.resident)) for n in crowds) / 2.0
        # Prompts of a step come together; their sizes vary as those of one do and as their number.
        tokens = min(arrivals * self.prompt, self._chunk(batch))
        square = tokens * (1.0 + self.variation) * self.prompt + tokens**2
        sizes = _sizes(tokens / loud, square * loud / tokens**2 - 1.0)
        count, one_s = self._carried(step, sizes, batch)
        plain_s = float(step.decode_s(batch, batch * self.resident))
        return quiet_s, loud * float((count * (one_s - plain_s)).mean())

    def _first(self, step: StepModel) -> tuple[float, float, float]:
        """Own prompt, rest of the running step, and half of what the engine's clock may not see."""
        seen = self.seen
        others = seen.prompts_per_s * seen.itl_s * self.prompt
        sizes = _sizes(self.prompt, self.variation) + others
        count, one_s = self._carried(step, sizes, seen.batch)
        gap_s = self.gap_s(step)
        occupied = -math.expm1(-seen.batch)
        unseen_s = step.request_s + step.first_token_steps * gap_s
        return float((count * one_s).mean()), 0.5 * occupied * gap_s, 0.5 * unseen_s

    def _chunk(self, batch: float) -> float:
        """Most prompt tokens of one step beside `batch` requests that decode."""
        return max(self.budget - batch, 1.0)

    def _carried(self, step: StepModel, tokens: Array, batch: float) -> tuple[Array, Array]:
        """Steps that carry so many prompt tokens, and the seconds of one of them."""
        count = np.ceil(tokens / self._chunk(batch))
        batches = np.full_like(tokens, batch)
        return count, step.mixed_s(tokens / count, self.context, batches, batches * self.resident)


def _sizes(mean: float, variation: float) -> Array:
    """Equally likely sizes of a lognormal with this mean and squared variation, mean exact."""
    sizes = np.exp(math.sqrt(math.log1p(max(variation, 0.0))) * _SLICES)
    sized: Array = np.maximum(sizes * (mean / sizes.mean()), 1.0)
    return sized


def _observations(load: _Load, step: StepModel) -> list[_Observation]:
    """Return the mean gap, and the mean time to first token where it tells of prompts."""
    seen, share = load.seen, load.prompt_share(step)
    few_prompts = (1.0 + load.variation) / max(seen.prompts, 1.0)
    found = [
        _Observation(
            predict=lambda scales: load.gap_s(stretched(step, scales)),
            measured=seen.itl_s,
            variance=ERROR**2 + 1.0 / seen.steps + share**2 * few_prompts,
            excess=COMPUTED_AGAIN if seen.full else 0.0,
        )
    ]
    if seen.ttft_s is not None and load.shows_prompts(step):
        found.append(
            _Observation(
                predict=lambda scales: load.first_s(stretched(step, scales)),
                measured=seen.ttft_s,
                variance=_PROMPT_ERROR**2 + few_prompts,
            )
        )
    return found


def _absorbed(
    scales: StepScales, observations: list[_Observation], new: float, *, hard: bool = False
) -> StepScales | None:
    """Return the belief after all observations, None when the first one is refused.

    `new` is the share of the window that no earlier one had; with `hard` nothing is refused.
    """
    for i, one in enumerate(observations):
        ratio, slope = compare(scales, one.predict, one.measured)
        ratio -= min(max(ratio, 0.0), one.excess)
        error = math.sqrt(spread(scales, slope) ** 2 + one.variance)
        odd = abs(ratio) / error
        if odd > _ODD and not hard:
            if i == 0:
                return None
            continue
        weight = min(1.0, HUBER / max(odd, 1e-9))
        scales = moved(scales, ratio, slope, one.variance / (weight * max(new, 1e-6)))
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
