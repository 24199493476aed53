"""`trimtab predict`: what one replica of a model on an accelerator does, without running it."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from trimtab.cli.output import Output, echo, examples
from trimtab.cli.predictcurve import curve_of, curve_svg, curve_table
from trimtab.cli.predictfile import answer_file, cell, opened
from trimtab.cli.replicaoptions import ReplicaOptions, with_replica_options
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible, ReplicaCapacity
from trimtab.performance.capacity import replica_capacity, replica_of
from trimtab.performance.question import answer, request_of
from trimtab.units import parse_duration

_CAPACITY = "trimtab predict capacity --model openai/gpt-oss-120b --accelerator h200\n--ttft 500ms"

app = typer.Typer(
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=examples(
        "trimtab predict --model meta-llama/Llama-3.1-8B --accelerator l40s\n--request-rate 2",
        "trimtab predict --model Qwen/Qwen3-32B-AWQ --accelerator h100\n--svg curve.svg",
        "trimtab predict --model acme/new --config config.json --accelerator h100\n"
        "--concurrency 16",
        "trimtab predict --batch in.csv --output out.csv",
        _CAPACITY,
    ),
)


Shape = Annotated[Output, typer.Option("--format", "-o", help="How the answer looks.")]


@app.callback()
@with_replica_options
def predict(
    context: typer.Context,
    asked: ReplicaOptions,
    request_rate: Annotated[
        float | None, typer.Option(min=0, help="Requests per second that arrive at random.")
    ] = None,
    concurrency: Annotated[
        float | None, typer.Option(min=1, help="Users who ask again as soon as answered.")
    ] = None,
    batch: Annotated[
        Path | None, typer.Option(help="CSV with one question in each row; - is standard input.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the answers to --batch go. Default: printed.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Where a drawing of the curve over all loads goes.")
    ] = None,
    shape: Shape = Output.TABLE,
) -> None:
    """Say what one replica of a model does on an accelerator.

    It says so at one load, over all loads when none is given, or for a file of questions. The
    columns of a file are model, accelerator, quantization, kv_dtype, tensor_parallel,
    pipeline_parallel, expert_parallel, engine, input_tokens, output_tokens, prefix_hit, and either
    concurrency or request_rate; spread, max_num_seqs, max_num_batched_tokens, max_model_len,
    draft_tokens and accepted_tokens may be there too. Blanks take the defaults.
    """
    if context.invoked_subcommand is not None:
        return
    load = request_rate if concurrency is None else concurrency
    if output is not None and batch is None:
        raise InvalidInput("--output", "is given without --batch", "For a format write -o json")
    if svg is not None and (batch is not None or load is not None):
        raise InvalidInput("--svg", "draws all loads", "Leave out the load and --batch")
    if batch is not None and (asked.model or asked.accelerator or load is not None):
        raise InvalidInput("--batch", "names these in its columns", "Leave out the other options")
    if batch is not None:
        _answer_batch(batch, output, asked)
    elif request_rate is None and concurrency is None:
        _show_curve(asked, svg, shape)
    else:
        question = asked.question(request_rate=request_rate, concurrency=concurrency)
        _show(asdict(answer(question, asked.profiles())), shape)


@app.command(epilog=examples(_CAPACITY))
@with_replica_options
def capacity(
    asked: ReplicaOptions,
    ttft: Annotated[str | None, typer.Option(help="Target of the first token: 500ms.")] = None,
    itl: Annotated[str | None, typer.Option(help="Target of the gap between tokens: 50ms.")] = None,
    e2e: Annotated[str | None, typer.Option(help="Target of the whole answer: 20s.")] = None,
    percentile: Annotated[int, typer.Option(min=50, max=99, help="Share within targets.")] = 95,
    shape: Shape = Output.TABLE,
) -> None:
    """Print the largest request rate at which all targets hold.

    The exit code is 2 when there is none.
    """
    targets = LatencyTargets(
        percentile=percentile / 100,
        ttft_s=None if ttft is None else parse_duration(ttft, "--ttft"),
        itl_s=None if itl is None else parse_duration(itl, "--itl"),
        e2e_s=None if e2e is None else parse_duration(e2e, "--e2e"),
    )
    found = replica_capacity(request_of(asked.question(spread=1.0), asked.profiles(), targets))
    if isinstance(found, Infeasible):
        _refuse(found, shape)
    elif shape is Output.TABLE:
        typer.echo(_sentence(found, percentile))
    else:
        _show(asdict(found), shape)


def _sentence(found: ReplicaCapacity, percentile: int) -> str:
    at = found.at_max
    return (
        f"{found.max_rps:.3g} requests/s ({found.provenance.value}, "
        f"standard error {found.uncertainty:.0%})\n"
        f"there p{percentile} TTFT is {at.ttft_s * 1e3:.0f} ms, ITL {at.itl_s * 1e3:.1f} ms, "
        f"E2E {at.e2e_s:.1f} s, with {at.concurrency:.0f} requests in flight "
        f"and {at.kv_utilization:.0%} of {found.kv_tokens} KV tokens"
    )


def _show_curve(asked: ReplicaOptions, svg: Path | None, shape: Output) -> None:
    question = asked.question()
    replica = replica_of(request_of(question, asked.profiles(), LatencyTargets()))
    if isinstance(replica, Infeasible):
        _refuse(replica, shape)
        return
    most, points = curve_of(replica)
    title = f"{question.model} on {question.accelerator}"
    if svg is not None:
        _write(svg, curve_svg(points, title))
    if shape is Output.TABLE:
        console = Console()
        console.print(f"{title}: saturates at {most:.3g} requests/s", markup=False)
        console.print(curve_table(points))
    else:
        rows = [asdict(point) for point in points]
        _show({"saturates_at_rps": most, "points": rows}, shape)


def _refuse(infeasible: Infeasible, shape: Output) -> None:
    if shape is Output.TABLE:
        typer.echo(f"{infeasible.reason}: {infeasible.message}")
    else:
        _show(asdict(infeasible), shape)
    raise typer.Exit(2)


def _show(document: Mapping[str, Any], shape: Output) -> None:
    if shape is Output.TABLE:
        table = Table(show_header=False, box=None)
        for name, value in document.items():
            table.add_row(name, cell(value))
        Console().print(table)
        return
    # Enumerations become their text, and what is infinite nothing: JSON has no word for it.
    plain = json.loads(json.dumps(document), parse_constant=lambda _: None)
    echo(plain, shape)


def _answer_batch(batch: Path, output: Path | None, asked: ReplicaOptions) -> None:
    source = sys.stdin if str(batch) == "-" else opened(batch)
    target = sys.stdout if output is None else _created(output)
    try:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("Predicting", total=None)
            for done in answer_file(source, target, asked.profiles(), asked.geometry()):
                progress.update(task, completed=done, description=f"Predicting {done} rows")
    finally:
        if output is not None:
            target.close()
        if source is not sys.stdin:
            source.close()


def _created(path: Path) -> TextIO:
    try:
        return path.open("w", newline="", encoding="utf-8")
    except OSError as error:
        raise InvalidInput("--output", f"cannot write {path}", "Name another file") from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput("--svg", f"cannot write {path}", "Name another file") from error
