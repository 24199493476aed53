"""Every word that a decision can say is explained, and nothing else is."""

import re
from enum import StrEnum

import pytest

from doccommands import ROOT
from trimtab.models.plan import Verdict, Why


@pytest.mark.parametrize(
    ("title", "words"),
    [("What moved it, or held it", Why), ("How a candidate fared", Verdict)],
    ids=["why", "verdict"],
)
def test_the_table_is_complete(title: str, words: type[StrEnum]) -> None:
    page = (ROOT / "docs/decisions.md").read_text("utf-8")
    _, _, section = page.partition(f"## {title}\n")
    rows = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    assert sorted(rows) == sorted(words)
