"""A user's field always wins: what another manager owns is left out of what we apply."""

from typing import Any

import pytest

from trimtab.actuate.ownership import without_foreign

DRAFT: dict[str, Any] = {
    "apiVersion": "trimtab.dev/v1alpha1",
    "kind": "AcceleratorPool",
    "metadata": {"name": "h100", "labels": {"a": "1", "b": "2"}},
    "spec": {
        "devicesPerNode": 8,
        "price": {"perDeviceHour": "2.50"},
        "nodeSelector": {"x": "y"},
        "tolerations": [{"key": "k"}],
    },
}


def live(*managers: tuple[str, str, dict[str, Any]]) -> dict[str, Any]:
    """A pool with these owners: manager, subresource, fields."""
    entries = [
        {"manager": name, "fieldsV1": fields} | ({"subresource": part} if part else {})
        for name, part, fields in managers
    ]
    return {"metadata": {"name": "h100", "managedFields": entries}}


def paths(document: dict[str, Any]) -> set[str]:
    """Every field of the spec and every label that is left."""
    labels = {f"label {name}" for name in document["metadata"].get("labels", {})}
    return labels | set(document.get("spec", {}))


EVERYTHING = {
    "label a",
    "label b",
    "devicesPerNode",
    "price",
    "nodeSelector",
    "tolerations",
}


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({}, set()),
        ({"f:spec": {"f:price": {"f:perDeviceHour": {}}}}, {"price"}),
        ({"f:spec": {"f:price": {}}}, {"price"}),
        ({"f:spec": {"f:devicesPerNode": {}}}, {"devicesPerNode"}),
        ({"f:spec": {"f:nodeSelector": {}}}, {"nodeSelector"}),
        ({"f:spec": {"f:tolerations": {}}}, {"tolerations"}),
        ({"f:spec": {"f:capacity": {"f:maxDevices": {}}}}, set()),
        ({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}}, {"label a"}),
        ({"f:spec": {}}, {"devicesPerNode", "price", "nodeSelector", "tolerations"}),
    ],
)
def test_owned_fields_are_left_out(fields: dict[str, Any], lost: set[str]) -> None:
    result = without_foreign(DRAFT, live(("kubectl-client-side-apply", "", fields)))
    assert EVERYTHING - paths(result) == lost


def test_an_owned_part_leaves_the_rest_of_its_map() -> None:
    draft = DRAFT | {"spec": {"capacity": {"a": 1, "b": 2}}}
    fields: dict[str, Any] = {"f:spec": {"f:capacity": {".": {}, "f:a": {}}}}
    result = without_foreign(draft, live(("kubectl", "", fields)))
    assert result["spec"] == {"capacity": {"b": 2}}


@pytest.mark.parametrize(("manager", "part"), [("trimtab", ""), ("kubectl", "status")])
def test_our_own_fields_and_the_status_are_not_foreign(manager: str, part: str) -> None:
    fields: dict[str, Any] = {"f:spec": {"f:devicesPerNode": {}}}
    assert without_foreign(DRAFT, live((manager, part, fields))) == DRAFT
