"""Every command explains itself: a help page that ends with an example of it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from trimtab.cli.main import app


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something, subcommands too."""
    subcommands = getattr(group, "commands", None)
    if subcommands is None or group.invoke_without_command:
        yield path
    for name, command in sorted((subcommands or {}).items()):
        yield from commands(command, (*path, name))


ALL = list(commands(typer.main.get_command(app)))


def test_the_commands_are_found() -> None:
    assert {words[0] for words in ALL} >= {"run", "plan", "explain", "status", "top", "doctor"}


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_a_command_has_a_help_page_with_an_example_of_it(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    _, _, examples = result.stdout.rpartition("Example")
    assert examples != result.stdout
    assert re.search(rf"\btrimtab {' '.join(words)}\b", examples), examples


def test_kubectl_finds_it_as_a_plugin() -> None:
    # kubectl runs any executable called kubectl-NAME as `kubectl NAME`.
    scripts = {each.name: each.value for each in entry_points(group="console_scripts")}
    assert scripts["kubectl-trimtab"] == scripts["trimtab"]


def test_completion_is_printed_for_the_shell_that_asks() -> None:
    # Which shell asks is seen from the process's parents, so there must be one: `true` keeps it.
    asked = f"{shlex.quote(sys.executable)} -m trimtab --show-completion; true"
    result = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert "complete" in result.stdout
