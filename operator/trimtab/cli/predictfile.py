"""A CSV file of questions about replicas, and the same file with their answers."""

import csv
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

from trimtab.catalog import geometries
from trimtab.errors import InvalidInput, TrimtabError
from trimtab.models.hardware import ModelGeometry
from trimtab.models.snapshot import Profile
from trimtab.performance.question import Answer, Prepared, Question, answers, prepared

RESULTS = tuple(field.name for field in fields(Answer))

_TEXTS = frozenset({"model", "accelerator", "quantization", "kv_dtype", "engine"})
_WHOLE = frozenset(
    {
        "tensor_parallel", "pipeline_parallel", "expert_parallel", "max_num_seqs",
        "max_num_batched_tokens", "max_model_len", "draft_tokens",
    }
)  # fmt: skip
_SPLIT = frozenset({"tensor_parallel", "pipeline_parallel", "expert_parallel"})
_BLANK = frozenset({"", "-", "n/a", "na", "nan", "none", "null"})
"""What programs write into a cell that has nothing in it; weights in none are those of the name."""
_NAMED = ("model", "accelerator")
"""What every row must say."""
_BLOCK = 2048
"""Rows that are answered together, between two reports of progress."""
_NONSENSE = (TrimtabError, ArithmeticError, ValueError)
_ASKED = tuple(field.name for field in fields(Question) if field.name != "geometry")


def answer_file(
    source: TextIO,
    target: TextIO,
    profiles: tuple[Profile, ...],
    geometry: ModelGeometry | None = None,
) -> Iterator[int]:
    """Answer each row of `source` into `target`; yield how many rows are answered so far.

    Columns keep their names and order, and those of an Answer follow; how they are capitalised does
    not matter. `geometry` is that of models that the catalogue does not know. A row that makes no
    sense says so in its `reason`.

    Raises:
        InvalidInput: It is no CSV file with a header that names models and accelerators.
    """
    columns, rows = _read(source)
    replies: list[Answer] = []
    for begin in range(0, len(rows), _BLOCK):
        replies += _answered(rows[begin : begin + _BLOCK], profiles, geometry)
        yield len(replies)
    writer = csv.DictWriter(target, [*columns, *(name for name in RESULTS if name not in columns)])
    writer.writeheader()
    for row, reply in zip(rows, replies, strict=True):
        writer.writerow({**row, **{name: cell(getattr(reply, name)) for name in RESULTS}})


def cell(value: Any) -> str:
    """Return `value` as it stands in a file: six digits, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(source: TextIO) -> tuple[list[str], list[dict[str, str]]]:
    """Return the columns, and the cells of each row; cells beyond the header are dropped."""
    try:
        reader = csv.reader(source)
        columns = [name.strip() for name in next(reader, [])]
        rows = [
            dict(zip(columns, [*cells, *[""] * len(columns)], strict=False))
            for cells in reader
            if cells
        ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput("--batch", f"is no CSV file: {error}", "Give plain CSV") from error
    missing = [name for name in _NAMED if name not in map(str.lower, columns)]
    if missing:
        raise InvalidInput(
            "--batch",
            f"has no column {missing[0]} in its header" if any(columns) else "has no header",
            f"Start it with {','.join(_ASKED[:13])}",
        )
    return columns, rows


def _answered(
    rows: list[dict[str, str]], profiles: tuple[Profile, ...], geometry: ModelGeometry | None
) -> list[Answer]:
    """Return the answer to each of `rows`, in their order."""
    asked: dict[int, Prepared] = {}
    replies: dict[int, Answer] = {}
    for index, row in enumerate(rows):
        try:
            asked[index] = prepared(_question(row, geometry), profiles)
        except _NONSENSE as error:
            replies[index] = _refused(error)
    replies |= zip(asked, _all_or_each(list(asked.values())), strict=True)
    return [replies[index] for index in range(len(rows))]


def _all_or_each(asked: list[Prepared]) -> list[Answer]:
    """Answer all at once; where one of them cannot be computed, that one alone says so."""
    try:
        return answers(asked)
    except _NONSENSE as error:
        if len(asked) == 1:
            return [_refused(error)]
        return [_all_or_each([one])[0] for one in asked]


def _refused(error: Exception) -> Answer:
    return Answer(fits=False, reason=str(error), provenance="")


def _question(row: dict[str, str], geometry: ModelGeometry | None) -> Question:
    """Return the question in one row; blanks take the defaults."""
    cells = {name.lower(): text.strip() for name, text in row.items()}
    given: dict[str, Any] = {}
    for name in _ASKED:
        text = cells.get(name, "")
        unsplit = name in _SPLIT and text == "0"
        if text.lower() not in _BLANK and not unsplit:
            given[name] = text if name in _TEXTS else _number(name, text)
    for name in _NAMED:
        if name not in given:
            raise InvalidInput(name, "is missing", "Name it in each row")
    unknown = geometry is not None and geometries.get(given["model"]) is None
    return Question(**given, geometry=geometry if unknown else None)


def _number(name: str, text: str) -> float | int:
    try:
        number = float(text)
    except ValueError as error:
        raise InvalidInput(name, f"{text!r} is no number", "Write a plain number") from error
    if name not in _WHOLE:
        return number
    if not number.is_integer():
        raise InvalidInput(name, f"{text!r} is no whole number", "Write a plain number")
    return int(number)


def opened(path: Path) -> TextIO:
    """Return the file of questions at `path`; a byte order mark, as Excel writes it, is skipped.

    Raises:
        InvalidInput: It cannot be read.
    """
    try:
        return path.open(newline="", encoding="utf-8-sig")
    except OSError as error:
        raise InvalidInput("--batch", f"cannot read {path}", "Give a CSV file") from error
