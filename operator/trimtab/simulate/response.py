"""What a kind of replica does at each load, measured on the exact engine.

A fluid knows no single request, so it must be told how many of them meet their targets. The exact
engine tells: replicas get requests of the traffic's own lengths at random, slowly more and then
slowly less, and once more than they can serve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInput
from trimtab.models.hardware import EngineSettings
from trimtab.models.load import LatencyTargets
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Event, Finished, FinishReason, Request
from trimtab.simulate.gateway import Gateway, GatewaySettings
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.pace import Pace

Floats = NDArray[np.float64]

REQUESTS = 8_000
"""Of each replica in the run with a changing load."""
LEVELS = 20
"""Loads at which it is looked at; 400 requests make a share of 0.95 sure to 1.1 points."""
CROWD = 1500
"""Requests of the run with too many."""
_LIGHTEST, _HEAVIEST = 0.02, 1.0
"""Of the largest throughput: between these the load goes up and down."""
_DRAIN_S = 600.0
_MIDDLE = (0.25, 0.75)
"""Part of the crowd that is looked at: the first ones fill the batch, the last ones empty it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A kind of replica and what is asked of it."""

    pace: Pace
    settings: EngineSettings
    requests: tuple[tuple[int, int], ...]
    """Prompt and answer tokens of typical requests, from which requests are drawn."""
    targets: LatencyTargets
    replicas: int = 1
    """How many share the requests, each to the one with the fewest: that evens chance out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Latencies of served requests in seconds, arrays of one length."""

    ttft_s: Floats
    itl_s: Floats
    """Mean gap of each; 0 for an answer of one token."""
    e2e_s: Floats

    def shares(self, targets: LatencyTargets, wait_s: float = 0.0) -> Floats:
        """Return the shares within all targets, TTFT, ITL, E2E, had all waited `wait_s` longer."""
        ttft = _within(self.ttft_s + wait_s, targets.ttft_s)
        itl = _within(self.itl_s, targets.itl_s)
        e2e = _within(self.e2e_s + wait_s, targets.e2e_s)
        return np.array([part.mean() for part in (ttft & itl & e2e, ttft, itl, e2e)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One replica at several loads; arrays of one length, ascending in load."""

    in_flight: Floats
    """Requests in it."""
    rps: Floats
    """Requests/s that it serves; never falling."""
    ttft_s: Floats
    """Mean."""
    shares: Floats
    """(n, 4): within all targets, TTFT, ITL, E2E; never rising."""
    most_rps: float
    """What it serves when there is always somebody waiting."""
    batch: float
    """Requests in its batch then."""
    crowded: Sample
    """Latencies then, without the wait for a place in the batch."""
    targets: LatencyTargets


def response(question: Question, rng: np.random.Generator) -> Response:
    """Measure the replica of `question`. Takes about half a second for each that shares.

    Raises:
        InvalidInput: There is no typical request, or the engine takes none of them.
    """
    most_rps, batch, crowded = _crowded(question, rng)
    levels = _levels(question, most_rps, rng)
    in_flight = np.array([level.in_flight for level in levels])
    order = np.argsort(in_flight, kind="stable")
    shares = np.stack([level.sample.shares(question.targets) for level in levels])[order]
    return Response(
        in_flight=in_flight[order],
        rps=np.minimum(_rising([levels[i].rps for i in order]), most_rps),
        ttft_s=np.array([levels[i].sample.ttft_s.mean() for i in order]),
        shares=-np.stack([_rising((-column).tolist()) for column in shares.T], axis=1),
        most_rps=most_rps,
        batch=batch,
        crowded=crowded,
        targets=question.targets,
    )


