"""ServeGen's measured clients, sampled: each with its own rate, burstiness and lengths.

ServeGen (Xiang et al., "ServeGen: Workload Characterization and Generation of Large Language Model
Serving in Production", 2025) describes a service as a sum of clients. Of each it gives, for every
window of 10 minutes, the rate and a gamma or Weibull distribution of inter-arrival times with its
coefficient of variation. Nothing here is fitted: the parameters are drawn from as they stand.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trimtab.errors import InvalidInput
from trimtab.simulate.inputs.spec import ServeGenWorkload
from trimtab.simulate.inputs.traces import table
from trimtab.simulate.traffic import Floats, Ints, Traffic, merge

WINDOW_S = 600.0
_BLOCK_S = 21600.0
"""Time that one histogram of lengths stands for."""
_BIN_RATIO = 2.0**0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    start_s: float
    rate_rps: float
    cv: float
    weibull: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Client:
    windows: tuple[_Window, ...]
    means: dict[str, float]
    """Mean tokens by kind, input and output; a kind that was not measured is not there."""


Histogram = tuple[Floats, Floats]
"""Lower edges of bins (n,), tokens; probabilities (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    clients: tuple[_Client, ...]
    histograms: dict[tuple[str, float], Histogram]
    """By kind and start of the block."""
    span_s: float


def servegen(
    workload: ServeGenWorkload,
    span: tuple[float, float],
    rng: np.random.Generator,
    rate_rps: float | None = None,
) -> Traffic:
    """Return requests of a measured service between two times of its recording, from 0 on.

    Args:
        workload: Which service.
        span: Start and end, seconds of the recording.
        rng: Where chance comes from.
        rate_rps: Mean requests/s over the span; every client's rate is multiplied by one factor,
            and its burstiness kept, as ServeGen does. None keeps the measured level.

    Raises:
        InvalidInput: The recording has no request in the span.
    """
    service = _service(workload)
    start, end = span
    if start >= service.span_s:
        raise InvalidInput(
            "source.skip",
            f"{workload} was recorded for {service.span_s / 3600:g} h",
            "Skip less of it",
        )
    end = min(end, service.span_s)
    measured = sum(
        window.rate_rps * _overlap(window, start, end)
        for client in service.clients
        for window in client.windows
    ) / (end - start)
    if measured <= 0:
        raise InvalidInput("source", f"{workload} has no request in that time", "Skip less of it")
    factor = 1.0 if rate_rps is None else rate_rps / measured
    parts = []
    for client in service.clients:
        at = _arrivals(client, (start, end), factor, rng)
        if len(at):
            parts.append(
                Traffic(
                    at_s=at - start,
                    input_tokens=_lengths(service, client, "input", at, rng),
                    output_tokens=_lengths(service, client, "output", at, rng),
                )
            )
    return merge(parts)


def span_s(workload: ServeGenWorkload) -> float:
    """Return how long a service was recorded, in seconds."""
    return _service(workload).span_s


@lru_cache(maxsize=3)
def _service(workload: ServeGenWorkload) -> _Service:
    windows: dict[str, list[_Window]] = defaultdict(list)
    for row in table(f"servegen-{workload}-clients.csv.gz"):
        rate = float(row["rate_rps"])
        # No sample of n gaps has a variation above sqrt(n - 1): a fit beyond it, from a handful
        # of requests in one window, says nothing about the client.
        most = math.sqrt(max(1.0, rate * WINDOW_S - 1.0))
        windows[row["client"]].append(
            _Window(
                start_s=float(row["t_s"]),
                rate_rps=rate,
                cv=min(float(row["iat_cv"]), most),
                weibull=row["dist"] == "W",
            )
        )
    means = {
        row["client"]: {
            kind: float(row[f"mean_{kind}_tokens"])
            for kind in ("input", "output")
            if row[f"mean_{kind}_tokens"]
        }
        for row in table(f"servegen-{workload}-client-tokens.csv")
    }
    bins: dict[tuple[str, float], list[tuple[float, float]]] = defaultdict(list)
    for row in table(f"servegen-{workload}-token-hist.csv.gz"):
        bins[row["kind"], float(row["t_s"])].append((float(row["tokens_ge"]), float(row["prob"])))
    clients = tuple(
        _Client(windows=tuple(sorted(found, key=lambda w: w.start_s)), means=means.get(name, {}))
        for name, found in windows.items()
    )
    return _Service(
        clients=clients,
        histograms={
            block: (np.array([edge for edge, _ in rows]), _normal([share for _, share in rows]))
            for block, rows in bins.items()
        },
        span_s=max(w.start_s for client in clients for w in client.windows) + WINDOW_S,
    )


def _normal(shares: list[float]) -> Floats:
    values = np.array(shares)
    return np.asarray(values / values.sum())


def _overlap(window: _Window, start: float, end: float) -> float:
    return max(0.0, min(end, window.start_s + WINDOW_S) - max(start, window.start_s))


def _arrivals(
    client: _Client, span: tuple[float, float], factor: float, rng: np.random.Generator
) -> Floats:
    """Return the times of one client's requests in `span`.

    One renewal process runs through all windows on a clock that counts expected requests; in
    each window its gaps have that window's distribution. It does not start anew with a window,
    and the first gap is that of a process which has been running for ever: a bursty one started
    anew would bring too many requests.
    """
    start, end = span
    found: list[Floats] = []
    left: float | None = None  # expected requests until the next arrival
    for window in client.windows:
        time = _overlap(window, start, end)
        rate = window.rate_rps * factor
        if time <= 0 or rate <= 0:
            continue
        if left is None:
            left = _first(window, rng)
        expected = rate * time
        marks = np.array([left])
        while marks[-1] < expected:
            missing = expected - marks[-1]
            gaps = _gaps(window, int(missing + 2 * window.cv * math.sqrt(missing)) + 8, rng)
            marks = np.concatenate((marks, marks[-1] + np.cumsum(gaps)))
        inside = int(np.searchsorted(marks, expected, side="left"))
        left = float(marks[inside]) - expected
        found.append(max(start, window.start_s) + marks[:inside] / rate)
    return np.concatenate(found) if found else np.empty(0)


def _gaps(window: _Window, count: int, rng: np.random.Generator) -> Floats:
    """Return `count` gaps of mean 1 with the window's variation."""
    if window.cv <= 0:
        return np.ones(count)
    if window.weibull:
        shape = weibull_shape(window.cv)
        return np.asarray(rng.weibull(shape, count) / math.gamma(1.0 + 1.0 / shape))
    shape = 1.0 / window.cv**2
    return rng.gamma(shape, 1.0 / shape, count)


def _first(window: _Window, rng: np.random.Generator) -> float:
    """Return the wait for the next arrival of a process that one happens to come upon.

    One comes upon a gap the more likely the longer it is, and anywhere within it. A gamma gap
    weighted by its length is gamma with a shape of one more; of a Weibull gap x of shape k, x^k
    is then gamma with shape 1 + 1/k.
    """
    if window.cv <= 0:
        return float(rng.random())
    if window.weibull:
        shape = weibull_shape(window.cv)
        gap = rng.gamma(1.0 + 1.0 / shape) ** (1.0 / shape) / math.gamma(1.0 + 1.0 / shape)
    else:
        shape = 1.0 / window.cv**2
        gap = rng.gamma(shape + 1.0, 1.0 / shape)
    return float(gap * rng.random())


@lru_cache(maxsize=65536)
def weibull_shape(cv: float) -> float:
    """Return the shape of a Weibull distribution with this coefficient of variation.

    cv^2 + 1 = gamma(1 + 2/k) / gamma(1 + 1/k)^2, which falls with k; found by halving.
    """
    target = math.log1p(cv * cv)
    low, high = 0.05, 200.0
    for _ in range(60):
        middle = math.sqrt(low * high)
        value = math.lgamma(1.0 + 2.0 / middle) - 2.0 * math.lgamma(1.0 + 1.0 / middle)
        low, high = (middle, high) if value > target else (low, middle)
    return math.sqrt(low * high)


def _lengths(
    service: _Service, client: _Client, kind: str, at: Floats, rng: np.random.Generator
) -> Ints:
    """Return a count of tokens for each arrival, from its block's histogram.

    A client whose mean was measured gets the histogram tilted to that mean, which of all
    distributions with it is the one nearest to the histogram (least relative entropy).
    """
    lengths = np.empty(len(at), np.int64)
    blocks = np.floor(at / _BLOCK_S) * _BLOCK_S
    for block in np.unique(blocks):
        rows = np.flatnonzero(blocks == block)
        edges, shares = service.histograms[kind, float(block)]
        mean = client.means.get(kind)
        weights = shares if mean is None else tilted(edges, shares, mean)
        drawn = edges[rng.choice(len(edges), size=len(rows), p=weights)]
        within = np.exp(rng.random(len(rows)) * math.log(_BIN_RATIO))
        lengths[rows] = np.maximum(1, np.floor(drawn * within)).astype(np.int64)
    return lengths


def tilted(edges: Floats, shares: Floats, mean: float) -> Floats:
    """Return the probabilities nearest to `shares` whose mean is `mean` tokens.

    They are shares * exp(theta * x), x the bins' means; theta is found by halving. A mean that
    the histogram cannot have gives its lowest or highest bin.
    """
    x = edges * (_BIN_RATIO - 1.0) / math.log(_BIN_RATIO)
    scaled = x / x.max()
    low, high = -2000.0, 2000.0
    logs = np.log(np.maximum(shares, 1e-300))
    weights = shares
    for _ in range(60):
        theta = (low + high) / 2.0
        exponent = logs + theta * scaled
        weights = np.exp(exponent - exponent.max())
        weights = weights / weights.sum()
        low, high = (theta, high) if float(weights @ x) < mean else (low, theta)
    return np.asarray(weights)
