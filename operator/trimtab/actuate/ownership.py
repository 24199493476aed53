"""Leaves to other writers what is theirs: a user's field in an AcceleratorPool always wins."""

from collections.abc import Iterator, Mapping
from typing import Any

from trimtab.actuate.kinds import Document
from trimtab.api.naming import MANAGER


def without_foreign(document: Document, live: Document) -> Document:
    """Return `document` without the fields of `live` that another field manager owns.

    Args:
        document: What we would apply.
        live: The object as it is, with its `metadata.managedFields`.
    """
    owned = list(_foreign_fields(live))
    result: Document = {}
    for key, value in document.items():
        if key in ("apiVersion", "kind"):
            result[key] = value
        elif key == "metadata":
            result[key] = _metadata(value, [fields.get("f:metadata", {}) for fields in owned])
        else:
            kept = _without(value, [fields[f"f:{key}"] for fields in owned if f"f:{key}" in fields])
            if kept is not None:
                result[key] = kept
    return result


def _foreign_fields(live: Document) -> Iterator[Mapping[str, Any]]:
    """Yield the field sets of others (FieldsV1: `f:name` for a field, empty for a leaf)."""
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") != MANAGER and not entry.get("subresource"):
            yield entry.get("fieldsV1") or {}


def _metadata(metadata: Mapping[str, Any], owned: list[Mapping[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {"name": metadata["name"]}
    for key in ("labels", "annotations"):
        if key in metadata:
            result[key] = {
                name: value
                for name, value in metadata[key].items()
                if not any(f"f:{name}" in fields.get(f"f:{key}", {}) for fields in owned)
            }
    return result


def _without(value: object, owned: list[Mapping[str, Any]]) -> Any:
    """Return what is left of `value` when the owned fields are taken out; None for nothing.

    A list, a scalar, or a map that somebody owns as a whole is theirs as a whole.
    """
    if not owned:
        return value
    if not isinstance(value, Mapping) or any(not fields for fields in owned):
        return None
    result = {}
    for key, item in value.items():
        kept = _without(item, [fields[f"f:{key}"] for fields in owned if f"f:{key}" in fields])
        if kept is not None:
            result[key] = kept
    return result or None
