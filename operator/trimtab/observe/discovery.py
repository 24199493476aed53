"""Accelerator nodes that no pool describes yet, as drafts of AcceleratorPools."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.catalog.nodes import NodeKind
from trimtab.observe.pools import is_discovered, selects
from trimtab.observe.world import NodeFacts, WorldView

Selector = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolDraft:
    """An AcceleratorPool as the nodes say it should be."""

    name: str
    spec: Mapping[str, Any]
    """As in the API: camelCase, and only what the nodes tell; the price comes from the catalogue.
    """


def drafts(view: WorldView) -> tuple[PoolDraft, ...]:
    """Return one draft for each kind of usable node that no other pool covers, sorted by name.

    A kind is what the platform scales as one: provider pool, instance type, accelerator, how it
    is bought. A draft keeps the name of the discovered pool with its node selector, so a pool
    lives as long as its nodes look alike, and a name that is taken is never taken over. A node
    covered by a pool written by hand, or by one that a user has changed, is not drafted. Pure.
    """
    groups = {group: kinds for group, kinds in _groups(view).items() if _agree(kinds)}
    names = _names(view, groups)
    return tuple(
        sorted(
            (PoolDraft(name=names[group], spec=_spec(kinds)) for group, kinds in groups.items()),
            key=lambda draft: draft.name,
        )
    )


def skipped(view: WorldView) -> tuple[tuple[str, str], ...]:
    """Return accelerator nodes that no pool covers and none will, each with the reason. Pure."""
    mixed = {group for group, kinds in _groups(view).items() if not _agree(kinds)}
    result = []
    for node in view.nodes:
        if node.kind is None or _covered(view, node):
            continue
        problem = node.kind.problem
        if problem is None and node.kind.selector in mixed:
            problem = "nodes with the same labels have other accelerators or are bought otherwise"
        if problem is not None:
            result.append((node.name, problem))
    return tuple(result)


def _groups(view: WorldView) -> dict[Selector, list[NodeKind]]:
    groups: dict[Selector, list[NodeKind]] = defaultdict(list)
    for node in view.nodes:
        kind = node.kind
        if kind is not None and kind.problem is None and not _covered(view, node):
            groups[kind.selector].append(kind)
    return groups


def _agree(kinds: list[NodeKind]) -> bool:
    return len({(kind.accelerator, kind.resource_name, kind.capacity_type) for kind in kinds}) == 1


def _covered(view: WorldView, node: NodeFacts) -> bool:
    """Return whether a pool other than the node's own discovered one has the node."""
    own = dict(node.kind.selector) if node.kind else {}
    return any(
        selects(pool.spec.node_selector, node.labels)
        and not (is_discovered(pool) and pool.spec.node_selector == own)
        for pool in view.pools
    )


def _names(view: WorldView, groups: Mapping[Selector, list[NodeKind]]) -> dict[Selector, str]:
    by_selector = {
        _selector_of(pool): pool.metadata.name for pool in view.pools if is_discovered(pool)
    }
    names = {group: by_selector[group] for group in groups if group in by_selector}
    taken = {pool.metadata.name for pool in view.pools}
    taken |= {key.name for key in (broken.key for broken in view.broken)}
    for group in sorted(groups):
        if group not in names:
            names[group] = _free_name(group, groups[group], taken)
            taken.add(names[group])
    return names


def _free_name(group: Selector, kinds: list[NodeKind], taken: set[str]) -> str:
    wished = next((kind.names for kind in kinds if kind.names), ("pool",))
    for name in wished:
        if name not in taken:
            return name
    digest = hashlib.sha256(repr(group).encode()).hexdigest()[:6]
    return f"{wished[-1]}-{digest}"


def _selector_of(pool: AcceleratorPool) -> Selector:
    return tuple(sorted(pool.spec.node_selector.items()))


def _spec(kinds: list[NodeKind]) -> dict[str, Any]:
    """Return the spec of a pool of equal nodes; a node with a broken device does not lower it."""
    best = max(kinds, key=lambda kind: kind.devices)
    tolerations = {
        str(each): each.model_dump(mode="json", by_alias=True, exclude_none=True)
        for kind in kinds
        for each in kind.tolerations
    }
    spec: dict[str, Any] = {
        "accelerator": best.accelerator,
        "resourceName": best.resource_name,
        "devicesPerNode": best.devices,
        "nodeSelector": dict(best.selector),
        "capacityType": str(best.capacity_type),
    }
    if tolerations:
        spec["tolerations"] = [tolerations[key] for key in sorted(tolerations)]
    return spec
