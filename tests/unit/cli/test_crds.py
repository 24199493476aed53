from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from trimtab.api.crd import KINDS
from trimtab.cli.crds import app


@pytest.fixture
def where(tmp_path: Path) -> list[str]:
    folders = {"--dir": "crds", "--chart": "chart/templates/crds", "--docs": "docs/api.md"}
    return [part for flag, path in folders.items() for part in (flag, str(tmp_path / path))]


def run(command: str, where: list[str]) -> Result:
    return CliRunner().invoke(app, [command, *where])


def test_what_is_written_is_current(where: list[str], tmp_path: Path) -> None:
    assert run("write", where).exit_code == 0
    assert len(list((tmp_path / "crds").iterdir())) == len(KINDS)
    assert run("check", where).exit_code == 0


def test_an_edited_file_is_named_with_the_remedy(where: list[str], tmp_path: Path) -> None:
    run("write", where)
    edited = tmp_path / "crds/llmdeployments.trimtab.dev.yaml"
    edited.write_text(edited.read_text() + "\n")
    result = run("check", where)
    assert result.exit_code == 1
    assert result.stderr == (
        f"{edited}: differs from the code. Run `trimtab crds write` and commit the result\n"
    )


def test_a_missing_file_is_named(where: list[str], tmp_path: Path) -> None:
    run("write", where)
    (tmp_path / "docs/api.md").unlink()
    result = run("check", where)
    assert result.exit_code == 1
    assert "docs/api.md: is missing" in result.stderr


def test_a_definition_of_a_kind_that_is_gone_is_found_and_removed(
    where: list[str], tmp_path: Path
) -> None:
    run("write", where)
    leftover = tmp_path / "crds/oldkinds.trimtab.dev.yaml"
    leftover.touch()
    foreign = tmp_path / "crds/kustomization.yaml"
    foreign.touch()
    assert f"{leftover}: no kind of the API models has it" in run("check", where).stderr
    assert f"removed {leftover}" in run("write", where).stdout
    assert not leftover.exists()
    assert foreign.exists()
    assert run("check", where).exit_code == 0
