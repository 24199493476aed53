"""The health and metrics endpoints, on an event loop of their own, so a stuck process answers."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from trimtab.controller.beats import LISTING, watch_of
from trimtab.controller.context import Context
from trimtab.errors import InvalidInput
from trimtab.observe.kinds import WATCHED

Problems = Callable[[], Iterable[str]]
_Handler = Callable[[web.Request], Awaitable[web.Response]]


async def serve(context: Context, alive: Problems, ready: Problems) -> None:
    """Serve until the process stops.

    Args:
        context: The addresses, and what is exported.
        alive: Why the process should be restarted; nothing when it should not.
        ready: Why it cannot be relied on; nothing when it can.

    Raises:
        InvalidInput: A port cannot be had.
    """
    config = context.config
    health = web.Application()
    health.add_routes([web.get("/healthz", _answer(alive)), web.get("/readyz", _answer(ready))])
    metrics = web.Application()
    metrics.add_routes([web.get("/metrics", _exposed(context))])
    runners = [web.AppRunner(each, access_log=None) for each in (health, metrics)]
    ports = (("--health-port", config.health_port), ("--metrics-port", config.metrics_port))
    try:
        for runner, (flag, port) in zip(runners, ports, strict=True):
            await runner.setup()
            try:
                await web.TCPSite(runner, config.bind_address, port).start()
            except OSError as error:
                remedy = f"Choose another one with {flag}"
                raise InvalidInput(flag, f"port {port} cannot be had ({error})", remedy) from error
        while not context.stop.is_set():
            await asyncio.sleep(0.1)
    finally:
        for runner in runners:
            await runner.cleanup()


def _answer(problems: Problems) -> _Handler:
    async def answer(_: web.Request) -> web.Response:
        found = list(problems())
        return web.Response(text="\n".join(found) or "ok", status=503 if found else 200)

    return answer


def _exposed(context: Context) -> _Handler:
    async def metrics(_: web.Request) -> web.Response:
        for watched in WATCHED:
            age = context.beats.age(watch_of(watched.kind))
            if age is not None:
                context.metrics.watch_age.labels(kind=watched.kind).set(age)
        age = context.beats.age(LISTING)
        if age is not None:
            context.metrics.list_age.set(age)
        body = generate_latest(context.metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return metrics
