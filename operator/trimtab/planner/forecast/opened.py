"""Arrays of what states remember, kept from one plan to the next.

To make them of the rows of a thousand states took as long as all that is worked out with them, and
three plans of four change nothing in them. No answer depends on what is kept.
"""

from collections.abc import Sequence
from operator import attrgetter, is_
from typing import TypeAlias

import numpy as np

from trimtab.models.forecast import ForecastState
from trimtab.planner.forecast.arrays import Floats

FIELDS = ("levels", "moves", "biases", "errors", "widths", "counts", "jumps", "losses")
"""What a minute changes, and nothing between two of them."""
Arrays: TypeAlias = tuple[Floats, ...]
"""One for each of FIELDS, with a row for each state."""
_read = attrgetter(*FIELDS)
_known: dict[int, tuple[ForecastState, Arrays, int]] = {}
"""By identity of what a state counts: the state, the arrays and its row in them."""


def opened(states: Sequence[ForecastState]) -> Arrays:
    """Return arrays of `states`, which have counted something; they are the caller's to change."""
    found = [_known.get(id(state.counts)) for state in states]
    rows, arrays = [], None
    for state, known in zip(states, found, strict=True):
        if known is None or not all(map(is_, _read(known[0]), _read(state))):
            break
        if arrays is not None and known[1] is not arrays:
            break
        arrays = known[1]
        rows.append(known[2])
    else:
        if arrays is not None:
            return tuple(array[rows] for array in arrays)
    return tuple(np.array(column) for column in zip(*map(_read, states), strict=True))


def keep(states: Sequence[ForecastState], arrays: Arrays) -> None:
    """Keep the arrays of `states`, which nobody changes any more."""
    for row, state in enumerate(states):
        _known[id(state.counts)] = state, arrays, row


def forget() -> None:
    """Keep nothing any more."""
    _known.clear()