def _crowded(question: Question, rng: np.random.Generator) -> tuple[float, float, Sample]:
    """Return throughput, batch and latencies with a queue that never ends."""
    engine = Engine(question.pace, question.settings)
    for request in _drawn(question, np.zeros(CROWD), rng):
        engine.submit(request, 0.0)
    ends = _served(engine.advance(float("inf")))
    if not ends:
        raise InvalidInput("traffic", "no request fits the engine", "Raise spec.model.maxModelLen")
    first, last = (int(share * (len(ends) - 1)) for share in _MIDDLE)
    middle = ends[first : last + 1]
    most_rps = max(last - first, 1) / (middle[-1].at - (middle[0].at if last > first else 0.0))
    sample = _sample(middle, [end.scheduled_at or 0.0 for end in middle])
    return most_rps, most_rps * float(sample.e2e_s.mean()), sample


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One replica at about one load."""

    in_flight: float
    rps: float
    """Served."""
    sample: Sample


def _levels(question: Question, most_rps: float, rng: np.random.Generator) -> list[_Level]:
    """Let the load go up and down again, and return what happened at each."""
    count = REQUESTS * question.replicas
    half = np.linspace(_LIGHTEST, _HEAVIEST, count // 2)
    rate = np.concatenate([half, half[::-1]]) * most_rps * question.replicas
    at = np.cumsum(rng.exponential(1.0 / rate))
    gateway = Gateway(GatewaySettings(client_timeout_s=inf), Ledger(question.targets))
    ends: dict[int, Finished] = {}

    def observe(events: list[Event]) -> None:
        ends.update({end.request.id: end for end in _served(events)})

    for i in range(question.replicas):
        gateway.add(str(i), Engine(question.pace, question.settings), observe, 0.0)
    present, left = np.zeros(count), np.zeros(count)
    for i, request in enumerate(_drawn(question, at, rng)):
        gateway.arrive(request)
        present[i], left[i] = gateway.in_flight, len(ends)
    until = float(at[-1])
    while gateway.in_flight:
        until += _DRAIN_S
        gateway.advance(until)
    seconds, served = np.diff(at), np.diff(left)
    levels = []
    edges = np.linspace(0, count // 2, LEVELS + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        rows = np.r_[low:high, count - high : count - 1 - low]
        done = [ends[row] for row in rows.tolist() if row in ends]
        span = float(seconds[rows].sum())
        levels.append(
            _Level(
                in_flight=float((present[rows] * seconds[rows]).sum() / span / question.replicas),
                rps=float(served[rows].sum() / span / question.replicas),
                sample=_sample(done, [end.request.arrival for end in done]),
            )
        )
    return levels


def _rising(values: Sequence[float]) -> Floats:
    """Return the closest values that never fall: what falls is pooled (isotonic regression)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pool = (value, 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, many = pools.pop()
            whole = many + pool[1]
            pool = ((mean * many + pool[0] * pool[1]) / whole, whole)
        pools.append(pool)
    return np.array([mean for mean, many in pools for _ in range(many)])


def _drawn(question: Question, at: Floats, rng: np.random.Generator) -> list[Request]:
    if not question.requests:
        raise InvalidInput("traffic", "it has no request to learn from", "Give it at least one")
    rows = rng.integers(0, len(question.requests), len(at))
    return [
        Request(
            id=i,
            arrival=time,
            input_tokens=question.requests[row][0],
            output_tokens=question.requests[row][1],
        )
        for i, (time, row) in enumerate(zip(at.tolist(), rows.tolist(), strict=True))
    ]


def _served(events: Sequence[Event]) -> list[Finished]:
    return [e for e in events if isinstance(e, Finished) and e.reason is not FinishReason.ABORT]


def _sample(ends: Sequence[Finished], since: Sequence[float]) -> Sample:
    first = [end.at if end.first_token_at is None else end.first_token_at for end in ends]
    return Sample(
        ttft_s=np.array(first) - np.array(since),
        itl_s=np.array([end.mean_itl_s or 0.0 for end in ends]),
        e2e_s=np.array([end.at for end in ends]) - np.array(since),
    )


def _within(seconds: Floats, target: float | None) -> NDArray[np.bool_]:
    return np.ones(len(seconds), dtype=bool) if target is None else seconds <= target
