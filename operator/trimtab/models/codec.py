"""Decisions as JSON with all that they were made from, so that any can be kept and made again."""

from dataclasses import dataclass

from pydantic import TypeAdapter

from trimtab.config import PlannerConfig
from trimtab.models.plan import Plan
from trimtab.models.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of a decision log."""

    snapshot: Snapshot
    config: PlannerConfig
    plan: Plan
    """What was decided."""


_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def dump_record(record: Record) -> bytes:
    """Return `record` as one line of JSON."""
    return _RECORD.dump_json(record, by_alias=True, exclude_none=False)


def load_record(document: bytes | str) -> Record:
    """Return the record in `document`.

    Raises:
        pydantic.ValidationError: The document is no record of this version.
    """
    return _RECORD.validate_json(document)


def plan_document(plan: Plan) -> object:
    """Return `plan` as JSON values, as a record has it."""
    return _PLAN.dump_python(plan, mode="json", by_alias=True)
