"""`trimtab crds`: writes what is generated from the code, and checks that it is current."""

from pathlib import Path
from typing import Annotated

import typer

from trimtab.api.base import GROUP
from trimtab.api.crd import KINDS, chart_template, file_name, render
from trimtab.api.reference import reference
from trimtab.cli import enginespage, metricspage
from trimtab.cli.output import examples

app = typer.Typer(
    help="Write or check what is generated from the code.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_CHART = Path("charts/trimtab/templates/crds")

Directory = Annotated[
    Path, typer.Option("--dir", help="Directory of the CustomResourceDefinitions.")
]
Chart = Annotated[
    Path, typer.Option("--chart", help="Directory of the chart's templates for them.")
]
Page = Annotated[
    Path,
    typer.Option(
        "--docs", help="Page of the API reference; those of metrics and engines lie beside it."
    ),
]


@app.command(epilog=examples("trimtab crds write", "trimtab crds write --dir /tmp/crds"))
def write(
    directory: Directory = Path("crds"), chart: Chart = _CHART, page: Page = Path("docs/api.md")
) -> None:
    """Write the definitions and the references.

    Definitions of kinds that are gone are removed.
    """
    for path, text in _generated(directory, chart, page).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {path}")
    for path in _leftovers(directory, chart):
        path.unlink()
        typer.echo(f"removed {path}")


@app.command(epilog=examples("trimtab crds check"))
def check(
    directory: Directory = Path("crds"), chart: Chart = _CHART, page: Page = Path("docs/api.md")
) -> None:
    """Exit with 1 where `write` would change a file, by a byte."""
    problems = [
        f"{path}: {'differs from the code' if path.exists() else 'is missing'}"
        for path, text in _generated(directory, chart, page).items()
        if not path.exists() or path.read_bytes() != text.encode()
    ]
    problems += [
        f"{path}: no kind of the API models has it" for path in _leftovers(directory, chart)
    ]
    for problem in problems:
        typer.echo(f"{problem}. Run `trimtab crds write` and commit the result", err=True)
    if problems:
        raise typer.Exit(1)


def _generated(directory: Path, chart: Path, page: Path) -> dict[Path, str]:
    return {
        **{directory / file_name(kind): render(kind) for kind in KINDS},
        **{chart / file_name(kind): chart_template(kind) for kind in KINDS},
        page: reference(),
        page.with_name("metrics.md"): metricspage.page(),
        page.with_name("engines.md"): enginespage.page(),
    }


def _leftovers(*directories: Path) -> list[Path]:
    known = {file_name(kind) for kind in KINDS}
    found = (path for folder in directories for path in folder.glob(f"*.{GROUP}.yaml"))
    return sorted(path for path in found if path.name not in known)
