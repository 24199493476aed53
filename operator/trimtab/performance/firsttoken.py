"""What a request waits for its first token.

It is the rest of the running step, the wait for room in the token budget and in the batch, the
steps that carry the prompt and those that came with it, and what the engine adds.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from trimtab.performance.arithmetic import Array, Number
from trimtab.performance.arrivals import alone, company, queueing_square, spread_of_sum
from trimtab.performance.lengths import WEIGHTS
from trimtab.performance.meanfield import (
    LUMP_WEIGHTS,
    Equilibrium,
    Limit,
    Replica,
    prompt_work,
)
from trimtab.performance.quantiles import cdf, density, mean_of, solve

_NORMAL = NormalDist()
_SELDOM = 1e-4
"""Chance to wait for room below which it changes no percentile that is asked for."""
_RUNNING = ((0, 1, 2), (3, 4, 5), (6, 7))
"""Lumps by the steps that they make, as kinds of running steps that a request may meet."""
_COMPANY_WEIGHTS = np.array([0.6, 0.3, 0.1])
_COMPANY_Z = np.array([_NORMAL.inv_cdf(share) for share in (0.3, 0.75, 0.95)])
"""Little, more and much of the prompt tokens that come with a request, where any do."""
_OWN = ([0, 1, 2], [3, 4], [5, 6], [7, 8], [9], [10], [11])
_OWN_WEIGHTS = np.array([WEIGHTS[group].sum() for group in _OWN])
"""Prompt lengths that are taken together for the time to the first token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A time that is the rest of a step, steps of one's own and, for some, a queue. Seconds."""

    own_s: Array
    """Steps with the prompt of a request: values on the last axis."""
    own_share: Array
    """Their shares."""
    rest_s: Array
    """For each of those, the rest of the running step is anything up to this, each as likely."""
    chance: Array
    """To wait for room, for each of those."""
    queue_s: Array
    """Mean of that wait, over those who wait, for each of those; it is exponential."""

    @property
    def own_mean_s(self) -> Array:
        """Mean of `own_s`."""
        return mean_of(self.own_s, self.own_share)

    @property
    def mean_s(self) -> Array:
        """Mean of it all."""
        means = self.own_s + 0.5 * self.rest_s + self.chance * self.queue_s
        return mean_of(means, self.own_share)

    @property
    def variance(self) -> Array:
        """Variance of it all."""
        means = self.own_s + 0.5 * self.rest_s + self.chance * self.queue_s
        inner = self.rest_s**2 / 12.0 + self.chance * (2.0 - self.chance) * self.queue_s**2
        square = mean_of(means**2 + inner, self.own_share)
        variance: Array = np.maximum(square - mean_of(means, self.own_share) ** 2, 0.0)
        return variance

    def missed(self, seconds: Array) -> Array:
        """Return the share of requests for which it is longer than `seconds`, one for each load."""
        rest, mean = np.maximum(self.rest_s, 1e-9), np.maximum(self.queue_s, 1e-9)
        left = np.maximum(seconds[:, None] - self.own_s, 0.0)
        within = np.minimum(left, rest)
        tail = np.exp(-(left - within) / mean) - np.exp(-left / mean)
        above: Array = 1.0 - mean_of((within - self.chance * mean * tail) / rest, self.own_share)
        return np.maximum(above, 0.0)

    def quantile(self, percentile: float) -> Array:
        """Return it at `percentile` (0 to 1)."""
        rest = np.maximum(self.rest_s, 1e-9)
        queued = np.nonzero(self.chance.max(axis=1) > _SELDOM)[0]
        own_q, rest_q = self.own_s[queued], rest[queued]
        mean = np.maximum(self.queue_s[queued], 1e-9)
        late_share = self.own_share[queued] * self.chance[queued] * mean / rest_q
        density = self.own_share / rest

        def below(seconds: Array) -> Array:
            within = np.minimum(np.maximum(seconds[:, None] - self.own_s, 0.0), rest)
            reached = mean_of(within, density)
            if len(queued):
                left = np.maximum(seconds[queued, None] - own_q, 0.0) / mean
                over = np.maximum(left - rest_q / mean, 0.0)
                reached[queued] -= mean_of(np.exp(-over) - np.exp(-left), late_share)
            return reached

        longest = (self.own_s + self.rest_s).max(axis=1)
        waited = self.queue_s * np.log(np.maximum(self.chance / (1.0 - percentile), 1.0))
        high = longest + 1.5 * waited.max(axis=1)
        return solve(below, percentile, self.own_s.min(axis=1), high)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """What a request waits for its first token, at each load: the longer of two views. Seconds."""

    burst: Wait
    """All prompts that come during a step, or a lump of them, are worked off together next."""
    queue: Wait
    """Prompts are worked off one after the other in full steps."""
    prompts_s: Array
    """Mean time that its prompt and those before it take, in that view."""
    full_s: Array
    """A step with as many prompt tokens as it may have."""
    engine_s: Array
    """What the engine adds."""

    @property
    def own_mean_s(self) -> Array:
        """Mean of the steps that carry the prompt."""
        return self.burst.own_mean_s

    @property
    def worked_s(self) -> Array:
        """Mean time until the prompt is computed."""
        return np.maximum(self.burst.mean_s, self.queue.mean_s)

    @property
    def mean_s(self) -> Array:
        """Mean TTFT."""
        return self.worked_s + self.engine_s

    @property
    def variance(self) -> Array:
        """Variance of the TTFT."""
        return np.maximum(self.burst.variance, self.queue.variance)

    def missed(self, target_s: float) -> Array:
        """Return the share of requests whose TTFT is longer than `target_s`."""
        left = target_s - self.engine_s + np.zeros(len(self.prompts_s))
        return np.maximum(self.burst.missed(left), self.queue.missed(left))

    def quantile(self, percentile: float) -> Array:
        """Return the TTFT at `percentile` (0 to 1)."""
        burst, queue = self.burst.quantile(percentile), self.queue.quantile(percentile)
        return np.maximum(burst, queue) + self.engine_s


