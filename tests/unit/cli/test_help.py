"""Every command explains itself: a help page that ends with an example of it."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
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


@pytest.mark.parametrize(
    ("shell", "word"), [("zsh", "#compdef trimtab"), ("fish", "complete --command trimtab")]
)
def test_completion_is_printed_for_the_shell_that_is_named(shell: str, word: str) -> None:
    result = CliRunner().invoke(app, ["completion", shell])
    assert result.exit_code == 0
    assert word in result.stdout


def test_a_bash_completes_what_is_begun() -> None:
    program = shlex.quote(str(Path(sys.executable).with_name("trimtab")))
    asked = (
        f"source <({program} completion bash); COMP_WORDS=(trimtab expl); COMP_CWORD=1;"
        f' _trimtab_completion {program}; echo "${{COMPREPLY[@]}}"'
    )
    result = subprocess.run(["bash", "-c", asked], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["explain"], result.stderr
