"""The history of a rate, asked of a Prometheus over HTTP, for the simulator."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import requests

from trimtab.errors import InvalidInput, Unavailable
from trimtab.simulate.inputs.read import History
from trimtab.simulate.inputs.spec import PrometheusHistory

_TIMEOUT_S = 30.0
_MOST_POINTS = 11_000
"""Points that Prometheus returns of one series in one answer."""


def fetch(spec: PrometheusHistory, now: float) -> tuple[History, str]:
    """Return what `spec` asks for, and how it was read. Gaps are filled in a straight line.

    What lies before the first point or after the last is left out.

    Args:
        spec: Where and what to ask.
        now: Unix seconds, where `spec` names no end.

    Raises:
        InvalidInput: The question is wrong: no such time, too many points, not one series.
        Unavailable: The server does not answer, or answers no range.
    """
    end = now if spec.until is None else _moment(spec.until)
    if spec.last_s / spec.step_s >= _MOST_POINTS:
        raise InvalidInput(
            "source.prometheus.step",
            f"{spec.last_s:.0f} s in steps of {spec.step_s:.0f} s are over {_MOST_POINTS} points",
            f"Take {math.ceil(spec.last_s / _MOST_POINTS) + 1}s or more",
        )
    parameters = {
        "query": spec.query,
        "start": f"{end - spec.last_s:.3f}",
        "end": f"{end:.3f}",
        "step": f"{spec.step_s:.3f}",
    }
    series = _ask(spec.url, parameters)
    if len(series) != 1:
        raise InvalidInput(
            "source.prometheus.query",
            f"it gives {len(series)} series" if series else "it gives nothing for that time",
            "Write a query of one series, such as sum(rate(http_requests_total[1m]))",
        )
    known = [
        (float(moment) - (end - spec.last_s), max(0.0, float(value)))
        for moment, value in series[0].get("values", ())  # a histogram has none
        if math.isfinite(float(value))
    ]
    if len(known) < 2:
        raise InvalidInput(
            "source.prometheus.query",
            f"it has {len(known)} points in that time",
            "Look back further, or take shorter steps",
        )
    # Before its first point a metric was not there, and nobody knows what it would have been.
    first, last = known[0][0], known[-1][0]
    times = np.arange(first, last + spec.step_s / 2.0, spec.step_s)
    rates = np.interp(times, [at for at, _ in known], [rate for _, rate in known])
    missing = max(0, len(times) - len(known))
    told = f"{spec.url}: {len(known)} points"
    if missing:
        told += f", {missing} more were missing and are taken as in between"
    if spec.last_s - (last - first) > spec.step_s:
        told += f"; there are {last - first:.0f} of {spec.last_s:.0f} s, which are taken alone"
    return History(at_s=times - first, rps=rates), told


def _ask(url: str, parameters: dict[str, str]) -> list[Any]:
    where = f"{url.rstrip('/')}/api/v1/query_range"
    try:
        answer = requests.get(where, params=parameters, timeout=_TIMEOUT_S, allow_redirects=False)
        document = json.loads(answer.content)
        if document["status"] != "success":
            raise InvalidInput(
                "source.prometheus.query",
                f"{url} refuses it: {document.get('error', 'no reason given')}",
                "Try the query in Prometheus's own page",
            )
        if document["data"]["resultType"] != "matrix":
            raise Unavailable(f"{url} answers no range")
        return list(document["data"]["result"])
    except requests.RequestException as error:
        raise Unavailable(f"Prometheus at {url} does not answer: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{url} answers nothing that Prometheus would: {error!r}") from error


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            "source.prometheus.until",
            f"{text!r} is no time in ISO 8601",
            "Write it like 2026-11-25T12:00:00Z",
        ) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