def first_token(replica: Replica, state: Equilibrium, limit: Limit) -> FirstToken:
    """Return what a request waits for its first token, at each load of `state`."""
    running_s, met = _running(state)
    burst_s, burst_share = _own_prompts(replica, state, running_s, met)
    own_mean = mean_of(burst_s, burst_share)
    occupied = -np.expm1(-(state.batch + state.rate * own_mean))
    places = _places(replica, state, own_mean, limit)
    shape = burst_s.shape
    repeats = shape[1] // running_s.shape[1]
    full_s = _full_step_s(replica, state)
    room = occupied, *places
    queue, prompts_s = _one_by_one(replica, state, (running_s, met), room, full_s)
    return FirstToken(
        burst=Wait(
            own_s=burst_s,
            own_share=burst_share,
            rest_s=np.repeat(running_s * occupied[:, None], repeats, axis=1),
            chance=np.broadcast_to(places[0][:, None], shape),
            queue_s=np.broadcast_to(places[1][:, None], shape),
        ),
        queue=queue,
        prompts_s=prompts_s,
        full_s=full_s,
        engine_s=replica.step.request_s + replica.step.late_steps * state.step_s,
    )


def _one_by_one(
    replica: Replica,
    state: Equilibrium,
    running: tuple[Array, Array],
    room: tuple[Array, Array, Array],
    full_s: Array,
) -> tuple[Wait, Array]:
    """Return the view of one server that works prompts off in full steps, and its mean time.

    Pollaczek and Khinchine's wait, and for those who wait the rest of the step in which their
    prompt ends: what `running` means are. `room` is how often the replica is at work, and the wait
    for places; `full_s` such a step.
    """
    lengths = replica.lengths
    demand = np.minimum(state.rate * full_s * lengths.prompt / state.chunk, 0.999)
    square = queueing_square(lengths.prompt, lengths.prompt_square, replica.variation)
    work_s = 0.5 * state.rate * square * (full_s / state.chunk) ** 2
    seconds, met = running
    loud = np.maximum(1.0 - met[:, 0], 1e-12)
    lump_s = mean_of(seconds[:, 1:], met[:, 1:]) / loud
    occupied, chance, place_s = room
    own_s = _worked_off(replica, state, np.zeros((len(demand), 1, 1, 1)))
    width = own_s.shape[1]
    at_once = (1.0 - demand)[:, None] * _OWN_WEIGHTS
    later = demand[:, None] * _OWN_WEIGHTS

    def both(first: Array, then: Array) -> Array:
        return np.repeat(np.stack([first, then], axis=1), width, axis=1)

    wait = Wait(
        own_s=np.concatenate([own_s, own_s], axis=1),
        own_share=np.concatenate([at_once, later], axis=1),
        rest_s=both(state.decode_s * occupied, np.minimum(lump_s, full_s) * demand),
        chance=both(chance, np.ones_like(chance)),
        queue_s=both(place_s, work_s / (1.0 - demand) / demand + chance * place_s),
    )
    return wait, own_s @ _OWN_WEIGHTS + work_s / (1.0 - demand)


def _running(state: Equilibrium) -> tuple[Array, Array]:
    """Return what may run when a request arrives, in seconds, and the chance to meet each of it.

    The first is a step without prompts; the others are lumps of prompts, with all steps that one
    fills, for what comes later is served after it. Long ones are met more often.
    """
    seconds, met = [state.decode_s], [(1.0 - state.loud) * state.decode_s]
    for group in _RUNNING:
        weights = LUMP_WEIGHTS[list(group)]
        work_s = state.lump_work_s[:, list(group)]
        spent = work_s @ weights
        seconds.append((work_s * work_s) @ weights / spent)
        met.append(state.loud * spent)
    chances = np.stack(met, axis=1)
    return np.stack(seconds, axis=1), chances / chances.sum(axis=1)[:, None]


