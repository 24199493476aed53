"""Which tests reach which statement of a module, so that a bug is tried on those tests alone.

A module is read with a mark before each statement. What a test marks, it has run; a test that does
not reach the statement with the bug cannot see it.
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
import types
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

Spot: TypeAlias = tuple[str, int]
"""A statement: the module's name and the line that it begins on."""
_MARK = "_mark_that_it_was_reached"


class Read(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules, with other sources than their own."""

    def __init__(self, sources: Mapping[str, str], names: Mapping[str, object]) -> None:
        self._sources, self._names = sources, names

    def find_spec(
        self, fullname: str, path: object, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a module that is given, None for any other."""
        if fullname not in self._sources:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Leave it to the import system."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run the source that is given, which may use the names that are given."""
        module.__dict__.update(self._names)
        name = module.__name__
        exec(compile(self._sources[name], f"<{name}, changed>", "exec"), module.__dict__)


class Reached:
    """Records as a plugin of pytest what each test reaches, and how much CPU time it takes."""

    def __init__(self, files: Mapping[str, Path], package: str) -> None:
        self._spots: list[Spot] = []
        self._now: set[int] = set()
        self._of: dict[str, frozenset[int]] = {}
        """By test, and by the file that its fixtures are of; "" for what is done on import."""
        self.seconds: dict[str, float] = {}
        marked = {f"{package}.{name}": self._marked(name, file) for name, file in files.items()}
        self._finder = Read(marked, {_MARK: self._now.add})

    def __enter__(self) -> None:
        sys.meta_path.insert(0, self._finder)

    def __exit__(self, *_: object) -> None:
        sys.meta_path.remove(self._finder)

    def pytest_collection_finish(self) -> None:
        """What the import of the tests has reached may be seen by all of them."""
        self._keep("")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None]:
        """What the fixtures of one test reach may be seen by all of its file that share them."""
        yield
        self._keep(_file(item.nodeid))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Record one test."""
        began = time.process_time()
        result = yield
        self.seconds[item.nodeid] = time.process_time() - began
        self._keep(item.nodeid)
        return result

    def tests(self, module: str, lines: range) -> list[str]:
        """Return the tests that reach a statement which begins on one of `lines`.

        All, where one is reached by the import already, or where there is none.
        """
        wanted = {
            n for n, (name, line) in enumerate(self._spots) if name == module and line in lines
        }
        if not wanted or wanted & self._of[""]:
            return list(self.seconds)
        return [
            test
            for test in self.seconds
            if wanted & (self._of[test] | self._of.get(_file(test), frozenset()))
        ]

    def _keep(self, of: str) -> None:
        self._of[of] = self._of.get(of, frozenset()) | self._now
        self._now.clear()

    def _marked(self, module: str, file: Path) -> str:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(node, name, None)
                if isinstance(block, list) and not isinstance(node, ast.Module | ast.ClassDef):
                    setattr(node, name, list(self._with_marks(block, module)))
        return ast.unparse(ast.fix_missing_locations(tree))

    def _with_marks(self, block: Sequence[ast.stmt], module: str) -> Iterator[ast.stmt]:
        for statement in block:
            mark = ast.parse(f"{_MARK}({len(self._spots)})").body[0]
            self._spots.append((module, statement.lineno))
            yield mark
            yield statement


def _file(test: str) -> str:
    return test.split("::")[0]
