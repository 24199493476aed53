"""From what is remembered of a rate to quantiles of its maximum."""

import numpy as np

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast.book import Book, Outlook
from trimtab.planner.forecast.constants import ANCHORS, MINUTE_S, STALE_S, YOUNG_MINUTES
from trimtab.planner.kept import Kept


def ahead(state: ForecastState, *, now: float, horizon_s: float, q: float) -> float | None:
    """Return quantile `q` of the largest rate in (`now`, `now` + `horizon_s`], requests/s.

    A rate is one over a minute. Falls neither with `q` nor with `horizon_s`; half an hour stands
    for all beyond. None: too little was measured, or too long ago, for an opinion.
    """
    if state.at is None or state.closed < YOUNG_MINUTES:
        return None
    age = max(0.0, now - state.at)
    if age > STALE_S:
        return None
    outlook = _last.answer(None, (state,), lambda: Book(state).outlook())
    largest = np.maximum.accumulate(outlook.quantile(q))
    return float(np.interp((age + horizon_s) / MINUTE_S, ANCHORS, largest))


_last: Kept[None, Outlook] = Kept()
"""Whoever asks for one quantile asks for another of the same state next."""
