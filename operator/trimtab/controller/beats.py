"""When each part of the process was last seen alive, on the monotonic clock."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PLANNING = "planning loop"
WATCHING = "watch loop"
ELECTING = "elector"
LEADING = "leader"
"""Once, when the lease was taken: what has never beaten is as old as that."""
LISTING = "listing"
"""The last complete LIST of every kind."""
PLANNED = "planned"
"""The last cycle that went well."""


def watch_of(kind: str) -> str:
    """Return the name of the beat that a new watch request of `kind` gives."""
    return f"watch {kind}"


@dataclass(slots=True)
class Beats:
    """Remembers the last beat of each name. Safe to use from several threads."""

    clock: Callable[[], float] = time.monotonic
    _last: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def beat(self, name: str) -> None:
        """Say that `name` is alive."""
        with self._lock:
            self._last[name] = self.clock()

    def age(self, name: str) -> float | None:
        """Return the seconds since the last beat of `name`, or None before the first."""
        with self._lock:
            last = self._last.get(name)
            return None if last is None else self.clock() - last
