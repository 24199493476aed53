"""What `trimtab plan` prints, word for word.

Where a change of the text is meant, write it anew: `python tests/golden/test_plans.py`.
"""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from trimtab.cli.manifests import read
from trimtab.cli.plan import render
from trimtab.config import PlannerConfig
from trimtab.planner.offline import snapshot_of
from trimtab.planner.plan import plan

FOLDER = Path(__file__).parent / "plans"
NOW = 1_790_000_000.0


def printed(manifest: Path) -> str:
    """Return the table for the manifests in one file."""
    written, notes = read([str(manifest)])
    snapshot, assumed = snapshot_of(written, NOW)
    out = StringIO()
    console = Console(file=out, width=110, no_color=True)
    render(plan(snapshot, PlannerConfig()), console, (*notes, *assumed), everything=True)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


@pytest.mark.parametrize("name", ["fleet", "energy", "by-size"])
def test_the_table_is_as_it_was(name: str) -> None:
    manifest = FOLDER / f"{name}.yaml"
    assert printed(manifest) == manifest.with_suffix(".txt").read_text("utf-8")


if __name__ == "__main__":
    for file in sorted(FOLDER.glob("*.yaml")):
        file.with_suffix(".txt").write_text(printed(file), "utf-8")
