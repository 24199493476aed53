"""The Lease that makes this process the only writer, measured on the monotonic clock.

The rules are those of client-go's leader election: a holder that has not renewed for a whole lease
duration, as observed here, has lost it; the clocks of other machines are never compared. By
default the lease lasts 15 s, its holder gives up after 10 s, and tries are 2 s apart.
"""

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from trimtab.actuate.connection import Connection
from trimtab.actuate.kinds import LEASE, Document
from trimtab.actuate.writer import REQUEST_ERRORS, failure_of, plain
from trimtab.config import OperatorConfig
from trimtab.errors import LostLeadership, Unavailable

NAME = "trimtab"

_log = structlog.get_logger(__name__)


class LeaseStore(Protocol):
    """One Lease on the server. Every method raises Unavailable when the server does not do it."""

    def read(self) -> Document | None:
        """Return the Lease, or None where there is none."""

    def create(self, spec: Document) -> Document:
        """Create the Lease, unless it exists, and return it."""

    def replace(self, lease: Document) -> Document:
        """Replace the Lease, unless it changed since the version in `lease`, and return it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesLease:
    """The Lease in the API server."""

    connection: Connection
    namespace: str
    timeout_s: float

    def read(self) -> Document | None:
        """See LeaseStore."""
        try:
            return self._send("get", name=NAME)
        except Unavailable as error:
            if getattr(error, "status", 0) == 404:
                return None
            raise

    def create(self, spec: Document) -> Document:
        """See LeaseStore."""
        metadata = {"name": NAME, "namespace": self.namespace}
        body = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata}
        return self._send("create", body=body | {"spec": spec})

    def replace(self, lease: Document) -> Document:
        """See LeaseStore."""
        return self._send("replace", name=NAME, body=lease)

    def _send(self, verb: str, **arguments: Any) -> Document:
        resource = self.connection.resource(LEASE)
        try:
            answer: Document = getattr(self.connection.dynamic, verb)(
                resource,
                namespace=self.namespace,
                serializer=plain,
                _request_timeout=self.timeout_s,
                **arguments,
            )
        except REQUEST_ERRORS as error:
            raise failure_of(error) from error
        return answer


@dataclass(slots=True, kw_only=True)
class Elector:
    """Takes the Lease and keeps it. `gate` may be asked from any thread."""

    store: LeaseStore
    config: OperatorConfig
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    """Unix seconds, only for people who read the Lease."""
    _lease: Document | None = None
    """The Lease as we last wrote it; None while it is not ours."""
    _seen: Document | None = None
    _seen_at: float = 0.0
    _renewed_at: float | None = None
    """When the last good renewal was begun."""
    _ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def leading(self) -> bool:
        """Whether the Lease was taken and still covers a write that begins now."""
        with self._lock:
            return (
                not self._ended
                and self._renewed_at is not None
                and self.clock() < self._renewed_at + self.config.lease_renew_s
            )

    def gate(self) -> None:
        """Return while a write may begin.

        Raises:
            LostLeadership: The Lease was not renewed in time, or has been given up.
        """
        if not self.leading:
            raise LostLeadership("the lease does not cover another write")

    def step(self) -> None:
        """Try once to take or to renew the Lease.

        Raises:
            LostLeadership: We had it, and somebody else has it or it ran out.
            Unavailable: The server did not do it; the next step may.
        """
        began = self.clock()
        if self._renewed_at is not None and not self.leading:
            raise LostLeadership("the lease could not be renewed in time")
        if self._lease is not None:
            mine, self._lease = self._lease, None
            self._keep(self.store.replace(self._written(mine)), began)
            return
        lease = self.store.read()
        if lease is None:
            self._keep(self.store.create(self._spec(None)), began)
            return
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        if holder and holder != self.config.identity and self._alive(lease["spec"]):
            if self._renewed_at is not None:
                raise LostLeadership(f"{holder} holds the lease now")
            return
        self._keep(self.store.replace(self._written(lease)), began)

    def run(
        self, stop: threading.Event, acquired: Callable[[], None], alive: Callable[[], None]
    ) -> None:
        """Take and keep the Lease until `stop` is set.

        Args:
            stop: Ends the run.
            acquired: Called once, when the Lease is ours.
            alive: Called at every turn, from the first on in which the server answered.

        Raises:
            LostLeadership: We had it and lost it.
        """
        asked = told = False
        while not stop.is_set():
            try:
                self.step()
                asked = True
            except LostLeadership:
                raise
            except Unavailable as error:
                _log.warning("lease not renewed", why=str(error))
            if self.leading and not told:
                told = True
                _log.info("lease taken", identity=self.config.identity)
                acquired()
            if asked:
                alive()
            stop.wait(self.config.lease_retry_s)

    def release(self) -> None:
        """Send no write any more, and let the next process take the Lease at once."""
        with self._lock:
            self._ended = True
        if self._lease is None:
            return
        lease = copy.deepcopy(self._lease)
        lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            self.store.replace(lease)
        except Unavailable as error:
            _log.warning("lease not released", why=str(error))

    def _keep(self, lease: Document, began: float) -> None:
        with self._lock:
            self._lease, self._renewed_at = lease, began

    def _alive(self, spec: Document) -> bool:
        """Return whether the holder has shown life within its lease duration, as seen here."""
        if spec != self._seen:
            self._seen, self._seen_at = copy.deepcopy(spec), self.clock()
        lasts = spec.get("leaseDurationSeconds") or self.config.lease_duration_s
        return self.clock() < self._seen_at + lasts

    def _written(self, lease: Document) -> Document:
        return lease | {"spec": self._spec(lease.get("spec") or {})}

    def _spec(self, old: Document | None) -> Document:
        stamp = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        kept = old is not None and old.get("holderIdentity") == self.config.identity
        changes = 0 if old is None else int(old.get("leaseTransitions") or 0)
        return {
            "holderIdentity": self.config.identity,
            "leaseDurationSeconds": int(self.config.lease_duration_s),
            "acquireTime": old["acquireTime"] if old and kept and "acquireTime" in old else stamp,
            "renewTime": stamp,
            "leaseTransitions": changes if kept or old is None else changes + 1,
        }
