"""`trimtab profile`: PerformanceProfiles from what benchmark tools measured."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import track
from rich.table import Table

from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.cli.benchmarks.document import read_document
from trimtab.cli.benchmarks.manifest import Identity, manifest
from trimtab.cli.benchmarks.reading import Tool, measurements, tool_of
from trimtab.cli.output import Output, echo, examples
from trimtab.errors import InvalidInput

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

EPILOG = examples(
    "trimtab profile import result.json --accelerator h100 > profile.yaml",
    "trimtab profile import stage_*_lifecycle_metrics.json\n"
    "--model Qwen/Qwen3-8B --accelerator l40s",
    "trimtab profile import points.csv --model acme/new --accelerator a10g\n-o table",
    "trimtab profile import steps.csv --format steps --output-tokens 256\n| kubectl apply -f -",
)


@app.callback()
def profile() -> None:
    """Make PerformanceProfiles from measurements."""


@app.command("import", epilog=EPILOG)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Results of one replica.")],
    tool: Annotated[
        Tool, typer.Option("--format", help="Who wrote the files. Default: what they look like.")
    ] = Tool.AUTO,
    model: Annotated[str | None, typer.Option(help="Model, where no file says it.")] = None,
    accelerator: Annotated[
        str | None, typer.Option(help="Accelerator, where no file says it.")
    ] = None,
    tensor_parallel: Annotated[
        int | None, typer.Option("--tensor-parallel", "--tp", min=1, help="Devices of a replica.")
    ] = None,
    quantization: Annotated[
        str | None, typer.Option(help="Default: what files or the model's name say.")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Engine and version.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the PerformanceProfile.")] = None,
    percentile: Annotated[
        int | None, typer.Option(min=50, max=99, help="Default: 95, 99, 90 or 50, if there.")
    ] = None,
    output_tokens: Annotated[
        float | None, typer.Option(min=1, help="Mean answer; only tables of steps need it.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", "-o", help="Format.")] = Output.YAML,
) -> None:
    """Print a PerformanceProfile made of benchmark results.

    It is ready for kubectl and `trimtab predict`. Known are results of vLLM's and SGLang's
    benchmark, inference-perf stage reports, GenAI-Perf and GuideLLM exports, AIConfigurator-like
    rows, tables of step times, and plain CSV with the columns input_tokens, output_tokens,
    requests_per_second, ttft_p95_ms and itl_p95_ms. What the files say of model, accelerator and
    devices counts; options choose among them or fill gaps.
    """
    notes = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)
    found, tools = [], set()
    for path in track(files, "Reading", console=notes, transient=True, disable=len(files) < 2):
        document = read_document(path)
        written_by = tool_of(document, tool)
        tools.add(written_by.value)
        found += measurements(
            document, written_by, percentile=percentile, output_tokens=output_tokens
        )
    said = Identity(
        name=name,
        model=model,
        accelerator=accelerator,
        tensor_parallel=tensor_parallel,
        quantization=quantization,
        engine=engine,
    )
    source = f"{', '.join(sorted(tools))}: {', '.join(path.name for path in files)}"
    made = manifest(found, said, source)
    for note in made.notes:
        notes.print(f"note: {note}")
    _admitted(made.document)
    _show(made.document, output)


def _admitted(document: dict[str, Any]) -> None:
    """Refuse what the API server would refuse."""
    try:
        PerformanceProfile.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(field, first["msg"], "Correct the file or the option") from error


def _show(document: dict[str, Any], output: Output) -> None:
    if output is not Output.TABLE:
        echo(document, output)
    else:
        table = Table("tokens in", "out", "req/s", "percentile", "TTFT", "ITL")
        spec = document["spec"]
        for point in spec["points"]:
            table.add_row(*(str(value) for value in point.values()))
        console = Console()
        console.print(
            f"{spec['model']} on {spec['tensorParallel']} x {spec['accelerator']}", markup=False
        )
        console.print(table)
