"""How fast replicas are, by what is in flight: Little's law where no engine says it.

The mean number in flight, divided by those that leave in a second, is the mean time of a request.
That is too long in the same proportion as the engine's steps are, or as answers are. Where lengths
are counted it is the steps, and a reading of the engine can be made of it, which the planner learns
from as from a measured one. Where they are a guess, counts cannot tell the one from the other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimtab.models.load import VariantReading
from trimtab.models.signals import Fresh
from trimtab.performance.meanfield import Replica
from trimtab.performance.outlook import open_loop, saturation_rate
from trimtab.simulate.policy import Variant

WATCHED_S = 300.0
"""Time over which all is averaged: what is in flight is counted a few times a minute only, and of
twenty counts the mean is sure to a few per cent."""
LEAST_S = 120.0
LEAST_REQUESTS = 100.0
"""Less time, or fewer requests that left, say too little."""
SHORTEST_S = 0.5
"""Requests that take less time are few at once, and crowded by every clump of arrivals, which no
count a few times a minute shows; a crowd of longer ones evens clumps out."""
STEADY = 0.1
"""Squared deviation over the mean of what is in flight, beyond that of chance, up to which its mean
stands for it: the time of a request grows faster than the crowd that it is in, so that a mean over
bursts would show a slow engine where there is none."""
FULLEST = 0.98
"""Share of its saturation up to which a replica has no queue to speak of."""
MOST_WAITING = 0.15
"""Share of its time that a request may wait for its first token by the model: that wait, too, grows
with clumps, and the pace of tokens hardly."""
ANSWERS_SHARE = 0.5
"""Of the logarithm of what is too long, the part that longer answers explain where nobody counted
them; slower steps explain the rest. As much of one as of the other: a guess of lengths is often off
by as much as a catalogue's speed. Steps alone would have other hardware look better that has the
same requests before it, and answers alone would leave a slow engine over the target of a token."""
_LOADS = np.linspace(0.01, FULLEST, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time between two counts, in which the same replicas served."""

    begin: float
    end: float
    arrivals: int
    before: int
    """Requests in flight when it began."""
    after: int
    """And when it ended."""
    variant: Variant
    """What all of them run on."""
    replicas: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """How one replica served, on average."""

    held: float
    """Requests in flight."""
    left_rps: float
    """Requests that left it in a second."""


def served_in(spans: Sequence[Span]) -> Served | None:
    """Return how one replica of `spans` served; None where they are too few or too uneven."""
    seconds = np.array([span.end - span.begin for span in spans])
    crowds = np.array([0.5 * (span.before + span.after) / span.replicas for span in spans])
    left = sum(span.arrivals - (span.after - span.before) for span in spans)
    if seconds.sum() < LEAST_S or left < LEAST_REQUESTS:
        return None
    held = float(np.average(crowds, weights=seconds))
    varies = float(np.average((crowds - held) ** 2, weights=seconds))
    replicas = float(np.average([span.replicas for span in spans], weights=seconds))
    if held <= 0.0 or varies - held / replicas > STEADY * held**2:
        return None
    served_s = sum(s * span.replicas for s, span in zip(seconds, spans, strict=True))
    served = Served(held=held, left_rps=left / float(served_s))
    return served if served.held >= SHORTEST_S * served.left_rps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What the time of a request says."""

    output_tokens: float
    """Mean answer."""
    reading: VariantReading | None
    """What an engine would have said; None where it says nothing of its speed."""


def lesson_of(
    variant: Variant,
    served: Served,
    lengths: tuple[float, float],
    replica: Replica,
    *,
    guess: float | None,
) -> Lesson | None:
    """Return what replicas teach that did as `served`; None where waits hide it.

    Which part of its time a request waits for its first token is asked of the model, at as many in
    flight: an engine that is slower all over changes nothing in that.

    Args:
        variant: What it runs on.
        served: How it served.
        lengths: Mean prompt and mean answer of its requests, in tokens, as is believed so far.
        replica: The same by the model, with requests of these lengths.
        guess: The mean answer that is expected where none was counted, else None. A short time may
            be that of short answers then, and says nothing.
    """
    inputs, outputs = lengths
    if outputs <= 1.0 or (guess is not None and guess <= 1.0):
        return None
    at = open_loop(replica, saturation_rate(replica) * _LOADS, 0.5)
    if served.held > at.concurrency[-1]:
        return None
    waits = float(np.interp(served.held, at.concurrency, at.ttft_mean_s / at.e2e_mean_s))
    if waits > MOST_WAITING:
        return None
    answers_s = (1.0 - waits) * served.held / served.left_rps
    usual_s = float(np.interp(served.held, at.concurrency, at.tpot_mean_s))
    if guess is not None:
        longer = answers_s / usual_s / (guess - 1.0)
        if longer <= 1.0:
            return Lesson(output_tokens=guess, reading=None)
        outputs = 1.0 + (guess - 1.0) * longer**ANSWERS_SHARE
    gap_s = answers_s / (outputs - 1.0)
    if not 0.0 < gap_s < math.inf:
        return None
    used = float(np.interp(served.held, at.concurrency, at.kv_utilization))
    reading = VariantReading(
        pool=variant.pool,
        parallelism=variant.parallelism,
        revision=variant.label,
        itl_s=Fresh(value=gap_s),
        gaps_per_s=Fresh(value=served.left_rps * (outputs - 1.0)),
        first_tokens_per_s=Fresh(value=served.left_rps),
        input_tokens=Fresh(value=inputs),
        output_tokens=Fresh(value=outputs),
        waiting=Fresh(value=0.0),
        kv_utilization=Fresh(value=used),
    )
    return Lesson(output_tokens=outputs, reading=reading)
