"""What a node is worth to us, from its labels, taints and resources: never wrong hardware."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from trimtab.api.acceleratorpool import TaintEffect, Toleration, TolerationOperator
from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.errors import InvalidInput
from trimtab.models.hardware import Accelerator
from trimtab.units import parse_quantity

MEMORY_TOLERANCE = 0.15
"""Makers, clouds and drivers count one device's memory up to this much apart."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Taint:
    """One taint of a node."""

    key: str
    value: str = ""
    effect: str = "NoSchedule"

    def __str__(self) -> str:
        """Return `key=value:effect`, as kubectl writes it."""
        return (
            f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeKind:
    """What a node offers to replicas, or why it offers nothing."""

    accelerator: str | None
    """Name in the catalogue; None when the node cannot be used."""
    problem: str | None
    """Why it cannot be used; None when it can."""
    resource_name: str
    devices: int
    """Whole devices that the node can hold."""
    capacity_type: CapacityType
    cloud: str | None
    """aws, gcp, azure or None."""
    instance_type: str | None
    zone: str | None
    region: str | None
    selector: tuple[tuple[str, str], ...]
    """Labels that all nodes of this kind carry, where possible from before they exist."""
    tolerations: tuple[Toleration, ...]
    names: tuple[str, ...]
    """Names for a pool of such nodes, best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """How a platform names the group that a node belongs to."""

    selector: tuple[tuple[str, str], ...] = ()
    pool: str = ""
    names: tuple[str, ...] = ()


def identify(
    labels: Mapping[str, str], taints: Iterable[Taint], allocatable: Mapping[str, int]
) -> NodeKind | None:
    """Return what a node with these labels, taints and extended resources is.

    Every label that says something of the accelerator is evidence; the accelerator is the one that
    no evidence contradicts. Where that leaves none or several, or where devices are slices or
    shared, the kind names no accelerator but the problem.

    Returns:
        None for a node that has no accelerator at all.
    """
    data = _data()
    evidence = tuple(_evidence(labels))
    resource = next((name for name in data["resources"] if allocatable.get(name, 0) > 0), None)
    partial = _partial_resource(allocatable)
    if not evidence and resource is None and partial is None:
        return None
    instance = labels.get(data["instance_label"])
    found = _accelerator(labels, evidence, resource)
    accelerator = found if isinstance(found, Accelerator) else None
    devices = allocatable.get(resource, 0) if resource else 0
    capacity = _capacity_type(labels)
    tolerations, reserved = _tolerations(taints)
    group = _group(labels)
    problem = (
        partial
        or _sharing(labels)
        or (found if isinstance(found, str) else None)
        or (None if resource else "the device plugin offers no whole device yet")
        or _slice_of_hosts(labels, devices)
        or reserved
        or (None if group.selector else "no label tells its nodes from others")
    )
    return NodeKind(
        accelerator=accelerator.name if accelerator and not problem else None,
        problem=problem,
        resource_name=resource or (accelerator.resource_name if accelerator else ""),
        devices=devices,
        capacity_type=capacity,
        cloud=_cloud(labels),
        instance_type=instance,
        zone=labels.get(data["zone_label"]),
        region=labels.get(data["region_label"]),
        selector=group.selector,
        tolerations=tolerations,
        names=() if problem else _names(group, accelerator, instance or "", capacity),
    )


def is_going(taint: Taint) -> bool:
    """Return whether `taint` tells that the node is about to be taken back, or is drained."""
    return taint.key in _data()["taints"]["going"]


def is_passing(taint: Taint) -> bool:
    """Return whether `taint` tells a state of the node that comes and goes, not what it is for."""
    return taint.key.startswith(tuple(_data()["taints"]["passing"]))


def _evidence(labels: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...] | str]]:
    """Yield where each piece of evidence is from, and the accelerators it allows or a problem."""
    data = _data()
    for entry in data["accelerator_labels"]:
        value = labels.get(entry["label"])
        if value is None:
            continue
        names = entry["values"].get(_product(value))
        where = f"{entry['label']}={value}"
        if names is not None:
            yield where, tuple(names)
        elif entry.get("exact"):
            yield where, f"the catalogue does not know {where}"
    instance = labels.get(data["instance_label"], "")
    for cloud, known in _instances(instance):
        where = f"{cloud} instance type {instance}"
        yield where, (f"{where} has {known}" if isinstance(known, str) else tuple(known))


def _accelerator(
    labels: Mapping[str, str],
    evidence: tuple[tuple[str, tuple[str, ...] | str], ...],
    resource: str | None,
) -> Accelerator | str:
    """Return the one accelerator that all evidence allows, or what is wrong."""
    allowed: set[str] | None = None
    for _, names in evidence:
        if isinstance(names, str):
            return names
        allowed = set(names) if allowed is None else allowed & set(names)
    if allowed is None:
        return "no label names its accelerator"
    if not allowed:
        return "its labels contradict each other: " + ", ".join(where for where, _ in evidence)
    known = [found for name in sorted(allowed) if (found := accelerators.get(name))]
    if resource is not None:
        known = [each for each in known if each.resource_name == resource]
        if not known:
            return f"its labels name {' or '.join(sorted(allowed))}, but it offers {resource}"
    for label, memory in _memory(labels):
        fitting = [each for each in known if _close(each.memory_bytes, memory)]
        if not fitting:
            names = " or ".join(each.name for each in known)
            return f"{label} says {memory / 2**30:.0f} GiB a device, which is no {names}"
        known = fitting
    if len(known) > 1:
        return "it may have " + " or ".join(each.name for each in known)
    return known[0]


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= MEMORY_TOLERANCE * max(one, other)


def _memory(labels: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield each label that gives the memory of one device, and the bytes it gives."""
    for label, unit in _data()["memory_labels"].items():
        try:
            memory = parse_quantity(labels.get(label, ""), label)
        except (InvalidInput, OverflowError, ValueError):
            continue
        if 0 < memory < 2.0**60:
            yield label, memory * unit


def _product(value: str) -> str:
    """Return a product label as the table spells it: some labellers keep blanks."""
    return value.strip().replace(" ", "-")


def _partial_resource(allocatable: Mapping[str, int]) -> str | None:
    data = _data()
    for name, count in sorted(allocatable.items()):
        if count <= 0 or name in data["resources"]:
            continue
        for prefix, what in data["partial_resources"].items():
            if name.startswith(prefix):
                return f"it offers {name}: {what}"
    return None


def _sharing(labels: Mapping[str, str]) -> str | None:
    data = _data()
    for entry in data["shared"]:
        value = labels.get(entry["label"])
        if value is not None and value not in entry["except"]:
            return f"{entry['label']}={value}: its devices are slices or shared between pods"
    product = labels.get("nvidia.com/gpu.product", "")
    if any(mark in product for mark in data["shared_product_marks"]):
        return f"nvidia.com/gpu.product={product}: its devices are slices or shared between pods"
    return None


def _slice_of_hosts(labels: Mapping[str, str], devices: int) -> str | None:
    topology = labels.get(_data()["topology_label"], "")
    if not re.fullmatch(r"[0-9]{1,4}(x[0-9]{1,4}){1,2}", topology):
        return None
    chips = 1
    for side in topology.split("x"):
        chips *= int(side)
    if chips <= devices:
        return None
    return f"it is one of several hosts of a {topology} slice, and a replica never spans hosts"


def _tolerations(taints: Iterable[Taint]) -> tuple[tuple[Toleration, ...], str | None]:
    """Return what replicas tolerate, and whom the node is reserved for if not for them."""
    data = _data()["taints"]
    result = set()
    for taint in sorted(taints):
        if taint.effect == TaintEffect.PREFER_NO_SCHEDULE or is_passing(taint):
            continue
        for ours in data["ours"]:
            if taint.key == ours["key"] and ours.get("value", taint.value) == taint.value:
                result.add((taint.key, ours.get("value"), taint.effect))
                break
        else:
            return (), f"the taint {taint} reserves it"
    return tuple(_toleration(*each) for each in sorted(result, key=str)), None


def _toleration(key: str, value: str | None, effect: str) -> Toleration:
    return Toleration(
        key=key,
        operator=TolerationOperator.EXISTS if value is None else TolerationOperator.EQUAL,
        value=value,
        effect=TaintEffect(effect),
    )


def _capacity_type(labels: Mapping[str, str]) -> CapacityType:
    for entry in _data()["capacity"]:
        value = labels.get(entry["label"])
        if value is not None:
            kind = entry["values"].get(value, entry["values"].get("*"))
            if kind is not None:
                return CapacityType(kind)
    return CapacityType.ON_DEMAND


def _cloud(labels: Mapping[str, str]) -> str | None:
    data = _data()
    for prefix, cloud in data["clouds"].items():
        if any(label.startswith(prefix) for label in labels):
            return str(cloud)
    return next((cloud for cloud, _ in _instances(labels.get(data["instance_label"], ""))), None)


def _instances(instance: str) -> Iterator[tuple[str, list[str] | str]]:
    for cloud, table in _data()["instances"].items():
        for pattern, known in table.items():
            if re.fullmatch(pattern, instance):
                yield cloud, known
                return


def _group(labels: Mapping[str, str]) -> _Group:
    for platform in _data()["platforms"]:
        value = labels.get(platform["when"])
        if not value:
            continue
        if platform.get("only_known_instances") and not any(_instances(value)):
            continue
        selector = {key: labels[key] for key in platform["selector"] if labels.get(key)}
        return _Group(
            selector=tuple(sorted(selector.items())),
            pool=labels.get(platform.get("pool", ""), value),
            names=tuple(platform["names"]),
        )
    return _Group()


def _names(
    group: _Group, accelerator: Accelerator | None, instance: str, capacity: CapacityType
) -> tuple[str, ...]:
    bought = "" if capacity is CapacityType.ON_DEMAND else f"-{capacity.lower()}"
    words = {
        "pool": group.pool,
        "instance": instance.removeprefix("Standard_"),
        "bought": bought,
        "short": accelerator.short_name if accelerator else "",
    }
    slugs = (_slug(name.format_map(words)) for name in group.names)
    return tuple(slug for slug in slugs if slug)


def _slug(text: str) -> str:
    """Return `text` as part of an object's name, short enough for the names of the children."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-")


@cache
def _data() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("data/nodes.yaml").read_text("utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data
