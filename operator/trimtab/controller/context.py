"""What the parts of the process share: the mirror, who is alive, and the wish to plan anew."""

import threading
from dataclasses import dataclass, field
from typing import Self

from trimtab.config import OperatorConfig
from trimtab.controller.beats import Beats
from trimtab.observe.kinds import Kind
from trimtab.observe.store import Store
from trimtab.telemetry.names import Metrics


@dataclass(slots=True, kw_only=True)
class Context:
    """Shared by all threads; passed to kopf as its memo."""

    config: OperatorConfig
    store: Store = field(default_factory=Store)
    beats: Beats = field(default_factory=Beats)
    metrics: Metrics = field(default_factory=Metrics)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set when the process shall end: nothing new is begun."""
    wake: threading.Event = field(default_factory=threading.Event)
    """Set when a plan could come out otherwise than the last one."""
    relist: threading.Event = field(default_factory=threading.Event)
    """Set when a watcher listed anew: what was deleted in the gap is still in the mirror."""
    _relisted: set[Kind] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __copy__(self) -> Self:
        """Return this very object: kopf copies its memo for every watched object."""
        return self

    def watcher_listed(self, kind: Kind) -> None:
        """Say that the watcher of `kind` has listed, so that the mirror is pruned after it."""
        with self._lock:
            self._relisted.add(kind)
        self.relist.set()

    def take_relisted(self) -> frozenset[Kind]:
        """Return the kinds whose watchers have listed since the last call."""
        with self._lock:
            self.relist.clear()
            kinds, self._relisted = frozenset(self._relisted), set()
            return kinds

    def end(self) -> None:
        """Ask every thread to come to an end."""
        self.stop.set()
        self.wake.set()
        self.relist.set()
