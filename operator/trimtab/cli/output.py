"""How answers are printed: for people as a table, for machines as JSON or YAML."""

import json
from enum import StrEnum

import typer
import yaml


class Output(StrEnum):
    """How the answer looks."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def echo(document: object, output: Output) -> None:
    """Print a document of plain values as JSON or, otherwise, YAML."""
    if output is Output.JSON:
        typer.echo(json.dumps(document, indent=2))
    else:
        typer.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
