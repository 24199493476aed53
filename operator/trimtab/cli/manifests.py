"""Manifests from files, directories and standard input, as resources."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from trimtab.errors import InvalidInput
from trimtab.planner.offline import Manifests
from trimtab.planner.written import Document, documents_in, manifests_of

_SUFFIXES = (".yaml", ".yml", ".json")


def read(sources: Iterable[str]) -> tuple[Manifests, tuple[str, ...]]:
    """Return all resources of ours in `sources`, and notes on what was skipped.

    A source is a file, a directory with its subdirectories, or - for standard input.

    Raises:
        InvalidInput: A source cannot be read, or a resource is none that the API admits.
    """
    return manifests_of(documents(sources))


def documents(sources: Iterable[str]) -> Iterator[Document]:
    """Yield every object in `sources`, of whatever kind, with where it was written.

    Raises:
        InvalidInput: A source cannot be read, or holds no objects.
    """
    return documents_in(_texts(sources))


def _texts(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        if source == "-":
            yield "standard input", sys.stdin.read()
            continue
        path = Path(source)
        files = (
            sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in _SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not files:
            raise InvalidInput(source, "no manifest is in it", "Name a file or folder with YAML")
        for file in files:
            try:
                yield str(file), file.read_text("utf-8")
            except FileNotFoundError as error:
                problem = f"cannot read it: nothing of that name is in {Path.cwd()}"
                raise InvalidInput(source, problem, "Name a file, a folder, or -") from error
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(source, f"cannot read it: {error}", "Name a file") from error
