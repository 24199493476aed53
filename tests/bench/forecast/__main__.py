"""Scores forecasts of the largest rate ahead against four baselines and writes docs/forecast.md.

Run it as `python -m bench.forecast` in tests/; it takes minutes.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bench.forecast.daily import added, made_up
from bench.forecast.floor import floor_of
from bench.forecast.page import Findings, page
from bench.forecast.score import LONG, scores_of
from bench.forecast.series import Floats, Series, every_series
from bench.forecast.shift import absorbed_min
from bench.forecast.young import young

PAGE = Path(__file__).parents[3] / "docs" / "forecast.md"
SHIFTS = ((2.0, 4.0), (4.0, 2.0), (5.0, 20.0), (20.0, 5.0), (50.0, 75.0), (0.0, 5.0))

YOUNG = ("ServeGen", "ServeGen clients")
"""Groups of series that are long enough to be read in pieces."""


def main(arguments: Sequence[str]) -> int:
    """Score every series, print the page and write it; `--print` leaves the file alone."""
    series, days = every_series(), made_up()
    days += [one for one in series if len(one.rates) > LONG]
    services = [one for one in series if one.group in YOUNG]
    drawn = [(one.name, one.draw) for one in series if one.draw is not None]
    with ProcessPoolExecutor(max_workers=2) as pool:
        scores = pool.map(scores_of, [one.rates for one in series])
        floors = pool.map(floor_of, [draw for _, draw in drawn])
        ratios = pool.map(added, [one.rates for one in days])
        losses = list(pool.map(young, [one.rates for one in services]))
        taken = pool.map(absorbed_min, *zip(*SHIFTS, strict=True))
        text = page(
            Findings(
                scored=list(zip(series, scores, strict=True)),
                floors=dict(zip([name for name, _ in drawn], floors, strict=True)),
                young={group: _joined(group, services, losses) for group in YOUNG},
                daily=dict(zip([one.name for one in days], ratios, strict=True)),
                shifts=dict(zip(SHIFTS, taken, strict=True)),
            )
        )
    sys.stdout.write(text)
    if "--print" not in arguments:
        PAGE.write_text(text, encoding="utf-8")
    return 0


def _joined(group: str, services: Sequence[Series], losses: Sequence[Floats]) -> Floats:
    """Return the losses of all pieces of the services of one group."""
    mine = [found for one, found in zip(services, losses, strict=True) if one.group == group]
    return np.concatenate(mine)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
