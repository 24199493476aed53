"""A refused object in the words of who wrote it: the field, what is wrong, and what to write."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from trimtab.api.base import Resource
from trimtab.api.crd import object_schema
from trimtab.api.openapi import Schema
from trimtab.errors import InvalidInput
from trimtab.units import DECIMAL_PATTERN, DURATION_PATTERN

_OTHERS_FIELDS = ("apiVersion", "kind", "metadata", "status")
"""Fields of every object, in which users write nothing of ours but the name."""
_MOST = 4
"""Further wrong fields that are named behind the first."""
_FORMS = {
    DURATION_PATTERN: ("is no time", "Write a number and its unit, such as 300ms, 15m or 1h30m"),
    DECIMAL_PATTERN: (
        "is no plain decimal number",
        'Write digits and a point in quotes, such as "0.4": no sign, no unit, no %',
    ),
}
"""What a text of each form is not, and how to write one. Prices are decimal numbers too."""


def admitted(kind: type[Resource], document: Mapping[str, Any], where: str) -> Resource:
    """Return `document` as a resource of `kind`, and let no field pass that the kind has not.

    An object with a uid comes from an API server, which admitted it: a field in it that is not
    known here is one of a newer version, and is left out.

    Raises:
        InvalidInput: The API does not admit it. `where` stands before the name of the object.
    """
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, Mapping) else {}
    try:
        if not known.get("uid"):
            kind.model_validate(_own(document, known), extra="forbid")
        return kind.model_validate(document)
    except ValidationError as error:
        name = known.get("name") or "without a name"
        raise _refusal(kind, error, f"{where}: {kind.KIND} {name}") from error


def _own(document: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a person writes; a status is the operator's, labels and the like Kubernetes'."""
    own = {key: value for key, value in document.items() if key not in _OTHERS_FIELDS}
    name = metadata.get("name")
    return {**own, "metadata": {} if name is None else {"name": name}}


def _refusal(kind: type[Resource], error: ValidationError, where: str) -> InvalidInput:
    schema = _schema(kind)
    # A name that nobody knows explains a field that is missing, so it comes first.
    errors = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
    fields = list(dict.fromkeys(_path(each) for each in errors))
    problem, remedy = _words(errors[0], schema)
    if others := [field for field in fields[1:] if field]:
        more = f" and {len(others) - _MOST} more" if len(others) > _MOST else ""
        remedy = f"{remedy}\nWrong too: {', '.join(others[:_MOST])}{more}"
    return InvalidInput(f"{where}: {fields[0]}" if fields[0] else where, problem, remedy)


def _path(error: Mapping[str, Any]) -> str:
    text = ""
    for step in error["loc"]:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
    field = error.get("ctx", {}).get("field", "")
    return f"{text}.{field}".strip(".")


def _words(error: Mapping[str, Any], schema: Schema) -> tuple[str, str]:
    """Return what is wrong and what to write instead."""
    loc, given = error["loc"], error["input"]
    node, about = _node(schema, loc), error.get("ctx", {})
    meaning = str(node.get("description", "")).replace("\n", " ")
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field", _instead(str(loc[-1]), _node(schema, loc[:-1]))
        case "missing":
            return "it is missing", f"Add it. {meaning}".strip()
        case "rule":
            problem, _, remedy = about["message"].partition(": ")  # most rules say both
            return problem, remedy[:1].upper() + remedy[1:] or "Change it so that this holds"
        case "enum" | "literal_error":
            words = [str(word) for word in node.get("enum", ())]
            near = get_close_matches(str(given).capitalize(), words, n=1)
            return f"{given!r} is none of {', '.join(words)}", (
                f"Write {near[0]}" if near else "Write one of these"
            )
        case "string_type" | "string_pattern_mismatch":
            return _form(given, node, meaning)
        case "greater_than_equal" | "greater_than":
            bound = about.get("ge", about.get("gt"))
            return f"{given} is too small", f"Write {bound} or more. {meaning}".strip()
        case "less_than_equal" | "less_than":
            bound = about.get("le", about.get("lt"))
            return f"{given} is too large", f"Write {bound} or less. {meaning}".strip()
        case "int_type" | "int_from_float":
            return f"{given!r} is no whole number", f"Write one, without quotes. {meaning}".strip()
        case "bool_type":
            return f"{given!r} is neither true nor false", "Write one of these, without quotes"
        case "model_type" | "model_attributes_type" | "dict_type":
            inner = ", ".join(node.get("properties", ()))
            return "it is no object", f"Write fields below it: {inner or 'name: value'}"
        case "list_type":
            return "it is no list", "Write [a, b], or each item in a line of its own behind a dash"
    return str(error["msg"]), meaning or _LOOK


_schema = lru_cache(object_schema)
_LOOK = "Its row in docs/api.md says what it takes"


def _form(given: Any, node: Schema, meaning: str) -> tuple[str, str]:
    shown = repr(given) if isinstance(given, str) else str(given)
    if form := _FORMS.get(str(node.get("pattern"))):
        return (f"{shown} {form[0]}", form[1])
    if not isinstance(given, str):
        return f"{shown} is no text", f"Put it in quotes. {meaning}".strip()
    return f"{shown} has not the form that it must have", f"{meaning or _LOOK}".strip()


def _instead(written: str, around: Schema) -> str:
    known = [name for name in around.get("properties", ()) if name not in ("metadata", "status")]
    lower = {name.lower(): name for name in known}
    near = get_close_matches(written.lower(), lower, n=1)
    if near:
        return f"Did you mean {lower[near[0]]}?"
    return f"Remove it, or write one of {', '.join(known)}"


def _node(schema: Schema, loc: Sequence[str | int]) -> Schema:
    """Return the part of `schema` that describes what stands at `loc`; {} where there is none."""
    node = schema
    for step in loc:
        if isinstance(step, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(step) or node.get("additionalProperties", {})
    return node
