"""Reads the pods' own metrics pages, where there is no Prometheus."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import aiohttp

from trimtab.config import OperatorConfig
from trimtab.observe.engines import Engine
from trimtab.observe.pages import Page, Stored, evaluate, names_of, parse
from trimtab.observe.readings import Place, Readings

MAX_PAGE_BYTES = 8 * 2**20
MAX_AT_ONCE = 32
"""Pages that are read at the same time."""
EARLY = 0.9
"""Share of the scrape interval after which a page is due: passes are not quite regular."""

_HEADERS = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One pod whose page is wanted."""

    place: Place
    address: str
    port: int
    engine: Engine

    @property
    def url(self) -> str:
        """Where the page is."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{host}:{self.port}{self.engine.page}"


@dataclass(slots=True, kw_only=True)
class _Known:
    """What is kept of one pod."""

    engine: Engine
    tried: float = float("-inf")
    pages: list[Page] = field(default_factory=list)
    failure: str | None = None


class Scraper:
    """The pages of all replicas over one window.

    A page takes `prometheus_timeout_s` at most from the connection to the last byte, a pass twice
    that: what is left over is read first in the next. Redirects are not followed, no answer is
    asked for again, and bodies over `MAX_PAGE_BYTES` are not read to their end.
    """

    def __init__(self, config: OperatorConfig, clock: Callable[[], float]) -> None:
        """Keep the settings and the clock, in Unix seconds; nothing is read yet."""
        self._config = config
        self._clock = clock
        self._known: dict[Place, _Known] = {}

    def readings(self, targets: Sequence[Target], now: float) -> Readings:
        """Read the pages that are due and return what those of the window say.

        Args:
            targets: The pods that are there.
            now: Unix seconds.
        """
        due = [each for each in targets if self._is_due(each, now)]
        due.sort(key=lambda each: self._known[each.place].tried)
        if due:
            asyncio.run(self._read(due, now))
        self._forget({each.place for each in targets}, now)
        return evaluate(self._stored(), self._failures(), now, self._config)

    def _is_due(self, target: Target, now: float) -> bool:
        known = self._known.get(target.place)
        if known is None or known.engine is not target.engine:
            known = self._known[target.place] = _Known(engine=target.engine)
        return not 0 <= now - known.tried < EARLY * self._config.scrape_interval_s

    async def _read(self, due: Sequence[Target], now: float) -> None:
        slots = asyncio.Semaphore(MAX_AT_ONCE)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers=_HEADERS,
            auto_decompress=False,
        ) as session:

            async def one(target: Target) -> None:
                async with slots:
                    known = self._known[target.place]
                    known.tried = now
                    known.failure = await self._fetch(session, target, known)

            tasks = [asyncio.create_task(one(each)) for each in due]
            await asyncio.wait(tasks, timeout=2 * self._config.prometheus_timeout_s)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _fetch(
        self, session: aiohttp.ClientSession, target: Target, known: _Known
    ) -> str | None:
        """Keep the page of `target`, or return why there is none."""
        limit_s = self._config.prometheus_timeout_s
        try:
            async with (
                asyncio.timeout(limit_s),
                session.get(target.url, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return f"{target.url} answers HTTP {answer.status}"
                if answer.headers.get("Content-Encoding", "identity") != "identity":
                    return f"{target.url} is compressed, which was not asked for"
                body = bytearray()
                async for chunk in answer.content.iter_chunked(2**16):
                    body += chunk
                    if len(body) > MAX_PAGE_BYTES:
                        return f"{target.url} is longer than {MAX_PAGE_BYTES} bytes"
            page = parse(body.decode(), names_of(target.engine), self._clock())
        except TimeoutError:
            return f"{target.url} did not answer within {limit_s:g} s"
        except (aiohttp.ClientError, OSError) as error:
            return f"{target.url} does not answer: {str(error)[:200] or type(error).__name__}"
        except ValueError as error:  # UnicodeDecodeError is one
            return f"{target.url} is no metrics page: {str(error)[:200]}"
        known.pages.append(page)
        return None

    def _forget(self, there: set[Place], now: float) -> None:
        """Drop pages from before the window, but each pod's last, and pods that left with it."""
        since = now - self._config.rate_window_s
        for place, known in list(self._known.items()):
            kept = [page for page in known.pages if since <= page.at <= now + 1.0]
            if place not in there and not kept:
                del self._known[place]
            else:
                known.pages = kept or known.pages[-1:]

    def _stored(self) -> Mapping[Place, Stored]:
        return {
            place: Stored(engine=known.engine, pages=tuple(known.pages))
            for place, known in self._known.items()
            if known.pages
        }

    def _failures(self) -> Mapping[Place, str]:
        return {
            place: known.failure
            for place, known in self._known.items()
            if known.failure is not None
        }
