"""The threads that turn for ever: the planning loop, and the LISTs that prune the mirror."""

from collections.abc import Callable

import structlog

from trimtab.actuate.connection import Connection
from trimtab.controller.beats import LISTING, PLANNED, PLANNING
from trimtab.controller.context import Context
from trimtab.errors import LostLeadership, Unavailable
from trimtab.observe.kinds import BY_KIND, Kind
from trimtab.observe.listing import list_foreign, list_kind, resync

FOREIGN_S = 60.0
"""Time between two looks at the devices that pods of others hold."""
RELIST_S = 1.0
"""Watchers that list anew within this time are answered together."""
RETRY_S = 2.0

_log = structlog.get_logger(__name__)


Run = Callable[[], bool]
"""One cycle: returns whether something was left for the next."""


def plan_for_ever(context: Context, run: Run) -> None:
    """Run a cycle on every wake and every period, one at a time, until the process stops.

    A cycle that fails is logged and counted, and the next one comes as if it had gone well.

    Raises:
        LostLeadership: The lease is gone.
    """
    config = context.config
    while not context.stop.is_set():
        again = _one(context, run)
        if again:
            continue
        if context.wake.wait(config.period_s):
            context.stop.wait(config.debounce_s)
        context.wake.clear()


def _one(context: Context, run: Run) -> bool:
    context.beats.beat(PLANNING)
    try:
        again = run()
    except LostLeadership:
        if context.stop.is_set():
            return False
        raise
    except Exception:
        context.metrics.cycles.labels(outcome="failed").inc()
        _log.exception("cycle failed")
        return False
    context.metrics.cycles.labels(outcome="ok").inc()
    context.beats.beat(PLANNED)
    return again


def list_first(context: Context, connection: Connection, patience_s: float = 60.0) -> None:
    """Fill the mirror before anything is decided.

    Raises:
        Unavailable: The lists could not be had within `patience_s`.
    """
    began = context.beats.clock()
    while not context.stop.is_set():
        try:
            resync(connection.dynamic, context.store, context.config.watch_namespaces)
        except Unavailable as error:
            if context.beats.clock() - began > patience_s:
                raise
            _log.warning("the cluster could not be listed yet", why=str(error))
            context.stop.wait(RETRY_S)
        else:
            context.beats.beat(LISTING)
            return


def list_for_ever(context: Context, connection: Connection) -> None:
    """LIST a kind whenever its watcher has, everything every resync, foreign pods in between."""
    while not context.stop.is_set():
        context.relist.wait(FOREIGN_S)
        context.stop.wait(RELIST_S)
        kinds = context.take_relisted()
        if context.stop.is_set():
            return
        try:
            matters = _list(context, connection, kinds)
        except Unavailable as error:
            _log.warning("the cluster could not be listed", why=str(error))
            for kind in kinds:
                context.watcher_listed(kind)
            context.stop.wait(RETRY_S)
        else:
            if matters:
                context.wake.set()


def _list(context: Context, connection: Connection, kinds: frozenset[Kind]) -> bool:
    """LIST what is due and return whether a plan could depend on what changed."""
    client, store, config = connection.dynamic, context.store, context.config
    age = context.beats.age(LISTING)
    if age is None or age >= config.resync_s:
        matters = resync(client, store, config.watch_namespaces)
        context.beats.beat(LISTING)
        return matters
    if not kinds:
        return list_foreign(client, store, config.watch_namespaces)
    matters = False
    for kind in sorted(kinds):
        listed = list_kind(client, BY_KIND[kind], config.watch_namespaces)
        matters |= store.replace(kind, listed.items, listed.resource_version)
    return matters
