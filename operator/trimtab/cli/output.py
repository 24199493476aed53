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


def examples(*commands: str, more: str = "") -> str:
    """Lay out commands, and `more`, below a help page: each as it is typed, and never wrapped.

    A command that is too long for a terminal of 80 columns has a newline where it may be broken.
    """
    lines = ("  " + command.replace("\n", " \\\n      ") for command in commands)
    return "\n".join(["\b", "Examples:", *lines, "", more])