def _own_prompts(
    replica: Replica, state: Equilibrium, running_s: Array, met: Array
) -> tuple[Array, Array]:
    """Return seconds of the steps that carry a prompt, and their shares, by kind of running step.

    All that arrive during the step that runs share the next ones: the longer it is, the more come
    with a request.
    """
    wide = replica.columns
    arrivals = state.rate[:, None] * running_s
    single = alone(arrivals, replica.variation)
    some = np.maximum(1.0 - single, 1e-12)
    others = company(arrivals, replica.variation)
    one = wide.lengths.prompt
    mean = others * one / some
    spread = spread_of_sum(others, one, wide.lengths.prompt_square, replica.variation)
    square = (spread + (others * one) ** 2) / some
    shape = (mean * mean / np.maximum(square - mean * mean, 1e-6 * mean * mean))[:, :, None]
    cube = 1.0 - 1.0 / (9.0 * shape) + _COMPANY_Z / (3.0 * np.sqrt(shape))
    values = np.maximum(cube, 0.02) ** 3
    values *= mean[:, :, None] / (values @ _COMPANY_WEIGHTS)[:, :, None]
    others = np.concatenate([np.zeros_like(values[:, :, :1]), values], axis=2)
    odds = np.concatenate([single[:, :, None], some[:, :, None] * _COMPANY_WEIGHTS], axis=2)
    share = met[:, :, None, None] * odds[:, :, :, None] * _OWN_WEIGHTS
    return _worked_off(replica, state, others[:, :, :, None]), share.reshape(len(share), -1)


def _worked_off(replica: Replica, state: Equilibrium, others: Array) -> Array:
    """Return seconds of the steps that carry a prompt of each length beside `others` tokens.

    A prompt that does not fit into one step with them waits on average for half of them, and for
    those that fill its last step. `others` has loads on its first of four axes; the result has all
    others, and the lengths, on its second.
    """
    lengths, wide = replica.lengths, replica.columns
    prompts = np.atleast_2d(lengths.prompts)
    own = np.stack(
        [prompts[:, g] @ WEIGHTS[g] / w for g, w in zip(_OWN, _OWN_WEIGHTS, strict=True)], axis=1
    )[:, None, None, :]
    chunk = _deep(state.chunk)
    ahead = own + 0.5 * others
    room = np.ceil(ahead / chunk) * chunk - ahead
    tokens = ahead + np.minimum(0.5 * others, room)
    theirs = _deep(lengths.prompt_context)
    context = theirs + own / tokens * (_deep(lengths.cached) + 0.5 * own - theirs)
    batch = state.batch[:, None]
    loads = len(state.rate)
    return prompt_work(
        wide.step,
        tokens.reshape(loads, -1),
        context=context.reshape(loads, -1),
        batch=batch,
        cached=batch * wide.lengths.resident,
        chunk=state.chunk[:, None],
    ).seconds


def _full_step_s(replica: Replica, state: Equilibrium) -> Array:
    """Seconds of a step with as many prompt tokens as it may have."""
    seconds: Array = replica.step.mixed_s(
        state.chunk,
        replica.lengths.prompt_context,
        state.batch,
        state.batch * replica.lengths.resident,
    )
    return seconds


def _places(
    replica: Replica, state: Equilibrium, own_s: Array, limit: Limit
) -> tuple[Array, Array]:
    """Chance to wait for room in the batch or the cache, and the mean of that wait.

    `own_s` are the mean steps with a prompt.
    """
    lengths = replica.lengths
    # The batch and the cache: many servers near saturation (Halfin and Whitt 1981), whose queue
    # drains with what the replica could serve beyond what arrives. Requests of unequal size make
    # the use of a cache fluctuate as that of fewer, larger servers; and a prompt needs room whole.
    held = state.batch + state.rate * own_s
    drain = np.maximum(limit.rate - state.rate, 1e-3 * limit.rate)
    stiffness = np.sqrt(state.stiffness * limit.stiffness)
    peaked = replica.peakedness
    crowded = _crowded(replica.sequences - held, peaked * replica.sequences / stiffness)
    place_s = 0.5 * (replica.variation + lengths.answer_variation) / drain
    uneven = lengths.resident_square - (1.0 - peaked)
    next_in = lengths.prompt_square / lengths.prompt / lengths.resident
    full = _crowded(replica.kv_slots - next_in - held, replica.kv_slots * uneven / stiffness)
    # Nobody waits for room where none of those few is there.
    full = np.minimum(full, -np.expm1(-held / uneven))
    cache_s = uneven / drain
    return _either((crowded, place_s), (full, cache_s))


def _either(one: tuple[Array, Array], other: tuple[Array, Array]) -> tuple[Array, Array]:
    """Chance of at least one of two waits, and the mean of their sum, given that there is one."""
    chance = 1.0 - (1.0 - one[0]) * (1.0 - other[0])
    total = one[0] * one[1] + other[0] * other[1]
    return chance, total / np.maximum(chance, 1e-12)


def _crowded(free: Array, variance: Array) -> Array:
    """Chance that all places are taken, with `free` of them free on average."""
    spare = np.maximum(free, 0.0) / np.sqrt(variance)
    chance: Array = 1.0 / (1.0 + spare * cdf(spare) / density(spare))
    return chance


def _deep(value: Number) -> Number:
    """Loads as an axis before three others."""
    return value[:, None, None, None] if isinstance(value, np.ndarray) else value
