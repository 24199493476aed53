"""The demo as a user runs it: it judges itself, and leaves nothing running."""

import subprocess
import sys

import pytest

from trimtab_e2e import registry
from trimtab_e2e.stack import REPOSITORY


@pytest.mark.timeout(600)
def test_the_demo_does_its_job_and_leaves_nothing() -> None:
    before = {s.folder for s in registry.load_all() if s.name == "demo"}
    run = subprocess.run(
        [sys.executable, "-m", "trimtab_e2e.demo"],
        cwd=REPOSITORY / "e2e",
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout[-4000:]}\n{run.stderr[-2000:]}"
    print(run.stdout[-1500:])
    assert {s.folder for s in registry.load_all() if s.name == "demo"} <= before
