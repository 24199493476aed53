"""Writes statuses that changed, and the Events that tell of the change."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog

from trimtab.actuate.apply import THREADS, Outcome, Seen
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.events import Allowance, transitions
from trimtab.actuate.kinds import Document, Reference
from trimtab.actuate.manifests import digest
from trimtab.actuate.status import Subject, differs, document, invalid, publish
from trimtab.actuate.writer import ClusterWriter, WriteFailed
from trimtab.models.capacity import Pool
from trimtab.models.plan import Decision
from trimtab.models.snapshot import DeploymentState

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One deployment whose status is due."""

    state: DeploymentState
    decision: Decision
    outcome: Outcome
    live: Document
    """The LLMDeployment as it is live."""


@dataclass(slots=True, kw_only=True)
class Publisher:
    """Writes statuses, each only when it differs from the published one."""

    writer: ClusterWriter
    attempts: Attempts
    allowance: Allowance
    seen: Seen
    clock: Callable[[], float]
    """Monotonic seconds."""
    _figures_at: dict[str, float] = field(default_factory=dict)
    """By uid: when figures were last published, in Unix seconds."""

    def publish(
        self, items: Sequence[Item], pools: Mapping[str, Pool], now: float, deadline: float
    ) -> bool:
        """Write what changed and return whether all of it was tried in time.

        Args:
            items: The deployments.
            pools: By name.
            now: Unix seconds.
            deadline: Monotonic time after which no further write is begun.

        Raises:
            LostLeadership: The lease is gone.
        """
        uids = frozenset(item.state.uid for item in items)
        self._figures_at = {uid: at for uid, at in self._figures_at.items() if uid in uids}
        self.allowance.keep(uids)
        due = [change for item in items if (change := self._change(item, pools, now)) is not None]
        if not due:
            return True
        with ThreadPoolExecutor(THREADS, thread_name_prefix="trimtab-status") as executor:
            return all(executor.map(lambda change: self._write(change, now, deadline), due))

    def reject(self, live: Document, message: str, now: float) -> None:
        """Publish that the object `live` cannot be understood, and why."""
        old, metadata = live.get("status") or {}, live["metadata"]
        status = invalid(old, message, metadata.get("generation", 0), now)
        if differs(status, old):
            self._apply(live, status)

    def _change(self, item: Item, pools: Mapping[str, Pool], now: float) -> "_Change | None":
        old = item.live.get("status") or {}
        subject = Subject(
            state=item.state,
            decision=item.decision,
            outcome=item.outcome,
            old=old,
            now=now,
            figures_at=self._figures_at.get(item.state.uid, 0.0),
        )
        published = publish(subject, pools)
        if not differs(published.status, old):
            return None
        return _Change(item=item, status=published.status, refreshed=published.refreshed)

    def _write(self, change: "_Change", now: float, deadline: float) -> bool:
        if self.clock() >= deadline:
            return False
        state, live = change.item.state, change.item.live
        if not self._apply(live, change.status):
            return True
        if change.refreshed:
            self._figures_at[state.uid] = now
        for event in transitions(state, live.get("status") or {}, change.status, now):
            if self.allowance.take(state.uid):
                self._tell(event)
        return True

    def _apply(self, live: Document, status: Mapping[str, Any]) -> bool:
        wanted = document(live["metadata"], status)
        metadata = wanted["metadata"]
        target = Reference(
            kind=f"{wanted['kind']}/status",
            namespace=metadata["namespace"],
            name=metadata["name"],
        )
        mark = digest(wanted)
        if self.attempts.blocked(target, mark, live):
            return False
        try:
            result = self.writer.apply(wanted, status=True)
        except WriteFailed as failure:
            self.attempts.failed(target, mark, failure)
            _log.warning("status not written", of=str(target), why=str(failure))
            return False
        self.attempts.succeeded(target, mark, result)
        self.seen("MODIFIED", result)
        return True

    def _tell(self, event: Document) -> None:
        try:
            self.writer.create(event)
        except WriteFailed as failure:
            _log.warning("event not written", of=event["metadata"]["name"], why=str(failure))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    item: Item
    status: dict[str, Any]
    refreshed: bool
