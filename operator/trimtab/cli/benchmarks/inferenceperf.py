"""Stage reports of kubernetes-sigs/inference-perf: `stage_N_lifecycle_metrics.json`."""

from collections.abc import Mapping
from typing import Any

from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import (
    Means,
    Measurement,
    check_per_token,
    number,
    percentile_in,
)
from trimtab.errors import InvalidInput

NAME = "inference-perf"

_FIRST, _GAP = "time_to_first_token", "inter_token_latency"
_MEAN_GAP = "time_per_output_token"
"""Of a request, which is what a target is for; single gaps spread further."""


def recognises(document: Document) -> bool:
    """Return whether `document` is one of these."""
    return {"load_summary", "successes"} <= document.columns


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each stage. Times in the file are seconds."""
    return [
        _measurement(stage, document.where(index), percentile)
        for index, stage in enumerate(document.entries)
    ]


def _measurement(stage: Mapping[str, Any], where: str, wanted: int | None) -> Measurement:
    served = _object(stage, "successes", where)
    latency = _object(served, "latency", where)
    each = _MEAN_GAP if isinstance(latency.get(_MEAN_GAP), Mapping) else _GAP
    first, gap = _object(latency, _FIRST, where), _object(latency, each, where)
    both = _percentiles(first).keys() & _percentiles(gap).keys()
    percentile = percentile_in(dict.fromkeys(both), wanted, where)
    offered = _object(stage, "load_summary", where).get("requested_rate")
    output_tokens = number(_object(served, "output_len", where), "mean", where)
    means = Means(
        ttft_s=first.get("mean"),
        itl_s=gap.get("mean"),
        e2e_s=_object(latency, "request_latency", where).get("mean"),
    )
    check_per_token(where, means, output_tokens)
    return Measurement(
        where=where,
        input_tokens=number(_object(served, "prompt_len", where), "mean", where),
        output_tokens=output_tokens,
        rps=number(_object(served, "throughput", where), "requests_per_sec", where),
        percentile=percentile,
        ttft_s=_percentiles(first)[percentile],
        itl_s=_percentiles(gap)[percentile],
        offered_rps=None if offered is None else float(offered),
        labels={},
    )


def _object(values: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    found = values.get(name)
    if not isinstance(found, Mapping):
        raise InvalidInput(
            f"{where}: {name}", "is missing", "Give a stage report of a streaming run"
        )
    return found


def _percentiles(summary: Mapping[str, Any]) -> dict[int, float]:
    """Seconds by whole percentile: "median", "p95" and so on."""
    named = {("p50" if name == "median" else name): value for name, value in summary.items()}
    return {
        int(name[1:]): float(value)
        for name, value in named.items()
        if name[:1] == "p" and name[1:].isdigit() and value is not None
    }
