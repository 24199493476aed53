"""When an object may be written again: what fails, and what someone keeps undoing, must wait."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from trimtab.actuate.kinds import Document, Reference
from trimtab.actuate.writer import WriteFailed

FIRST_DELAY_S = 1.0
MAX_DELAY_S = 300.0
UNDONE_WITHIN_S = 60.0
"""A write that has to be repeated within this time is being undone by somebody."""
MAX_UNDONE_DELAY_S = 8.0
"""Longest rest between two repetitions of it, so that an edited child is back within 10 s."""
MAX_ENTRIES = 10_000
"""Objects that are remembered before those that nobody writes any more are forgotten."""
FORGOTTEN_S = 2 * MAX_DELAY_S


@dataclass(slots=True, kw_only=True)
class _Entry:
    digest: str
    """Of what was written; something new to write is tried at once."""
    not_before: float
    delay: float
    failure: WriteFailed | None
    version: str
    """The resource version that a successful write led to."""


@dataclass(slots=True, kw_only=True)
class Attempts:
    """Remembers, per object, what the last write came to. Safe to use from several threads."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    jitter: Callable[[], float]
    """A number from 0 to 1 that spreads repetitions over time."""
    _entries: dict[Reference, _Entry] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def blocked(self, target: Reference, digest: str, live: Document | None) -> bool:
        """Return whether writing `digest` to `target` has to wait, or would change nothing.

        It would change nothing when `live` is still what the same write led to: the server, or
        an admission webhook, made something else of it and would do so again.
        """
        with self._lock:
            entry = self._entries.get(target)
            if entry is None or entry.digest != digest:
                return False
            version = live["metadata"].get("resourceVersion") if live else None
            same = entry.failure is None and entry.version == version
            return same or self.clock() < entry.not_before

    def failure(self, target: Reference) -> WriteFailed | None:
        """Return why the last write to `target` failed, or None."""
        with self._lock:
            entry = self._entries.get(target)
            return None if entry is None else entry.failure

    def failed(self, target: Reference, digest: str, failure: WriteFailed) -> None:
        """Remember a failed write: the delay doubles from 1 s to 5 min."""
        with self._lock:
            entry = self._entries.get(target)
            delay = FIRST_DELAY_S
            if entry is not None and entry.digest == digest and entry.failure is not None:
                delay = min(MAX_DELAY_S, entry.delay * 2)
            entry = _Entry(
                digest=digest,
                not_before=self.clock() + delay * (1 + self.jitter() / 4),
                delay=delay,
                failure=failure,
                version="",
            )
            self._remember(target, entry)

    def succeeded(self, target: Reference, digest: str, live: Document) -> None:
        """Remember a write that led to `live`: doing it again soon gets slower each time."""
        with self._lock:
            entry, now = self._entries.get(target), self.clock()
            undone = (
                entry is not None
                and entry.digest == digest
                and entry.failure is None
                and now < entry.not_before + UNDONE_WITHIN_S
            )
            delay = 0.0
            if entry is not None and undone:
                delay = min(MAX_UNDONE_DELAY_S, max(FIRST_DELAY_S, entry.delay * 2))
            entry = _Entry(
                digest=digest,
                not_before=now + delay,
                delay=delay,
                failure=None,
                version=live["metadata"].get("resourceVersion", ""),
            )
            self._remember(target, entry)

    def settled(self, target: Reference) -> None:
        """Forget a failure: the live object is as it should be, whoever made it so."""
        with self._lock:
            entry = self._entries.get(target)
            if entry is not None and entry.failure is not None:
                del self._entries[target]

    def forget(self, target: Reference) -> None:
        """Forget all about an object that is gone."""
        with self._lock:
            self._entries.pop(target, None)

    def _remember(self, target: Reference, entry: _Entry) -> None:
        self._entries[target] = entry
        if len(self._entries) > MAX_ENTRIES:
            oldest = self.clock() - FORGOTTEN_S
            self._entries = {
                known: each for known, each in self._entries.items() if each.not_before > oldest
            }
