from typing import Any

import pytest
from pydantic import BaseModel

from trimtab.api.base import Resource
from trimtab.api.crd import KINDS, object_schema
from trimtab.api.openapi import structural
from trimtab.errors import Bug

STRING = {"type": "string", "maxLength": 5}


def of(field: dict[str, Any], **definitions: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"field": field}, "$defs": definitions}


@pytest.mark.parametrize(
    ("written", "structural_form"),
    [
        pytest.param({"title": "Field", **STRING}, STRING, id="title is noise"),
        pytest.param({"default": "a", **STRING}, STRING, id="defaults are the operator's"),
        pytest.param(
            {"anyOf": [STRING, {"type": "null"}], "default": None, "description": "It."},
            {**STRING, "description": "It."},
            id="optional",
        ),
        pytest.param({"$ref": "#/$defs/Name"}, STRING, id="reference"),
        pytest.param(
            {"$ref": "#/$defs/Name", "description": "Its own."},
            {**STRING, "description": "Its own."},
            id="what stands beside a reference wins",
        ),
        pytest.param(
            {"anyOf": [{"$ref": "#/$defs/Name"}, {"type": "null"}]}, STRING, id="optional reference"
        ),
        pytest.param(
            {"type": "integer", "exclusiveMinimum": 0},
            {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            id="exclusive minimum",
        ),
        pytest.param(
            {"type": "integer", "exclusiveMaximum": 9},
            {"type": "integer", "maximum": 9, "exclusiveMaximum": True},
            id="exclusive maximum",
        ),
        pytest.param(
            {"type": "string", "const": "a"}, {"type": "string", "enum": ["a"]}, id="constant"
        ),
        pytest.param(
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": False},
            {"type": "object", "properties": {"a": STRING}},
            id="closed object",
        ),
        pytest.param(
            {"type": "array", "items": {"$ref": "#/$defs/Name"}, "x-kubernetes-list-type": "set"},
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
            id="list",
        ),
        pytest.param(
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/Name"}},
            {"type": "object", "additionalProperties": STRING},
            id="map",
        ),
    ],
)
def test_rewrites(written: dict[str, Any], structural_form: dict[str, Any]) -> None:
    definitions = {"Name": STRING}
    assert structural(of(written, **definitions))["properties"]["field"] == structural_form


@pytest.mark.parametrize(
    "written",
    [
        pytest.param({"anyOf": [STRING, {"type": "integer"}]}, id="choice of types"),
        pytest.param({"type": ["string", "null"]}, id="list of types"),
        pytest.param({"description": "Anything."}, id="no type"),
        pytest.param({"type": "object"}, id="open object"),
        pytest.param({"type": "object", "additionalProperties": True}, id="map of anything"),
        pytest.param({"type": "array", "prefixItems": [STRING], "items": False}, id="tuple"),
        pytest.param({"type": "array", "items": STRING, "uniqueItems": True}, id="unique items"),
        pytest.param(
            {
                "type": "object",
                "additionalProperties": STRING,
                "propertyNames": {"maxLength": 5, "type": "string"},
            },
            id="bounded keys",
        ),
        pytest.param({"oneOf": [STRING]}, id="oneOf"),
    ],
)
def test_what_has_no_structural_form_raises_with_its_path(written: dict[str, Any]) -> None:
    with pytest.raises(Bug, match=r"no structural form at \.field: "):
        structural(of(written))


class Tree(BaseModel):
    children: list["Tree"]


def test_a_model_that_contains_itself_raises() -> None:
    with pytest.raises(Bug, match="Tree contains itself"):
        structural(Tree.model_json_schema())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_structural_schemas_come_back_as_they_are(kind: type[Resource]) -> None:
    schema = object_schema(kind)["properties"]["spec"]
    assert structural(schema) == schema
