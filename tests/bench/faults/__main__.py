"""Puts each bug of the fail-safe contract into a copy of the operator and runs what hunts it.

Run in tests/: `python -m bench.faults [NAME ...]`. Prints one line for each bug, and ends with 1
where none of its tests fails. The tests have to pass without any bug first.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.faults.bugs import BUGS, Bug

ROOT = Path(__file__).parents[3]
LONGEST_S = 600.0
"""A bug that makes a test hang has been seen, too."""
_BESIDE = ("tests", "e2e", "docs", "pyproject.toml")
"""What the tests read, taken as it is."""
_FAILED = re.compile(r"^FAILED (\S+)", re.MULTILINE)


def main() -> None:
    """Try all bugs, or those whose names contain one of the arguments."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    bugs = [bug for bug in BUGS if not names or any(name in bug.name for name in names)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in _BESIDE:
            (root / name).symlink_to(ROOT / name)
        if first_failure(root, sorted({test for bug in bugs for test in bug.tests}), None):
            sys.exit("The tests do not pass without a bug: nothing can be said of those with one.")
        unseen = [bug.name for bug in bugs if not _tried(root, bug)]
    _say(f"{len(bugs) - len(unseen)} of {len(bugs)} bugs seen")
    sys.exit(1 if unseen else 0)


def _tried(root: Path, bug: Bug) -> bool:
    killer = first_failure(root, bug.tests, bug)
    _say(f"{bug.name:80} {killer or 'NOT SEEN'}")
    return killer is not None


def first_failure(root: Path, tests: Iterable[str], bug: Bug | None) -> str | None:
    """Return which of `tests` fails first with the operator as it is but for `bug`, or None.

    Raises:
        RuntimeError: Nothing was tested, so nothing is known.
    """
    package = root / "operator"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "operator", package, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in bug.edits if bug else ():
        path = package / "trimtab" / edit.path
        path.write_text(path.read_text("utf-8").replace(edit.old, edit.new), "utf-8")
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"--rootdir={root}", f"--override-ini=pythonpath={_paths(root)}"]
    command += [f"{root}/tests/unit/{test}" for test in tests]
    try:
        done = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {LONGEST_S:g} s"
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}: {done.stdout[-2000:]}")
    if done.returncode == 0:
        return None
    found = _FAILED.search(done.stdout)
    return found[1].rpartition("/")[2] if found else done.stdout[-200:]


def _paths(root: Path) -> str:
    return f"{root}/operator {root}/e2e {root}/tests"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
