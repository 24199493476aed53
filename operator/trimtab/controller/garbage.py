"""When a process that keeps a whole fleet in memory looks for garbage."""

import gc

KEEP_EVERY_S = 600.0
"""Time after which all is looked through again."""


def keep() -> None:
    """Look through all for garbage, and take what is left out of the search: it lives on.

    Looking through it again and again would take a third of a pass over a large fleet
    (tests/bench/observe), and looking through what is young a sixth of a plan
    (tests/bench/planner). So from now on Python leaves both to whoever calls this, for when nobody
    waits. Most things go without a search, once nothing refers to them.
    """
    gc.disable()
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def sweep() -> None:
    """Look through what came since the last search."""
    gc.collect(1)
