"""Quantiles from every forecaster, and their pinball loss and coverage on one series."""

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.forecast.baselines import BASELINES
from bench.forecast.series import MINUTE_S, Floats
from trimtab.models.forecast import DayState, ForecastState
from trimtab.planner.forecast import ahead, observe

Minutes = NDArray[np.int64]

HORIZONS = (1, 5, 10)
"""Minutes."""
LEVELS = (0.5, 0.9, 0.98)
OURS = "Trimtab"
START = 15
"""Minutes that every forecaster sees before it is scored."""
LONG = 2000
"""Minutes from which on a series is one of days."""
_STEP = 7
"""Of a long series every seventh minute is scored: prime to hours and to windows."""
_EPOCH = 1_699_833_600.0
"""A Monday, so that a series of days has no weekend: nobody says when they were recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Of one series; arrays by horizon and level, (3, 3)."""

    minutes: int
    mean_rps: float
    losses: dict[str, Floats]
    """Mean pinball loss by forecaster, requests/s."""
    coverage: Floats
    """Share of maxima at or below our quantile."""

    def best(self) -> Floats:
        """Return the loss of the best baseline."""
        return np.asarray(np.min([self.losses[name] for name in BASELINES], axis=0))

    def ratio(self) -> Floats:
        """Return our loss over that of the best baseline."""
        return np.asarray(self.losses[OURS] / self.best())

    def against_last(self) -> Floats:
        """Return our loss over that of the last value."""
        return np.asarray(self.losses[OURS] / self.losses["last value"])


def scores_of(rates: Floats) -> Scores:
    """Return the scores of every forecaster on `rates`, requests/s of each minute, (n,)."""
    scored = minutes_of(rates)
    truth = np.column_stack([largest(rates, horizon)[scored] for horizon in HORIZONS])
    ours = forecast(rates, scored)
    losses = {OURS: pinball(truth, ours, LEVELS)}
    for name, says in BASELINES.items():
        said = says(rates, HORIZONS)
        quantiles = [
            residual_quantiles(rates, said[:, at], horizon, scored)
            for at, horizon in enumerate(HORIZONS)
        ]
        losses[name] = pinball(truth, np.stack(quantiles, axis=1), LEVELS)
    return Scores(
        minutes=len(rates),
        mean_rps=float(rates.mean()),
        losses=losses,
        coverage=np.asarray((truth[:, :, None] <= ours).mean(axis=0)),
    )


def minutes_of(rates: Floats, longest: int = HORIZONS[-1]) -> Minutes:
    """Return the minutes at which forecasts of up to `longest` minutes are scored."""
    step = _STEP if len(rates) > LONG else 1
    return np.arange(START, len(rates) - longest, step, dtype=np.int64)


def largest(rates: Floats, horizon: int) -> Floats:
    """Return the largest rate of the `horizon` minutes after each; nan where they are not all."""
    found = np.full(len(rates), np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(rates[1:], horizon)
    found[: len(windows)] = windows.max(axis=1)
    return found


def forecast(
    rates: Floats, scored: Minutes, horizons: Sequence[int] = HORIZONS, *, days: bool = True
) -> Floats:
    """Return our quantiles at the minutes `scored`, (n, horizons, levels).

    Without `days`: as if no time of day told anything.
    """
    state, rows, wanted = ForecastState(), [], set(scored.tolist())
    for at, rate in enumerate(rates.tolist()):
        now = _EPOCH + MINUTE_S * at
        state = observe(state, now=now, rps=rate)
        if not days:
            state = replace(state, day=DayState())
        if at in wanted:
            rows.append(
                [
                    [ahead(state, now=now, horizon_s=MINUTE_S * h, q=q) for q in LEVELS]
                    for h in horizons
                ]
            )
    return np.array(rows, dtype=np.float64)


def residual_quantiles(rates: Floats, said: Floats, horizon: int, scored: Minutes) -> Floats:
    """Return quantiles of a baseline: what it said, and the errors that it has made so far.

    Errors are those of the maximum over the very horizon, in square roots, all that are known by
    then, weighted alike.
    """
    errors = np.sqrt(largest(rates, horizon)) - np.sqrt(said)
    wanted, known, rows = set(scored.tolist()), list[float](), []
    for at in range(len(rates)):
        if at >= horizon:
            insort(known, float(errors[at - horizon]))
        if at in wanted:
            rows.append([max(0.0, said[at] ** 0.5 + _quantile(known, q)) ** 2 for q in LEVELS])
    return np.array(rows)


def _quantile(ordered: list[float], q: float) -> float:
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def pinball(truth: Floats, said: Floats, levels: Sequence[float]) -> Floats:
    """Return the mean loss by horizon and level of what was said, (n, horizons, levels)."""
    off = truth[:, :, None] - said
    return np.asarray(
        np.maximum(np.array(levels) * off, (np.array(levels) - 1.0) * off).mean(axis=0)
    )
