"""`trimtab plan`: which pools, how many replicas, at what cost, and why; from files alone."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from trimtab.cli import manifests
from trimtab.cli.output import Output, echo, examples
from trimtab.config import PlannerConfig
from trimtab.errors import InvalidInput
from trimtab.models.codec import load_record
from trimtab.models.plan import Candidate, ClassRoute, Decision, Plan, Verdict, Why
from trimtab.models.snapshot import Snapshot
from trimtab.planner.choice import degree
from trimtab.planner.offline import Manifests, snapshot_of
from trimtab.planner.plan import plan as decide
from trimtab.planner.texts import carbon, power
from trimtab.units import format_money

EPILOG = examples(
    "trimtab plan -f manifests/",
    "trimtab plan -f examples/chatbot.yaml -f examples/pools.yaml -o yaml",
    "trimtab plan --snapshot decisions.jsonl -f change.yaml",
    more="""\b
Exit code:
  0  every deployment that needs a fleet gets one, be it a short one
  1  a file is wrong
  2  an option is wrong
  3  a deployment that needs a fleet gets none""",
)
NO_FLEET = 3
"""Exit code of a plan that leaves a deployment without any replica that it needs."""

_SHORT = {"ACCELERATOR", "TP", "REPLICAS", "$/H", "SAVED", "BECAUSE"}
"""Columns that are never broken: a number in two lines is none."""
_WIDE = 10_000
"""Letters of a line that nothing is too long for."""
_DECISION: TypeAdapter[Decision] = TypeAdapter(Decision)


def plan(
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Manifests: a file, a folder, or - for standard input."),
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option(help="A decision log; its last record is planned again.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    all_candidates: Annotated[
        bool, typer.Option("--all", "-a", help="Show every rejected candidate.")
    ] = False,
) -> None:
    """Say which pools, how many replicas and what cost, and why. No cluster and no GPU is needed.

    LLMDeployments, AcceleratorPools, ServingPolicies, PerformanceProfiles and FleetBudgets come
    from manifests; nothing runs yet, so the demand is that of spec.workload. With --snapshot the
    recorded world is planned again, and manifests are a change to try on it.
    """
    if not file and snapshot is None:
        raise InvalidInput("--file", "there is nothing to plan", "Name manifests or a --snapshot")
    written, notes = manifests.read(file or ())
    world, assumed = _world(written, snapshot)
    if not world.deployments:
        remedy = "\n".join(("Add one, such as examples/smallest.yaml", *notes))
        raise InvalidInput("--file", "no LLMDeployment is in it", remedy)
    if not world.pools:
        assumed = (*assumed, "No AcceleratorPool is in the files: add some, as examples/pools.yaml")
    result = decide(world, PlannerConfig())
    if output is Output.TABLE:
        render(result, Console(), (*notes, *assumed), everything=all_candidates)
    else:
        document = {
            "decisions": [
                _DECISION.dump_python(decision, mode="json") for decision in result.decisions
            ],
            "notes": [*notes, *assumed],
        }
        echo(document, output)
    without = _without_fleet(result.decisions)
    if without:
        names = ", ".join(str(decision.key) for decision in without)
        typer.echo(f"{len(without)} of {len(result.decisions)} get no fleet: {names}", err=True)
        raise typer.Exit(NO_FLEET)


def _without_fleet(decisions: Iterable[Decision]) -> list[Decision]:
    """Return those that need replicas, as far as is known, and get none."""
    return [
        decision
        for decision in decisions
        if decision.why is not Why.PAUSED
        and decision.wanted_replicas != 0
        and not any(target.replicas for target in decision.targets)
    ]


def _world(written: Manifests, recorded: Path | None) -> tuple[Snapshot, tuple[str, ...]]:
    if recorded is None:
        world, notes = snapshot_of(written, time.time())
    else:
        base = _recorded(recorded)
        world, notes = snapshot_of(written, base.now, base)
    return world, notes


def _recorded(path: Path) -> Snapshot:
    """Return the snapshot in the last line of `path`, which is the newest of a decision log."""
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("--snapshot", f"cannot read it: {error}", "Name a file") from error
    try:
        return load_record(lines[-1] if lines else "").snapshot
    except ValidationError as error:
        raise InvalidInput(
            "--snapshot",
            f"{path} holds no record of this version: {str(error).splitlines()[0]}",
            "Record one with trimtab run --decision-log",
        ) from error


def render(result: Plan, console: Console, notes: Iterable[str], *, everything: bool) -> None:
    """Print `result` for a person: the fleet, then each decision with its losers."""
    fleet = _fleet(result.decisions)
    if console.measure(fleet, options=console.options.update(width=_WIDE)).maximum > console.width:
        fleet = _fleet(result.decisions, break_names=True)
    console.print(fleet)
    for decision in result.decisions:
        console.print()
        console.print(Text(f"{decision.key}: {decision.message}", style="bold"))
        if decision.saving is not None:
            console.print(Text(_saving(decision)))
        if decision.watts is not None:
            console.print(Text(_energy(decision)))
        if decision.routes:
            console.print(_routes(decision.routes))
        losers = _losers(decision, everything=everything)
        if losers is not None:
            console.print(losers)
    for note in notes:
        console.print(Text(f"\n{note}", style="dim"))


def _fleet(decisions: Iterable[Decision], *, break_names: bool = False) -> Table:
    """Return who gets what; where lines are too long, a name takes two instead."""
    tokens_title = "$/1M\nTOKENS" if break_names else "$/1M TOKENS"
    titles = ("DEPLOYMENT", "POOL", "ACCELERATOR", "TP", "REPLICAS", "$/H", tokens_title, "SAVED")
    rows: list[tuple[str, ...]] = []
    total = 0.0
    for decision in decisions:
        total += decision.usd_per_hour or 0.0
        name = str(decision.key).replace("/", "/\n" if break_names else "/")
        tokens, saving = decision.usd_per_million_tokens, decision.saving
        per_token = "" if tokens is None else format_money(tokens)
        saved = "" if saving is None else f"{saving.saved_share:.0%}"
        for target in decision.targets:
            if target.replicas:
                price = target.usd_per_replica_hour
                cost = "unknown" if price is None else format_money(price * target.replicas)
                degree, count = str(target.parallelism.tensor), str(target.replicas)
                rows.append(
                    (name, target.pool, target.accelerator, degree, count, cost, per_token, saved)
                )
                name = per_token = saved = ""
        if name:
            rows.append((name, decision.why, "", "", "0", "0.00", "", ""))
    rows.append(("total", "", "", "", "", format_money(total), "", ""))
    return _table(titles, rows)


def _saving(decision: Decision) -> str:
    saving = decision.saving
    if saving is None:
        return ""
    share = f"{abs(saving.saved_share):.0%}"
    price = format_money(saving.baseline_usd_per_hour)
    kind = "less than" if saving.saved_share >= 0 else "more than"
    said = "as much as" if share == "0%" else f"{share} {kind}"
    return f"{said} {saving.baseline} at ${price}/h"


def _energy(decision: Decision) -> str:
    return f"accelerators draw {power(decision.watts)}: {carbon(decision.grams_per_hour)}"


def _routes(routes: Iterable[ClassRoute]) -> Table:
    """Return where each class goes, by variant."""
    rows = []
    for route in routes:
        tokens = f"{route.input_tokens:.0f} + {route.output_tokens:.0f}"
        parts = [f"{part.share:.0%} {part.pool}/{degree(part.parallelism)}" for part in route.parts]
        goes = ", ".join(parts) or "nowhere"
        rows.append((route.name, f"{route.share:.0%}", tokens, goes))
    return _table(("CLASS", "OF ALL", "TOKENS", "GOES TO"), rows)


def _losers(decision: Decision, *, everything: bool) -> Table | None:
    """Return the rejected candidates; of each pool only the first, unless all are asked for."""
    seen: set[str] = set()
    rows = []
    for candidate in decision.candidates:
        if candidate.verdict is Verdict.CHOSEN:
            continue
        if everything or candidate.pool not in seen:
            rows.append(_row(candidate))
        seen.add(candidate.pool)
    return _table(("REJECTED", "TP", "BECAUSE", "FIGURES"), rows) if rows else None


def _row(candidate: Candidate) -> tuple[str, ...]:
    degree = str(candidate.parallelism.tensor)
    return candidate.pool, degree, candidate.verdict, candidate.message


def _table(titles: Iterable[str], rows: Iterable[tuple[str, ...]]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in _SHORT)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
