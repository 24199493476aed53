"""The in-memory mirror of the cluster: ordered by resourceVersion, pruned by every LIST."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.observe.kinds import BY_KIND, Kind
from trimtab.observe.parse import Parsed, mapping, parse, text
from trimtab.observe.world import (
    Broken,
    ChildFacts,
    Document,
    NodeFacts,
    ObjectKey,
    PodFacts,
    WorldView,
    pod_stem,
)

MAX_MEMORIES = 10_000
"""Most deletions and departed pods that are remembered; the oldest are forgotten first."""

_KEEPS_BODY = frozenset(Kind) - {Kind.POD, Kind.FOREIGN_POD, Kind.NODE, Kind.NAMESPACE}
_DELETED = "DELETED"

_Facts = TypeVar("_Facts")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    uid: str
    generation: int
    version: int | None
    """resourceVersion, or None where it is no number and so orders nothing."""
    body: Document | None
    parsed: Parsed


class Store:
    """The mirror. Safe for any number of threads; the lock is held for dictionary work only.

    An event that is older than what is known changes nothing, so duplicates and any order are
    harmless; a LIST removes what it does not have, so a lost deletion does not live on. An object
    that cannot be understood is kept as an error of its own and touches no other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[Kind, dict[ObjectKey, _Entry]] = {kind: {} for kind in Kind}
        self._floors: dict[Kind, int] = {}
        """resourceVersion of the last LIST: what is absent and not newer than it, is gone."""
        self._deleted: OrderedDict[ObjectKey, int] = OrderedDict()
        """resourceVersion at which an object went, so that an older event cannot revive it."""
        self._departed: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._listed: set[Kind] = set()
        self._view: WorldView | None = None

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once, so that absence means something."""
        with self._lock:
            return len(self._listed) == len(Kind)

    def observe(self, kind: Kind, event_type: str | None, body: Mapping[str, Any]) -> bool:
        """Take in one watch event and return whether a plan could depend on what it changed.

        Args:
            kind: What kind of object it is about.
            event_type: ADDED, MODIFIED or DELETED; None (kopf's first listing) counts as ADDED.
            body: The object. It is copied.
        """
        found = _entry(kind, body)
        if found is None:
            return False
        key, entry = found
        with self._lock:
            known = self._objects[kind].get(key)
            if self._is_old(key, entry.version, known):
                return False
            if event_type == _DELETED:
                return self._remove(key, entry.version)
            return self._put(key, entry)

    def replace(
        self, kind: Kind, items: Iterable[Mapping[str, Any]], resource_version: str
    ) -> bool:
        """Make the mirror of `kind` equal to a LIST and return whether a plan could depend on it.

        Objects that a watch has shown to be newer than the LIST stay. A LIST whose
        resourceVersion is lower than the last one's says that the server's history was rewound
        (a restored backup): then it alone counts.

        Args:
            kind: What was listed.
            items: All objects of the kind.
            resource_version: The collection's resourceVersion. Where it is no number, the LIST
                alone counts.
        """
        found = [pair for item in items if (pair := _entry(kind, item)) is not None]
        at = _number(resource_version)
        with self._lock:
            floor = self._floors.get(kind)
            alone = at is None or (floor is not None and at < floor)
            matters = False
            for key in self._absent(kind, {key for key, _ in found}, None if alone else at):
                matters |= self._remove(key, None)
            if alone:
                self._forget_deletions(kind, None)
            for key, entry in found:
                known = self._objects[kind].get(key)
                if alone or not self._is_old(key, entry.version, known):
                    matters |= self._put(key, entry)
            if at is not None:
                self._floors[kind] = at
                self._forget_deletions(kind, at)
            matters |= kind not in self._listed
            self._listed.add(kind)
            return matters

    def view(self) -> WorldView:
        """Return a copy of the mirror that no later event changes."""
        with self._lock:
            if self._view is None:
                self._view = self._copy()
            return self._view

    def _is_old(self, key: ObjectKey, version: int | None, known: _Entry | None) -> bool:
        if version is None:
            return False
        if known is not None:
            return known.version is not None and version < known.version
        return version <= max(self._deleted.get(key, -1), self._floors.get(key.kind, -1))

    def _put(self, key: ObjectKey, entry: _Entry) -> bool:
        known = self._objects[key.kind].get(key)
        self._objects[key.kind][key] = entry
        self._deleted.pop(key, None)
        self._view = None
        return known is None or known.parsed.matters != entry.parsed.matters

    def _remove(self, key: ObjectKey, version: int | None) -> bool:
        known = self._objects[key.kind].pop(key, None)
        if version is not None:
            _remember(self._deleted, key, version)
        if known is None:
            return False
        facts = known.parsed.facts
        if isinstance(facts, PodFacts) and facts.deployment is not None:
            _remember(self._departed, (key.namespace, pod_stem(key.name)), facts.deployment)
        self._view = None
        return True

    def _absent(self, kind: Kind, listed: set[ObjectKey], at: int | None) -> list[ObjectKey]:
        return [
            key
            for key, entry in self._objects[kind].items()
            if key not in listed and (at is None or entry.version is None or entry.version <= at)
        ]

    def _forget_deletions(self, kind: Kind, at: int | None) -> None:
        """Forget the deletions that the LIST at `at` makes needless, or all of the kind."""
        for key in [
            key
            for key, version in self._deleted.items()
            if key.kind is kind and (at is None or version <= at)
        ]:
            del self._deleted[key]

    def _copy(self) -> WorldView:
        bodies = {
            key: entry.body
            for kind in _KEEPS_BODY
            for key, entry in self._objects[kind].items()
            if entry.body is not None
        }
        return WorldView(
            deployments=self._facts(Kind.LLM_DEPLOYMENT, LLMDeployment),
            policies=self._facts(Kind.SERVING_POLICY, ServingPolicy),
            pools=self._facts(Kind.ACCELERATOR_POOL, AcceleratorPool),
            profiles=self._facts(Kind.PERFORMANCE_PROFILE, PerformanceProfile),
            budgets=self._facts(Kind.FLEET_BUDGET, FleetBudget),
            children=self._facts(Kind.DEPLOYMENT, ChildFacts),
            pods=self._facts(Kind.POD, PodFacts),
            foreign_pods=tuple(
                pod for pod in self._facts(Kind.FOREIGN_POD, PodFacts) if pod.devices
            ),
            nodes=self._facts(Kind.NODE, NodeFacts),
            namespaces=MappingProxyType(
                {
                    key.name: entry.parsed.facts
                    for key, entry in self._sorted(Kind.NAMESPACE)
                    if isinstance(entry.parsed.facts, Mapping)
                }
            ),
            bodies=MappingProxyType(dict(sorted(bodies.items()))),
            broken=tuple(self._broken()),
            departed=MappingProxyType(dict(self._departed)),
        )

    def _sorted(self, kind: Kind) -> list[tuple[ObjectKey, _Entry]]:
        return sorted(self._objects[kind].items(), key=lambda item: item[0])

    def _facts(self, kind: Kind, of: type[_Facts]) -> tuple[_Facts, ...]:
        entries = (entry.parsed.facts for _, entry in self._sorted(kind))
        return tuple(facts for facts in entries if isinstance(facts, of))

    def _broken(self) -> Iterator[Broken]:
        for kind in Kind:
            for key, entry in self._sorted(kind):
                if entry.parsed.error is not None:
                    yield Broken(
                        key=key,
                        uid=entry.uid,
                        generation=entry.generation,
                        message=entry.parsed.error,
                    )


def _entry(kind: Kind, body: object) -> tuple[ObjectKey, _Entry] | None:
    """Return the object that `body` is, or None when it does not even say its name."""
    metadata = mapping(body, "metadata")
    name = text(metadata.get("name"))
    if not name or not isinstance(body, Mapping):
        return None
    kept = _kept(kind, body) if kind in _KEEPS_BODY else None
    generation = metadata.get("generation")
    entry = _Entry(
        uid=text(metadata.get("uid")),
        generation=generation if isinstance(generation, int) else 0,
        version=_number(metadata.get("resourceVersion")),
        body=kept,
        parsed=parse(kind, body if kept is None else kept),
    )
    return ObjectKey(kind=kind, namespace=text(metadata.get("namespace")), name=name), entry


def _kept(kind: Kind, body: Mapping[str, Any]) -> Document:
    """Return a copy of `body` that names its kind, without the large part that nobody reads."""
    names = {"apiVersion": BY_KIND[kind].api_version, "kind": str(kind)}  # a LIST omits them
    metadata = dict(mapping(body, "metadata"))
    if kind is not Kind.ACCELERATOR_POOL:
        metadata.pop("managedFields", None)
    try:
        copy: Document = _copied({**body, **names, "metadata": metadata})
    except RecursionError:  # nested beyond any real object: keep what tells which it is
        known = ("name", "namespace", "uid", "generation", "resourceVersion")
        copy = {**names, "metadata": {key: metadata[key] for key in known if key in metadata}}
    return copy


def _copied(value: Any) -> Any:
    """Return a deep copy in plain dictionaries and lists, whatever mapping kopf hands us."""
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copied(item) for item in value]
    return value


def _number(resource_version: object) -> int | None:
    version = text(resource_version)
    return int(version) if version.isascii() and version.isdigit() and len(version) < 20 else None


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _remember(memory: OrderedDict[_Key, _Value], key: _Key, value: _Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > MAX_MEMORIES:
        memory.popitem(last=False)
