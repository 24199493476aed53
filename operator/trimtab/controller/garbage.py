"""When a process that keeps a whole fleet in memory looks for garbage."""

import gc

KEEP_EVERY_S = 600.0
"""Time after which all is looked through again."""
_NEVER = 1_000_000_000
"""Searches of what is young after which Python would look through all by itself."""


def keep() -> None:
    """Look through all for garbage, and take what is left out of the search: it lives on.

    Looking through it again and again would take a third of a pass over a large fleet
    (tests/bench/observe), and make every ninth plan twice as long as the others
    (tests/bench/planner). So from now on Python leaves it to this. It looks through what is young
    as ever, and most things go without a search, once nothing refers to them.
    """
    youngest, young, _ = gc.get_threshold()
    gc.set_threshold(youngest, young, _NEVER)
    gc.unfreeze()
    gc.collect()
    gc.freeze()
