"""Puts bugs into the planner, one at a time, and counts those that its tests see.

Run in tests/: `python -m bench.mutants [--count N] [--skip N] [--seed S] [--modules NAME ...]
[--tests PATH ...]`. Every bug that makes a missing figure zero is tried, and others until there are
N, drawn evenly over the kinds; a run that was stopped goes on behind those that it tried. Ends with
1 where fewer than 95 % are seen, or not all of those that make missing zero.
"""

import argparse
import ast
import difflib
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from random import Random

from bench.mutants.changes import KINDS, MISSING, Mutant, mutants, optional_figures
from bench.mutants.trial import Trial

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "operator" / "trimtab"
PLANNER = PACKAGE / "planner"
MODULES = (
    "ability", "answered", "brakes", "case", "degrade", "demand", "draft", "easing", "evenly",
    "evidence", "forecast.plain", "foresight", "history", "ledger", "lessons", "moves", "outcome",
    "place", "proven", "recall", "reclaims", "residence", "settle", "shortage", "spot", "starts",
    "window", "wishes",
)  # fmt: skip
"""What decides; the solver's modules are held by brute force and by their bound."""
TESTS = ("tests/unit/planner", "tests/golden", "tests/property")
BAR = 0.95


def file_of(module: str) -> Path:
    """Return where the source of one of MODULES is."""
    return PLANNER.joinpath(*module.split(".")).with_suffix(".py")


def drawn(count: int, seed: int, modules: Iterable[str]) -> list[Mutant]:
    """Return all bugs of the kind that must be seen, and others by the seed until `count`."""
    files = [PACKAGE / "config.py", *sorted(PACKAGE.glob("models/*.py"))]
    files += [PLANNER / "evidence.py", PLANNER / "demand.py"]
    figures = optional_figures(path.read_text(encoding="utf-8") for path in files)
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    for module in modules:
        source = file_of(module).read_text(encoding="utf-8")
        for mutant in mutants(module, source, figures):
            by_kind[mutant.kind].append(mutant)
    dice = Random(seed)
    for kind in KINDS:
        dice.shuffle(by_kind[kind])
    chosen = by_kind[MISSING]
    while len(chosen) < count and any(by_kind[kind] for kind in KINDS):
        for kind in KINDS:
            if by_kind[kind] and len(chosen) < count:
                chosen.append(by_kind[kind].pop())
    return chosen


def show(chosen: list[Mutant], tests: list[str]) -> bool:
    """Print one line for each bug and a table by kind; return whether the bar is met."""
    trial = Trial(tests, {name: file_of(name) for name in {one.module for one in chosen}})
    if not trial.passes():
        sys.exit("The tests do not pass without a bug: nothing can be said of those with one.")
    seconds = trial.seconds()
    _say(f"{len(seconds)} tests, {sum(seconds.values()):.0f} s of CPU without a bug\n")
    seen: dict[str, list[bool]] = defaultdict(list)
    for mutant in chosen:
        killer = trial.killer(mutant)
        seen[mutant.kind].append(killer is not None)
        where = f"{mutant.module}.py:{mutant.line}"
        _say(f"{mutant.kind:20} {where:20} {killer or 'LIVES: ' + changed(mutant)}")
    _say("\n| kind of bug | tried | seen |\n|---|--:|--:|")
    for kind, dead in sorted(seen.items()):
        _say(f"| {kind} | {len(dead)} | {sum(dead)} |")
    every = [dead for kind in seen.values() for dead in kind]
    _say(f"| all | {len(every)} | {sum(every)} ({sum(every) / len(every):.1%}) |")
    return sum(every) >= BAR * len(every) and all(seen[MISSING])


def changed(mutant: Mutant) -> str:
    """Return the lines with the bug."""
    source = file_of(mutant.module).read_text(encoding="utf-8")
    before = ast.unparse(ast.parse(source)).splitlines()
    found = difflib.ndiff(before, mutant.source().splitlines())
    return " / ".join(line[2:].strip() for line in found if line.startswith("+ "))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    """Try the bugs on a copy of the tree, which others may go on changing."""
    parser = argparse.ArgumentParser(prog="bench.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--skip", type=int, default=0, help="the first so many of them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=MODULES)
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="below the repository")
    parser.add_argument("--here", action="store_true", help="this is the copy")
    options = parser.parse_args(arguments)
    if options.here:
        os.chdir(ROOT)
        chosen = drawn(options.count, options.seed, options.modules)[options.skip :]
        return 0 if show(chosen, options.tests) else 1
    with tempfile.TemporaryDirectory() as folder:
        for name in ("operator", "tests", "examples", "docs", "crds"):
            shutil.copytree(ROOT / name, Path(folder) / name)
        shutil.copy(ROOT / "pyproject.toml", folder)
        paths = [str(Path(folder) / name) for name in ("operator", "tests")]
        done = subprocess.run(
            [sys.executable, "-m", "bench.mutants", "--here", *arguments],
            cwd=Path(folder) / "tests",
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HYPOTHESIS_PROFILE": "first"},
            check=False,
        )
        return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
