"""What the time of day adds: forecasts with and without it, on real days and on made-up ones."""

import numpy as np

from bench.forecast.score import LEVELS, forecast, largest, minutes_of, pinball
from bench.forecast.series import MINUTE_S, Floats, Series

AHEAD = (10, 30)
"""Minutes: to a Ready replica, and to one whose node has to be bought."""
DAYS = 3
_SPREAD = 0.15
"""Deviation of a day's whole level, in logarithms: no two days are alike."""


def made_up(seed: int = 3) -> list[Series]:
    """Return Poisson arrivals of courses that are the same every day, but for the day's level."""
    rng = np.random.default_rng(seed)
    hour = np.arange(DAYS * 1440) % 1440 / 60.0
    level = np.repeat(np.exp(rng.normal(0.0, _SPREAD, DAYS)), 1440)
    late = np.repeat(rng.normal(0.0, 5.0 / 60.0, DAYS), 1440)
    climb = np.clip(hour - 8.0, 0.0, 1.0) * np.clip((19.0 - hour) / 1.5, 0.0, 1.0)
    courses = {
        "all day alike": np.full(len(hour), 5.0),
        "a cosine from 2 to 12/s": 7.0 - 5.0 * np.cos(2.0 * np.pi * hour / 24.0),
        "2/s, climbs to 12/s from 8 to 9": 2.0 + 10.0 * climb,
        "2/s, jumps to 12/s at half past 8, give or take 5 min": np.where(
            (hour >= 8.5 + late) & (hour < 18.0 + late), 12.0, 2.0
        ),
    }
    return [
        Series(group="made up", name=name, rates=rng.poisson(rate * level * MINUTE_S) / MINUTE_S)
        for name, rate in courses.items()
    ]


def added(rates: Floats) -> Floats:
    """Return our loss over the one without days, by horizon of `AHEAD` and level."""
    scored = minutes_of(rates, AHEAD[-1])
    truth = np.column_stack([largest(rates, horizon)[scored] for horizon in AHEAD])
    known, blank = (
        pinball(truth, forecast(rates, scored, AHEAD, days=days), LEVELS) for days in (True, False)
    )
    return np.asarray(known / blank)
