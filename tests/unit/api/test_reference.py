from pathlib import Path

import pytest

from trimtab.api.base import Resource
from trimtab.api.crd import KINDS, object_schema
from trimtab.api.reference import default_of, reference

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_what_the_models_give() -> None:
    assert (ROOT / "docs/api.md").read_text() == reference()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.KIND)
def test_the_page_has_a_row_for_every_field_of_a_spec(kind: type[Resource]) -> None:
    section = reference().split(f"## {kind.KIND}\n")[1].split("\n## ")[0]
    for name in object_schema(kind)["properties"]["spec"]["properties"]:
        assert f"| `{name}` |" in section


@pytest.mark.parametrize(
    ("description", "parts"),
    [
        ("Longest time. Default: 5m.", ("Longest time.", "5m")),
        ("Share.\n\nDefault: none,\nwhich means all.", ("Share.", "none,\nwhich means all")),
        ("Name of the model.", ("Name of the model.", None)),
    ],
)
def test_a_default_is_told_apart_from_its_description(
    description: str, parts: tuple[str, str | None]
) -> None:
    assert default_of(description) == parts
