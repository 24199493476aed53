"""Anybody's request log as traffic: CSV, JSON, JSONL, Mooncake and inference-perf, none guessed.

A file is read by the names of its columns. Names in use are known; two that fit, or none, are an
error that names them and says what to write, and so is a number whose unit nothing tells.
"""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimtab.errors import InvalidInput
from trimtab.simulate.inputs.spec import Columns, TimeUnit
from trimtab.simulate.traffic import Floats, Ints, Traffic, span_of

_KNOWN: Mapping[str, tuple[str, ...]] = {
    "timestamp": (
        "timestamp", "t_s", "t_ms", "time", "ts", "time_s", "time_ms", "timestamp_s",
        "timestamp_ms", "arrival", "arrival_s", "arrival_ms", "arrival_time", "arrival_timestamp",
        "arrived_at", "start_time", "created_at", "request_time", "datetime",
    ),
    "input": (
        "input", "input_tokens", "input_length", "input_len", "prompt_tokens", "prompt_len",
        "prompt_length", "contexttokens", "context_tokens", "request_tokens",
        "num_prefill_tokens", "num_input_tokens", "isl",
    ),
    "output": (
        "output", "output_tokens", "output_length", "output_len", "completion_tokens",
        "generatedtokens", "generated_tokens", "response_tokens", "num_decode_tokens",
        "num_output_tokens", "osl",
    ),
    "model": ("model", "model_name", "model_id", "served_model_name"),
}  # fmt: skip
"""Lower-case names of columns: those of Azure's traces (TIMESTAMP, ContextTokens, GeneratedTokens),
BurstGPT (Timestamp, Request tokens, Response tokens), Mooncake (timestamp, input_length,
output_length, hash_ids), Vidur, OpenAI's usage records, vLLM's and inference-perf's reports."""
_EPOCHS = ((1e9, 1e10, 1.0), (1e12, 1e13, 1e-3), (1e15, 1e16, 1e-6), (1e18, 1e19, 1e-9))
"""Numbers that can only be Unix times of this century: from, to, seconds of one."""
_MOST_TOKENS = 1e12
"""A count from here on is a mistake; no model reads or writes as much."""
_TIME = "time: neither a number nor like 2026-11-25T12:00:00Z"
_UNITS = {TimeUnit.S: 1.0, TimeUnit.MS: 1e-3}

Row = Mapping[str, Any]
Order = NDArray[np.intp]
"""Numbers of rows, in order of time."""


@dataclass(frozen=True, slots=True)
class Log:
    """The rows of a file, read once for all that is asked of them."""

    path: Path
    columns: Columns
    rows: Sequence[Row]
    there: Sequence[str]
    """Names of the columns that any row has."""

    @property
    def models(self) -> list[str]:
        """The models that there are rows of, sorted; none where no column tells.

        Raises:
            InvalidInput: The columns cannot be told; see `requests_in`.
        """
        return sorted(set(self._of(self._names(wanted=False))))

    @property
    def span_s(self) -> float:
        """Time from the first row to one mean gap after the last, of whatever model they are.

        Raises:
            InvalidInput: The times cannot be read; see `requests_in`.
        """
        at, _ = self._at(self._names(wanted=False))
        return span_of(np.sort(at))

    def requests(self, model: str | None = None) -> tuple[Traffic, str]:
        """Return the requests, of `model` alone where one is named; see `requests_in`."""
        path, rows, names = self.path, self.rows, self._names(wanted=model is not None)
        of = self._of(names)
        every = sorted(set(of))
        if model is not None and model not in every:
            raise InvalidInput(
                f"{path}: {names['model']}",
                f"no row is of model {model}",
                f"Name one of {', '.join(every[:20])}",
            )
        if model is None and len(every) > 1:
            raise InvalidInput(
                f"{path}: {names['model']}",
                f"it has rows of {len(every)} models: {', '.join(every[:20])}",
                "Name one of them as model, and give each deployment its own",
            )
        at, unit = self._at(names)
        order = np.argsort(at, kind="stable")
        if model is not None:
            order = order[[of[row] == model for row in order.tolist()]]
        traffic = Traffic(
            at_s=at[order],
            input_tokens=_counts(path, names["input"], rows, order),
            output_tokens=_counts(path, names["output"], rows, order),
            prefix=_blocks(path, rows, order) if "hash_ids" in self.there else None,
        )
        read = ", ".join(f"{role}={name}" for role, name in names.items())
        return traffic, f"{path}: {len(traffic)} requests in {traffic.span_s:.0f} s; {read}; {unit}"

    def _names(self, *, wanted: bool) -> dict[str, str]:
        return _names(self.path, self.there, self.columns, wanted=wanted)

    def _at(self, names: Mapping[str, str]) -> tuple[Floats, str]:
        """Return the times of all rows from the first of any model, and what they were read as."""
        at, unit = _times(self.path, names["timestamp"], self.rows, self.columns.unit)
        return at - at.min(), unit

    def _of(self, names: Mapping[str, str]) -> list[str]:
        return [str(row.get(names["model"])) for row in self.rows] if "model" in names else []


