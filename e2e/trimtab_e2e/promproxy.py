"""A proxy before Prometheus that answers as a test wants, or passes the answer on, or changes it.

The operator is not instrumented: its `--prometheus-url` points here.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

Document = dict[str, Any]
Upstream = Callable[[], Awaitable[Document]]
"""Asks Prometheus what the client asked, and returns the document of its answer."""
Fault = Callable[[web.Request, Upstream], Awaitable[web.StreamResponse]]
Series = dict[str, Any]
"""One series of an instant query: `metric`, the labels, and `value`, a time and a text."""

ELSEWHERE = "/elsewhere"
"""Where redirects point to; nothing may ever ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request that came in."""

    at: float
    """Monotonic seconds."""
    path: str
    query: str


class PrometheusProxy:
    """Passes queries on to the Prometheus at `target` from a thread of its own, unless told."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="promproxy")
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._session: aiohttp.ClientSession | None = None
        self.fault: Fault | None = None
        """What is done instead of passing a query on."""
        self.asked: list[Asked] = []
        """Every request so far, in order."""

    @property
    def url(self) -> str:
        """Where clients ask."""
        return f"http://127.0.0.1:{self._port}"

    def refuse(self) -> None:
        """Close the port: every connection is refused until `accept`."""
        self._run(self._close())

    def accept(self) -> None:
        """Open the port again."""
        self._run(self._open())

    def asked_since(self, moment: float) -> list[Asked]:
        """Return the requests after a moment of the monotonic clock."""
        return [each for each in self.asked if each.at > moment]

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    def _run(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=20)

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        # What a client has given up is given up here too: a black hole would keep its handlers.
        self._runner = web.AppRunner(app, shutdown_timeout=0.5, handler_cancellation=True)
        await self._runner.setup()
        await self._open()

    async def _open(self) -> None:
        assert self._runner is not None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await self._site.start()
        self._port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._site is not None:
            await self._site.stop()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        query = request.query.get("query", "")
        self.asked.append(Asked(at=time.monotonic(), path=request.path, query=query))

        async def pass_on() -> tuple[int, Document]:
            assert self._session is not None
            url = f"{self._target}{request.path}"
            async with self._session.get(url, params=request.query) as answer:
                return answer.status, await answer.json()

        async def upstream() -> Document:
            return (await pass_on())[1]

        if self.fault is not None:
            return await self.fault(request, upstream)
        status, document = await pass_on()
        return web.json_response(document, status=status)


# Faults of the way: nothing that Prometheus said arrives.


async def black_hole(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """Take the request and never answer."""
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits for so long")


async def drip(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """Answer truly, one byte a second: no single read ever times out."""
    body = json.dumps(await upstream()).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    for at in range(len(body)):
        await response.write(body[at : at + 1])
        await asyncio.sleep(1.0)
    return response


def answering(status: int, body: str, **headers: str) -> Fault:
    """Give every query the same answer; `Retry_After` is the header Retry-After."""

    async def fault(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=body, headers=names)

    return fault


async def elsewhere(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """Send the client away."""
    return web.Response(status=302, headers={"Location": f"{ELSEWHERE}?query=1"})


async def truncated(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """Answer half of what was announced, and cut the connection."""
    body = json.dumps(await upstream()).encode()
    response = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.Request, upstream: Upstream) -> web.StreamResponse:
    """Answer with 200 MB of series that nobody has."""
    one = json.dumps({"metric": {"pod": "x" * 1000}, "value": [1, "1"]}).encode() + b","
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b'{"status":"success","data":{"resultType":"vector","result":[')
    for _ in range(200 * 2**20 // (len(one) * 1000)):
        await response.write(one * 1000)
    return response


# Faults of the content: Prometheus answers, and says something else.


def saying(**more: Any) -> Fault:
    """Add members such as `warnings` to every true answer."""

    async def fault(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        return web.json_response(await upstream() | more)

    return fault


def changing(change: Callable[[str, Series], Series | None]) -> Fault:
    """Change every series of every answer; None drops it."""

    async def fault(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        document = await upstream()
        query = request.query.get("query", "")
        result = [change(query, series) for series in document["data"]["result"]]
        document["data"]["result"] = [series for series in result if series is not None]
        return web.json_response(document)

    return fault


def is_time(query: str, series: Series) -> bool:
    """Return whether a series says when its pod was last scraped."""
    return "timestamp(" in query and series["metric"].get("trimtab_part") == "seen"


def except_one_in(polls: int) -> Fault:
    """Answer with 503, but for one poll of so many; a poll is what comes within half a second."""
    state = {"poll": 0, "at": 0.0}

    async def fault(request: web.Request, upstream: Upstream) -> web.StreamResponse:
        now = time.monotonic()
        if now - state["at"] > 0.5:
            state["poll"] += 1
        state["at"] = now
        if state["poll"] % polls:
            return web.Response(status=503, text="no store is ready")
        return web.json_response(await upstream())

    return fault
