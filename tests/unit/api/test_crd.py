from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.api.base import Resource
from trimtab.api.conditions import Condition, ConditionStatus
from trimtab.api.crd import KINDS, definition, file_name, object_schema, render
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.reference import default_of

ROOT = Path(__file__).parents[3]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)


def fields(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield each field below an object: its path, its schema, whether it is required."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field, name in schema.get("required", [])
        yield from fields(field, f"{path}.{name}")
        yield from fields(field.get("items", {}), f"{path}.{name}[]")


def own_fields(kind: type[Resource]) -> list[tuple[str, dict[str, Any], bool]]:
    schema = object_schema(kind)
    del schema["properties"]["metadata"]
    return list(fields(schema, ""))


def values(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a schema and all schemas of its items and map values."""
    yield path, schema
    if "items" in schema:
        yield from values(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from values(schema["additionalProperties"], f"{path}.*")


@each_kind
def test_the_committed_definition_is_what_the_models_give(kind: type[Resource]) -> None:
    assert (ROOT / "crds" / file_name(kind)).read_text() == render(kind)


@each_kind
def test_yaml_says_the_same_as_the_document(kind: type[Resource]) -> None:
    assert yaml.safe_load(render(kind)) == definition(kind)


@each_kind
def test_every_field_is_described(kind: type[Resource]) -> None:
    bare = [
        path
        for path, field, _ in own_fields(kind)
        if not field.get("description", "").endswith(".")
    ]
    assert not bare


@each_kind
def test_every_optional_field_of_a_spec_states_its_default(kind: type[Resource]) -> None:
    silent = [
        path
        for path, field, required in own_fields(kind)
        if path.startswith(".spec.")
        and not required
        and default_of(field["description"])[1] is None
    ]
    assert not silent


@each_kind
def test_every_value_is_bounded(kind: type[Resource]) -> None:
    bounds = {
        "string": {"maxLength"},
        "integer": {"minimum", "maximum"},
        "array": {"maxItems"},
        "object": {"maxProperties"},
        "boolean": set(),
    }
    loose = [
        (path, missing)
        for field_path, field, _ in own_fields(kind)
        for path, schema in values(field, field_path)
        if not {"enum", "properties"} & schema.keys()
        and (missing := bounds[schema["type"]] - schema.keys())
    ]
    assert not loose


def test_lists_whose_items_are_told_apart_are_merged_item_by_item() -> None:
    told_apart = {
        f"{kind.KIND}{path}": (
            field["x-kubernetes-list-type"],
            *field.get("x-kubernetes-list-map-keys", ()),
        )
        for kind in KINDS
        for path, field, _ in own_fields(kind)
        if "x-kubernetes-list-type" in field
    }
    assert told_apart == {
        "LLMDeployment.spec.engine.env": ("map", "name"),
        "LLMDeployment.spec.engine.adapters": ("map", "name"),
        "LLMDeployment.spec.cost.capacityTypes": ("set",),
        "LLMDeployment.spec.placement.pools": ("set",),
        "LLMDeployment.spec.placement.excludePools": ("set",),
        "LLMDeployment.spec.placement.accelerators": ("set",),
        "LLMDeployment.spec.placement.tensorParallel": ("set",),
        "LLMDeployment.spec.workload.classes": ("map", "name"),
        "LLMDeployment.status.routes": ("map", "name"),
        "LLMDeployment.status.routes[].backends": ("map", "service"),
        "LLMDeployment.spec.demand.schedule": ("map", "name"),
        "LLMDeployment.spec.demand.schedule[].days": ("set",),
        "LLMDeployment.spec.demand.schedule[].dates": ("set",),
        "LLMDeployment.status.conditions": ("map", "type"),
        "LLMDeployment.status.variants": ("map", "name"),
        "ServingPolicy.spec.cost.capacityTypes": ("set",),
        "AcceleratorPool.status.conditions": ("map", "type"),
        "FleetBudget.spec.namespaces": ("set",),
        "FleetBudget.status.conditions": ("map", "type"),
    }


@each_kind
def test_only_the_status_has_a_default(kind: type[Resource]) -> None:
    assert {path for path, field, _ in own_fields(kind) if "default" in field} <= {".status"}


@each_kind
def test_no_field_can_point_into_another_namespace(kind: type[Resource]) -> None:
    assert not [path for path, _, _ in own_fields(kind) if path.lower().endswith("namespace")]


@each_kind
def test_a_rule_names_a_field_that_exists(kind: type[Resource]) -> None:
    schemas = [("", object_schema(kind)), *((path, field) for path, field, _ in own_fields(kind))]
    schemas += [(f"{path}[]", field["items"]) for path, field in schemas if "items" in field]
    for path, schema in schemas:
        known = {name for name, _, _ in fields(schema, "")}
        for rule in schema.get("x-kubernetes-validations", []):
            assert rule.get("fieldPath") in known | {None}, path


@each_kind
def test_a_column_shows_a_field_that_exists(kind: type[Resource]) -> None:
    known = {path for path, _, _ in own_fields(kind)} | {".metadata.creationTimestamp"}
    for column in kind.COLUMNS:
        assert column.path in known or column.path.startswith(".status.conditions[?(@.type==")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "status" in kind.model_fields])
def test_an_object_that_nobody_has_looked_at_is_in_progress(kind: type[Resource]) -> None:
    default = object_schema(kind)["properties"]["status"]["default"]
    assert default["observedGeneration"] == -1
    assert Condition.model_validate(default["conditions"][0]) == Condition(
        type="Ready",
        status=ConditionStatus.UNKNOWN,
        reason="Pending",
        message="Waiting for controller",
        last_transition_time="1970-01-01T00:00:00Z",
    )


def test_the_columns_of_a_deployment_are_those_of_the_design() -> None:
    names = [column.name.upper() for column in LLMDeployment.COLUMNS if not column.wide]
    assert names == ["MODEL", "READY", "REPLICAS", "VARIANTS", "SLO", "$/H", "SAVED", "AGE"]
