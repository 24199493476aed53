"""The demo as a user runs it: it judges itself, and leaves nothing running."""

import os
import subprocess
import sys

import pytest

from trimtab_e2e import registry
from trimtab_e2e.stack import REPOSITORY

LOOKED_AT = "kubectl get llmd -A && trimtab status && trimtab explain chat -n assistants"
"""What docs/quickstart.md shows for a second terminal."""


@pytest.mark.timeout(600)
def test_the_demo_does_its_job_can_be_looked_at_and_leaves_nothing() -> None:
    before = {s.folder for s in registry.load_all() if s.name == "demo"}
    shown: list[str] = []
    looks = []
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab_e2e.demo"],
        cwd=REPOSITORY / "e2e",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            shown.append(line)
            if line.startswith("export KUBECONFIG="):
                looks.append(_typed(f"{line.strip()}; {LOOKED_AT}"))
    assert demo.returncode == 0, "".join(shown)[-6000:]
    print("".join(shown)[-1500:])
    assert [look.returncode for look in looks] == [0], looks
    assert "\nchat: " in looks[0].stdout, "what trimtab explain begins with"
    assert {s.folder for s in registry.load_all() if s.name == "demo"} <= before


def _typed(line: str) -> subprocess.CompletedProcess[str]:
    """Run `line` in a shell that knows nothing of this checkout."""
    return subprocess.run(
        ["env", "-i", "HOME=/", "PATH=/usr/bin:/bin", "bash", "-c", line],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
