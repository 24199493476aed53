"""A decision log, decided again: bit for bit, or the first difference."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from trimtab.errors import InvalidInput
from trimtab.models.codec import Record, load_record, plan_document
from trimtab.planner.plan import plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where a decision made again is not the one that was recorded."""

    line: int
    now: float
    """When it was decided, Unix seconds."""
    field: str
    """Such as `decisions.0.targets.1.replicas`, a deployment's name in brackets."""
    recorded: object
    decided: object


def records(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield number and content of every line of a decision log.

    Raises:
        InvalidInput: It cannot be read, or a line is no record of this version.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("--record", f"cannot read it: {error}", "Name a decision log") from error
    if not any(line.strip() for line in lines):
        raise InvalidInput(
            "--record", f"{path} is empty", "Record one with trimtab run --decision-log"
        )
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, load_record(line)
        except ValidationError as error:
            raise InvalidInput(
                "--record",
                f"line {number} of {path} is no record of this version: "
                f"{error.errors(include_url=False)[0]['msg']!s}",
                "Replay it with the version that wrote it",
            ) from error


def first_difference(line: int, record: Record) -> Difference | None:
    """Return where the plan made again first differs from the recorded one, None where nowhere."""
    again = plan(record.snapshot, record.config)
    if again == record.plan:
        return None
    recorded, decided = plan_document(record.plan), plan_document(again)
    field, left, right = next(_differences(recorded, decided, ""), ("", recorded, decided))
    return Difference(line=line, now=record.snapshot.now, field=field, recorded=left, decided=right)


def _differences(left: object, right: object, path: str) -> Iterator[tuple[str, object, object]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from _differences(left.get(key), right.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            name = one.get("key") if isinstance(one, dict) else None
            label = f"[{name['namespace']}/{name['name']}]" if isinstance(name, dict) else ""
            yield from _differences(one, other, f"{path}.{number}{label}")
    elif left != right:
        yield path, left, right
