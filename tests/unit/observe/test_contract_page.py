"""The contract on paper: every fault has a row, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from bench.faults.bugs import BUGS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "contract.md").read_text()
FAULTS = range(32, 50)
COLUMNS = 6

_TEST = re.compile(r"`((?:tests|e2e)/[\w/]+\.py)::(\w+)`")


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if re.match(r"\| F\d+ ", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_a_row_with_a_test(fault: int) -> None:
    mine = [row for row in rows() if row[0].split()[0] == f"F{fault}"]
    assert mine, f"F{fault} has no row"
    for row in mine:
        assert len(row) == COLUMNS, row
        assert all(row), row
        assert _TEST.search(row[4]), row


def test_every_test_that_is_named_exists() -> None:
    named = _TEST.findall(PAGE)
    assert len(named) > 30
    missing = [f"{path}::{name}" for path, name in named if name not in names_in(path)]
    assert missing == []


def test_every_test_of_the_faults_is_named() -> None:
    path = "tests/integration/test_metrics_faults.py"
    named = {name for where, name in _TEST.findall(PAGE) if where == path}
    assert named == names_in(path)


def test_every_bug_on_the_page_can_be_put_in_again_and_no_other() -> None:
    """By `make bugs`, where its text is still in the code: once, so that it is the one place."""
    on_page = {bug.strip() for row in rows() for bug in row[5].split(";")}
    assert on_page == {bug.name for bug in BUGS}
    for bug in BUGS:
        for edit in bug.edits:
            text = (ROOT / "operator" / "trimtab" / edit.path).read_text("utf-8")
            assert text.count(edit.old) == 1, (bug.name, edit.old)
        for test in bug.tests:
            assert test.rpartition("::")[2] in names_in(f"tests/unit/{test.partition('::')[0]}")
