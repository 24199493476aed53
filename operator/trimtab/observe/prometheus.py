"""Asks Prometheus, within a deadline that holds whatever the other end does."""

import contextlib
import json
import math
import queue
import re
import socket
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.access import Access

MAX_BODY_BYTES = 24 * 2**20
"""The buckets of a variant are 3.4 KiB of an answer (tests/bench/observe): those of 7,000 fit."""
CONNECT_TIMEOUT_S = 3.0

_CHUNK = 64 * 1024
_ANYBODY = Access()
RETRY_AFTER_S = 0.25
"""Pause before a query is asked a second and last time, which its deadline covers too."""

_REFUSALS = frozenset({400, 422})
"""Prometheus itself answers so when it will not or cannot evaluate one query."""
_PASSING = frozenset({502, 503, 504})
"""What a gateway says while the server behind it is exchanged."""
_PARTIAL = re.compile(rb'"isPartial"\s*:\s*true')
"""VictoriaMetrics' words for an answer from some of its stores; a label's value is a string."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One series of an instant query."""

    labels: Mapping[str, str]
    value: float
    """As it came: NaN and infinities too; NaN where it was no number at all."""
    timestamp: float
    """When the query was evaluated, Unix seconds; not when the sample was scraped."""


class Refused(Unavailable):
    """This one query was not answered, or not wholly; the source is alive and others may work."""


class _Passing(Unavailable):
    """Nothing answered, which may be over in a moment."""


class MetricsSource(Protocol):
    """Where signals come from."""

    def query(self, expr: str) -> tuple[Sample, ...]:
        """Return the series of an instant query.

        Raises:
            Refused: The source answers, but not this query, or only in part.
            Unavailable: The source does not answer, or answers nonsense.
        """


class PrometheusSource:
    """A Prometheus server, or what speaks its HTTP API.

    A query takes `timeout_s` at most, from name resolution to the last byte: it runs in a thread
    of its own whose sockets are shut when the time is over, because a timeout on a socket alone
    bounds each read and not their sum. A connection that fails, and a gateway that has lost its
    server, are tried once more within that time; nothing else is (the next pass is soon enough,
    whatever Retry-After asks). Redirects are not followed, bodies over `MAX_BODY_BYTES` are not
    read, and proxies or credentials of the environment are not used.
    """

    def __init__(self, url: str, timeout_s: float, access: Access = _ANYBODY) -> None:
        """Keep the address and what lets us in; nothing is read or sent yet.

        Raises:
            InvalidInput: `url` is no HTTP URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(
                "prometheusUrl",
                f"{url!r} is no HTTP URL",
                "Write it like http://prometheus.monitoring:9090",
            )
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._access = access
        self._where = f"Prometheus at {parts.hostname}" + (f":{parts.port}" if parts.port else "")

    def query(self, expr: str) -> tuple[Sample, ...]:
        """Return the series of an instant query; see `MetricsSource`."""
        return _within(self._timeout_s, self._where, lambda: self._ask_twice(expr))

    def _ask_twice(self, expr: str) -> tuple[Sample, ...]:
        try:
            return self._ask(expr)
        except _Passing:
            if _OF_THREAD.guard.over.wait(RETRY_AFTER_S):
                raise
            return self._ask(expr)

    def _ask(self, expr: str) -> tuple[Sample, ...]:
        adapter = _Adapter()
        with _Session(adapter) as session:
            session.headers.update(self._access.headers())
            session.verify = self._access.verify()
            client = PrometheusConnect(self._url, session=session)
            session.mount(self._url, adapter)  # the client has put its own there
            try:
                result = client.custom_query(expr, timeout=(CONNECT_TIMEOUT_S, self._timeout_s))
                self._check_whole(adapter.body)
                return tuple(_samples(result))
            except PrometheusApiClientException as error:
                kind = Refused if adapter.status in _REFUSALS else Unavailable
                kind = _Passing if adapter.status in _PASSING else kind
                message = f"{self._where} answers HTTP {adapter.status}: {_reason(adapter.body)}"
                raise kind(message) from error
            except _Unreadable as error:
                raise Unavailable(f"{self._where}: {error}") from error
            except (requests.RequestException, HTTPError, OSError) as error:
                raise _Passing(f"{self._where} does not answer: {_cause(error)}") from error
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                raise Unavailable(f"{self._where} answers no query result") from error

    def _check_whole(self, body: bytes) -> None:
        """Refuse an answer that says of itself that it may be incomplete.

        Thanos and others answer from the stores that they reach, and warn of the rest.
        """
        if _PARTIAL.search(body):
            raise Refused(f"{self._where} says that its answer is partial")
        if b'"warnings"' not in body:
            return
        warnings = json.loads(body).get("warnings")
        if warnings:
            raise Refused(f"{self._where} warns: {str(warnings[0])[:200]}")


def _samples(result: Any) -> Iterator[Sample]:
    for series in result:
        timestamp, value = series["value"]
        labels = series["metric"]
        if not all(type(text) is str for text in labels.values()):
            raise TypeError("a label is no string")
        yield Sample(labels=labels, value=_float(value), timestamp=float(timestamp))


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _reason(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])[:200]
    except (KeyError, TypeError, ValueError, RecursionError):
        return "no reason given"


def _cause(error: BaseException) -> str:
    """Return what went wrong first, without the wrapping of the layers above."""
    while error.__context__ is not None:
        error = error.__context__
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return text[:200]


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


def _within(seconds: float, what: str, ask: Callable[[], _Answer]) -> _Answer:
    """Return what `ask` returns or raises, and wait no longer than `seconds` for it."""
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


class _Session(requests.Session):
    """Sends what it is told through one adapter, and adds nothing of the environment."""

    def __init__(self, adapter: HTTPAdapter) -> None:
        super().__init__()
        self.trust_env = False
        self.headers.update({"Accept-Encoding": "identity", "Connection": "close"})
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)


class _Adapter(HTTPAdapter):
    """Reads at most `MAX_BODY_BYTES` of an answer, and keeps it and its status.

    The headers are left behind: what the caller gets has no Location to follow.
    """

    def __init__(self) -> None:
        super().__init__(max_retries=0)
        self.status = 0
        self.body = b""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
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
        answer = super().send(request, True, timeout, verify, cert, proxies)
        self.status = answer.status_code
        with answer.raw as raw:
            self.body = _read(raw)
        whole = HTTPResponse(
            body=BytesIO(self.body), status=answer.status_code, preload_content=False
        )
        return self.build_response(request, whole)


class _Unreadable(Exception):
    """What came is no answer that is read, however often it comes."""


def _read(raw: HTTPResponse) -> bytes:
    """Return the whole body, unpacked where a proxy has packed it although nobody asked for that.

    Neither form is ever longer in memory than `MAX_BODY_BYTES`, and a chunk.
    """
    encoding = raw.headers.get("Content-Encoding", "identity")
    if encoding not in ("identity", "gzip"):
        raise _Unreadable(f"the answer is packed as {encoding!r}, which was not asked for")
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    body = bytearray()
    while chunk := raw.read(_CHUNK, decode_content=False):
        try:
            body += chunk if unpack is None else unpack.decompress(chunk, MAX_BODY_BYTES)
        except zlib.error as error:
            raise _Unreadable(f"the answer is no {encoding}: {error}") from error
        if len(body) > MAX_BODY_BYTES or (unpack is not None and unpack.unconsumed_tail):
            raise _Unreadable(f"the answer is longer than {MAX_BODY_BYTES} bytes")
    if unpack is not None and not unpack.eof:
        raise _Unreadable("the answer is cut short")
    return bytes(body)
