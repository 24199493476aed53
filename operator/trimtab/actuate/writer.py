"""The only way from this process to a change in the cluster: gated, paced, bounded in time."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import urllib3.exceptions
from kubernetes.client.exceptions import ApiException

from trimtab.actuate.connection import Connection
from trimtab.actuate.kinds import Document, Kind, kind_of
from trimtab.api.naming import MANAGER
from trimtab.errors import Unavailable

_Answer = TypeVar("_Answer")

MAX_MESSAGE = 1024
MAX_RETRY_AFTER_S = 30.0
"""Longest time for which a server may silence us (reliability.md, F25)."""
_TRANSIENT = {
    HTTPStatus.UNAUTHORIZED,  # a token that is being rotated
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.CONFLICT,
    HTTPStatus.TOO_MANY_REQUESTS,
}


REQUEST_ERRORS = (ApiException, urllib3.exceptions.HTTPError, OSError)
"""What a request raises when the server refuses, fails, or is not there."""


class WriteFailed(Unavailable):
    """The API server did not do it.

    Args:
        message: What the server says, at most 1 KiB.
        refused: Whether it will be refused again until a person changes something.
        status: HTTP status; 0 when no answer came.
    """

    def __init__(self, message: str, *, refused: bool, status: int = 0) -> None:
        super().__init__(message[:MAX_MESSAGE])
        self.refused = refused
        self.status = status


class ClusterWriter(Protocol):
    """What may change the cluster."""

    def apply(self, document: Document, *, force: bool = True, status: bool = False) -> Document:
        """Apply `document` as our fields and return the live object.

        Args:
            document: Our fields. `metadata.uid` and `metadata.resourceVersion` in it are
                preconditions.
            force: Take fields that another manager owns.
            status: Apply to the status subresource.

        Raises:
            WriteFailed: The server did not do it.
            LostLeadership: The lease does not cover this write any more.
        """

    def create(self, document: Document) -> None:
        """Create `document`; one that exists already is left as it is. Raises like `apply`."""

    def delete(self, live: Document) -> None:
        """Delete the object exactly as it was seen in `live`. Raises like `apply`."""

    def read(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """Return the live object, or None where there is none. Raises like `apply`."""


@dataclass(slots=True)
class Pace:
    """A token bucket for all writes of this process; threads wait for their turn."""

    rate: float = 50.0
    """Writes per second."""
    burst: float = 100.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], object] = time.sleep
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _tokens: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._tokens = self.burst
        self._at = self.clock()

    def wait(self) -> None:
        """Return when the next write may be sent."""
        with self._lock:
            now = self.clock()
            if now > self._at:
                self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
                self._at = now
            self._tokens -= 1
            delay = max(0.0, self._at - now) + max(0.0, -self._tokens / self.rate)
        if delay > 0:
            self.sleep(delay)

    def pause(self, seconds: float) -> None:
        """Send nothing for `seconds`: the server asked for it."""
        with self._lock:
            self._at = max(self._at, self.clock() + seconds)


Report = Callable[[str, str, str], None]
"""Told kind, verb and outcome (ok, refused, failed) of every write."""


@dataclass(slots=True, kw_only=True)
class KubernetesWriter:
    """Writes through the dynamic client, on plain documents."""

    connection: Connection
    gate: Callable[[], None]
    """Raises LostLeadership when nothing may be sent any more; asked before each write."""
    timeout_s: float
    """Longest time of one write, so that none is in flight when the lease expires."""
    report: Report
    pace: Pace = field(default_factory=Pace)

    def apply(self, document: Document, *, force: bool = True, status: bool = False) -> Document:
        """See ClusterWriter."""
        resource = self.connection.resource(kind_of(document))
        target = resource.subresources["status"] if status else resource

        def send() -> Document:
            answer: Document = self.connection.dynamic.server_side_apply(
                target,
                body=document,
                name=document["metadata"]["name"],
                namespace=document["metadata"].get("namespace"),
                field_manager=MANAGER,
                force_conflicts=force,
                serializer=plain,
                _request_timeout=self.timeout_s,
            )
            return answer

        return self._write(document["kind"], "apply-status" if status else "apply", send)

    def create(self, document: Document) -> None:
        """See ClusterWriter."""
        resource = self.connection.resource(kind_of(document))

        def send() -> None:
            self.connection.dynamic.create(
                resource,
                body=document,
                namespace=document["metadata"].get("namespace"),
                field_manager=MANAGER,
                serializer=plain,
                _request_timeout=self.timeout_s,
            )

        try:
            self._write(document["kind"], "create", send)
        except WriteFailed as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def delete(self, live: Document) -> None:
        """See ClusterWriter."""
        metadata = live["metadata"]
        resource = self.connection.resource(kind_of(live))
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {
                "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
            },
        }

        def send() -> None:
            self.connection.dynamic.delete(
                resource,
                name=metadata["name"],
                namespace=metadata.get("namespace"),
                body=options,
                serializer=plain,
                _request_timeout=self.timeout_s,
            )

        try:
            self._write(live["kind"], "delete", send)
        except WriteFailed as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def read(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """See ClusterWriter."""
        resource = self.connection.resource(kind)
        try:
            answer: Document = self.connection.dynamic.get(
                resource,
                name=name,
                namespace=namespace or None,
                serializer=plain,
                _request_timeout=self.timeout_s,
            )
        except REQUEST_ERRORS as error:
            failure = failure_of(error)
            if failure.status == HTTPStatus.NOT_FOUND:
                return None
            raise failure from error
        return answer

    def _write(self, kind: str, verb: str, send: Callable[[], _Answer]) -> _Answer:
        self.pace.wait()
        self.gate()
        try:
            answer = send()
        except REQUEST_ERRORS as error:
            failure = failure_of(error)
            if failure.status == HTTPStatus.TOO_MANY_REQUESTS:
                self.pace.pause(_retry_after(error))
            self.report(kind, verb, "refused" if failure.refused else "failed")
            raise failure from error
        self.report(kind, verb, "ok")
        return answer


def plain(_client: object, document: Document) -> Document:
    """Keep the answer a plain document, instead of the dynamic client's attribute wrapper."""
    return document


def failure_of(error: Exception) -> WriteFailed:
    """Return one of REQUEST_ERRORS as what it means to the caller."""
    if not isinstance(error, ApiException):
        return WriteFailed(f"no answer: {error}", refused=False)
    status = int(error.status or 0)
    refused = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    refused = refused and status not in _TRANSIENT
    return WriteFailed(_said(error), refused=refused, status=status)


def _said(error: ApiException) -> str:
    """Return what the API server says, or the status line where a proxy's page is called JSON."""
    try:
        return str(error.summary() if hasattr(error, "summary") else error.reason)
    except (ValueError, AttributeError):
        return str(error.reason)


def _retry_after(error: Any) -> float:
    headers = getattr(error, "headers", None) or {}
    try:
        seconds = float(headers.get("Retry-After", "1"))
    except ValueError:
        return 1.0
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
