"""Writes single objects and statuses that no deployment owns; a failure is logged and waits."""

from dataclasses import dataclass

import structlog

from trimtab.actuate.apply import Seen
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.kinds import Document, Reference
from trimtab.actuate.manifests import digest
from trimtab.actuate.writer import ClusterWriter, WriteFailed

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class ObjectWriter:
    """Writes one object at a time, never the same in vain."""

    writer: ClusterWriter
    attempts: Attempts
    seen: Seen

    def write(self, document: Document, known: Document | None, *, status: bool) -> bool:
        """Apply `document` and return whether that was done.

        Args:
            document: Our fields; for a status those of the status subresource.
            known: The object as it is live, None where there is none.
            status: Apply to the status subresource, whose fields are all ours. Otherwise the
                fields of others are left to them.

        Raises:
            LostLeadership: The lease is gone.
        """
        metadata = document["metadata"]
        target = Reference(
            kind=f"{document['kind']}/status" if status else document["kind"],
            namespace=metadata.get("namespace", ""),
            name=metadata["name"],
        )
        wanted = digest(document)
        if self.attempts.blocked(target, wanted, known):
            return False
        if known is not None:
            document = document | {"metadata": metadata | {"uid": known["metadata"]["uid"]}}
        try:
            result = self.writer.apply(document, force=status, status=status)
        except WriteFailed as failure:
            self.attempts.failed(target, wanted, failure)
            _log.warning("object not written", object=str(target), why=str(failure))
            return False
        self.attempts.succeeded(target, wanted, result)
        self.seen("MODIFIED", result)
        if not status:
            _log.info("object written", object=str(target))
        return True