def log_in(path: Path, columns: Columns | None = None) -> Log:
    """Return the rows of a file; arguments and errors as of `requests_in`."""
    rows = _rows(path)
    if not rows:
        raise InvalidInput(str(path), "it has no row", "Give a file with requests")
    there = list(dict.fromkeys(str(name) for row in rows for name in row))
    return Log(path, columns or Columns(), rows, there)


def requests_in(
    path: Path, columns: Columns | None = None, model: str | None = None
) -> tuple[Traffic, str]:
    """Return the requests of a file, with times from the first row, and how it was read.

    Args:
        path: A .csv, .json or .jsonl file, with .gz behind where gzipped. JSON is a list of
            objects, or an inference-perf per-request report.
        columns: Names of columns where they are none of the usual ones, and the unit of time.
        model: Only the requests of this model.

    Raises:
        InvalidInput: It cannot be read so; names the column and what to do.
    """
    return log_in(path, columns).requests(model)


def _rows(path: Path) -> list[Row]:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            str(path), f"it is no text in UTF-8: {error}", "Save it in UTF-8"
        ) from error
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(str(path), f"cannot read it: {error}", "Name a file") from error
    kind = path.name.removesuffix(".gz").rpartition(".")[2].lower()
    try:
        match kind:
            case "csv":
                found: list[Any] = _table(path, text)
            case "jsonl" | "ndjson":
                # Not splitlines: a prompt may have a line separator of Unicode in it.
                found = [json.loads(line) for line in text.split("\n") if line.strip()]
            case "json":
                found = json.loads(text)
            case _:
                raise InvalidInput(
                    str(path),
                    f"{kind or 'no'} is no ending that is known",
                    "End it in .csv, .jsonl or .json",
                )
    except (json.JSONDecodeError, csv.Error) as error:
        raise InvalidInput(
            str(path), f"it is no {kind.upper()}: {error}", "Correct the file"
        ) from error
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise InvalidInput(str(path), "it is no list of objects", "Give one object a request")
    return [_opened(row) for row in found]


def _table(path: Path, text: str) -> list[Any]:
    """Return the rows of a CSV by the names in its first line, which must tell them all apart."""
    csv.field_size_limit(max(len(text), csv.field_size_limit()))  # a cell may be a whole prompt
    reader = csv.DictReader(io.StringIO(text, newline=""))
    there = reader.fieldnames or ()
    twice = sorted({name for name in there if name and there.count(name) > 1})
    if twice:
        raise InvalidInput(
            str(path), f"it has two columns {twice[0]}", "Give each column its own name"
        )
    if len(there) == 1 and (odd := re.search(r"[;\t|]", there[0])):
        raise InvalidInput(
            str(path),
            f"its first line has no comma, but {odd[0]!r}",
            "Put commas between the columns",
        )
    rows = list(reader)
    for index, row in enumerate(rows):
        if None in row:
            raise InvalidInput(
                str(path),
                f"row {index + 1} has more cells than the first line has names",
                "Name every column, and quote cells with commas in them",
            )
    return rows


