"""One HTTP request that ends in time and fits in memory, whatever the other end does."""

import contextlib
import queue
import socket
import threading
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from trimtab.errors import Unavailable

MAX_BODY_BYTES = 24 * 2**20
"""The buckets of a variant are 3.4 KiB of an answer (tests/bench/observe): 7,000 variants fit."""

_CHUNK = 64 * 1024
_Answer = TypeVar("_Answer")


class Unreadable(Exception):
    """What came is no answer that is read, however often it comes."""


class _Guard:
    """The sockets of one query, which are shut when its time is over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.over = threading.Event()
        self._sockets: list[socket.socket] = []

    def watch(self, connection: socket.socket) -> None:
        # A duplicate, because TLS takes the original apart. Shutting one shuts the connection.
        duplicate = connection.dup()
        with self._lock:
            self._sockets.append(duplicate)
            if not self.over.is_set():
                return
        self.end()

    def end(self) -> None:
        with self._lock:
            self.over.set()
            sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):  # it may be closed already
                each.shutdown(socket.SHUT_RDWR)
            each.close()


_OF_THREAD = threading.local()


def within(seconds: float, what: str, ask: Callable[[], _Answer]) -> _Answer:
    """Return what `ask` returns or raises, and wait no longer than `seconds` for it.

    `ask` runs in a thread of its own. When the time is over its sockets are shut, so that it ends.

    Raises:
        Unavailable: It took longer; `what` is who did not answer.
    """
    outcome: queue.SimpleQueue[Callable[[], _Answer]] = queue.SimpleQueue()
    guard = _Guard()

    def run() -> None:
        _OF_THREAD.guard = guard
        try:
            answer = ask()
        except Exception as error:
            outcome.put(_raising(error))
        else:
            outcome.put(lambda: answer)

    threading.Thread(target=run, name="prometheus-query", daemon=True).start()
    try:
        return outcome.get(timeout=seconds)()
    except queue.Empty:
        raise Unavailable(f"{what} did not answer within {seconds:g} s") from None
    finally:
        guard.end()


def is_over(wait_s: float) -> bool:
    """Return whether the time of the request in hand ends within `wait_s`, and wait till then.

    For the thread that `within` runs `ask` in.
    """
    over: bool = _OF_THREAD.guard.over.wait(wait_s)
    return over


def _raising(error: Exception) -> Callable[[], Any]:
    def again() -> Any:
        raise error

    return again


class _PlainConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _OF_THREAD.guard.watch(connection)
        return connection


class _TlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        _OF_THREAD.guard.watch(connection)
        return connection


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Session(requests.Session):
    """Sends what it is told through one adapter, and adds nothing of the environment."""

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)


class Adapter(HTTPAdapter):
    """Reads at most `MAX_BODY_BYTES` of an answer, and keeps it and its status.

    The headers are left behind: what the caller gets has no Location to follow.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        self.status = 0
        self.body = b""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make connections whose sockets can be shut from outside."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}

    def send(  # the signature is that of requests
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send, and return an answer that is read already."""
        answer = super().send(request, True, timeout, verify, cert, proxies)
        self.status = answer.status_code
        with answer.raw as raw:
            self.body = _read(raw)
        whole = HTTPResponse(
            body=BytesIO(self.body), status=answer.status_code, preload_content=False
        )
        return self.build_response(request, whole)


def _read(raw: HTTPResponse) -> bytes:
    """Return the whole body, unpacked where a proxy has packed it although nobody asked for that.

    Neither form is ever longer in memory than `MAX_BODY_BYTES`, and a chunk.
    """
    encoding = raw.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", "gzip"):
        raise Unreadable(f"the answer is packed as {encoding!r}, which was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    try:
        while chunk := raw.read(_CHUNK, decode_content=False):
            body += chunk if unpack is None else unpack.decompress(chunk, MAX_BODY_BYTES)
            if len(body) > MAX_BODY_BYTES or (unpack is not None and unpack.unconsumed_tail):
                raise Unreadable(f"the answer is longer than {MAX_BODY_BYTES} bytes")
    except Exception as error:
        # The error's traceback holds this frame, until somebody looks for garbage.
        body.clear()
        if isinstance(error, zlib.error):
            raise Unreadable(f"the answer is no {encoding}: {error}") from error
        raise
    if unpack is not None and not unpack.eof:
        raise Unreadable("the answer is cut short")
    return bytes(body)
