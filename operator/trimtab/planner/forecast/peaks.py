"""From what is remembered of a rate to quantiles of its maximum."""

from collections.abc import Sequence

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast.book import Book, open_share, shape_of
from trimtab.planner.forecast.constants import STALE_S, YOUNG_MINUTES
from trimtab.planner.forecast.opened import forget, keep
from trimtab.planner.forecast.outlook import Outlook


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
    known = _known.get(id(state))
    if known is None or known[0] is not state:
        look([state])
        known = _known[id(state)]
    return known[1].largest(q, age + horizon_s)


_known: dict[int, tuple[ForecastState, Outlook]] = {}
"""Outlooks of the states that were looked at last, by identity: no answer depends on it."""


def look(states: Sequence[ForecastState]) -> None:
    """Work out at once what `ahead` will be asked about `states`: one by one takes longer."""
    alike: dict[tuple[float, ...], list[ForecastState]] = {}
    for state in states:
        if state.closed >= YOUNG_MINUTES:
            share = open_share(state.at, state.closed_at)
            alike.setdefault((share, *shape_of(state)), []).append(state)
    books = [(group, Book(group)) for group in alike.values()]
    _known.clear()
    forget()
    for group, book in books:
        keep(group, book.arrays())
        for state, outlook in zip(group, book.outlooks(), strict=True):
            _known[id(state)] = state, outlook
