"""Texts of manifests as resources: what the API admits, and nothing else."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

import yaml

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, GROUP, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.api.refusal import admitted
from trimtab.errors import InvalidInput
from trimtab.planner.offline import Manifests

Document = tuple[str, dict[str, Any]]
"""Where an object was written, and the object."""

_KINDS: dict[str, type[Resource]] = {
    kind.KIND: kind
    for kind in (LLMDeployment, AcceleratorPool, ServingPolicy, PerformanceProfile, FleetBudget)
}


def documents_in(texts: Iterable[tuple[str, str]]) -> Iterator[Document]:
    """Yield every object in (where, YAML or JSON) pairs; lists are opened.

    Raises:
        InvalidInput: A text is no YAML, or a document in it is no object.
    """
    for where, text in texts:
        try:
            documents = list(yaml.safe_load_all(text))
        except yaml.YAMLError as error:
            raise InvalidInput(where, f"it is no YAML: {error}", "Correct the file") from error
        for document in documents:
            if document is None:
                continue
            if not isinstance(document, dict):
                raise InvalidInput(
                    where,
                    "a document in it is no object",
                    "Write objects with apiVersion, kind, metadata and spec",
                )
            items = document.get("items") if str(document.get("kind")).endswith("List") else None
            for item in [document] if items is None else items:
                yield where, item


def manifests_of(documents: Iterable[Document]) -> tuple[Manifests, tuple[str, ...]]:
    """Return all resources of ours in `documents`, and notes on what does not count.

    Of two objects of one name the last counts, as when both are applied.

    Raises:
        InvalidInput: A resource is none that the API admits, or stands twice in one text.
    """
    found: dict[str, dict[tuple[str, str], Any]] = {kind: {} for kind in _KINDS}
    places: dict[tuple[str, str, str], str] = {}
    labels: dict[str, dict[str, str]] = {}
    skipped: set[str] = set()
    notes: list[str] = []
    for where, document in documents:
        kind, version = document.get("kind"), document.get("apiVersion")
        if version == API_VERSION and kind in _KINDS:
            resource = admitted(_KINDS[kind], document, where)
            metadata = resource.metadata
            namespace = metadata.namespace or "default" if resource.NAMESPACED else ""
            before = places.get((kind, namespace, metadata.name))
            if before is not None:
                notes.append(_replaced(resource, before, where))
            places[kind, namespace, metadata.name] = where
            found[kind][namespace, metadata.name] = resource
        elif _means_ours(kind, version):
            raise _unknown(where, kind, version)
        elif kind == "Namespace" and version == "v1":
            of = document.get("metadata") or {}
            labels[str(of.get("name"))] = dict(of.get("labels") or {})
        else:
            skipped.add("one without a kind" if kind is None else str(kind))
    manifests = Manifests(
        deployments=[*found[LLMDeployment.KIND].values()],
        pools=[*found[AcceleratorPool.KIND].values()],
        policies=[*found[ServingPolicy.KIND].values()],
        profiles=[*found[PerformanceProfile.KIND].values()],
        budgets=[*found[FleetBudget.KIND].values()],
        namespace_labels=labels or None,
    )
    if skipped:
        notes.append(f"Skipped objects of other kinds: {', '.join(sorted(skipped))}")
    return manifests, tuple(notes)


def _replaced(resource: Resource, before: str, where: str) -> str:
    """Return the note that an object of one file takes the place of one of another.

    Raises:
        InvalidInput: Both stand in the same text, where nobody means one to replace the other.
    """
    name = resource.metadata.name
    if before == where:
        raise InvalidInput(
            f"{where}: {resource.KIND} {name}: metadata.name",
            "two objects in it have this name",
            "Remove one of the two, or give it another name",
        )
    return f"{resource.KIND} {name} stands in {before} and in {where}: the last counts"


def _means_ours(kind: Any, version: Any) -> bool:
    """Whether an object is one of ours by its group, or by a kind without any group."""
    group, slash, _ = str(version).partition("/")
    return group == GROUP or (kind in _KINDS and not slash)


def _unknown(where: str, kind: Any, version: Any) -> InvalidInput:
    if kind in _KINDS:
        return InvalidInput(
            f"{where}: {kind}: apiVersion",
            f"{'it is missing' if version is None else f'{version!r} is not known'}",
            f"Write {API_VERSION}",
        )
    near = get_close_matches(str(kind), _KINDS, n=1)
    return InvalidInput(
        f"{where}: kind",
        f"{GROUP} has no kind {kind}",
        f"Did you mean {near[0]}?" if near else f"Write one of {', '.join(_KINDS)}",
    )
