"""Results of `vllm bench serve --save-result`, and of SGLang's benchmark, which writes the same."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import (
    Means,
    Measurement,
    check_per_token,
    number,
    percentile_in,
)
from trimtab.errors import InvalidInput

NAME = "vllm-bench"

_TOKENS = ("total_input_tokens", "total_output_tokens")
_PERCENTILE = re.compile(r"p(\d+)_(ttft|tpot|itl)_ms")


def recognises(document: Document) -> bool:
    """Return whether `document` is one of these."""
    return {"request_throughput", "completed", *_TOKENS} <= document.columns


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each run. Latencies in the file are milliseconds."""
    return [
        _measurement(run, document.where(index), percentile)
        for index, run in enumerate(document.entries)
    ]


def _measurement(run: Mapping[str, Any], where: str, wanted: int | None) -> Measurement:
    completed = number(run, "completed", where)
    if completed < 1:
        raise InvalidInput(f"{where}: completed", "no request was answered", "Leave the run out")
    times = _times_ms(run)
    both = {p: t for p, t in times.items() if "ttft" in t and t.keys() & {"tpot", "itl"}}
    percentile = percentile_in(both, wanted, where)
    output_tokens = number(run, _TOKENS[1], where) / completed
    means = Means(
        ttft_s=_mean_s(run, "ttft"), itl_s=_mean_s(run, "itl"), e2e_s=_mean_s(run, "e2el")
    )
    check_per_token(where, means, output_tokens)
    return Measurement(
        where=where,
        input_tokens=number(run, _TOKENS[0], where) / completed,
        output_tokens=output_tokens,
        rps=number(run, "request_throughput", where),
        percentile=percentile,
        ttft_s=both[percentile]["ttft"] / 1e3,
        # A target is for the mean gap of a request; single ones spread further.
        itl_s=both[percentile].get("tpot", both[percentile].get("itl", 0.0)) / 1e3,
        offered_rps=_offered(run, where),
        labels=_labels(run),
    )


def _mean_s(run: Mapping[str, Any], kind: str) -> float | None:
    value = run.get(f"mean_{kind}_ms")
    return None if value in (None, "") else float(value) / 1e3


def _times_ms(run: Mapping[str, Any]) -> dict[int, dict[str, float]]:
    """Milliseconds by percentile and kind; all percentiles where single requests were saved."""
    times: dict[int, dict[str, float]] = {}
    for name, value in run.items():
        found = _PERCENTILE.fullmatch(name.replace("median", "p50"))
        if found and value not in (None, ""):
            times.setdefault(int(found[1]), {})[found[2]] = float(value)
    first, gaps = run.get("ttfts"), run.get("itls")
    if isinstance(first, list) and isinstance(gaps, list) and any(first) and any(gaps):
        answered = np.asarray([one for one in first if one > 0.0])  # failed ones have 0
        means = _mean_gaps_s(gaps, run.get("output_lens"))
        for percentile in range(50, 100):
            times[percentile] = {
                "ttft": 1e3 * float(np.percentile(answered, percentile)),
                "tpot": 1e3 * float(np.percentile(means, percentile)),
            }
    return times


def _mean_gaps_s(gaps: list[list[float]], answers: object) -> list[float]:
    """Mean time between two tokens of each request, which several may share on their way."""
    lengths = answers if isinstance(answers, list) and len(answers) == len(gaps) else map(len, gaps)
    return [
        sum(one) / max(length - 1, len(one))
        for one, length in zip(gaps, lengths, strict=True)
        if one
    ]


def _offered(run: Mapping[str, Any], where: str) -> float | None:
    """Arrivals per second; None with a fixed number of users.

    All requests at once, without a bound on those in flight, are no load that lasts.
    """
    text = run.get("request_rate")
    rate = math.inf if text in (None, "", "inf") else number(run, "request_rate", where)
    if math.isfinite(rate):
        return rate
    if run.get("max_concurrency") in (None, ""):
        raise InvalidInput(
            f"{where}: request_rate",
            "is inf without max_concurrency: all requests came at once, which is no steady load",
            "Run it with --request-rate, or with --max-concurrency",
        )
    return None


def _labels(run: Mapping[str, Any]) -> dict[str, str]:
    labels = {
        "model": run.get("model_id") or run.get("model"),
        "engine": run.get("backend") or run.get("endpoint_type"),
        "tensor_parallel": run.get("tensor_parallel_size") or run.get("tp"),
    }
    return {name: str(value) for name, value in labels.items() if value}
