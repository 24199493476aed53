"""What one window of metrics shows of the step times of one replica, and what it cannot show."""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from trimtab.models.load import TokenShape, VariantReading
from trimtab.models.signals import Signal, fresh_value
from trimtab.performance.arithmetic import Array
from trimtab.performance.belief import ERROR, Measurement, stretched
from trimtab.performance.capacity import CapacityRequest
from trimtab.performance.meanfield import Replica
from trimtab.performance.steptime import StepModel

WARM_UP_S = 30.0
"""A replica that became Ready so recently still compiles, captures graphs and fills its caches."""
LIVES = 2.0
"""Mean answers after which an engine serves requests of all ages: half of the tokens are in answers
longer than that where they vary as much as their mean, and one life shows the short ones only."""
FULL_CACHE = 0.95
"""Share of KV blocks from which requests may lose theirs and be computed again."""
COMPUTED_AGAIN = 0.10
"""Part of the mean gap that this may be, which it only ever lengthens: the most that the simulated
engine showed, with answers of 800 tokens. Where the size of the batch is not known."""
CROWD_ERROR = 0.065
"""Standard error of the mean batch of a window that is known at its scrapes only, where the engine
does not count its steps. With a full cache that of the simulated engine is off by 3.2 %; each
scrape is in four windows, whose errors average out half as much."""
FEWEST_STEPS = 100
FEWEST_PROMPTS = 20
"""Fewer steps in a window, or prompts where their time is learnt from, are a sample too small."""
SHORTEST_GAP_S = 1e-5
"""No engine is as fast: a launch of one kernel takes about as long."""
ABSURD = 1e8
"""Prompts per second, or tokens of one: nobody has seen as many, and powers of more overflow."""
LARGEST_BATCH = 1e5
"""No engine serves as many at once: the largest limits in use are some thousands."""

