"""Demand as it is asked and measured: token shapes, arrivals, queues, latencies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from trimtab.models.hardware import Parallelism
from trimtab.models.signals import Missing, Signal

_NONE = Missing(why="not collected")
RUNGS = (*(float(step * 10**decade) for decade in range(6) for step in (1, 2, 5)), 1e6)
"""Token lengths, ascending, between which requests are counted: vLLM's own bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How lengths of prompts, or of answers, spread. Hashable."""

    shares: tuple[float, ...]
    """Of the requests up to the first of RUNGS, between each two, and beyond the last. Sum to 1."""
    requests: float = field(default=0.0, compare=False)
    """How many requests it rests on, recent ones counting more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenShape:
    """Lengths of requests, in tokens, and the share of prompt tokens found in the cache."""

    input_tokens: float
    """Mean length of a prompt."""
    output_tokens: float
    """Mean length of an answer."""
    prefix_hit: float = 0.0
    input_cv: float = 1.0
    """Standard deviation of prompt lengths over their mean; 0.97 in Azure's chat trace."""
    output_cv: float = 1.0
    """Standard deviation of answer lengths over their mean; 0.80 in Azure's chat trace."""
    inputs: Spread | None = None
    """How prompt lengths spread about their mean, where that was seen: `input_cv` counts no more.
    """
    outputs: Spread | None = None
    """The same of answers."""

    @property
    def assumed(self) -> "TokenShape":
        """The same means, with lengths that spread as is assumed where nothing was seen."""
        if self.inputs is None and self.outputs is None:
            return self
        return replace(self, inputs=None, outputs=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenClass:
    """Requests of about one size, which a router tells apart from others."""

    name: str
    share: float
    """Of all requests; those of all classes are 1 together."""
    shape: TokenShape


def mix_of(classes: Sequence[TokenClass]) -> TokenShape:
    """Return the shape of one or more `classes` together, exact in means and deviations."""
    inputs = [(one.share, one.shape.input_tokens, one.shape.input_cv) for one in classes]
    outputs = [(one.share, one.shape.output_tokens, one.shape.output_cv) for one in classes]
    input_tokens, input_cv = _mixed(inputs)
    output_tokens, output_cv = _mixed(outputs)
    return TokenShape(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_hit=math.fsum(one.share * one.shape.prefix_hit for one in classes),
        input_cv=input_cv,
        output_cv=output_cv,
    )


def _mixed(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float]:
    """Return the mean and the deviation over it of parts of (share, mean, deviation over it)."""
    mean = math.fsum(share * each for share, each, _ in parts)
    square = math.fsum(share * each**2 * (1.0 + cv**2) for share, each, cv in parts)
    return mean, math.sqrt(max(0.0, square / mean**2 - 1.0))


def resized(classes: Sequence[TokenClass], now: TokenShape) -> tuple[TokenClass, ...]:
    """Return one or more `classes`, all longer or shorter alike, so that their mix is `now`.

    Engines count prompts and answers by length, but no two lengths together: how many requests are
    of each class cannot be seen, so the shares stay.
    """
    before = mix_of(classes)
    prompt = now.input_tokens / before.input_tokens
    answer = now.output_tokens / before.output_tokens
    return tuple(
        replace(
            one,
            shape=replace(
                one.shape,
                input_tokens=one.shape.input_tokens * prompt,
                output_tokens=one.shape.output_tokens * answer,
                prefix_hit=now.prefix_hit,
            ),
        )
        for one in classes
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTargets:
    """Targets in seconds, each at `percentile` (0.5 to 0.99). None means no target."""

    percentile: float = 0.95
    ttft_s: float | None = None
    itl_s: float | None = None
    e2e_s: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is a target at all."""
        return not (self.ttft_s is None and self.itl_s is None and self.e2e_s is None)

    def times(self, factor: float) -> "LatencyTargets":
        """Return targets that are later by `factor`."""

        def later(target_s: float | None) -> float | None:
            return None if target_s is None else target_s * factor

        return replace(
            self,
            ttft_s=later(self.ttft_s),
            itl_s=later(self.itl_s),
            e2e_s=later(self.e2e_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantReading:
    """What the replicas of one variant with one pod template report; means over the window.

    Rates and counts are for one replica, the mean over all of them.
    """

    pool: str
    parallelism: Parallelism
    revision: str
    """Name that the pods of one template share. Another template is another engine."""
    itl_s: Signal = _NONE
    """Mean time between two tokens, in seconds."""
    gaps_per_s: Signal = _NONE
    """Such times that ended in a second: tokens, but for the first of each answer."""
    ttft_s: Signal = _NONE
    """Mean time to first token, queueing included, in seconds."""
    first_tokens_per_s: Signal = _NONE
    """Answers that began in a second."""
    steps_per_s: Signal = _NONE
    """Engine steps in a second that gave a token, of all stages and ranks of a replica."""
    preempted_per_s: Signal = _NONE
    """Requests that lost their place in the KV cache in a second, to be computed again."""
    input_tokens: Signal = _NONE
    """Mean prompt length of finished requests, in tokens."""
    output_tokens: Signal = _NONE
    """Mean answer length of finished requests, in tokens."""
    prefix_hit: Signal = _NONE
    """Share of prompt tokens found in the prefix cache, 0 to 1."""
    waiting: Signal = _NONE
    """Requests in the queues of all of them."""
    running: Signal = _NONE
    """Requests in the batch of one replica, the mean over the window."""
    kv_utilization: Signal = _NONE
    """Share of KV blocks in use on the fullest replica, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLoad:
    """What the replicas of one deployment report, summed over them unless said otherwise."""

    arrival_rps: Signal = _NONE
    """Requests per second that arrived over the window: served, queued and rejected ones."""
    input_tokens: Signal = _NONE
    """Mean prompt length over the window, in tokens. Missing without traffic."""
    output_tokens: Signal = _NONE
    """Mean answer length over the window, in tokens. Missing without traffic."""
    inputs: Spread | None = None
    """How prompt lengths spread over the window; None where no fresh histogram tells it."""
    outputs: Spread | None = None
    """The same of answers."""
    prefix_hit: Signal = _NONE
    """Share of prompt tokens found in the prefix cache, 0 to 1."""
    waiting: Signal = _NONE
    """Requests in the queues."""
    running: Signal = _NONE
    """Requests in the batches."""
    kv_utilization: Signal = _NONE
    """Share of KV blocks in use on the fullest replica, 0 to 1."""
    ttft_s: Signal = _NONE
    """TTFT at the policy's percentile, in seconds. Missing without traffic."""
    itl_s: Signal = _NONE
    """Inter-token latency at the policy's percentile, in seconds. Missing without traffic."""
    e2e_s: Signal = _NONE
    """End-to-end latency at the policy's percentile, in seconds. Missing without traffic."""
    slo_attainment: Signal = _NONE
    """Share of requests within the targets, the least over the targets. Missing without traffic."""
    window_s: float = 60.0
    """Window over which rates and latencies were taken, in seconds."""
    source_error: str | None = None
    """Why Prometheus as a whole could not be asked, or None."""
    note: str | None = None
    """What a person should know of where the signals come from, or None."""
    configured: bool = True
    """Whether there is a metrics source at all."""
    variants: tuple[VariantReading, ...] = ()
    """What each variant reports, sorted by pool, parallelism and revision."""
