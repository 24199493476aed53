"""Every command that pages and help pages show, taken apart into programs and their arguments."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from trimtab.cli.main import app

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "charts/trimtab/README.md",
    ROOT / "examples/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
PROGRAMS = ("trimtab", "kubectl", "helm", "make", "docker")
"""What is looked for in running text; in blocks every line counts."""
_BLOCK = re.compile(r"^```(?:console|bash|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`((?:" + "|".join(PROGRAMS) + r")\s[^`\n]+(?:\n[^`\n]+)?)`(?!`)")


@dataclass(frozen=True)
class Command:
    """One program of one line; a pipe makes several."""

    page: str
    line: str
    """As it stands in the page."""
    words: tuple[str, ...]
    shown: bool
    """Whether it stands in a block, for a reader to type; in running text it is only named."""
    piped: bool
    """Whether its input comes from another program."""

    def __str__(self) -> str:
        return f"{self.page}: {' '.join(self.words)}"


def commands() -> Iterator[Command]:
    """Yield the commands of all pages."""
    for path in PAGES:
        page, text = str(path.relative_to(ROOT)), path.read_text("utf-8")
        for line, shown in _lines(text):
            yield from _split(page, line, shown=shown)


def help_pages() -> dict[tuple[str, ...], str]:
    """Give what each of our commands prints on --help, on a terminal of 80 columns."""
    runner = CliRunner()
    pages = {}
    for words in _names(typer.main.get_command(app)):
        result = runner.invoke(app, [*words, "--help"], env={"COLUMNS": "80"})
        assert result.exit_code == 0, result.output
        pages[words] = result.stdout
    return pages


def helped() -> Iterator[Command]:
    """Yield the commands that help pages show as examples."""
    for words, text in help_pages().items():
        for line in examples_of(text):
            yield from _split(" ".join(("trimtab", *words, "--help")), line, shown=True)


def examples_of(page: str) -> list[str]:
    """Return the lines under Examples of a help page, those that a backslash breaks as one."""
    _, _, below = page.partition("  Examples:\n")
    block = re.match(r"(?: {4}\S.*\n(?: {8}\S.*\n)*)*", below)
    assert block is not None
    whole = re.sub(r" \\\n {8}", " ", block[0])
    return [line.strip() for line in whole.splitlines()]


def _names(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something, subcommands too."""
    subcommands = getattr(group, "commands", None)
    if subcommands is None or group.invoke_without_command:
        yield path
    for name, command in sorted((subcommands or {}).items()):
        yield from _names(command, (*path, name))


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    for block in _BLOCK.findall(text):
        joined = re.sub(r"\\\n\s*", "", block)
        prompts = [line[2:] for line in joined.splitlines() if line.startswith("$ ")]
        # Without a prompt every line is a command; with one, the others are what it printed.
        for line in prompts or [line for line in joined.splitlines() if line.strip()]:
            yield line, True
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for found in _INLINE.findall(prose):
        yield re.sub(r"\s+", " ", found), False


def _split(page: str, line: str, *, shown: bool) -> Iterator[Command]:
    bare = re.sub(r"\s+#.*$", "", line)
    for number, part in enumerate(re.split(r"\s\|\s|\s&&\s", bare)):
        part = re.sub(r"\s>\s*\S+$", "", part)
        words = [word for word in shlex.split(part) if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if words:
            piped = number > 0 and " | " in bare
            yield Command(page, line, tuple(words), shown, piped)
