"""Exports of NVIDIA's GenAI-Perf and AIPerf: `profile_export_genai_perf.json`."""

from collections.abc import Mapping
from typing import Any

from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import Measurement, number, percentile_in
from trimtab.errors import InvalidInput

NAME = "genai-perf"

_FIRST, _GAP = "time_to_first_token", "inter_token_latency"
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def recognises(document: Document) -> bool:
    """Return whether `document` is one of these."""
    if not {"request_throughput", _FIRST, "output_sequence_length"} <= document.columns:
        return False
    return all(isinstance(one["request_throughput"], Mapping) for one in document.entries)


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each export. Each figure in the file carries its unit."""
    return [
        _measurement(run, document.where(index), percentile)
        for index, run in enumerate(document.entries)
    ]


def _measurement(run: Mapping[str, Any], where: str, wanted: int | None) -> Measurement:
    first, gap = _seconds(run, _FIRST, where), _seconds(run, _GAP, where)
    percentile = percentile_in(dict.fromkeys(first.keys() & gap.keys()), wanted, where)
    models = (run.get("input_config") or {}).get("model") or ()
    return Measurement(
        where=where,
        input_tokens=_mean(run, "input_sequence_length", where),
        output_tokens=_mean(run, "output_sequence_length", where),
        rps=_mean(run, "request_throughput", where),
        percentile=percentile,
        ttft_s=first[percentile],
        itl_s=gap[percentile],
        labels={"model": str(models[0])} if isinstance(models, list) and models else {},
    )


def _mean(run: Mapping[str, Any], name: str, where: str) -> float:
    summary = run.get(name)
    return number(summary if isinstance(summary, Mapping) else {}, "avg", f"{where}: {name}")


def _seconds(run: Mapping[str, Any], name: str, where: str) -> dict[int, float]:
    summary = run.get(name)
    unit = summary.get("unit") if isinstance(summary, Mapping) else None
    if not isinstance(summary, Mapping) or unit not in _SECONDS:
        raise InvalidInput(
            f"{where}: {name}", f"has the unit {unit!r}", "Give the export of a streaming run"
        )
    return {
        int(key[1:]): float(value) * _SECONDS[unit]
        for key, value in summary.items()
        if key[:1] == "p" and key[1:].isdigit() and value is not None
    }
