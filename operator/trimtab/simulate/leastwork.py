"""The least time that any replica of a kind needs for a request, whatever batches it is in.

Proven against the step times of `trimtab.performance.steptime`, not estimated: every step is split
into charges of the requests in it, no step is charged more than it lasts, and a request that meets
its targets is charged at least what is returned here. So the requests that replicas serve within
any span of time are charged no more than that span, summed over the replicas.

A step of p prompt tokens, b decoding requests and their k cached tokens lasts at least
`F + A p + B b + G k`: max(compute, read), smoothed, is a norm of exponent 3/2, which lies above all
of its tangents (dual norm of exponent 3). What every step costs, F, is shared by as many as the
step can hold: tokens (`max_num_batched_tokens`), cached tokens, or decoding requests - of the
latter only as many as the ITL target leaves room for. Whichever of the three charges the whole
traffic the most is taken.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from trimtab.models.hardware import EngineSettings
from trimtab.performance.steptime import StepModel
from trimtab.simulate.traffic import BLOCK_TOKENS, Floats, Traffic

_BISECTIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What requests ask of an engine at the very least; arrays of one shape (n,), in tokens."""

    prompt: Floats
    """Prompt tokens that no prefix cache can have."""
    cached: Floats
    """The other prompt tokens."""
    further: Floats
    """Tokens of the answer after the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Replicas of one kind: their step times and their limits."""

    step: StepModel
    engine: EngineSettings
    kv_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """Least replica-seconds of each request, shape (n,)."""

    prompt_s: Floats
    """Of its prompt, all of which is computed before its first token."""
    total_s: Floats
    """Infinite where the replica cannot keep the ITL target even with the request alone."""


def needs_of(traffic: Traffic, max_model_len: int) -> Needs:
    """Return the needs of `traffic`, lengths cut as the engine cuts them.

    A prompt block counts as cached when any earlier request had it, wherever it was served.
    """
    prompts = np.minimum(traffic.input_tokens, max_model_len - 1).astype(float)
    answers = np.minimum(traffic.output_tokens, max_model_len - prompts)
    cached = np.zeros(len(traffic))
    if traffic.prefix is not None:
        seen: set[int] = set()
        for row, blocks in enumerate(traffic.prefix):
            known = next((i for i, block in enumerate(blocks) if block not in seen), len(blocks))
            cached[row] = known * BLOCK_TOKENS
            seen.update(blocks)
    cached = np.minimum(cached, prompts - 1.0)
    return Needs(prompt=prompts - cached, cached=cached, further=answers - 1.0)


def least_seconds(kind: Kind, needs: Needs, itl_s: float | None) -> Least:
    """Return the least time for each request, if its mean gap between tokens is to keep `itl_s`."""
    if not len(needs.prompt) or kind.step.drafts:
        # With speculation a step's time is no longer above the tangents: nothing is proven.
        return Least(prompt_s=np.zeros(len(needs.prompt)), total_s=np.zeros(len(needs.prompt)))
    least = max(
        (
            _shared_by_tokens(kind, needs),
            _shared_by_cache(kind, needs),
            *(_shared_by_decoding(kind, needs, gap) for gap in dict.fromkeys((None, itl_s))),
        ),
        key=lambda each: float(each.total_s.sum()),
    )
    if itl_s is None:
        return least
    alone = kind.step.decode_s(np.ones(len(needs.prompt)), needs.prompt + needs.cached)
    missed = (needs.further > 0) & (alone > itl_s)
    return replace(least, total_s=np.where(missed, math.inf, least.total_s))


