"""Columns of tables that people and tools write, under the names that are in use."""

import re
from collections.abc import Mapping

from trimtab.cli.benchmarks.measurement import number
from trimtab.errors import InvalidInput

INPUT = ("input_tokens", "isl", "isl_mean", "input_len", "prompt_tokens", "prompt_size")
OUTPUT = ("output_tokens", "osl", "osl_mean", "output_len", "completion_tokens")
SERVED = ("done_rps", "request_throughput", "achieved_rps", "seq/s", "rps", "requests_per_second")
OFFERED = ("requested_rps", "request_rate", "rate_rps", "qps")
USERS = ("concurrency", "max_concurrency", "users")

_LABELS = {
    "model": ("model", "model_path", "model_id"),
    "accelerator": ("accelerator", "system", "gpu", "hardware"),
    "tensor_parallel": ("tensor_parallel", "tp", "tp_size"),
    "quantization": ("quantization", "precision", "gemm"),
}
_TIME = re.compile(r"(ttft|itl|tpot|e2e|latency)(?:_(p\d+|mean|median))?(?:_(ms|s|us))?")
_TIME_FIRST = re.compile(r"(p\d+|mean|median)_(ttft|itl|tpot|e2e|latency)(?:_(ms|s|us))?")
_SECONDS = {"ms": 1e-3, "s": 1.0, "us": 1e-6}

Times = dict[tuple[str, str], float]
"""Seconds by kind (ttft, itl, tpot, e2e) and statistic (mean, p50, p95; "" where none is said)."""


def first_of(row: Mapping[str, str], names: tuple[str, ...], where: str) -> float | None:
    """Return the number in the first of the columns `names` that is filled, or None.

    Raises:
        InvalidInput: It is no number.
    """
    for name in names:
        if row.get(name):
            return number(row, name, where)
    return None


def required(row: Mapping[str, str], names: tuple[str, ...], where: str) -> float:
    """Return the number in the first of the columns `names` that is filled.

    Raises:
        InvalidInput: None is, or it is no number.
    """
    value = first_of(row, names, where)
    if value is None:
        raise InvalidInput(
            f"{where}: {names[0]}", "is missing", "Add a column " + " or ".join(names[:3])
        )
    return value


def labels_of(row: Mapping[str, str]) -> dict[str, str]:
    """Return what a row says of the replica it is of, in our words."""
    labels = {
        label: next((row[name] for name in names if row.get(name)), "")
        for label, names in _LABELS.items()
    }
    version = row.get("backend_version") or row.get("version") or ""
    engine = row.get("engine") or row.get("backend") or ""
    labels["engine"] = f"{engine}/{version}" if engine and version else engine
    return {label: value for label, value in labels.items() if value}


def times_of(row: Mapping[str, str], where: str, *, unit: str | None = None) -> Times:
    """Return the latencies in a row, by kind and statistic.

    Args:
        row: Cells by column: `ttft_p95_ms`, `median_itl_ms`, `tpot_s` and the like.
        where: The row, for messages.
        unit: Unit of columns that name none; without it they are refused.

    Raises:
        InvalidInput: A latency is no number, or its column names no unit.
    """
    times: Times = {}
    for column, cell in row.items():
        found = _TIME.fullmatch(column) or _TIME_FIRST.fullmatch(column)
        if not found or not cell:
            continue
        groups = found.groups()
        kind, statistic = (groups[1], groups[0]) if groups[0][0] in "pm" else groups[:2]
        suffix = groups[2] or unit
        if suffix is None:
            raise InvalidInput(
                f"{where}: {column}",
                "has no unit",
                f"Name the column {column}_ms or {column}_s, whichever it is",
            )
        statistic = {"median": "p50", None: ""}.get(statistic, statistic)
        kind = "e2e" if kind == "latency" else kind
        times[kind, statistic] = number(row, column, where) * _SECONDS[suffix]
    return times
