"""Manifests from files, directories and standard input, as resources."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
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

_KINDS: dict[str, type[Resource]] = {
    kind.KIND: kind
    for kind in (LLMDeployment, AcceleratorPool, ServingPolicy, PerformanceProfile, FleetBudget)
}
_SUFFIXES = (".yaml", ".yml", ".json")


def read(sources: Iterable[str]) -> tuple[Manifests, tuple[str, ...]]:
    """Return all resources of ours in `sources`, and notes on what was skipped.

    A source is a file, a directory with its subdirectories, or - for standard input.

    Raises:
        InvalidInput: A source cannot be read, or a resource is none that the API admits.
    """
    found: dict[str, list[Any]] = {kind: [] for kind in _KINDS}
    labels: dict[str, dict[str, str]] = {}
    skipped: set[str] = set()
    for where, document in _documents(sources):
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


def _documents(sources: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for where, text in _texts(sources):
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


def _texts(sources: Iterable[str]) -> Iterator[tuple[str, str]]:
    for source in sources:
        if source == "-":
            yield "standard input", sys.stdin.read()
            continue
        path = Path(source)
        files = (
            sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in _SUFFIXES)
            if path.is_dir()
            else [path]
        )
        if not files:
            raise InvalidInput(source, "no manifest is in it", "Name a file or folder with YAML")
        for file in files:
            try:
                yield str(file), file.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise InvalidInput(source, f"cannot read it: {error}", "Name a file") from error


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