def alone_seconds(kind: Kind, needs: Needs) -> tuple[Floats, Floats]:
    """Return the least time to a first token and from it to the last, of requests served alone."""
    budget = float(kind.engine.max_num_batched_tokens)
    chunk = np.minimum(needs.prompt, budget)
    first = kind.step.mixed_s(chunk, needs.cached + chunk / 2.0, 0.0, 0.0)
    rest = np.floor((needs.prompt - chunk) / budget)
    later = kind.step.mixed_s(np.full(len(chunk), budget), needs.cached + chunk, 0.0, 0.0)
    each = kind.step.decode_s(np.ones(len(chunk)), needs.prompt + needs.cached)
    return first + rest * later, needs.further * each


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tangent:
    """A step lasts at least `step_s + prompt_s p + decode_s b + touched_s touched(tokens)`."""

    step_s: float
    prompt_s: float
    decode_s: float
    touched_s: float
    """Of all experts being used."""


def _shared_by_tokens(kind: Kind, needs: Needs) -> Least:
    budget = float(kind.engine.max_num_batched_tokens)
    tangent = _tangent(kind, needs, float((needs.prompt + needs.further).sum()) / budget)
    share = tangent.step_s / budget
    touched = tangent.touched_s * float(_touched(kind, budget)) / budget
    return _charged(
        kind,
        needs,
        prompt_s=tangent.prompt_s + share + touched,
        decode_s=tangent.decode_s + share + touched / kind.step.stages,
    )


def _shared_by_cache(kind: Kind, needs: Needs) -> Least:
    """As by tokens, but what every step costs goes to the cached tokens that no other shares."""
    budget = float(kind.engine.max_num_batched_tokens)
    own = needs.further * (needs.prompt + (needs.further - 1.0) / 2.0)
    tangent = _tangent(kind, needs, float(own.sum()) / kind.kv_tokens)
    touched = tangent.touched_s * float(_touched(kind, budget)) / budget
    return _charged(
        kind,
        needs,
        prompt_s=tangent.prompt_s + touched,
        decode_s=tangent.decode_s + touched / kind.step.stages,
        cached_s=tangent.step_s / kind.kv_tokens,
    )


def _shared_by_decoding(kind: Kind, needs: Needs, itl_s: float | None) -> Least:
    """What every step costs goes to the requests that decode in it.

    With an ITL target, a request is charged `k - m (T - itl)` in a step of T seconds, or nothing
    where that is negative: k for each token if its mean gap keeps the target. k is the largest for
    which no number of decoding requests is charged more than the step lasts.
    """
    shortest = float((needs.prompt + needs.cached).min())
    most = min(kind.engine.max_num_seqs, int(kind.kv_tokens / float(needs.prompt.min())))
    batch = np.arange(1.0, max(most, 1) + 1.0)
    full_s = kind.step.decode_s(batch, batch * shortest)
    room = batch if itl_s is None else batch[full_s <= itl_s]
    likely = float(room[-1]) if len(room) else 1.0
    tangent = _tangent(kind, needs, float(needs.further.sum()) / likely)
    touched = _touched(kind, batch / kind.step.stages)
    each = (tangent.step_s + tangent.decode_s * batch + tangent.touched_s * touched) / batch
    if itl_s is None:
        slope, token_s = 0.0, float(each.min())
    else:
        slope = _steepest(each, full_s - itl_s)
        token_s = float((each + slope * (full_s - itl_s)).min())
    return _charged(
        kind,
        needs,
        prompt_s=tangent.prompt_s,
        decode_s=token_s,
        waived_s=slope * (itl_s or 0.0),
    )


def _steepest(each: Floats, late_s: Floats) -> float:
    """Return the m >= 0 with the largest min(each + m late), a concave function of m."""
    if late_s[-1] <= 0:
        return 0.0
    low, high = 0.0, float(each[0] / max(abs(late_s[0]), 1e-9))
    for _ in range(_BISECTIONS):
        left, right = low + (high - low) / 3.0, high - (high - low) / 3.0
        if (each + left * late_s).min() < (each + right * late_s).min():
            low = left
        else:
            high = right
    return low


