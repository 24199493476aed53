"""For how long what was asked holds replicas: as long as it has been seen to come back.

A window is for demand that falls and returns before a replica in place of one that went could
serve. How far back that reaches is a matter of the traffic, and its own last hour tells. Where it
comes back from one minute to the next, again and again, no window is long enough, and a longer one
keeps replicas that would be asked for anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from trimtab.models.forecast import Row
from trimtab.planner.forecast.arrays import Floats
from trimtab.planner.forecast.constants import MINUTE_S
from trimtab.planner.foresight import NOTICED

MINUTES = 20
"""Fewest minutes that must have shown what came after them."""
COMES_BACK = 1.0 / MINUTES
"""Largest share of them after which more came back than a shorter window would have kept."""
MET = 1.1
"""Times what was kept that the headroom meets."""
LEAPS = 0.2
"""Share of the minutes from which on, where more came back in the next, demand is said to leap."""
LEAPT_MINUTES = 10
"""Fewest minutes that say so: two leaps are luck no more."""
LEAPING = 3.0
"""Windows for which is kept what is asked where demand leaps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is known of one deployment."""

    rates: Row
    """Of its last minutes without a gap, oldest first, requests/s."""
    ahead_s: float
    """Time until a replica that is asked for serves."""
    window_s: float
    """Time that is looked back at where nothing is known: the longest."""


def recalls(pasts: Sequence[Past]) -> list[float]:
    """Return, for each, for how many of the last seconds the most that was asked is kept.

    The fewest minutes for which in one minute of MINUTES, at most, the demand came back until a
    replica would have served: beyond what they had seen, and no further than the whole window had.
    LEAPING windows where it leaps. All at once: one by one it would take several times as long.
    """
    found = [past.window_s for past in pasts]
    alike: dict[tuple[int, int, int], list[int]] = {}
    for i, past in enumerate(pasts):
        ahead, most = -int(-past.ahead_s // MINUTE_S), int(past.window_s // MINUTE_S)
        if most and len(past.rates) - most >= LEAPT_MINUTES:
            alike.setdefault((len(past.rates), ahead, most), []).append(i)
    for (count, ahead, most), members in alike.items():
        rates = np.array([pasts[i].rates for i in members])
        leaping = _short(rates, 1, most)[:, 0] >= LEAPS
        enough = np.full(len(members), most)
        if count - most - ahead + 1 >= MINUTES:
            enough = 1 + (_short(rates, ahead, most) <= COMES_BACK).argmax(axis=1)
        for i, leaps, minutes in zip(members, leaping.tolist(), enough.tolist(), strict=True):
            if leaps:
                found[i] = LEAPING * pasts[i].window_s
            elif minutes < most:
                found[i] = minutes * MINUTE_S
    return found


def _short(rates: Floats, ahead: int, most: int) -> Floats:
    """Return the share of minutes after which more came back than was kept.

    One row for each of `rates`, one column for each number of minutes kept, from 1 to `most`: kept
    is the largest rate of the last ones. What came in the `ahead` minutes after them has come back
    as far as all `most` had seen it, so that the last column is 0.
    """
    count = rates.shape[1] - most - ahead + 1
    after = sliding_window_view(rates[:, most:], ahead, axis=1).max(axis=2)
    known = sliding_window_view(rates, most, axis=1)[:, :count]
    kept = np.maximum.accumulate(known[:, :, ::-1], axis=2)
    came = np.minimum(after, kept[:, :, -1])[:, :, None]
    # What chance makes of two rates over a minute has not come back.
    chance = NOTICED * np.sqrt((came + kept) / MINUTE_S)
    return np.asarray((came > MET * kept + chance).mean(axis=1))
