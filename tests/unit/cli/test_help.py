"""Every command explains itself: a help page with an example of it, which fits the terminal."""

import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from doccommands import examples_of, help_pages
from trimtab.cli.main import app

PAGES = help_pages()


def test_the_commands_are_found() -> None:
    assert {words[0] for words in PAGES} >= {"run", "plan", "explain", "status", "top", "doctor"}


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_shows_how_the_command_is_typed(words: tuple[str, ...]) -> None:
    name = " ".join(("trimtab", *words))
    assert any(f"{name} " in f"{example} " for example in examples_of(PAGES[words]))


@pytest.mark.parametrize("words", PAGES, ids=" ".join)
def test_a_help_page_fits_a_terminal_of_80_columns(words: tuple[str, ...]) -> None:
    wide = [line for line in PAGES[words].splitlines() if len(line) > 80]
    # The choices of an option are one word: broken, nobody could read or copy them.
    assert all(line.split()[-1].startswith("<") for line in wide), wide


@pytest.mark.parametrize("words", [(), ("crds",), ("predict",), ("profile",)], ids=" ".join)
def test_a_list_of_commands_says_of_each_what_it_does(words: tuple[str, ...]) -> None:
    page = CliRunner().invoke(app, [*words, "-h"], env={"COLUMNS": "80"}).stdout
    rows = page.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert rows
    assert not any(row.endswith("...") for row in rows), (
        "it was cut: the first sentence is too long"
    )


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