_PROMPT_ERROR = 0.10
"""Standard error of a mean time to first token: half of what research/models.md 1.2 found for its
95th percentile, for the waiting in it is modelled and not measured."""
_MOST_WAITING = 0.5
"""Share of a predicted time to first token that may be anything but the prompt itself."""
_MOST_UNSEEN = 0.10
"""Share of it that may be time of which it is unknown whether the engine's clock sees it."""
_BUSIEST = 0.5
"""Share of the token budget that prompts use, and of the batch, up to which queues are small."""
_NUDGE, _STEEPEST = 1.1, 0.8
"""Of a batch, to see with what power of it step times grow, and the largest power: more is a leap
to steps that have to be launched."""
_SLICES = np.array([NormalDist().inv_cdf((i + 0.5) / 6) for i in range(6)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When and over what a reading was taken, in seconds."""

    now: float
    """Unix seconds."""
    window_s: float
    ready_s: float
    """How long the youngest replica has been Ready; 0 when unknown, which teaches nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One usable window of one replica."""

    input_tokens: float
    output_tokens: float
    prefix_hit: float | None
    itl_s: float
    ttft_s: float | None
    """None when it says nothing of prompts."""
    full: bool
    """Whether the cache was full: some requests then lose their place and are computed again."""
    batch_error: float | None
    """Standard error of the batch; None where only its gaps tell it, which hold the time without a
    place."""
    churns: bool
    """Whether others fill the place of one that leaves until the rest need it back."""
    lost: float
    """How often a request loses its place, for each that begins to answer; infinite: not known."""
    batch: float
    """Mean number of requests that decode."""
    prompts_per_s: float
    window_s: float
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


def seen_in(reading: VariantReading, moment: Moment) -> Seen | None:
    """Return what `reading` says of a replica, None where it cannot be relied on."""
    itl_s, gaps = _positive(reading.itl_s), _positive(reading.gaps_per_s)
    prompts = _positive(reading.first_tokens_per_s)
    inputs, outputs = _positive(reading.input_tokens), _positive(reading.output_tokens)
    waiting, used = _number(reading.waiting), _number(reading.kv_utilization)
    hit, preempted = _number(reading.prefix_hit), _number(reading.preempted_per_s)
    if itl_s is None or gaps is None or prompts is None or inputs is None or outputs is None:
        return None
    if waiting is None or used is None or (hit is not None and hit > 1.0):
        return None
    if prompts * moment.window_s < 1.0 or not all(x <= ABSURD for x in (prompts, inputs, outputs)):
        return None
    full, running = used >= FULL_CACHE, _positive(reading.running)
    batch_error = None
    if full:
        # In each step all that run get a token, their first or another one. Those that lost their
        # place get none, but the gap that they come back with is in the mean: it is no shorter.
        steps_per_s = _steps_per_s(reading)
        if steps_per_s is not None:
            itl_s, batch_error = min(1.0 / steps_per_s, itl_s), 0.0
        elif running is not None:
            itl_s, batch_error = min(running / (gaps + prompts), itl_s), CROWD_ERROR
    batch = itl_s * gaps
    if itl_s < SHORTEST_GAP_S or batch > LARGEST_BATCH:
        return None
    steps = gaps * moment.window_s / (batch + 1.0)
    # Those that are served must be of all ages, or their caches are smaller than they will be.
    steady_s = moment.window_s + max(WARM_UP_S, LIVES * itl_s * outputs)
    if moment.ready_s < steady_s or not FEWEST_STEPS <= steps < math.inf:
        return None
    idle = waiting == 0.0 and hit is not None and prompts * moment.window_s >= FEWEST_PROMPTS
    return Seen(
        input_tokens=inputs,
        output_tokens=outputs,
        prefix_hit=hit,
        itl_s=itl_s,
        ttft_s=_positive(reading.ttft_s) if idle else None,
        full=full,
        batch_error=batch_error,
        churns=full and waiting > 0.0,
        lost=math.inf if preempted is None else preempted / prompts,
        batch=batch,
        prompts_per_s=prompts,
        window_s=moment.window_s,
        steps=steps,
        prompts=prompts * moment.window_s,
    )


def _steps_per_s(reading: VariantReading) -> float | None:
    """Return the steps in a second of a replica that always runs one, or None.

    Stages of a pipeline and ranks of experts run several at once, and count each.
    """
    together = reading.parallelism.pipeline * reading.parallelism.ranks
    return _positive(reading.steps_per_s) if together == 1 else None


def _number(signal: Signal) -> float | None:
    """Return a fresh value that can be true, or None: finite and not negative."""
    value = fresh_value(signal)
    return value if value is not None and 0.0 <= value < math.inf else None


def _positive(signal: Signal) -> float | None:
    return _number(signal) or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Measurement):
    """A measurement, and how far it can be trusted."""

    error: float
    """Standard error of its logarithm that no number of tokens lowers."""
    variance: float
    """Of its logarithm, on top: for a sample as small as the window's."""
    excess: float = 0.0
    """How much of its logarithm may be something else than slow steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One replica at a batch and a rate of prompts that were measured."""

    seen: Seen
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
    again: float
    """Prompt tokens that are computed in vain for each that is not."""

    @classmethod
    def of(cls, replica: Replica, seen: Seen) -> "Load":
        """Return `replica` as it was `seen`."""
        lengths = replica.lengths
        prompt = float(lengths.prompt)
        resident = float(lengths.resident)
        # A full cache says better than a few finished requests what those hold that run, unless
        # they share prompts, which it holds once and each of them reads.
        if seen.batch_error is not None and not seen.prefix_hit:
            resident *= float(replica.kv_slots) / seen.batch
        # Nobody is let in too early for the cache where the batch is full as well.
        churns = seen.churns and seen.batch < FULL_CACHE * float(replica.sequences)
        return cls(
            seen=seen,
            prompt=prompt,
            variation=max(float(lengths.prompt_square) / prompt**2 - 1.0, 0.0),
            context=float(lengths.prompt_context),
            resident=resident,
            slots=float(replica.slots),
            budget=float(replica.token_budget),
            # Who came last goes first, with little more than its prompt.
            again=min(float(lengths.churn) / prompt, seen.lost) if churns else 0.0,
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
        # A full cache lets in what fits into the room of one that left: none, or several small
        # ones. Their number varies as that of renewals does, the less the more of them there are.
        clumps = 1.0 + self.variation / (1.0 + self.again) if seen.full else 1.0
        loud = -math.expm1(-arrivals * _first_of(clumps))
        most = max(seen.batch, self.slots)
        batch, deviation = self._company(step, most)
        crowds = max(1.0, batch - deviation), min(batch + deviation, most)
        # Harmonic: crowds last for a time, and in that time slow steps give fewer tokens.
        quiet_s = 2.0 / sum(1.0 / float(step.decode_s(n, n * self.resident)) for n in crowds)
        # Prompts of a step come together; their sizes vary as those of one do and as their number.
        # What is computed in vain came with one that is not, into the room of the same.
        prompt = (1.0 + self.again) * self.prompt
        tokens = min(arrivals * prompt, self._chunk(batch))
        square = tokens * (clumps + self.variation) * prompt + tokens**2
        sizes = _sizes(tokens / loud, square * loud / tokens**2 - 1.0)
        count, one_s = self._carried(step, sizes, batch)
        plain_s = float(step.decode_s(batch, batch * self.resident))
        prompts_s = loud * float((count * (one_s - plain_s)).mean())
        return quiet_s, prompts_s

    def _company(self, step: StepModel, most: float) -> tuple[float, float]:
        """Mean and standard deviation of the batch that a token is in, of `most` at once."""
        seen = self.seen
        # A token sees more than a random moment does, by the variance over the mean. Of a crowd
        # that comes and goes at random in so many places it is a binomial's,
        more = 1.0 - seen.batch / most
        # but a larger one is slower and so stays longer: the chance of one more goes with the time
        # of its step (product form of processor sharing).
        met = seen.batch + more
        one_s, other_s = (float(step.decode_s(n, n * self.resident)) for n in (met, met * _NUDGE))
        steep = min(math.log(other_s / one_s) / math.log(_NUDGE), _STEEPEST)
        more /= 1.0 - steep * more * seen.batch / met
        # What lasts as long as the window is in its own mean.
        relaxed_s = seen.itl_s * seen.output_tokens * more
        lives = seen.window_s / max(relaxed_s, SHORTEST_GAP_S)
        more *= 1.0 + 2.0 * (1.0 - lives - math.exp(-lives)) / lives**2
        return seen.batch + more, math.sqrt(seen.batch * more)

    def _first(self, step: StepModel) -> tuple[float, float, float]:
        """Own prompt, rest of the running step, and half of what the engine's clock may not see."""
        seen = self.seen
        others = seen.prompts_per_s * seen.itl_s * self.prompt
        sizes = _sizes(self.prompt, self.variation) + others
        count, one_s = self._carried(step, sizes, seen.batch)
        gap_s = self.gap_s(step)
        occupied = -math.expm1(-seen.batch)
        unseen_s = step.request_s + step.late_steps * gap_s
        return float((count * one_s).mean()), 0.5 * occupied * gap_s, 0.5 * unseen_s

    def _chunk(self, batch: float) -> float:
        """Most prompt tokens of one step beside `batch` requests that decode."""
        return max(self.budget - batch, 1.0)

    def _carried(self, step: StepModel, tokens: Array, batch: float) -> tuple[Array, Array]:
        """Steps that carry so many prompt tokens, and the seconds of one of them."""
        count = np.ceil(tokens / self._chunk(batch))
        batches = np.full_like(tokens, batch)
        return count, step.mixed_s(tokens / count, self.context, batches, batches * self.resident)


def _first_of(clumps: float) -> float:
    """Return the share of arrivals that come first in their clump, of `clumps` times the variance.

    Numbers of arrivals are negative binomial then: clumps at random, of logarithmic sizes.
    """
    return math.log(clumps) / (clumps - 1.0) if clumps > 1.0 else 1.0


def _sizes(mean: float, variation: float) -> Array:
    """Equally likely sizes of a lognormal with this mean and squared variation, mean exact."""
    sizes = np.exp(math.sqrt(math.log1p(max(variation, 0.0))) * _SLICES)
    sized: Array = np.maximum(sizes * (mean / sizes.mean()), 1.0)
    return sized


def observations(load: Load, step: StepModel) -> list[Observation]:
    """Return the mean gap, and the mean time to first token where it tells of prompts."""
    seen, share = load.seen, load.prompt_share(step)
    few_prompts = (1.0 + load.variation) / max(seen.prompts, 1.0)
    found = [
        Observation(
            predict=lambda scales: load.gap_s(stretched(step, scales)),
            measured=seen.itl_s,
            error=math.hypot(ERROR, seen.batch_error or 0.0),
            variance=1.0 / seen.steps + share**2 * few_prompts,
            excess=COMPUTED_AGAIN if seen.full and seen.batch_error is None else 0.0,
        )
    ]
    if seen.ttft_s is not None and load.shows_prompts(step):
        found.append(
            Observation(
                predict=lambda scales: load.first_s(stretched(step, scales)),
                measured=seen.ttft_s,
                error=_PROMPT_ERROR,
                variance=few_prompts,
            )
        )
    return found
