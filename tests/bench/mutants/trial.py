"""One process that has all imported and computed, and a fork of it for each bug.

What costs a test its time is imports, catalogues and the performance model's figures. All of that
is done once; a fork then reads the planner and the tests anew, the bug in place.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import sys
import types
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

_KEPT = ("errors", "units", "config", "telemetry", "api", "models", "catalog", "performance")
"""Rooms that the planner builds upon: they need not be read anew."""
SLACK = 3.0
"""A fork gets so many times the CPU time that all tests took; a bug may make a loop endless."""


class Times:
    """Puts quick tests first, and remembers how long each takes and which one failed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.near = ""
        """Part of the name of the files that go first."""
        self.failed = ""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort: nearest, then quickest."""
        items.sort(key=lambda item: (self.near not in item.nodeid, self.seconds[item.nodeid]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in one report."""
        self.seconds[report.nodeid] += report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid


class Trial:
    """The tests at `paths`, run with and without bugs. The working directory is the repository."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = list(paths)
        self._times = Times()
        self._cpu_s = 0.0

    def passes(self) -> bool:
        """Run all tests without a bug and return whether they pass; the other runs build on it."""
        before = sum(os.times()[:2])
        code = self._run()
        self._cpu_s = sum(os.times()[:2]) - before
        _forget()
        return code == 0

    def killer(self, module: str, source: str) -> str | None:
        """Return the test that fails with `source` for `trimtab.planner.<module>`, None if none.

        Raises:
            RuntimeError: The tests could not be run.
        """
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _silence()
            limit = int(SLACK * self._cpu_s) + 30
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            self._times.near = f"test_{module}.py"
            sys.meta_path.insert(0, _Bugged(f"trimtab.planner.{module}", source))
            code = self._run()
            os.write(write, f"{code} {self._times.failed or 'importing'}".encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        os.waitpid(child, 0)
        if not said:
            return "no end"
        ended, failed = said.split(" ", 1)
        if ended == "0":
            return None
        if ended not in ("1", "2"):
            raise RuntimeError(f"pytest could not run {module}.py: it ended with {ended}")
        return failed

    def _run(self) -> int:
        self._times.failed = ""
        options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestWarning"]
        return int(pytest.main([*options, *self._paths], plugins=[self._times]))


class _Bugged(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds one module, with a bug."""

    def __init__(self, name: str, source: str) -> None:
        self._name, self._source = name, source

    def find_spec(
        self, fullname: str, path: object, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's spec, None for any other."""
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave it to the import system."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the source with the bug."""
        exec(compile(self._source, f"<{self._name} with a bug>", "exec"), module.__dict__)


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
