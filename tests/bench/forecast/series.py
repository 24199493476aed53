"""Real arrival rates, minute by minute: what every forecaster is scored on."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trimtab.simulate.inputs.read import requests_of
from trimtab.simulate.inputs.servegen import WINDOW_S, span_s
from trimtab.simulate.inputs.spec import NamedTrace, ServeGenWorkload, Source
from trimtab.simulate.inputs.traces import named, table

Floats = NDArray[np.float64]

MINUTE_S = 60.0
LEVELS = {
    ServeGenWorkload.DEEPSEEK_R1: (0.5, 5.0, 50.0),
    ServeGenWorkload.M_LARGE: (1.0, 5.0, 20.0),
    ServeGenWorkload.M_SMALL: (1.0, 5.0, 20.0),
}
"""Mean requests/s at which each service is sampled: one replica's work, to a fleet's."""
LONGEST_S = 3 * 86400.0
"""Time of each service that is looked at: days to learn from, and days that can be like them."""
DRAWN_RPS = 1.0
"""Services up to this rate are drawn again to tell what chance alone makes of them."""
CLIENTS = 2
"""Largest clients of each service that are looked at alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One rate over time."""

    group: str
    name: str
    rates: Floats
    """Requests/s of each minute, (n,)."""
    draw: Callable[[np.random.Generator], Floats] | None = None
    """Draws the rates again, from the same clients in the same five minutes; None: cannot, or
    would take too long."""


def every_series() -> list[Series]:
    """Return all series, by group and name."""
    rng = np.random.default_rng(20261126)
    found = []
    for workload, levels in LEVELS.items():
        span = min(span_s(workload), LONGEST_S)
        for level in levels:
            draw = partial(_sampled, workload, level, span)
            found.append(
                Series(
                    group="ServeGen",
                    name=f"{workload} at {level:g}/s",
                    rates=draw(rng),
                    draw=draw if level <= DRAWN_RPS else None,
                )
            )
        found.extend(_clients(workload, span, rng))
    for trace in NamedTrace:
        traffic = named(trace)
        rates = _binned(traffic.at_s, traffic.span_s)
        group = "Mooncake" if trace is NamedTrace.MOONCAKE else "Azure"
        found.append(Series(group=group, name=str(trace), rates=rates))
    return found


def _sampled(
    workload: ServeGenWorkload, level: float, span: float, rng: np.random.Generator
) -> Floats:
    source = Source(servegen=workload, rate=level)
    return _binned(requests_of(source, span, rng, folder=Path()).at_s, span)


def _arriving(mean: Floats, rng: np.random.Generator) -> Floats:
    return rng.poisson(mean * MINUTE_S) / MINUTE_S


def _binned(at: Floats, span: float) -> Floats:
    whole = int(span // MINUTE_S)
    return np.bincount((at // MINUTE_S).astype(np.int64), minlength=whole)[:whole] / MINUTE_S


def _clients(workload: ServeGenWorkload, span: float, rng: np.random.Generator) -> list[Series]:
    """Return the largest clients alone: Poisson arrivals of the rates that were measured."""
    windows: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in table(f"servegen-{workload}-clients.csv.gz"):
        windows[row["client"]].append((float(row["t_s"]), float(row["rate_rps"])))
    largest = sorted(windows, key=lambda client: -sum(rate for _, rate in windows[client]))
    found = []
    for client in largest[:CLIENTS]:
        mean = np.zeros(int(span // MINUTE_S))
        for start, rate in windows[client]:
            first = int(start // MINUTE_S)
            mean[first : first + int(WINDOW_S // MINUTE_S)] = rate
        draw = partial(_arriving, mean)
        found.append(
            Series(
                group="ServeGen clients",
                name=f"{workload} client {client}",
                rates=draw(rng),
                draw=draw,
            )
        )
    return found
