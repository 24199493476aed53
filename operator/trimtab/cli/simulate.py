"""`trimtab simulate`: what would it have cost, and who would have waited, on your own traffic."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trimtab.cli import output as printed
from trimtab.cli import prometheus, replay
from trimtab.cli.ownload import columns_of, scenario_from
from trimtab.errors import InvalidInput
from trimtab.simulate.compare import rows_of, table, to_csv, to_json
from trimtab.simulate.contest import Contest, Outcome, outcomes
from trimtab.simulate.contest import Progress as Done
from trimtab.simulate.entrants import NAMES
from trimtab.simulate.experiment import Experiment, check_policies
from trimtab.simulate.report.page import report as page
from trimtab.simulate.run import Mode
from trimtab.simulate.scenario import history_entries, load_scenario
from trimtab.simulate.sections import section_of
from trimtab.units import parse_duration

EPILOG = printed.examples(
    "trimtab simulate examples/scenarios/steady.yaml --seeds 1 --no-hindsight",
    "trimtab simulate -f manifests/ --trace requests.csv\n"
    "--policy trimtab,hpa-queue --report out.html",
    "trimtab simulate weeks.yaml --mode fluid --no-hindsight -o csv",
    "trimtab simulate --record decisions.jsonl",
)
_USUAL = ("trimtab", "static-peak", "hpa-queue", "keda")
"""What most people run today, beside Trimtab."""

_err = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


class Output(StrEnum):
    """How the answer looks."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def simulate(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files.", show_default=False)
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option("--file", "-f", help="Manifests: a file, a folder, or - for standard input."),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="With -f: a log of requests (.csv, .jsonl, .json; .gz), or azure-conv, "
            "azure-code, mooncake."
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="With --trace: ROLE=NAME of a column (timestamp, input, output, model), "
            "or unit=s|ms."
        ),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="With --trace: how much of it, such as 2h. Default: all.")
    ] = None,
    policy: Annotated[
        str,
        typer.Option(help=f"Policies with commas between, or all: {', '.join(NAMES)}."),
    ] = ",".join(_USUAL),
    seeds: Annotated[
        int | None, typer.Option(min=1, max=100, help="Seeds. Default: the scenario's own, 3.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes. Default: one for each core.")
    ] = None,
    hindsight: Annotated[
        bool,
        typer.Option(help="Whether to search for the optimum and the best fixed fleet, too."),
    ] = True,
    mode: Annotated[
        Mode,
        typer.Option(help="Requests one by one, or as a flow: for weeks and many models."),
    ] = Mode.EXACT,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.TABLE,
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write, with pictures and all decisions.")
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="A decision log: make every decision in it again.")
    ] = None,
) -> None:
    """Run policies on simulated traffic, and say what each is worth.

    The traffic is a scenario's, or a log of your own requests with the manifests of your cluster.
    Every policy meets the same requests and the same luck. With --record a real operator's
    decisions are made again, and any that differs is an error.
    """  # fmt: skip
    if record is not None:
        if scenarios or file or trace is not None:
            raise InvalidInput("--record", "traffic to simulate is given too", "Give one of them")
        _replay(record)
        return
    policies = list(NAMES) if policy == "all" else [name.strip() for name in policy.split(",")]
    check_policies(policies)
    experiments = _experiments(scenarios or (), file or (), trace, column or (), duration)
    if mode is Mode.FLUID:
        _err.print("Requests as a flow: approximate, most so for fleets that run at their limit")
    contest = Contest(
        experiments=[replace(each, mode=mode) for each in experiments],
        policies=policies,
        seeds=seeds,
        jobs=jobs or min(os.cpu_count() or 1, len(policies)),
        hindsight=hindsight,
    )
    found: list[Outcome] = []
    with _progress() as tell:
        for outcome in outcomes(contest, tell):
            found.append(outcome)
            if output is Output.TABLE:
                console = Console()
                console.print(table(rows_of(outcome.measured), console.width))
    rows = [row for outcome in found for row in rows_of(outcome.measured)]
    if output is Output.CSV:
        typer.echo(to_csv(rows), nl=False)
    elif output is not Output.TABLE:
        printed.echo(to_json(rows), printed.Output(output))
    if report is not None:
        _write_report(report, found)
    failures = [
        f"{outcome.experiment.scenario.name}, {words}"
        for outcome in found
        for words in outcome.failures
    ]
    for words in failures:
        _err.print(f"error: {words}")
    if failures:
        raise typer.Exit(1)


def _experiments(
    scenarios: Sequence[Path],
    files: Sequence[str],
    trace: str | None,
    columns: Sequence[str],
    duration: str | None,
) -> list[Experiment]:
    """Return what is to be run: scenario files, or one of manifests and a log."""
    if scenarios:
        if files or trace or columns or duration:
            raise InvalidInput(
                "--file", "a scenario names its own manifests and traffic", "Give one or the other"
            )
        found = [Experiment(scenario=load_scenario(path)) for path in scenarios]
        return [_with_histories(experiment) for experiment in found]
    if not files or trace is None:
        raise InvalidInput(
            "SCENARIO", "there is nothing to simulate", "Name a scenario file, or -f and --trace"
        )
    seconds = None if duration is None else parse_duration(duration, "--duration")
    scenario, notes = scenario_from(files, trace, columns_of(columns), seconds)
    for note in notes:
        _err.print(note)
    return [Experiment(scenario=scenario)]


def _with_histories(experiment: Experiment) -> Experiment:
    histories = {}
    for number, source in history_entries(experiment.scenario):
        if source.prometheus is not None:
            histories[number], note = prometheus.fetch(source.prometheus, time.time())
            _err.print(note)
    return replace(experiment, histories=histories)


@contextmanager
def _progress() -> Iterator[Callable[[Done], None]]:
    """Show on standard error how far it is; standard output stays the answer's."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=_err, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def tell(done: Done) -> None:
            words = f"{done.scenario}: {done.what} done"
            bar.update(task, completed=done.done, total=done.total, description=words)
            if not _err.is_terminal:
                _err.print(f"{done.done}/{done.total} {words}")

        yield tell


def _write_report(path: Path, found: Sequence[Outcome]) -> None:
    try:
        path.write_text(page([section_of(outcome) for outcome in found]), "utf-8")
    except OSError as error:
        raise InvalidInput("--report", f"cannot write it: {error}", "Name another file") from error
    _err.print(f"Report: {path}")


def _replay(path: Path) -> None:
    count = 0
    for line, record in replay.records(path):
        count += 1
        different = replay.first_difference(line, record)
        if different is not None:
            when = datetime.fromtimestamp(different.now, UTC).isoformat(timespec="seconds")
            _err.print(
                f"error: line {different.line} of {path}, decided at {when}: "
                f"{different.field} differs\n"
                f"recorded: {different.recorded}\n"
                f"decided:  {different.decided}\n"
                "Either another version wrote the log, or deciding is not what it was"
            )
            raise typer.Exit(1)
    typer.echo(f"{count} decisions made again, all equal to the recorded ones")
