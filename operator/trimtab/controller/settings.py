"""kopf's settings: it watches for us, and writes nothing, to no object, ever."""

from collections.abc import Iterable
from typing import Any

import kopf

from trimtab.api.base import GROUP
from trimtab.observe.kinds import WATCHED

WATCH_S = 240
"""How long one watch request lasts: a watcher that asks less often than this is dead."""
LIST_CHUNK = 500


class _NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no last-seen state: nothing is read from annotations, and events cost half the CPU."""

    def build(
        self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None
    ) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Write nothing."""


class _NoProgress(kopf.ProgressStorage):
    """Keeps no progress: there is no handler that could have any."""

    def fetch(self, *, key: Any, body: kopf.Body) -> None:
        return None

    def store(self, *, key: Any, record: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Write nothing."""

    def purge(self, *, key: Any, body: kopf.Body, patch: kopf.Patch) -> None:
        """Write nothing."""

    def touch(self, *, body: kopf.Body, patch: kopf.Patch, value: str | None) -> None:
        """Write nothing."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


def build_settings() -> kopf.OperatorSettings:
    """Return settings for an operator that only watches."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True  # our CRDs are checked at the start, namespaces are given
    settings.persistence.finalizer = f"{GROUP}/unused"
    settings.persistence.diffbase_storage = _NoDiffBase()
    settings.persistence.progress_storage = _NoProgress()
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.watching.server_timeout = WATCH_S
    settings.watching.connect_timeout = 5
    settings.watching.chunk_size = LIST_CHUNK
    settings.process.ultimate_exiting_timeout = None  # our own watchdog ends the process
    for watched in WATCHED:
        if watched.label_selector:
            group, _, version = watched.api_version.rpartition("/")
            key = (group, version, watched.plural)
            settings.watching.label_selectors[key] = watched.label_selector
    return settings
