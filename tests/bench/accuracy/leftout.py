"""What a family of models would see that no constant has seen: the fit repeated without it.

`python -m bench.accuracy.leftout` in tests/ fits step times and first tokens again without each
family's steps and deployments (some minutes each) and writes how its rows are predicted then to
tests/bench/data/left_out.csv.gz, which docs/accuracy.md shows.
"""

import csv
import gzip
import sys

from bench.accuracy import constants, evidence, fit, grid, silicon
from bench.accuracy.files import DATA, rows
from bench.accuracy.score import Score, score

FILE = "left_out"
FAMILIES = {
    "Llama": ("Llama-",),
    "gpt-oss": ("gpt-oss",),
    "DeepSeek, Kimi, GLM-5": ("DeepSeek", "Kimi", "GLM-5"),
    "Qwen": ("Qwen",),
}
"""By the starts of the names of their models; latent attention is in one family alone."""


def found() -> dict[str, Score]:
    """Return what was written, by family and what is predicted."""
    return {
        f"{row['family']}|{row['kind']}": Score(
            count=int(row["count"]),
            median=float(row["median"]),
            p90=float(row["p90"]),
            bias=float(row["bias"]),
        )
        for row in rows(FILE)
    }


def main() -> None:
    """Fit without each family and write what it sees."""
    lines = []
    for family, starts in FAMILIES.items():
        for kind, found in _without(starts).items():
            lines.append([family, kind, found.count, found.median, found.p90, found.bias])
            sys.stdout.write(f"{family}, {kind}: {found}\n")
            sys.stdout.flush()
    with gzip.open(DATA / f"{FILE}.csv.gz", "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["family", "kind", "count", "median", "p90", "bias"])
        writer.writerows(lines)


def _without(starts: tuple[str, ...]) -> dict[str, Score]:
    steps, first = constants.of_steps(), constants.of_first_tokens()
    with fit.restored(steps + first):
        fit.fitted(steps, evidence.of_steps(starts))
        fit.fitted(first, evidence.of_first_tokens(starts))
        points = [
            one
            for one in silicon.points()[0]
            if one.deployment.request.geometry.name.startswith(starts)
        ]
        cells = [cell for cell in grid.cells() if cell.geometry.name.startswith(starts)]
        found = {
            "TPOT": silicon.tpot(points),
            "TTFT below saturation": silicon.ttft(points),
            "steps": [pair for cell in cells for pair in cell.pairs()],
        }
        return {kind: score(pairs) for kind, pairs in found.items() if pairs}


if __name__ == "__main__":
    main()
