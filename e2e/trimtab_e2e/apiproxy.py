"""A proxy before the API server that counts an operator's writes and acts right after one landed.

The operator is not instrumented: it gets a kubeconfig that points here. Watches stream through.
"""

import asyncio
import base64
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

_WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """One mutating request that the API server has answered."""

    number: int
    """Counts from 1."""
    method: str
    path: str
    status: int


class ApiProxy:
    """Forwards to the API server of `kubeconfig` from a thread of its own.

    Args:
        kubeconfig: The client's kubeconfig, with a bearer token.
        folder: Where the client's changed kubeconfig is written.
        on_write: Called after a write landed and before the client learns of it.
    """

    def __init__(
        self, kubeconfig: Path, folder: Path, *, on_write: Callable[[Write], None] | None = None
    ) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._tls = _tls(cluster)
        self._document = document
        self._folder = folder
        self._on_write = on_write
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apiproxy", daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self._count = 0
        self.writes: list[Write] = []
        """Every write so far, in order."""
        self.kubeconfig = folder / "proxy.kubeconfig"

    def __enter__(self) -> Self:
        self._thread.start()
        port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(timeout=10)
        cluster = {"server": f"http://127.0.0.1:{port}"}
        document = {
            **self._document,
            "clusters": [{"name": self._document["clusters"][0]["name"], "cluster": cluster}],
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.write_text(yaml.safe_dump(document))
        self.kubeconfig.chmod(0o600)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(timeout=20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    async def _start(self) -> int:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
            auto_decompress=False,
        )
        app = web.Application(client_max_size=16 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._forward)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        body = await request.read()
        async with self._session.request(
            request.method, self._server + request.raw_path, headers=headers, data=body or None
        ) as answer:
            if request.method in _WRITES and "/leases" not in request.path:
                await answer.read()
                self._note(request, answer.status)
            response = web.StreamResponse(
                status=answer.status,
                headers={k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP},
            )
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
            except ConnectionError:
                pass  # The client is gone: a killed operator, or a watch that ended.
            return response

    def _note(self, request: web.Request, status: int) -> None:
        self._count += 1
        write = Write(number=self._count, method=request.method, path=request.path, status=status)
        self.writes.append(write)
        if self._on_write is not None:
            self._on_write(write)


def _tls(cluster: dict[str, Any]) -> ssl.SSLContext | bool:
    if not cluster["server"].startswith("https:"):
        return False
    if "certificate-authority-data" in cluster:
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    else:
        authority = Path(cluster["certificate-authority"]).read_text()
    return ssl.create_default_context(cadata=authority)
