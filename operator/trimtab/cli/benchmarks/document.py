"""A file of a benchmark tool: JSON, lines of JSON, or a CSV table."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a file holds."""

    name: str
    objects: tuple[Mapping[str, Any], ...] = ()
    """Objects of a JSON file."""
    rows: tuple[Mapping[str, str], ...] = ()
    """Rows of a CSV file, without those that are empty."""

    @property
    def entries(self) -> tuple[Mapping[str, Any], ...]:
        """Objects or rows, whichever it has."""
        return self.objects or self.rows

    @property
    def columns(self) -> frozenset[str]:
        """Names that all objects or rows have."""
        return frozenset.intersection(*(frozenset(entry) for entry in self.entries))

    def where(self, index: int) -> str:
        """Return how to name entry `index` in a message."""
        return self.name if len(self.entries) == 1 else f"{self.name} entry {index + 1}"


def read_document(path: Path) -> Document:
    """Return what the file at `path` holds.

    Raises:
        InvalidInput: It cannot be read, is empty, or is neither JSON nor CSV.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(str(path), f"cannot read it: {error}", "Name a text file") from error
    document = (
        Document(name=path.name, objects=_objects(path.name, text))
        if text.lstrip().startswith(("{", "["))
        else Document(name=path.name, rows=_rows(path.name, text))
    )
    if not document.entries:
        raise InvalidInput(str(path), "holds no measurement", "Name a result of a benchmark tool")
    return document


def _objects(name: str, text: str) -> tuple[Mapping[str, Any], ...]:
    try:
        found = json.loads(text)
    except ValueError:
        try:
            found = [json.loads(line) for line in text.splitlines() if line.strip()]
        except ValueError as error:
            raise InvalidInput(name, f"is no JSON: {error}", "Give the whole file") from error
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(one, dict) for one in listed):
        raise InvalidInput(name, "holds something else than objects", "Give the tool's own file")
    return tuple(listed)


def _rows(name: str, text: str) -> tuple[Mapping[str, str], ...]:
    try:
        reader = csv.DictReader(text.splitlines(), restval="", restkey="")
        rows = [{key.strip(): value.strip() for key, value in row.items() if key} for row in reader]
    except (csv.Error, AttributeError) as error:
        raise InvalidInput(name, f"is no CSV: {error}", "Give plain CSV") from error
    return tuple(row for row in rows if any(row.values()))
