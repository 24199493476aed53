"""Results of GuideLLM: `benchmarks.json`, one benchmark for each rate of a sweep."""

from collections.abc import Mapping
from typing import Any

from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import Measurement, number, percentile_in
from trimtab.errors import InvalidInput

NAME = "guidellm"

_FIRST, _GAP = "time_to_first_token_ms", "inter_token_latency_ms"


def recognises(document: Document) -> bool:
    """Return whether `document` is one of these."""
    return "benchmarks" in document.columns


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each benchmark in the file. Latencies are milliseconds."""
    found = []
    for report in document.objects:
        for index, benchmark in enumerate(report["benchmarks"]):
            where = f"{document.name} benchmark {index + 1}"
            found.append(_measurement(benchmark, where, percentile))
    return found


def _measurement(benchmark: Mapping[str, Any], where: str, wanted: int | None) -> Measurement:
    first, gap = (_percentiles(_successful(benchmark, name, where)) for name in (_FIRST, _GAP))
    percentile = percentile_in(dict.fromkeys(first.keys() & gap.keys()), wanted, where)
    return Measurement(
        where=where,
        input_tokens=_mean(benchmark, "prompt_token_count", where),
        output_tokens=_mean(benchmark, "output_token_count", where),
        rps=_mean(benchmark, "requests_per_second", where),
        percentile=percentile,
        ttft_s=first[percentile] / 1e3,
        itl_s=gap[percentile] / 1e3,
        labels={},
    )


def _successful(benchmark: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    metrics = benchmark.get("metrics")
    metric = metrics.get(name) if isinstance(metrics, Mapping) else None
    summary = metric.get("successful") if isinstance(metric, Mapping) else None
    if not isinstance(summary, Mapping):
        raise InvalidInput(f"{where}: {name}", "is missing", "Give the results of a streaming run")
    return summary


def _mean(benchmark: Mapping[str, Any], name: str, where: str) -> float:
    return number(_successful(benchmark, name, where), "mean", f"{where}: {name}")


def _percentiles(summary: Mapping[str, Any]) -> dict[int, float]:
    """Milliseconds by whole percentile; "p999" is a part of one and left out."""
    listed = summary.get("percentiles") or {}
    found = {
        int(name[1:]): float(value)
        for name, value in listed.items()
        if name[1:].isdigit() and not name.startswith(("p0", "p999"))
    }
    if summary.get("median") is not None:
        found[50] = float(summary["median"])
    return found
