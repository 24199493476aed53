"""Scores forecasts of the largest rate ahead against four baselines and writes docs/forecast.md.

Run it as `python -m bench.forecast` in tests/; it takes minutes.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench.forecast.page import page
from bench.forecast.score import scores_of
from bench.forecast.series import Floats, every_series
from bench.forecast.shift import absorbed_min

PAGE = Path(__file__).parents[3] / "docs" / "forecast.md"
SHIFTS = ((2.0, 4.0), (4.0, 2.0), (5.0, 20.0), (20.0, 5.0), (50.0, 75.0), (0.0, 5.0))


def main(arguments: Sequence[str]) -> int:
    """Score every series, print the page and write it; `--print` leaves the file alone."""
    series = every_series()
    rates: list[Floats] = [one.rates for one in series]
    with ProcessPoolExecutor(max_workers=2) as pool:
        scores = list(pool.map(scores_of, rates))
        taken = list(pool.map(absorbed_min, *zip(*SHIFTS, strict=True)))
    text = page(list(zip(series, scores, strict=True)), dict(zip(SHIFTS, taken, strict=True)))
    sys.stdout.write(text)
    if "--print" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
