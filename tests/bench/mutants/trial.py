"""One process that has all imported and computed, and a fork of it for each bug.

What costs a test its time is imports, catalogues and the performance model's figures. All of that
is done once; a fork then reads the planner and the tests anew, the bug in place, and runs the tests
that reach it.
"""

import os
import resource
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest

from bench.mutants.changes import Mutant
from bench.mutants.reached import Reached, Read

_PACKAGE = "trimtab.planner"
_KEPT = ("errors", "units", "config", "telemetry", "api", "models", "catalog", "performance")
"""Rooms that the planner builds upon: they need not be read anew."""
SLACK = 3.0
"""A fork gets so many times the CPU time that its tests took; a bug may make a loop endless."""
MEMORY_BYTES = 8 << 30
"""And no more memory than this, which an endless loop may fill."""


class Chosen:
    """As a plugin of pytest, runs some tests in their order, and remembers which one failed."""

    def __init__(self, order: Iterable[str]) -> None:
        self._order = {test: n for n, test in enumerate(order)}
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out, and sort."""
        items[:] = sorted(
            (item for item in items if item.nodeid in self._order),
            key=lambda item: self._order[item.nodeid],
        )

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be read has seen the bug, too."""
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one report."""
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Trial:
    """The tests at `paths`, run with and without bugs. The working directory is the repository."""

    def __init__(self, paths: Sequence[str], modules: Mapping[str, Path]) -> None:
        self._paths = list(paths)
        self._reached = Reached(modules, _PACKAGE)

    def passes(self) -> bool:
        """Run all tests without a bug and return whether they pass; the other runs build on it."""
        with self._reached:
            code = _run(self._paths, self._reached)
        _forget()
        return code == 0

    def seconds(self) -> Mapping[str, float]:
        """Return the CPU time that each test took."""
        return self._reached.seconds

    def killer(self, mutant: Mutant) -> str | None:
        """Return the test that fails with the bug, None if none."""
        seconds = self._reached.seconds
        name = f"test_{mutant.module.replace('.', '_')}.py"
        tests = sorted(
            self._reached.tests(mutant.module, mutant.lines),
            key=lambda test: (name not in test, seconds[test]),
        )
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _silence()
            limit = int(SLACK * sum(seconds[test] for test in tests)) + 30
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            bugged = {f"{_PACKAGE}.{mutant.module}": mutant.source()}
            sys.meta_path.insert(0, Read(bugged, {}))
            near = [test for test in tests if name in test]
            failed = _failed(near) or _failed([test for test in tests if name not in test])
            os.write(write, f"done {failed}".encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        return said.removeprefix("done ") or None if said else "no end"


def _failed(tests: Sequence[str]) -> str:
    """Return which of `tests` fails first, empty if none."""
    if not tests:
        return ""
    chosen = Chosen(tests)
    code = _run(sorted({test.split("::")[0] for test in tests}), chosen)
    return "" if code == 0 else chosen.failed or "importing"


def _run(paths: Iterable[str], plugin: object) -> int:
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestWarning"]
    return int(pytest.main([*options, *paths], plugins=[plugin]))


def _forget() -> None:
    """Let the planner, all above it, and the tests be imported anew."""
    for name, module in list(sys.modules.items()):
        room = name.split(".")[1:2]
        if name.startswith("trimtab."):
            anew = room[0] not in _KEPT
        else:
            file = getattr(module, "__file__", None)
            anew = file is not None and Path(file).is_relative_to(Path("tests").absolute())
            anew = anew and not name.startswith("bench.") and name != "__main__"
        if anew:
            del sys.modules[name]


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
