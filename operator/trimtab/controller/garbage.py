"""When a process that keeps a whole fleet in memory looks for garbage."""

import gc

KEEP_EVERY_S = 600.0
"""Time after which all is looked through again."""
_YOUNGEST = 20_000
"""Objects more than before at which Python looks through the youngest. A plan makes hundreds of
thousands, of which most go by themselves: at Python's 700 the searches take a tenth of it."""
_NEVER = 1_000_000_000
"""Searches of what is young after which Python would look through all by itself."""


def keep() -> None:
    """Look through all for garbage, and take what is left out of the search: it lives on.

    Looking through it again and again would take a third of a pass over a large fleet
    (tests/bench/observe), and make every ninth plan twice as long as the others
    (tests/bench/planner). So from now on Python leaves it to this. It looks through what is young
    as ever, if less often, and most things go without a search, once nothing refers to them.
    """
    _, young, _ = gc.get_threshold()
    gc.set_threshold(_YOUNGEST, young, _NEVER)
    gc.unfreeze()
    gc.collect()
    gc.freeze()
