from pathlib import Path
from typing import Any

import pytest
import yaml

from trimtab.api.crd import KINDS

ROOT = Path(__file__).parents[3]
EXAMPLES = [
    (path.name, document)
    for path in sorted((ROOT / "examples").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


@pytest.mark.parametrize(("file", "document"), EXAMPLES)
def test_an_example_is_read_without_loss(file: str, document: dict[str, Any]) -> None:
    kind = next(kind for kind in KINDS if document["kind"] == kind.KIND)
    written = kind.model_validate(document).model_dump(
        by_alias=True, exclude_none=True, mode="json"
    )
    assert written["spec"] == document["spec"], file


def test_there_is_an_example_of_every_kind() -> None:
    assert {document["kind"] for _, document in EXAMPLES} == {kind.KIND for kind in KINDS}
