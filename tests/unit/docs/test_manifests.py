"""Every manifest in the pages is one that the API admits, whole or as a piece of a spec."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from doccommands import PAGES, ROOT
from trimtab.api.acceleratorpool import AcceleratorPoolSpec
from trimtab.api.base import API_VERSION
from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.planner.written import manifests_of

BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
PIECES = ("docs/policies.md", "docs/guides/")
"""Where a block without a kind is a piece of a spec; elsewhere it is of some other file."""


def blocks() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in PAGES:
        page = str(path.relative_to(ROOT))
        for block in BLOCK.findall(path.read_text("utf-8")):
            for document in yaml.safe_load_all(block):
                yield page, document


WHOLE = [(page, each) for page, each in blocks() if each.get("apiVersion") == API_VERSION]
PARTS = [
    (page, each) for page, each in blocks() if "apiVersion" not in each and page.startswith(PIECES)
]


def test_there_are_both() -> None:
    assert len(WHOLE) > 4
    assert len(PARTS) > 6


@pytest.mark.parametrize(("page", "document"), WHOLE)
def test_a_manifest_is_admitted(page: str, document: dict[str, Any]) -> None:
    _, notes = manifests_of([(page, document)])
    assert notes == ()


@pytest.mark.parametrize(("page", "piece"), PARTS)
def test_a_piece_fits_into_a_spec(page: str, piece: dict[str, Any]) -> None:
    model = {"model": {"name": "Qwen/Qwen3-8B"}}
    pool = {
        "accelerator": "nvidia-l4", "resourceName": "nvidia.com/gpu", "devicesPerNode": 1,
        "nodeSelector": {"a": "b"},
    }  # fmt: skip
    problems = []
    for kind, rest in ((LLMDeploymentSpec, model), (AcceleratorPoolSpec, pool)):
        try:
            kind.model_validate(rest | piece)
            return
        except ValidationError as error:
            problems.append(str(error))
    pytest.fail(f"{page}: {problems}")
