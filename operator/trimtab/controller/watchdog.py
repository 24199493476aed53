"""Ends the process when a part of it is stuck or dead: a restart is better than a zombie."""

from collections.abc import Callable, Iterator

import structlog

from trimtab.config import OperatorConfig
from trimtab.controller.beats import (
    ELECTING,
    LEADING,
    LISTING,
    PLANNED,
    PLANNING,
    WATCHING,
    Beats,
    watch_of,
)
from trimtab.controller.context import Context
from trimtab.controller.settings import WATCH_S
from trimtab.observe.kinds import WATCHED

CHECK_S = 1.0
PLANNING_S = 60.0
"""Longest silence of the planning loop; it beats at every step and every write."""
WATCHING_S = 30.0
ELECTING_S = 30.0
RECONNECT_S = 120.0
"""Time in which a watcher must have come back; kopf notices a silent stream after 70 s."""
READY_CYCLES = 5
"""Periods without a good cycle after which the process says that it is not ready."""

_log = structlog.get_logger(__name__)


def limits(config: OperatorConfig) -> dict[str, float]:
    """Return the longest silence, in seconds, of each part of a process that leads."""
    watches = {watch_of(watched.kind): WATCH_S + RECONNECT_S for watched in WATCHED}
    return watches | {
        PLANNING: max(PLANNING_S, 4 * config.period_s),
        WATCHING: WATCHING_S,
        ELECTING: ELECTING_S,
        LISTING: 3 * config.resync_s + RECONNECT_S,
    }


def overdue(beats: Beats, limits: dict[str, float]) -> Iterator[str]:
    """Yield a sentence for each part that is silent for too long.

    Parts other than the elector begin with the lead; while another process leads, they may rest.
    """
    for name, limit in limits.items():
        age = beats.age(name)
        age = beats.age(LEADING) if age is None else age
        if age is not None and age > limit:
            yield f"{name}: no sign of life for {age:.0f} s, the limit is {limit:.0f} s"


def unready(context: Context) -> Iterator[str]:
    """Yield why the process is not ready to be relied on; one that stands by is ready."""
    beats = context.beats
    yield from overdue(beats, limits(context.config))
    if beats.age(LEADING) is None:
        if beats.age(ELECTING) is None:
            yield "the lease has not been asked for yet"
        return
    for watched in WATCHED:
        if beats.age(watch_of(watched.kind)) is None:
            yield f"{watched.kind} is not watched yet"
    age, limit = beats.age(PLANNED), READY_CYCLES * context.config.period_s
    if age is None:
        yield "no plan has been made yet"
    elif age > limit:
        yield f"the last good plan is {age:.0f} s old"


def watch_over(context: Context, end: Callable[[], None]) -> None:
    """Check all parts until the process stops; call `end` once when one of them is overdue."""
    allowed = limits(context.config)
    while not context.stop.wait(CHECK_S):
        problems = list(overdue(context.beats, allowed))
        if problems:
            _log.critical("the process is stuck and ends", problems="; ".join(problems))
            end()
            return
