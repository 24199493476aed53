"""Rows as NVIDIA's AIConfigurator and InferenceX write them: users, mean TTFT and mean TPOT."""

from collections.abc import Mapping

from trimtab.cli.benchmarks import columns
from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import Measurement, little, percentile_in

NAME = "aiconfigurator"

_TYPICAL = 50
"""Percentile that a mean stands for: these tables have no other."""


def recognises(document: Document) -> bool:
    """Return whether `document` is a table with a mean TTFT and TPOT for numbers of users."""
    names = document.columns
    return (
        {"isl", "osl", "concurrency"} <= names
        and bool({"ttft", "ttft_ms"} & names)
        and bool({"tpot", "tpot_ms"} & names)
    )


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each row of one undivided replica. Times are milliseconds."""
    return [
        _measurement(row, document.where(index), percentile)
        for index, row in enumerate(document.rows)
        if _is_one_replica(row)
    ]


def _is_one_replica(row: Mapping[str, str]) -> bool:
    """Whether neither stages, nor ranks of attention, nor other workers share the job."""
    alone = all(
        float(row.get(name) or 1) == 1 for name in ("pp", "pp_size", "dp", "attention_dp_size")
    )
    return alone and row.get("mode", "agg") in ("", "agg")


def _measurement(row: Mapping[str, str], where: str, wanted: int | None) -> Measurement:
    times = columns.times_of(row, where, unit="ms")
    percentile = percentile_in({_TYPICAL: times}, wanted, where)
    output_tokens = columns.required(row, columns.OUTPUT, where)
    users = columns.required(row, columns.USERS, where)
    ttft_s, itl_s = times["ttft", ""], times["tpot", ""]
    served = columns.first_of(row, ("seq/s",), where)
    return Measurement(
        where=where,
        input_tokens=columns.required(row, columns.INPUT, where),
        output_tokens=output_tokens,
        rps=served or little(users, ttft_s, itl_s, output_tokens),
        percentile=percentile,
        ttft_s=ttft_s,
        itl_s=itl_s,
        labels=columns.labels_of(row),
    )
