"""Snapshots and plans as JSON, so that any decision can be kept in a file and replayed."""

from pydantic import TypeAdapter

from trimtab.models.plan import Plan
from trimtab.models.snapshot import Snapshot

_SNAPSHOT: TypeAdapter[Snapshot] = TypeAdapter(Snapshot)
_PLAN: TypeAdapter[Plan] = TypeAdapter(Plan)


def dump_snapshot(snapshot: Snapshot) -> bytes:
    """Return `snapshot` as one line of JSON."""
    return _SNAPSHOT.dump_json(snapshot, by_alias=True, exclude_none=False)


def load_snapshot(document: bytes | str) -> Snapshot:
    """Return the snapshot in `document`.

    Raises:
        pydantic.ValidationError: The document is no snapshot of this version.
    """
    return _SNAPSHOT.validate_json(document)


def dump_plan(plan: Plan) -> bytes:
    """Return `plan` as one line of JSON."""
    return _PLAN.dump_json(plan, by_alias=True, exclude_none=False)
