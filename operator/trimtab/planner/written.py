"""Texts of manifests as resources: what the API admits, and nothing else."""

from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from pydantic import ValidationError

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.base import API_VERSION, Resource
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
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
                    where, "a document in it is no object", "Write Kubernetes manifests"
                )
            items = document.get("items") if str(document.get("kind")).endswith("List") else None
            for item in [document] if items is None else items:
                yield where, item


def manifests_of(documents: Iterable[Document]) -> tuple[Manifests, tuple[str, ...]]:
    """Return all resources of ours in `documents`, and notes on what was skipped.

    Raises:
        InvalidInput: A resource is none that the API admits.
    """
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    labels: dict[str, dict[str, str]] = {}
    skipped: set[str] = set()
    for where, document in documents:
        kind, version = document.get("kind"), document.get("apiVersion")
        if version == API_VERSION and kind in _KINDS:
            found[kind].append(_parsed(where, _KINDS[kind], document))
        elif kind == "Namespace" and version == "v1":
            metadata = document.get("metadata") or {}
            labels[str(metadata.get("name"))] = dict(metadata.get("labels") or {})
        else:
            skipped.add(str(kind))
    manifests = Manifests(
        deployments=found[LLMDeployment.KIND],
        pools=found[AcceleratorPool.KIND],
        policies=found[ServingPolicy.KIND],
        profiles=found[PerformanceProfile.KIND],
        budgets=found[FleetBudget.KIND],
        namespace_labels=labels or None,
    )
    notes = (f"Skipped objects of other kinds: {', '.join(sorted(skipped))}",) if skipped else ()
    return manifests, notes


def _parsed(where: str, kind: type[Resource], document: dict[str, Any]) -> Resource:
    name = (document.get("metadata") or {}).get("name", "?")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(
            f"{where}: {kind.KIND} {name}: {field or 'object'}",
            first["msg"],
            "Correct the manifest",
        ) from error
