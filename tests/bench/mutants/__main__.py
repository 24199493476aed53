"""Puts bugs into the planner, one at a time, and counts those that its tests see.

Run in tests/: `python -m bench.mutants [--count N] [--seed S] [--jobs J]`. Bugs are drawn evenly
over the kinds; whatever lives is named with its line. Asserts nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

from bench.mutants.changes import KINDS, Mutant, mutants

ROOT = Path(__file__).parents[3]
PLANNER = ROOT / "operator" / "trimtab" / "planner"
MODULES = (
    "case", "demand", "evenly", "evidence", "foresight", "history", "moves", "outcome", "place",
    "settle", "shortage", "starts", "wishes",
)  # fmt: skip
"""What decides; the solver's modules are held by brute force and by their bound."""
TESTS = ("tests/unit/planner", "tests/golden", "tests/property/test_planner_machine.py")
LONGEST_S = 900.0


def drawn(count: int, seed: int) -> list[Mutant]:
    """Return `count` bugs, as many of each kind as there are, in an order that the seed decides."""
    dice = Random(seed)
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    for module in MODULES:
        for mutant in mutants(module, (PLANNER / f"{module}.py").read_text(encoding="utf-8")):
            by_kind[mutant.kind].append(mutant)
    for found in by_kind.values():
        dice.shuffle(found)
    chosen: list[Mutant] = []
    while len(chosen) < count and any(by_kind.values()):
        for kind in KINDS:
            if by_kind[kind] and len(chosen) < count:
                chosen.append(by_kind[kind].pop())
    return chosen


def is_killed(mutant: Mutant) -> bool:
    """Return whether a test fails, or does not end, with the bug in place."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "trimtab"
        shutil.copytree(ROOT / "operator" / "trimtab", package)
        (package / "planner" / f"{mutant.module}.py").write_text(mutant.source, encoding="utf-8")
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *TESTS,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=LONGEST_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0


def main(arguments: list[str]) -> None:
    """Print one line for each bug and the share that was seen, by kind."""
    parser = argparse.ArgumentParser(prog="bench.mutants", description=__doc__)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    chosen = drawn(options.count, options.seed)
    killed: dict[str, list[bool]] = defaultdict(list)
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutant, dead in zip(chosen, pool.map(is_killed, chosen), strict=True):
            killed[mutant.kind].append(dead)
            word = "seen " if dead else "LIVES"
            sys.stdout.write(f"{word} {mutant.kind:20} {mutant.module}.py:{mutant.line}\n")
            sys.stdout.flush()
    for kind, seen in killed.items():
        sys.stdout.write(f"{sum(seen)} of {len(seen)} {kind}\n")
    every = [one for seen in killed.values() for one in seen]
    sys.stdout.write(
        f"{sum(every)} of {len(every)} bugs are seen ({sum(every) / len(every):.0%})\n"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
