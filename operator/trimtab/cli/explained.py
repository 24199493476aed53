"""How an explanation reads in a terminal: what runs, what lost, what would change the answer."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.api.llmdeployment import LLMDeploymentStatus, VariantStatus
from trimtab.planner.whatif import WhatIf


def render(
    name: str, status: LLMDeploymentStatus, changes: Sequence[WhatIf], console: Console
) -> None:
    """Print `status`, and what would change it, for a person."""
    console.print(_headline(name, status))
    for table in (
        _facts(status),
        _variants(status),
        _routes(status),
        _rejected(status),
        _changes(changes),
        _conditions(status),
        _history(status),
    ):
        if table is not None:
            console.print()
            console.print(table)


def _headline(name: str, status: LLMDeploymentStatus) -> Text:
    decision = status.decision
    if decision is None:
        return Text(f"{name}: no decision has been published yet", style="bold yellow")
    text = Text(f"{name}: {decision.message}\n", style="bold")
    return text.append(f"{decision.reason}, {decision.time}", style="dim")


def _facts(status: LLMDeploymentStatus) -> Table | None:
    rows: list[tuple[str, str]] = []
    seen, cost = status.observed, status.cost
    if seen is not None:
        demand = f"{seen.requests_per_second or 'unknown'} requests/s ({seen.source})"
        rows.append(("demand", demand))
        rows.append(
            (
                "tokens",
                f"{_or_unknown(seen.input_tokens)} in, {_or_unknown(seen.output_tokens)} out",
            )
        )
        latencies = (
            ("TTFT", seen.time_to_first_token),
            ("ITL", seen.inter_token_latency),
            ("E2E", seen.end_to_end),
        )
        measured = ", ".join(f"{label} {value}" for label, value in latencies if value)
        rows.append(("latency", measured or "unknown"))
        rows.append(("within targets", seen.slo or "unknown"))
    if cost is not None:
        rows.append(("cost", f"${cost.per_hour}/h ({cost.price_source or 'price unknown'})"))
        if cost.per_million_tokens:
            rows.append(("", f"${cost.per_million_tokens} per million answered tokens"))
        if cost.baseline:
            saving = f"{cost.saved} against {cost.baseline} at ${cost.baseline_per_hour}/h"
            rows.append(("saved", saving))
    if status.energy is not None:
        rows.append(("power", f"{_or_unknown(status.energy.watts)} W"))
        rows.append(("carbon", f"{_or_unknown(status.energy.carbon_grams_per_hour)} gCO2/h"))
    return _table((), rows)


def _variants(status: LLMDeploymentStatus) -> Table | None:
    return _table(
        ("CHOSEN", "ACCELERATOR", "TP", "READY", "$/H", "RATE IS"),
        (
            (
                variant.pool,
                variant.accelerator,
                str(variant.tensor_parallel),
                f"{variant.ready}/{variant.desired}",
                variant.cost_per_hour,
                _sureness(variant),
            )
            for variant in status.variants
        ),
    )


def _routes(status: LLMDeploymentStatus) -> Table | None:
    return _table(
        ("CLASS", "SEND TO"),
        (
            (
                route.name,
                ", ".join(f"{item.weight}% {item.service}" for item in route.backends) or "nowhere",
            )
            for route in status.routes or ()
        ),
    )


def _sureness(variant: VariantStatus) -> str:
    if variant.provenance is None or variant.confidence is None:
        return "unknown"
    return f"{variant.provenance} ({variant.confidence} sure)"


def _rejected(status: LLMDeploymentStatus) -> Table | None:
    lost = status.decision.rejected if status.decision else []
    return _table(
        ("LOST", "TP", "BECAUSE", "FIGURES"),
        ((item.pool, str(item.tensor_parallel), item.reason, item.message) for item in lost),
    )


def _changes(changes: Sequence[WhatIf]) -> Table | None:
    return _table(
        ("WOULD CHANGE IT", "HOW"), ((change.lever, change.message) for change in changes)
    )


def _conditions(status: LLMDeploymentStatus) -> Table | None:
    return _table(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        ((item.type, item.status, item.reason, item.message) for item in status.conditions),
    )


def _history(status: LLMDeploymentStatus) -> Table | None:
    return _table(
        ("CHANGED", "BECAUSE", "TO"),
        ((entry.time, entry.reason, entry.variants or "nothing") for entry in status.history),
    )


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Table | None:
    table = Table(box=None, show_header=bool(titles), header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        # Text, not markup: what a server or a user wrote is never a style.
        table.add_row(*(Text(cell) for cell in row))
    return table if table.row_count else None


def _or_unknown(value: int | str | None) -> str:
    return "unknown" if value is None else str(value)
