"""JSON Schema as pydantic writes it -> the structural OpenAPI that the API server takes; pure.

One pass: every node is first resolved (`$ref`, optional), then each of its keywords is rewritten
once. What has no structural form raises, for a guess would be a schema that says something else.

`default` is left out on purpose. The API server would write it into the user's object, where it
looks like the user's own choice; what an absent field means is in its description.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from trimtab.errors import Bug

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "type",
        "format",
        "description",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
    }
)
_DROPPED = frozenset({"title", "default", "$defs"})


def structural(schema: Mapping[str, Any]) -> Schema:
    """Return `schema` in structural form. Structural schemas come back as they are.

    Raises:
        Bug: A node has no structural form; the message names its path.
    """
    return _node(schema, _Place(definitions=schema.get("$defs", {})))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a node stands."""

    definitions: Mapping[str, Any]
    path: str = ""
    inside: tuple[str, ...] = ()
    """The definitions around the node, outermost first."""

    def below(self, step: str) -> "_Place":
        return replace(self, path=f"{self.path}.{step}")

    def within(self, name: str) -> "_Place":
        if name in self.inside:
            raise self.refusal(f"{name} contains itself")
        return replace(self, inside=(*self.inside, name))

    def refusal(self, why: str) -> Bug:
        return Bug(f"no structural form at {self.path or '.'}: {why}")


def _node(schema: Mapping[str, Any], place: _Place) -> Schema:
    schema, place = _resolved(schema, place)
    result: Schema = {}
    for keyword, value in schema.items():
        if keyword in _KEPT or keyword.startswith("x-kubernetes-"):
            result[keyword] = value
        elif keyword in _REWRITES:
            result.update(_REWRITES[keyword](value, place))
        elif keyword not in _DROPPED:
            raise place.refusal(f"keyword {keyword!r}")
    if not isinstance(result.get("type"), str):
        raise place.refusal("not exactly one type")
    if result["type"] == "object" and not {"properties", "additionalProperties"} & result.keys():
        raise place.refusal("an object with neither properties nor additionalProperties")
    first = {key: result[key] for key in ("description", "type") if key in result}
    return first | result


def _resolved(schema: Mapping[str, Any], place: _Place) -> tuple[Mapping[str, Any], _Place]:
    """Return the node behind `$ref` and `anyOf: [it, null]`; what stands beside these wins."""
    while True:
        beside = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            place = place.within(name)
            schema = {**place.definitions[name], **beside}
        elif "anyOf" in schema:
            choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
            if len(choices) != 1:
                raise place.refusal(f"a choice of {len(choices)} types")
            schema = {**choices[0], **beside}
        else:
            return schema, place


def _properties(value: Mapping[str, Any], place: _Place) -> Schema:
    return {"properties": {name: _node(child, place.below(name)) for name, child in value.items()}}


def _additional_properties(value: Any, place: _Place) -> Schema:
    if value is False:
        return {}  # the API server prunes what it does not know
    if value is True:
        raise place.refusal("a map of anything")
    return {"additionalProperties": _node(value, place.below("*"))}


def _items(value: Any, place: _Place) -> Schema:
    if not isinstance(value, Mapping):
        raise place.refusal("a list without one type of item")
    return {"items": _node(value, place.below("[]"))}


def _const(value: Any, place: _Place) -> Schema:
    return {"enum": [value]}


def _exclusive(bound: str) -> Callable[[Any, _Place], Schema]:
    keyword = f"exclusive{bound.capitalize()}"

    def rewrite(value: Any, place: _Place) -> Schema:
        return {keyword: value} if isinstance(value, bool) else {bound: value, keyword: True}

    return rewrite


_REWRITES: Mapping[str, Callable[[Any, _Place], Schema]] = {
    "properties": _properties,
    "additionalProperties": _additional_properties,
    "items": _items,
    "const": _const,
    "exclusiveMinimum": _exclusive("minimum"),
    "exclusiveMaximum": _exclusive("maximum"),
}
