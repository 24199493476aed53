"""`trimtab predict`: what one replica of a model on an accelerator does, without running it."""

import csv
import json
import sys
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from trimtab.api.llmdeployment import KVCacheDtype, Quantization
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.catalog.hubconfig import from_config
from trimtab.errors import InvalidInput
from trimtab.models.hardware import ModelGeometry
from trimtab.models.load import LatencyTargets
from trimtab.models.performance import Infeasible
from trimtab.models.snapshot import Profile
from trimtab.performance.capacity import replica_capacity, replica_of
from trimtab.performance.outlook import Outlook, open_loop, saturation_rate
from trimtab.performance.question import Answer, Question, answer, request_of
from trimtab.units import parse_duration

app = typer.Typer(
    help="Say what one replica of a model on an accelerator does, without running it.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    epilog="""[bold]Examples[/]

  trimtab predict --model meta-llama/Llama-3.1-8B --accelerator l40s --request-rate 2

  trimtab predict --model Qwen/Qwen3-32B --accelerator h100 --tensor-parallel 2

  trimtab predict --batch in.csv --output out.csv

  trimtab predict capacity --model openai/gpt-oss-120b --accelerator h200 --ttft 500ms
""",
)

Model = Annotated[str, typer.Option(help="Name of the model, as on the Hugging Face hub.")]
Device = Annotated[str, typer.Option("--accelerator", help="Name of the accelerator.")]
Quant = Annotated[Quantization, typer.Option(help="How the weights are stored.")]
KV = Annotated[KVCacheDtype, typer.Option("--kv-dtype", help="How keys and values are stored.")]
Tensor = Annotated[int, typer.Option("--tensor-parallel", "--tp", min=1, help="Devices.")]
Pipeline = Annotated[int, typer.Option("--pipeline-parallel", "--pp", min=1, help="Stages.")]
Expert = Annotated[
    int, typer.Option("--expert-parallel", "--ep", min=1, help="Devices that share the experts.")
]
EngineName = Annotated[str, typer.Option("--engine", help="vllm, sglang or trtllm.")]
Prompt = Annotated[float, typer.Option("--input-tokens", min=1, help="Mean prompt length.")]
Reply = Annotated[float, typer.Option("--output-tokens", min=1, help="Mean answer length.")]
Hit = Annotated[float, typer.Option("--prefix-hit", min=0, max=1, help="Cached share of prompts.")]
Spread = Annotated[
    float, typer.Option("--spread", min=0, help="Deviation of both lengths over their means.")
]
Profiles = Annotated[
    list[Path] | None, typer.Option("--profile", help="PerformanceProfile manifests to learn from.")
]
Config = Annotated[
    Path | None, typer.Option(help="The config.json of a model that the catalogue lacks.")
]
"""Options that both commands share."""

_LOADS = (0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BAR = 16


@app.callback()
def predict(
    context: typer.Context,
    model: Annotated[str | None, typer.Option(help="As on the Hugging Face hub.")] = None,
    accelerator: Annotated[str | None, typer.Option(help="Name of the accelerator.")] = None,
    request_rate: Annotated[
        float | None, typer.Option(min=0, help="Requests per second that arrive at random.")
    ] = None,
    concurrency: Annotated[
        float | None, typer.Option(min=1, help="Users who ask again as soon as answered.")
    ] = None,
    quantization: Quant = Quantization.NONE,
    kv_dtype: KV = KVCacheDtype.AUTO,
    tensor_parallel: Tensor = 1,
    pipeline_parallel: Pipeline = 1,
    expert_parallel: Expert = 1,
    engine: EngineName = "vllm",
    input_tokens: Prompt = 512,
    output_tokens: Reply = 256,
    prefix_hit: Hit = 0,
    spread: Spread = 0,
    profile: Profiles = None,
    batch: Annotated[
        Path | None, typer.Option(help="CSV with one question in each row; - is standard input.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where the answers to --batch go. Default: printed.")
    ] = None,
    config: Config = None,
) -> None:
    """Predict latencies at one load, over all loads when none is given, or for a file of them."""
    if context.invoked_subcommand is not None:
        return
    profiles = read_profiles(profile or [])
    if batch is not None:
        _answer_file(batch, output, profiles, read_config(config))
        return
    question = Question(
        model=_required(model, "--model"),
        accelerator=_required(accelerator, "--accelerator"),
        quantization=quantization.value,
        kv_dtype=kv_dtype.value,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        expert_parallel=expert_parallel,
        engine=engine,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_hit=prefix_hit,
        concurrency=concurrency,
        request_rate=request_rate,
        spread=spread,
        geometry=read_config(config),
    )
    if request_rate is None and concurrency is None:
        _print_curve(question, profiles)
    else:
        _print_point(answer(question, profiles))


@app.command()
def capacity(
    model: Model,
    accelerator: Device,
    quantization: Quant = Quantization.NONE,
    kv_dtype: KV = KVCacheDtype.AUTO,
    tensor_parallel: Tensor = 1,
    pipeline_parallel: Pipeline = 1,
    expert_parallel: Expert = 1,
    engine: EngineName = "vllm",
    input_tokens: Prompt = 512,
    output_tokens: Reply = 256,
    prefix_hit: Hit = 0,
    spread: Spread = 1,
    ttft: Annotated[str | None, typer.Option(help="Target of the first token: 500ms.")] = None,
    itl: Annotated[str | None, typer.Option(help="Target of the gap between tokens: 50ms.")] = None,
    e2e: Annotated[str | None, typer.Option(help="Target of the whole answer: 20s.")] = None,
    percentile: Annotated[int, typer.Option(min=50, max=99, help="Share within targets.")] = 95,
    profile: Profiles = None,
    config: Config = None,
) -> None:
    """Print the largest request rate at which all targets hold; exit with 2 when there is none."""
    question = Question(
        model=model,
        accelerator=accelerator,
        quantization=quantization.value,
        kv_dtype=kv_dtype.value,
        tensor_parallel=tensor_parallel,
        pipeline_parallel=pipeline_parallel,
        expert_parallel=expert_parallel,
        engine=engine,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        prefix_hit=prefix_hit,
        spread=spread,
        geometry=read_config(config),
    )
    targets = LatencyTargets(
        percentile=percentile / 100,
        ttft_s=None if ttft is None else parse_duration(ttft, "--ttft"),
        itl_s=None if itl is None else parse_duration(itl, "--itl"),
        e2e_s=None if e2e is None else parse_duration(e2e, "--e2e"),
    )
    found = replica_capacity(request_of(question, read_profiles(profile or []), targets))
    if isinstance(found, Infeasible):
        typer.echo(f"{found.reason}: {found.message}")
        raise typer.Exit(2)
    at = found.at_max
    typer.echo(
        f"{found.max_rps:.3g} requests/s ({found.provenance.value}, "
        f"standard error {found.uncertainty:.0%})\n"
        f"there p{percentile} TTFT is {at.ttft_s * 1e3:.0f} ms, ITL {at.itl_s * 1e3:.1f} ms, "
        f"E2E {at.e2e_s:.1f} s, with {at.concurrency:.0f} requests in flight "
        f"and {at.kv_utilization:.0%} of {found.kv_tokens} KV tokens"
    )


def read_profiles(paths: Iterable[Path]) -> tuple[Profile, ...]:
    """Return the PerformanceProfiles in the YAML files `paths`.

    Raises:
        InvalidInput: A file cannot be read or holds anything else.
    """
    profiles = []
    for path in paths:
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
            found = [PerformanceProfile.model_validate(document) for document in documents]
        except (OSError, yaml.YAMLError, ValidationError) as error:
            raise InvalidInput(
                "--profile", f"{path} is no PerformanceProfile: {error}", "Give its manifest"
            ) from error
        profiles += [Profile(name=one.metadata.name, spec=one.spec) for one in found]
    return tuple(profiles)


def read_config(path: Path | None) -> ModelGeometry | None:
    """Return the geometry in the `config.json` at `path`; None without a path.

    Raises:
        InvalidInput: It cannot be read or describes no model.
    """
    if path is None:
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput("--config", f"cannot read {path}", "Give a config.json") from error
    return from_config(path.stem, document)


def _answer_file(
    batch: Path,
    output: Path | None,
    profiles: tuple[Profile, ...],
    geometry: ModelGeometry | None,
) -> None:
    source = sys.stdin if str(batch) == "-" else _opened(batch)
    with source:
        reader = csv.DictReader(source)
        columns = list(reader.fieldnames or [])
        rows = list(reader)
    results = [field.name for field in fields(Answer)]
    target = sys.stdout if output is None else output.open("w", newline="", encoding="utf-8")
    try:
        writer = csv.DictWriter(target, [*columns, *(r for r in results if r not in columns)])
        writer.writeheader()
        for row in rows:
            reply = _answer_row(row, profiles, geometry)
            cells = {name: _cell(getattr(reply, name)) for name in results}
            writer.writerow({**row, **cells})
    finally:
        if output is not None:
            target.close()


def _opened(path: Path) -> Any:
    try:
        return path.open(newline="", encoding="utf-8")
    except OSError as error:
        raise InvalidInput("--batch", f"cannot read {path}", "Give a CSV file") from error


def _answer_row(
    row: dict[str, str], profiles: tuple[Profile, ...], geometry: ModelGeometry | None
) -> Answer:
    """Return the answer to one row; a row that cannot be understood says so and stops no other."""
    try:
        return answer(_question(row, geometry), profiles)
    except InvalidInput as error:
        return Answer(fits=False, reason=f"{error.field}: {error.problem}", provenance="")


def _question(row: dict[str, str], geometry: ModelGeometry | None) -> Question:
    """Return the question in one row; blanks take the defaults."""
    given: dict[str, Any] = {"geometry": geometry}
    for field in fields(Question):
        text = (row.get(field.name) or "").strip()
        if not text or field.name == "geometry":
            continue
        try:
            given[field.name] = text if field.name in _TEXTS else _number(field.name, text)
        except ValueError as error:
            raise InvalidInput(
                field.name, f"{text!r} is no number", "Write a plain number"
            ) from error
    for name in ("model", "accelerator"):
        if name not in given:
            raise InvalidInput(name, "is missing", "Name it in each row")
    return Question(**given)


_TEXTS = frozenset({"model", "accelerator", "quantization", "kv_dtype", "engine"})
_REALS = frozenset(
    {"input_tokens", "output_tokens", "prefix_hit", "concurrency", "request_rate", "spread"}
)


def _number(name: str, text: str) -> float | int:
    return float(text) if name in _REALS else int(float(text))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _required(value: str | None, option: str) -> str:
    if value is None:
        raise InvalidInput(option, "is missing", "Name it, or ask a file of questions with --batch")
    return value


def _print_point(reply: Answer) -> None:
    table = Table(show_header=False, box=None)
    for field in fields(Answer):
        table.add_row(field.name, _cell(getattr(reply, field.name)))
    Console().print(table)


def _print_curve(question: Question, profiles: tuple[Profile, ...]) -> None:
    request = request_of(question, profiles, LatencyTargets())
    replica = replica_of(request)
    if isinstance(replica, Infeasible):
        typer.echo(f"{replica.reason}: {replica.message}")
        raise typer.Exit(2)
    most = saturation_rate(replica)
    outlook = open_loop(replica, most * np.array(_LOADS), request.targets.percentile)
    console = Console()
    console.print(f"{question.model} on {question.accelerator}: saturates at {most:.3g} requests/s")
    console.print(_curve_table(outlook))


def _curve_table(outlook: Outlook) -> Table:
    table = Table("req/s", "in flight", "p95 TTFT", "p95 ITL", "mean TPOT", "KV", "TTFT, log scale")
    low, high = np.log(outlook.ttft_s[0] * 0.9), np.log(outlook.ttft_s[-1])
    for i in range(len(outlook.rate)):
        filled = round(_BAR * (np.log(outlook.ttft_s[i]) - low) / max(high - low, 1e-9))
        table.add_row(
            f"{outlook.rate[i]:.3g}",
            f"{outlook.concurrency[i]:.1f}",
            f"{outlook.ttft_s[i] * 1e3:.0f} ms",
            f"{outlook.itl_s[i] * 1e3:.1f} ms",
            f"{outlook.tpot_mean_s[i] * 1e3:.1f} ms",
            f"{outlook.kv_utilization[i]:.0%}",
            "█" * filled,
        )
    return table