def _opened(row: dict[str, Any]) -> Row:
    """Return a row with what inference-perf keeps one level deeper beside the rest.

    Its per_request_lifecycle_metrics.json has start_time, and info with input_tokens and
    output_tokens.
    """
    info = row.get("info")
    return {**row, **info} if isinstance(info, dict) and "start_time" in row else row


def _names(path: Path, there: Sequence[str], given: Columns, *, wanted: bool) -> dict[str, str]:
    folded = {name: re.sub(r"[\s-]+", "_", name.strip().lower()) for name in there}
    names = {}
    for role, known in _KNOWN.items():
        chosen = getattr(given, role)
        if chosen is not None:
            if chosen not in there:
                raise InvalidInput(
                    f"columns.{role}",
                    f"{path} has no column {chosen}",
                    f"Name one of {', '.join(there)}",
                )
            names[role] = chosen
            continue
        fitting = [name for name in there if folded[name] in known]
        if len(fitting) == 1:
            names[role] = fitting[0]
        elif len(fitting) > 1:
            raise InvalidInput(
                f"{path}: {role}",
                f"columns {' and '.join(fitting)} could both be it",
                f"Say which: columns.{role} (--column {role}=NAME)",
            )
        elif role != "model" or wanted:
            raise InvalidInput(
                f"{path}: {role}",
                f"no column has a name that is known for it; there are {', '.join(there)}",
                f"Say which it is: columns.{role} (--column {role}=NAME), or call it {known[0]}",
            )
    return names


def _times(path: Path, name: str, rows: Sequence[Row], unit: TimeUnit | None) -> tuple[Floats, str]:
    values = [row.get(name) for row in rows]
    numbers = [_number(value) for value in values]
    if all(number is None for number in numbers):
        return np.array([_moment(path, name, i, v) for i, v in enumerate(values)]), "ISO times"
    for index, number in enumerate(numbers):
        if number is None:
            raise _bad(path, name, index, values[index], _TIME)
    at = np.array(numbers, dtype=np.float64)
    for low, high, size in _EPOCHS:
        if low <= at.min() and at.max() < high:
            return (at - np.floor(at.min())) * size, f"Unix times of {size:g} s"
    if unit is None:
        lower = name.lower()
        if lower.endswith("_ms") or "hash_ids" in rows[0]:  # Mooncake's are milliseconds
            unit = TimeUnit.MS
        elif lower.endswith(("_s", "seconds")) or isinstance(rows[0].get("info"), dict):
            unit = TimeUnit.S  # inference-perf's are seconds of the machine's own clock
        else:
            raise InvalidInput(
                f"{path}: {name}",
                "its unit is unknown: the numbers are no Unix times, and the name tells no unit",
                f"Say columns.unit: s or ms (--column unit=s), or call it {name}_s or {name}_ms",
            )
    return at * _UNITS[unit], f"times in {unit}"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _moment(path: Path, name: str, index: int, value: Any) -> float:
    # Azure writes seven digits of a second; Python reads six.
    text = re.sub(r"(\.\d{6})\d+", r"\1", str(value).strip())
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _bad(path, name, index, value, _TIME) from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _counts(path: Path, name: str, rows: Sequence[Row], order: Order) -> Ints:
    counts = np.empty(len(order), np.int64)
    for place, index in enumerate(order.tolist()):
        number = _number(rows[index].get(name))
        if number is None or not 0 <= number < _MOST_TOKENS:
            raise _bad(path, name, index, rows[index].get(name), "count of tokens")
        # A request that failed has an answer of 0; it was asked for all the same.
        counts[place] = max(1, round(number))
    return counts


def _blocks(path: Path, rows: Sequence[Row], order: Order) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(
            tuple(int(block) for block in rows[index]["hash_ids"]) for index in order.tolist()
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(
            f"{path}: hash_ids", "a row has none or no list of numbers", "Give every row its list"
        ) from error


def _bad(path: Path, name: str, index: int, value: Any, what: str) -> InvalidInput:
    return InvalidInput(
        f"{path}: {name}", f"row {index + 1} has {value!r}, which is no {what}", "Correct the row"
    )
