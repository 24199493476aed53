"""Asks Prometheus, within a deadline that holds whatever the other end does."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from urllib3.exceptions import HTTPError

from trimtab.errors import InvalidInput, Unavailable
from trimtab.observe.access import Access
from trimtab.observe.transport import Adapter, Session, Unreadable, is_over, within

CONNECT_TIMEOUT_S = 3.0

_ANYBODY = Access()
RETRY_AFTER_S = 0.25
"""Pause before a query is asked a second and last time, which its deadline covers too."""

_REFUSALS = frozenset({400, 422})
"""Prometheus itself answers so when it will not or cannot evaluate one query."""
_PASSING = frozenset({502, 503, 504})
"""What a gateway says while the server behind it is exchanged."""
_PARTIAL = re.compile(rb'"isPartial"\s*:\s*true')
"""VictoriaMetrics' words for an answer from some of its stores; a label's value is a string."""


class Sample(NamedTuple):
    """One series of an instant query; a tuple, for a pass makes 150,000 of them."""

    labels: Mapping[str, str]
    value: float
    """As it came: NaN and infinities too; NaN where it was no number at all."""
    timestamp: float
    """When the query was evaluated, Unix seconds; not when the sample was scraped."""


class Refused(Unavailable):
    """This one query was not answered, or not wholly; the source is alive and others may work."""


class _Passing(Unavailable):
    """Nothing answered, which may be over in a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One series of a range query."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]
    """Unix seconds and values, as they came, one for each step that has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The times that a range query is evaluated at. All are seconds, and start and end whole."""

    start: float
    end: float
    step_s: float


_Series = TypeVar("_Series", tuple[Sample, ...], tuple[Track, ...])


class MetricsSource(Protocol):
    """Where signals come from."""

    def query(self, expr: str) -> tuple[Sample, ...]:
        """Return the series of an instant query.

        Raises:
            Refused: The source answers, but not this query, or only in part.
            Unavailable: The source does not answer, or answers nonsense.
        """


class RangeSource(Protocol):
    """Where what was before comes from."""

    def query_range(self, expr: str, span: Span) -> tuple[Track, ...]:
        """Return the series of a range query.

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

        def ask(client: PrometheusConnect) -> Any:
            return client.custom_query(expr, timeout=(CONNECT_TIMEOUT_S, self._timeout_s))

        return self._within(lambda: tuple(_samples(self._answer(ask))))

    def query_range(self, expr: str, span: Span) -> tuple[Track, ...]:
        """Return the series of a range query; see `RangeSource`."""

        def ask(client: PrometheusConnect) -> Any:
            return client.custom_query_range(
                expr,
                datetime.fromtimestamp(span.start, UTC),
                datetime.fromtimestamp(span.end, UTC),
                f"{span.step_s:g}",
                timeout=(CONNECT_TIMEOUT_S, self._timeout_s),
            )

        return self._within(lambda: tuple(_tracks(self._answer(ask))))

    def _within(self, ask: Callable[[], _Series]) -> _Series:
        def understood() -> _Series:
            try:
                return ask()
            except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
                raise Unavailable(f"{self._where} answers no query result") from error

        return within(self._timeout_s, self._where, understood)

    def _answer(self, ask: Callable[[PrometheusConnect], Any]) -> Any:
        try:
            return self._answer_once(ask)
        except _Passing:
            if is_over(RETRY_AFTER_S):
                raise
            return self._answer_once(ask)

    def _answer_once(self, ask: Callable[[PrometheusConnect], Any]) -> Any:
        """Return the `result` of the answer, as it was parsed."""
        adapter = Adapter()
        with Session(adapter) as session:
            session.headers.update(self._access.headers())
            session.verify = self._access.verify()
            client = PrometheusConnect(self._url, session=session)
            session.mount(self._url, adapter)  # the client has put its own there
            try:
                result = ask(client)
                self._check_whole(adapter.body)
                return result
            except PrometheusApiClientException as error:
                kind = Refused if adapter.status in _REFUSALS else Unavailable
                kind = _Passing if adapter.status in _PASSING else kind
                message = f"{self._where} answers HTTP {adapter.status}: {_reason(adapter.body)}"
                raise kind(message) from error
            except Unreadable as error:
                raise Unavailable(f"{self._where}: {error}") from error
            except (json.JSONDecodeError, UnicodeDecodeError):
                raise  # of `requests` too, where it would look like a lost connection
            except (requests.RequestException, HTTPError, OSError) as error:
                raise _Passing(f"{self._where} does not answer: {_cause(error)}") from error

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
        yield Sample(labels=_labels(series), value=_float(value), timestamp=float(timestamp))


def _tracks(result: Any) -> Iterator[Track]:
    for series in result:
        points = tuple((float(at), _float(value)) for at, value in series["values"])
        yield Track(labels=_labels(series), points=points)


def _labels(series: Any) -> Mapping[str, str]:
    labels: Mapping[str, str] = series["metric"]
    "".join(labels.values())  # raises TypeError where one is no string
    return labels


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
