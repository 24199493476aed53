"""From what a scenario says about a source to its requests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimtab.errors import Bug, InvalidInput
from trimtab.simulate.inputs.files import log_in
from trimtab.simulate.inputs.servegen import servegen, span_s
from trimtab.simulate.inputs.shapes import arrivals, lengths, synthetic
from trimtab.simulate.inputs.spec import PrometheusHistory, ServeGenWorkload, Source
from trimtab.simulate.inputs.traces import named
from trimtab.simulate.traffic import Floats, Traffic, merge


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A rate over time, as a metrics server remembers it; arrays have one shape (n,)."""

    at_s: Floats
    """Seconds from the start of the time looked at, ascending."""
    rps: Floats
    """Requests/s, each at least 0."""


def requests_of(
    source: Source,
    until_s: float,
    rng: np.random.Generator,
    *,
    folder: Path,
    history: History | None = None,
) -> Traffic:
    """Return the requests of `source` in its first `until_s` seconds after what it skips.

    Raises:
        InvalidInput: It cannot be read, or has no request.
    """
    if source.trace is not None:
        whole = named(source.trace)
        found = _timed(whole, whole.span_s, source, until_s)
    elif source.file is not None:
        log = log_in(folder / source.file, source.columns)
        whole, _ = log.requests(source.model)
        # Deployments with one log between them begin it again together.
        found = _timed(whole, log.span_s, source, until_s)
    elif source.synthetic is not None:
        whole = synthetic(source.synthetic, source.skip_s + until_s, rng)
        return whole.slice(source.skip_s, source.skip_s + until_s)
    elif source.prometheus is not None:
        if history is None:
            raise InvalidInput(
                "source.prometheus",
                "its history has not been fetched",
                "Run the scenario with trimtab simulate, which asks the Prometheus",
            )
        whole = _remembered(source.prometheus, history, rng)
        found = _timed(whole, whole.span_s, source, until_s)
    elif source.servegen is not None:
        return _sampled(source.servegen, source, until_s, rng)
    else:
        raise Bug("a source without a kind")
    if not len(found):
        raise InvalidInput(
            "source",
            f"it has no request in {until_s:.0f} s from {source.skip_s:.0f} s on",
            "Simulate longer, or skip less of it",
        )
    return found


def _timed(whole: Traffic, span: float, source: Source, until_s: float) -> Traffic:
    """Return `until_s` seconds of requests from `skip` on, every `span` seconds anew."""
    if source.skip_s and source.skip_s >= span:
        raise InvalidInput("source.skip", f"the source is {span:.0f} s long", "Skip less than that")
    rest = whole.slice(source.skip_s, np.inf)
    if not source.repeat:
        return rest.slice(0.0, until_s)
    # After its end it begins as a whole, not with what was skipped.
    first = span - source.skip_s
    if first >= until_s or span <= 0:
        return rest.slice(0.0, until_s)
    again = whole.repeated(until_s - first, span).shifted(first)
    return merge([rest, again])


def _sampled(
    workload: ServeGenWorkload, source: Source, until_s: float, rng: np.random.Generator
) -> Traffic:
    span = span_s(workload)
    parts: list[Traffic] = []
    at, skip = 0.0, source.skip_s
    while at < until_s:
        end = min(span, skip + until_s - at)
        part = servegen(workload, (skip, end), rng, source.rate)
        parts.append(part.shifted(at))
        at, skip = at + end - skip, 0.0
        if not source.repeat:
            break
    return merge(parts)


def _remembered(spec: PrometheusHistory, history: History, rng: np.random.Generator) -> Traffic:
    """Return Poisson arrivals of the rate that was seen, with the lengths that were given."""
    at = arrivals(history.at_s, history.rps, rng)
    return Traffic(
        at_s=at,
        input_tokens=lengths(spec.input_tokens, len(at), rng),
        output_tokens=lengths(spec.output_tokens, len(at), rng),
    )
