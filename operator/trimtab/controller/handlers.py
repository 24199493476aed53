"""The kopf handlers: they feed the mirror, and nothing else happens in them."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import kopf

from trimtab.controller.beats import WATCHING
from trimtab.controller.context import Context
from trimtab.controller.session import login_with
from trimtab.observe.kinds import WATCHED, Kind

Login = Callable[[], kopf.ConnectionInfo]
_Handler = Callable[..., Coroutine[Any, Any, None]]


def build_registry(context: Context, login: Login) -> kopf.OperatorRegistry:
    """Return a registry of our own, so that several operators can live in one process."""
    registry = kopf.OperatorRegistry()
    for watched in WATCHED:
        group, _, version = watched.api_version.rpartition("/")
        on = kopf.on.event(group, version, watched.plural, id=watched.kind, registry=registry)
        on(_observer(context, watched.kind))
    fatal = kopf.ErrorsMode.PERMANENT  # a process that cannot log in ends, and says so
    kopf.on.login(errors=fatal, registry=registry)(login_with(context, login))
    kopf.on.startup(registry=registry)(_heart(context))
    return registry


def _observer(context: Context, kind: Kind) -> _Handler:
    async def observe(event: kopf.RawEvent, **_: object) -> None:
        if context.store.observe(kind, event["type"], event["object"]):
            context.wake.set()

    return observe


def _heart(context: Context) -> _Handler:
    tasks: set[asyncio.Task[None]] = set()

    async def startup(**_: object) -> None:
        tasks.add(asyncio.create_task(_beat(context), name="heart of the watch loop"))

    return startup


async def _beat(context: Context) -> None:
    """Show that the event loop turns; kopf would wait for a task that goes on."""
    while not context.stop.is_set():
        context.beats.beat(WATCHING)
        await asyncio.sleep(0.5)
