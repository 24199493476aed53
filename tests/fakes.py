"""A cluster in memory, just true enough: versions, uids, field merging, refusals."""

import copy
import itertools
from collections.abc import Callable
from typing import Any

from trimtab.actuate.kinds import Document, Kind, Reference, kind_of, reference
from trimtab.actuate.writer import WriteFailed


class FakeCluster:
    """Keeps objects as an API server would, and a log of what was asked of it."""

    def __init__(self) -> None:
        self.objects: dict[Reference, Document] = {}
        self.log: list[str] = []
        """Verb and object of each write, in order."""
        self.refuse: Callable[[str, Reference], WriteFailed | None] = lambda verb, target: None
        self._versions = itertools.count(1)

    def apply(self, document: Document, *, force: bool = True, status: bool = False) -> Document:
        """Merge the fields of `document` into the object; its preconditions are checked."""
        target = reference(document)
        self._write("apply-status" if status else "apply", target)
        live = self.objects.get(target)
        self._check(document["metadata"], live)
        if live is None:
            created = copy.deepcopy(document)
            created["metadata"]["uid"] = f"uid-{next(self._versions)}"
            live = self.put(created)
        else:
            merged = _merge(live, document)
            if status:
                merged["status"] = copy.deepcopy(document["status"])
            if merged != live:
                live = self.put(merged)
        return copy.deepcopy(live)

    def create(self, document: Document) -> None:
        """Add an object."""
        self._write("create", reference(document))
        self.put(copy.deepcopy(document))

    def delete(self, live: Document) -> None:
        """Remove the object as it was seen."""
        target = reference(live)
        self._write("delete", target)
        self._check(live["metadata"], self.objects.get(target))
        del self.objects[target]

    def read(self, kind: Kind, namespace: str, name: str) -> Document | None:
        """Return a copy of the object."""
        target = Reference(kind=kind.kind, namespace=namespace, name=name)
        return copy.deepcopy(self.objects.get(target))

    def put(self, document: Document) -> Document:
        """Store `document` under a new version, as another writer would; it needs a uid."""
        kind_of(document)
        document["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[reference(document)] = document
        return document

    def all(self) -> tuple[Document, ...]:
        """Return copies of all objects."""
        return tuple(copy.deepcopy(document) for document in self.objects.values())

    def _write(self, verb: str, target: Reference) -> None:
        failure = self.refuse(verb, target)
        if failure is not None:
            raise failure
        self.log.append(f"{verb} {target.kind}/{target.name}")

    def _check(self, asked: dict[str, Any], live: Document | None) -> None:
        for field in ("uid", "resourceVersion"):
            if field in asked and (live is None or live["metadata"].get(field) != asked[field]):
                raise WriteFailed(f"{field} does not match", refused=False, status=409)


def _merge(live: Any, asked: Any) -> Any:
    if isinstance(live, dict) and isinstance(asked, dict):
        return live | {key: _merge(live.get(key), value) for key, value in asked.items()}
    return copy.deepcopy(asked)
