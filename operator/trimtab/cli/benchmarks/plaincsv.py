"""A table of a few points: token lengths, a rate or a number of users, and latencies."""

from collections.abc import Mapping

from trimtab.cli.benchmarks import columns
from trimtab.cli.benchmarks.document import Document
from trimtab.cli.benchmarks.measurement import (
    Means,
    Measurement,
    check_per_token,
    little,
    percentile_in,
)
from trimtab.errors import InvalidInput

NAME = "csv"


def recognises(document: Document) -> bool:
    """Return whether `document` is a table with latencies at percentiles."""
    if not document.rows:
        return False
    times = columns.times_of(dict.fromkeys(document.columns, "1"), document.name, unit="ms")
    return any(statistic[:1] == "p" for _, statistic in times) and not (
        {"total_input_tokens", "completed"} <= document.columns
    )


def read(document: Document, percentile: int | None) -> list[Measurement]:
    """Return one measurement for each row. Units are those that the columns name."""
    return [
        _measurement(row, document.where(index), percentile)
        for index, row in enumerate(document.rows)
    ]


def _measurement(row: Mapping[str, str], where: str, wanted: int | None) -> Measurement:
    times = columns.times_of(row, where)
    first = {_percent(name): s for (kind, name), s in times.items() if kind == "ttft"}
    # A target is for the mean gap of a request, "tpot"; single ones spread further.
    gap = {
        _percent(name): s
        for wanted_kind in ("itl", "tpot")
        for (kind, name), s in times.items()
        if kind == wanted_kind
    }
    both = first.keys() & gap.keys() - {None}
    percentile = percentile_in(dict.fromkeys(p for p in both if p is not None), wanted, where)
    output_tokens = columns.required(row, columns.OUTPUT, where)
    means = Means(**{f"{kind}_s": times.get((kind, "mean")) for kind in ("ttft", "itl", "e2e")})
    check_per_token(where, means, output_tokens)
    offered = columns.first_of(row, columns.OFFERED, where)
    served = columns.first_of(row, columns.SERVED, where)
    rps = offered if served is None else served
    if rps is None:
        rps = _rate_of_users(row, times, output_tokens, where)
    return Measurement(
        where=where,
        input_tokens=columns.required(row, columns.INPUT, where),
        output_tokens=output_tokens,
        rps=rps,
        percentile=percentile,
        ttft_s=first[percentile],
        itl_s=gap[percentile],
        offered_rps=offered,
        labels=columns.labels_of(row),
    )


def _rate_of_users(
    row: Mapping[str, str], times: columns.Times, output_tokens: float, where: str
) -> float:
    """Requests per second of a fixed number of users, by what they wait on average."""
    users = columns.required(row, (*columns.SERVED[3:], *columns.USERS), where)
    means = [
        next((times[kind, name] for name in ("mean", "p50") if (kind, name) in times), None)
        for kind in ("ttft", "itl")
    ]
    if means[0] is None or means[1] is None:
        raise InvalidInput(
            f"{where}: requests_per_second",
            "is missing, and without mean latencies it does not follow from the users",
            "Add the column, or ttft_mean_ms and itl_mean_ms",
        )
    return little(users, means[0], means[1], output_tokens)


def _percent(statistic: str) -> int | None:
    return int(statistic[1:]) if statistic[:1] == "p" else None
