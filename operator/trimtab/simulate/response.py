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
from trimtab.simulate.events import Event, Finished, FinishReason, Request, Steps
from trimtab.simulate.gateway import Gateway, GatewaySettings
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.pace import Pace

Floats = NDArray[np.float64]

REQUESTS = 8_000
"""Of each replica in the run with a changing load."""
LEVELS = 20
"""Loads at which it is looked at; 400 requests make a share of 0.95 sure to 1.1 points."""
CROWD = 1500
"""Requests of the run with too many, at least; never fewer than twice the typical ones, so that
each of them is counted once."""
BINS = 40
"""Numbers of requests at which fates are looked at; 200 requests make a share of 0.95 sure to 1.5
points, and those of a load are spread over several."""
GRID = (0.5, 0.9, 0.95, 0.99)
"""Quantiles of latencies that are kept."""
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
    gap_s: Floats
    """Single gaps at the quantiles of `GRID`, and their mean."""

    def quantiles(self, wait_s: float = 0.0) -> Floats:
        """Return TTFT, mean gaps, single gaps and E2E at `GRID`, and their means: shape (4, n + 1).

        As if all had waited `wait_s` longer.
        """
        ttft, itl, e2e = (
            np.append(np.quantile(x, GRID), x.mean()) for x in (self.ttft_s, self.itl_s, self.e2e_s)
        )
        return np.stack([ttft + wait_s, itl, self.gap_s, e2e + wait_s])

    def shares(self, targets: LatencyTargets, wait_s: float = 0.0) -> Floats:
        """Return the shares within all targets, TTFT, ITL, E2E, had all waited `wait_s` longer."""
        ttft = _within(self.ttft_s + wait_s, targets.ttft_s)
        itl = _within(self.itl_s, targets.itl_s)
        e2e = _within(self.e2e_s + wait_s, targets.e2e_s)
        return np.array([part.mean() for part in (ttft & itl & e2e, ttft, itl, e2e)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One replica at several loads, ascending."""

    in_flight: Floats
    """Requests in it, shape (n,), as all others that do not say so."""
    rps: Floats
    """Requests/s that it serves; never falling."""
    ttft_s: Floats
    """Mean."""
    on_arrival: Floats
    """Requests in it, shape (m,), that who comes finds there, himself included ..."""
    in_time: Floats
    """... and the share of whose first token is within its target, shape (m,); never rising."""
    on_stay: Floats
    """Requests in it, shape (m,), in the mean over the stay of a request ..."""
    shares: Floats
    """... and the shares within all targets, TTFT, ITL, E2E, shape (m, 4); never rising."""
    latency_s: Floats
    """(n, 4, len(GRID) + 1): TTFT, mean gaps, single gaps, E2E at each quantile, and means."""
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
    levels, fates = _levels(question, most_rps, rng)
    in_flight = np.array([level.in_flight for level in levels])
    order = np.argsort(in_flight, kind="stable")
    on_arrival, in_time = _by(fates.on_arrival, fates.met[:, [1]])
    on_stay, shares = _by(fates.on_stay, fates.met)
    return Response(
        in_flight=in_flight[order],
        rps=np.minimum(_rising([levels[i].rps for i in order]), most_rps),
        ttft_s=np.array([levels[i].sample.ttft_s.mean() for i in order]),
        on_arrival=on_arrival,
        in_time=in_time[:, 0],
        on_stay=on_stay,
        shares=shares,
        latency_s=np.stack([levels[i].sample.quantiles() for i in order]),
        most_rps=most_rps,
        batch=batch,
        crowded=crowded,
        targets=question.targets,
    )


def _crowded(question: Question, rng: np.random.Generator) -> tuple[float, float, Sample]:
    """Return throughput, batch and latencies with a queue that never ends."""
    engine = Engine(question.pace, question.settings)
    count = max(CROWD, 2 * len(question.requests))
    for request in _drawn(question, np.zeros(count), rng):
        engine.submit(request, 0.0)
    events = engine.advance(float("inf"))
    ends = _served(events)
    if not ends:
        raise InvalidInput("traffic", "no request fits the engine", "Raise spec.model.maxModelLen")
    first, last = (int(share * (len(ends) - 1)) for share in _MIDDLE)
    middle = ends[first : last + 1]
    most_rps = max(last - first, 1) / (middle[-1].at - (middle[0].at if last > first else 0.0))
    began = ends[first - 1].at if first else 0.0
    gaps = [each for each in _gaps(events) if began < each[0] <= middle[-1].at]
    sample = _sample(middle, [end.scheduled_at or 0.0 for end in middle], gaps)
    return most_rps, most_rps * float(sample.e2e_s.mean()), sample


@dataclass(frozen=True, slots=True, kw_only=True)
class _Level:
    """One replica at about one load."""

    in_flight: float
    rps: float
    """Served."""
    sample: Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fates:
    """Single requests and how full their replica was; arrays of one length."""

    on_arrival: Floats
    on_stay: Floats
    met: Floats
    """(n, 4): whether within all targets, TTFT, ITL, E2E."""


def _by(number: Floats, met: Floats) -> tuple[Floats, Floats]:
    """Return mean numbers of as many requests each, ascending, and their shares, never rising."""
    order = np.argsort(number, kind="stable")
    parts = np.array_split(order, min(BINS, len(order)))
    shares = np.stack([met[part].mean(axis=0) for part in parts])
    falling = -np.stack([_rising((-column).tolist()) for column in shares.T], axis=1)
    return np.array([number[part].mean() for part in parts]), falling


def _levels(
    question: Question, most_rps: float, rng: np.random.Generator
) -> tuple[list[_Level], _Fates]:
    """Let the load go up and down again, and return what happened at each load and to whom."""
    count = REQUESTS * question.replicas
    half = np.linspace(_LIGHTEST, _HEAVIEST, count // 2)
    rate = np.concatenate([half, half[::-1]]) * most_rps * question.replicas
    at = np.cumsum(rng.exponential(1.0 / rate))
    gateway = Gateway(GatewaySettings(client_timeout_s=inf), Ledger(question.targets))
    ends: dict[int, Finished] = {}
    gaps: list[_Gaps] = []

    def observe(events: list[Event]) -> None:
        ends.update({end.request.id: end for end in _served(events)})
        gaps.extend(_gaps(events))

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
    gap_row = np.searchsorted(at, [when for when, *_ in gaps])
    levels = []
    edges = np.linspace(0, count // 2, LEVELS + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        rows = np.r_[low:high, count - high : count - 1 - low]
        done = [ends[row] for row in rows.tolist() if row in ends]
        span = float(seconds[rows].sum())
        mine = ((gap_row >= low) & (gap_row < high)) | (
            (gap_row >= count - high) & (gap_row < count - low)
        )
        levels.append(
            _Level(
                in_flight=float((present[rows] * seconds[rows]).sum() / span / question.replicas),
                rps=float(served[rows].sum() / span / question.replicas),
                sample=_sample(
                    done,
                    [end.request.arrival for end in done],
                    [gaps[i] for i in np.flatnonzero(mine)],
                ),
            )
        )
    return levels, _fates(question, at, present, [ends[row] for row in sorted(ends)])


def _fates(question: Question, at: Floats, present: Floats, ends: Sequence[Finished]) -> _Fates:
    """Return what became of those who were served, `present` requests being there at times `at`."""
    rows = np.array([end.request.id for end in ends])
    left = np.array([end.at for end in ends])
    # How many requests there were, summed over time.
    until = np.concatenate([[0.0], np.cumsum(present[:-1] * np.diff(at))])
    stays = np.maximum(np.minimum(left, at[-1]) - at[rows], 1e-9)
    mean = (np.interp(left, at, until) - until[rows]) / stays
    whole = stays > 1e-6
    sample = _sample(ends, at[rows].tolist(), ())
    targets = question.targets
    ttft = _within(sample.ttft_s, targets.ttft_s)
    itl, e2e = _within(sample.itl_s, targets.itl_s), _within(sample.e2e_s, targets.e2e_s)
    return _Fates(
        on_arrival=present[rows] / question.replicas,
        on_stay=np.where(whole, mean, present[rows]) / question.replicas,
        met=np.stack([ttft & itl & e2e, ttft, itl, e2e], axis=1).astype(float),
    )


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
    # Again and again in the same order: among as many in a row as there are, each is once.
    rows = np.resize(rng.permutation(len(question.requests)), len(at))
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


_Gaps = tuple[float, float, int]
"""When they ended, how long each was in s, and how many there were."""


def _gaps(events: Sequence[Event]) -> list[_Gaps]:
    """Return the gaps between tokens of one batch after the other."""
    return [
        (e.at, e.first_s + e.growth_s * (e.count - 1) / 2.0, e.count * e.decoding)
        for e in events
        if isinstance(e, Steps) and e.decoding
    ]


def _sample(ends: Sequence[Finished], since: Sequence[float], gaps: Sequence[_Gaps]) -> Sample:
    first = [end.at if end.first_token_at is None else end.first_token_at for end in ends]
    return Sample(
        ttft_s=np.array(first) - np.array(since),
        itl_s=np.array([end.mean_itl_s or 0.0 for end in ends]),
        e2e_s=np.array([end.at for end in ends]) - np.array(since),
        gap_s=_weighted([gap for _, gap, _ in gaps], [many for *_, many in gaps]),
    )


def _weighted(values: Sequence[float], weights: Sequence[int]) -> Floats:
    """Return quantiles at `GRID` and the mean, each value as often as it came; 0 without any."""
    if not values:
        return np.zeros(len(GRID) + 1)
    value, weight = np.array(values), np.array(weights, dtype=float)
    order = np.argsort(value)
    below = np.cumsum(weight[order])
    found = value[order[np.searchsorted(below, np.array(GRID) * below[-1])]]
    return np.append(found, float(np.average(value, weights=weight)))


def _within(seconds: Floats, target: float | None) -> NDArray[np.bool_]:
    return np.ones(len(seconds), dtype=bool) if target is None else seconds <= target
