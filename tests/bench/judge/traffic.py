"""Requests for the judge: slices of public traces, the other way round, and made-up courses.

Traces are read from the files that the project ships, by their columns, and turned round in time:
what a policy was looked at with forwards it has not seen backwards.
"""

import csv
import gzip
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.judge.engine import Request

DATA = Path(__file__).parents[3] / "operator/trimtab/simulate/inputs/data"
Rate = Callable[[float], float]
"""Requests/s at a time."""
Lengths = tuple[float, float, int]
"""Mean, coefficient of variation, and the largest."""
PROMPT: Lengths = (1200.0, 0.9, 7000)
ANSWER: Lengths = (200.0, 0.8, 1000)
_WINDOW_S = 600.0
"""Of a client's measured rate and spread."""


@cache
def _rows(name: str) -> list[dict[str, str]]:
    with gzip.open(DATA / name, "rt") as file:
        return list(csv.DictReader(file))


def _requests(
    at: NDArray[np.float64], inputs: NDArray[np.int64], outputs: NDArray[np.int64]
) -> list[Request]:
    order = np.argsort(at, kind="stable")
    return [
        Request(at_s=float(at[k]), inputs=max(1, int(inputs[k])), outputs=max(1, int(outputs[k])))
        for k in order
    ]


def trace(name: str, times: int, end_s: float, seed: int) -> list[Request]:
    """Return a trace's first `end_s` backwards, and `times` - 1 like it laid over that.

    The others' times are moved by some seconds, and every copy has its lengths dealt anew.
    """
    rows = [row for row in _rows(f"{name}.csv.gz") if float(row["t_s"]) < end_s]
    at = end_s - np.array([float(row["t_s"]) for row in rows])
    inputs = np.array([int(row["input_tokens"]) for row in rows])
    outputs = np.array([int(row["output_tokens"]) for row in rows])
    dice = np.random.default_rng(seed)
    moves = [np.zeros(len(at)), *(dice.normal(0.0, 2.0, len(at)) for _ in range(times - 1))]
    deals = [dice.permutation(len(at)) for _ in moves]
    return _requests(
        np.clip(np.concatenate([at + move for move in moves]), 0.0, None),
        np.concatenate([inputs[deal] for deal in deals]),
        np.concatenate([outputs[deal] for deal in deals]),
    )


def clients(
    name: str, start_s: float, lasts_s: float, rate: float, seed: int, squeeze: float = 1.0
) -> list[Request]:
    """Return measured clients, each a renewal of its own, scaled to a mean rate together.

    With `squeeze` hours go by that many times as fast.
    """
    dice, end_s = np.random.default_rng(seed), start_s + lasts_s * squeeze
    rows = [
        row
        for row in _rows(f"servegen-{name}-clients.csv.gz")
        if start_s <= float(row["t_s"]) < end_s
    ]
    scale = rate * (end_s - start_s) / sum(float(row["rate_rps"]) * _WINDOW_S for row in rows)
    window_s, parts = _WINDOW_S / squeeze, []
    for row in rows:
        rps = float(row["rate_rps"]) * scale
        shape = 1.0 / min(max(float(row["iat_cv"] or 1.0), 0.3), 6.0) ** 2
        gaps = dice.gamma(shape, 1.0 / (shape * rps), int(rps * window_s * 3 + 20))
        at = np.cumsum(gaps) - gaps[0] * dice.random()
        parts.append((float(row["t_s"]) - start_s) / squeeze + at[(at >= 0.0) & (at < window_s)])
    at = np.concatenate(parts)
    inputs = _histogram(name, start_s, "input", len(at), dice)
    outputs = _histogram(name, start_s, "output", len(at), dice)
    return _requests(at, np.minimum(inputs, 30_000), np.minimum(outputs, 10_000))


def _histogram(
    name: str, at_s: float, kind: str, many: int, dice: np.random.Generator
) -> NDArray[np.int64]:
    """Return lengths drawn from the counts nearest to a time."""
    rows = [row for row in _rows(f"servegen-{name}-token-hist.csv.gz") if row["kind"] == kind]
    nearest = min({int(row["t_s"]) for row in rows}, key=lambda t: abs(t - at_s))
    rows = [row for row in rows if int(row["t_s"]) == nearest]
    from_ = np.array([float(row["tokens_ge"]) for row in rows])
    share = np.array([float(row["prob"]) for row in rows])
    drawn = from_[dice.choice(len(from_), many, p=share / share.sum())]
    return (drawn * 2.0 ** (dice.random(many) / 4.0)).astype(np.int64)


def course(
    rate: Rate, end_s: float, seed: int, prompt: Lengths = PROMPT, answer: Lengths = ANSWER
) -> list[Request]:
    """Return independent requests at a rate that changes from second to second."""
    dice = np.random.default_rng(seed)
    at = np.concatenate(
        [second + dice.random(dice.poisson(rate(second))) for second in range(int(end_s))]
    )
    return _requests(at, _lengths(prompt, len(at), dice), _lengths(answer, len(at), dice))


def _lengths(lengths: Lengths, many: int, dice: np.random.Generator) -> NDArray[np.int64]:
    mean, cv, most = lengths
    spread = math.sqrt(math.log1p(cv * cv))
    drawn = np.exp(dice.normal(math.log(mean) - spread**2 / 2.0, spread, many))
    return np.minimum(drawn, most).astype(np.int64)


def levels(values: list[float], hold_s: float, end_s: float, seed: int) -> Rate:
    """Return a rate that jumps between levels, each held for a while by chance."""
    dice = np.random.default_rng(seed)
    steps, at = [], 0.0
    while at < end_s:
        steps.append((at, values[dice.integers(len(values))]))
        at += dice.exponential(hold_s)
    return lambda now: next(value for begin, value in reversed(steps) if begin <= now)


def agents(rate: Rate, end_s: float, seed: int) -> list[Request]:
    """Return agents at work: sessions that begin at a rate, whose prompts grow turn by turn.

    A session begins with 4,000 tokens or so of instructions; each of ten turns or so appends the
    answer before it and what a tool said. The next comes when the answer should be there and the
    tool has run.
    """
    dice, found = np.random.default_rng(seed), []
    begins = np.concatenate(
        [second + dice.random(dice.poisson(rate(second))) for second in range(int(end_s))]
    )
    for session, begin in enumerate(begins):
        at, prompt, shared = float(begin), int(_lengths((4000.0, 0.4, 12_000), 1, dice)[0]), 0
        for _ in range(int(dice.geometric(0.1))):
            answer = max(1, int(_lengths((150.0, 1.0, 1500), 1, dice)[0]))
            if at >= end_s or prompt > 28_000:
                break
            found.append(
                Request(at_s=at, inputs=prompt, outputs=answer, session=session, shared=shared)
            )
            shared = prompt + answer - 1
            prompt += answer + int(_lengths((700.0, 1.2, 6000), 1, dice)[0])
            at += 2.0 + 0.04 * answer + float(dice.exponential(6.0))
    return sorted(found, key=lambda each: each.at_s)
