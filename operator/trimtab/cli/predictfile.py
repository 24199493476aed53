"""A CSV file of questions about replicas, and the same file with their answers."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TextIO

from trimtab.catalog import geometries
from trimtab.errors import InvalidInput, TrimtabError
from trimtab.models.hardware import ModelGeometry
from trimtab.models.snapshot import Profile
from trimtab.performance.question import Answer, Question, answers

RESULTS = tuple(field.name for field in fields(Answer))

_TEXTS = frozenset({"model", "accelerator", "quantization", "kv_dtype", "engine"})
_WHOLE = frozenset(
    {
        "tensor_parallel", "pipeline_parallel", "expert_parallel", "max_num_seqs",
        "max_num_batched_tokens", "max_model_len",
    }
)  # fmt: skip
_ASKED = tuple(field.name for field in fields(Question) if field.name != "geometry")


def answer_file(
    source: TextIO,
    target: TextIO,
    profiles: tuple[Profile, ...],
    geometry: ModelGeometry | None = None,
) -> Iterator[int]:
    """Answer each row of `source` into `target`; yield how many rows are answered so far.

    Columns keep their names and order, and those of an Answer follow. `geometry` is that of models
    that the catalogue does not know. A row that makes no sense says so in its `reason`.

    Raises:
        InvalidInput: It is no CSV file with a header.
    """
    columns, rows = _read(source)
    replies: list[Answer | None] = [None] * len(rows)
    groups: dict[Question, list[tuple[int, Question]]] = defaultdict(list)
    for index, row in enumerate(rows):
        try:
            question = _question(row, geometry)
        except InvalidInput as error:
            replies[index] = _refused(error)
        else:
            groups[_without_size(question)].append((index, question))
    done = sum(reply is not None for reply in replies)
    for members in groups.values():
        for (index, _), answered in zip(members, _answered(members, profiles), strict=True):
            replies[index] = answered
        done += len(members)
        yield done
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
    if not any(columns):
        raise InvalidInput("--batch", "has no header", f"Start it with {','.join(_ASKED[:13])}")
    return columns, rows


def _without_size(question: Question) -> Question:
    """Return what all questions share that differ in the size of the load alone."""

    def given(load: float | None) -> float | None:
        return None if load is None else 0.0

    return replace(
        question,
        concurrency=given(question.concurrency),
        request_rate=given(question.request_rate),
    )


def _answered(members: list[tuple[int, Question]], profiles: tuple[Profile, ...]) -> list[Answer]:
    """Return the answers to questions about one replica, refusals of one among them alone."""
    questions = [question for _, question in members]
    try:
        return answers(questions, profiles)
    except (TrimtabError, ArithmeticError, ValueError) as error:
        if len(members) == 1:
            return [_refused(error)]
        return [_answered([member], profiles)[0] for member in members]


def _refused(error: Exception) -> Answer:
    return Answer(fits=False, reason=str(error), provenance="")


def _question(row: dict[str, str], geometry: ModelGeometry | None) -> Question:
    """Return the question in one row; blanks take the defaults."""
    given: dict[str, Any] = {}
    for name in _ASKED:
        text = (row.get(name) or "").strip()
        if text:
            given[name] = text if name in _TEXTS else _number(name, text)
    for name in ("model", "accelerator"):
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