def _tangent(kind: Kind, needs: Needs, steps: float) -> _Tangent:
    """Return the tangent at the whole traffic served in about `steps` steps."""
    step = kind.step
    rows = step.stages * step.ranks
    decoded = float(needs.further.sum()) / rows
    tokens = float(needs.prompt.sum()) / step.ranks + decoded
    steps = max(steps, 1e-9)
    token, weights = _dual(tokens * step.token_s, steps * step.weights_s)
    scored, head = _dual(decoded * step.head_token_s, steps * step.head_s)
    routed = tokens * step.ranks
    touched = steps * float(_touched(kind, routed / steps))
    expert, experts = _dual(
        routed * step.expert_token_s + touched * step.expert_pad_s, touched * step.experts_s
    )
    own_s = token * step.token_s + step.link_token_s
    return _Tangent(
        step_s=weights * step.weights_s + head * step.head_s + step.fixed_s,
        prompt_s=own_s / step.ranks + expert * step.expert_token_s,
        decode_s=(own_s + scored * step.head_token_s + step.row_s + step.state_s) / rows
        + expert * step.expert_token_s / step.stages,
        touched_s=expert * step.expert_pad_s + experts * step.experts_s,
    )


def _dual(compute_s: float, read_s: float) -> tuple[float, float]:
    """Return a, b with a^3 + b^3 = 1: a x + b y never exceeds the norm (x^1.5 + y^1.5)^(2/3)."""
    norm = np.cbrt((compute_s**1.5 + read_s**1.5) ** 2)
    if norm <= 0:
        return 0.0, 0.0
    return math.sqrt(compute_s / norm), math.sqrt(read_s / norm)


def _touched(kind: Kind, tokens: float | Floats) -> Floats:
    """Return the share of routed experts that `tokens` tokens use; 0 without experts."""
    touched: Floats = np.asarray(kind.step.touched(tokens))
    return touched


def _charged(
    kind: Kind,
    needs: Needs,
    *,
    prompt_s: float,
    decode_s: float,
    cached_s: float = 0.0,
    waived_s: float = 0.0,
) -> Least:
    """Return the charges of each request, given those of one token.

    A request that is preempted gets a token from its prompt being computed anew, which must cost
    what the decoding of that token would be charged; where it would not, decoding is free. (Blocks
    of its own that are still cached when it is resumed would make that cheaper. An engine preempts
    when it has no block left, so they are gone: in 1,500 random overloads the charges held.)
    """
    step, further = kind.step, needs.further
    context = needs.prompt + needs.cached
    prompts = needs.prompt * prompt_s + _attended_s(step, needs) / step.ranks
    decoding = further * decode_s + (
        step.kv_s * _read(context, further, step.kv_limit)
        + step.window_kv_s * _read(context, further, step.window)
    ) / (step.stages * step.ranks)
    decoding += cached_s * further * (needs.prompt + (further - 1.0) / 2.0)
    last_s = 2.0 * decoding / np.maximum(further, 1.0) + waived_s
    return Least(prompt_s=prompts, total_s=prompts + np.where(prompts >= last_s, decoding, 0.0))


def _read(context: Floats, steps: Floats, limit: float) -> Floats:
    """Return sum of min(context + i, limit) over i = 0 .. steps - 1."""
    below = np.clip(limit - context, 0.0, steps)
    beyond = np.where(steps > below, (steps - below) * min(limit, 1e300), 0.0)
    total: Floats = below * context + below * (below - 1.0) / 2.0 + beyond
    return np.maximum(total, 0.0)


def _attended_s(step: StepModel, needs: Needs) -> Floats:
    """Return the time of the prompts' attention: each token attends to those before it."""
    total = np.zeros(len(needs.prompt))
    for seconds, limit in ((step.pair_s, step.kv_limit), (step.window_pair_s, step.window)):
        if seconds:
            below = np.clip(limit - needs.cached, 0.0, needs.prompt)
            beyond = np.where(below < needs.prompt, needs.prompt - below, 0.0)
            total += seconds * (
                below * needs.cached + below * below / 2.0 + beyond * min(limit, 1e300)
            )
    return total
