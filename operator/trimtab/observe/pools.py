"""Which node belongs to which AcceleratorPool, and what each pool has, holds and costs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.api.acceleratorpool import AcceleratorPool, TaintEffect, Toleration, TolerationOperator
from trimtab.api.conditions import Reason
from trimtab.api.naming import DISCOVERED_LABEL
from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.catalog.nodes import NodeKind, Taint, identify
from trimtab.catalog.pools import pool_of
from trimtab.catalog.prices import device_price
from trimtab.errors import InvalidInput
from trimtab.models.capacity import Pool, Price
from trimtab.observe.world import NodeFacts, PodFacts, WorldView


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """What one AcceleratorPool has now: the content of its status, and its value for a plan."""

    name: str
    pool: Pool | None
    """None when the spec has a price or a time that is none."""
    nodes: int
    """Ready, schedulable nodes."""
    devices: int
    """Devices on them, and those that our replicas hold on cordoned nodes."""
    foreign_devices: int
    promised: int
    """Devices promised to replicas."""
    price: Price | None
    ready: bool
    """Whether replicas can land here."""
    reason: Reason
    message: str
    discovered: bool


def is_discovered(pool: AcceleratorPool) -> bool:
    """Return whether Trimtab made the pool from nodes."""
    return pool.metadata.labels.get(DISCOVERED_LABEL) == "true"


def assign(view: WorldView) -> Mapping[str, tuple[NodeFacts, ...]]:
    """Return the nodes of each pool; no node is in two.

    Pools written by hand come first, then the selector with most labels, then the name.
    """
    order = sorted(
        view.pools,
        key=lambda pool: (
            is_discovered(pool),
            -len(pool.spec.node_selector),
            pool.metadata.name,
        ),
    )
    nodes: dict[str, list[NodeFacts]] = {pool.metadata.name: [] for pool in view.pools}
    for node in view.nodes:
        for pool in order:
            if selects(pool.spec.node_selector, node.labels):
                nodes[pool.metadata.name].append(node)
                break
    return {name: tuple(members) for name, members in nodes.items()}


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Return whether a node with `labels` is selected."""
    return all(labels.get(key) == value for key, value in selector.items())


def pool_facts(view: WorldView) -> tuple[PoolFacts, ...]:
    """Return what every AcceleratorPool has, sorted by name. Pure."""
    members = assign(view)
    pods = _pods_by_node(view)
    promised: Counter[str] = Counter()
    for child in view.children:
        if not child.deleting:
            promised[child.shape.pool] += child.replicas * child.shape.parallelism.devices
    serving = frozenset(
        (each.metadata.namespace, each.metadata.name)
        for each in view.deployments
        if each.metadata.deletion_timestamp is None
    )
    return tuple(
        _facts(
            pool,
            _Holdings.of(pool, members[pool.metadata.name], pods, serving),
            promised[pool.metadata.name],
            view.prices.get(pool.metadata.name),
        )
        for pool in view.pools
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holdings:
    """Nodes and devices of one pool."""

    members: tuple[NodeFacts, ...]
    nodes: int = 0
    devices: int = 0
    foreign: int = 0
    free: tuple[int, ...] = ()
    """Devices of each node that takes replicas, less those that pods on it hold."""
    problems: tuple[tuple[str, int], ...] = ()
    """Why the other nodes do not count, and how many there are of each."""

    @classmethod
    def of(
        cls,
        pool: AcceleratorPool,
        members: tuple[NodeFacts, ...],
        pods: Mapping[str, list[PodFacts]],
        serving: frozenset[tuple[str, str]],
    ) -> "_Holdings":
        resource = pool.spec.resource_name
        found = cls(members=members)
        problems: Counter[str] = Counter()
        for node in members:
            held, foreign = _held(pool, pods.get(node.name, ()), serving)
            problem = _problem(pool, node)
            if problem is None:
                found = replace(
                    found,
                    nodes=found.nodes + 1,
                    devices=found.devices + node.offers(resource),
                    foreign=found.foreign + foreign,
                    free=(*found.free, max(0, node.offers(resource) - held - foreign)),
                )
            else:
                problems[problem] += 1
                if node.ready:  # its pods serve on, but it takes no new ones
                    found = replace(found, devices=found.devices + held)
        return replace(found, problems=tuple(sorted(problems.items())))


def _held(
    pool: AcceleratorPool, pods: Iterable[PodFacts], serving: frozenset[tuple[str, str]]
) -> tuple[int, int]:
    """Return the devices that replicas of this pool hold, and those that all other pods hold.

    Ours is only what a plan counts as a replica on this pool: what is left of a deleted
    deployment, or stands here on account of another pool, is in the way like anything foreign.
    """
    ours = foreign = 0
    for pod in pods:
        devices = pod.requests(pool.spec.resource_name)
        counted = (
            pod.shape is not None
            and pod.shape.pool == pool.metadata.name
            and (pod.namespace, pod.deployment) in serving
        )
        if counted:
            ours += devices
        else:
            foreign += devices
    return ours, foreign


def _pods_by_node(view: WorldView) -> Mapping[str, list[PodFacts]]:
    by_node: dict[str, list[PodFacts]] = defaultdict(list)
    for pod in (*view.foreign_pods, *view.pods):
        if pod.node is not None and not pod.finished:
            by_node[pod.node].append(pod)
    return by_node


def _problem(pool: AcceleratorPool, node: NodeFacts) -> str | None:
    """Return why no new replica can land on `node`, or None."""
    if not node.ready:
        return "not ready"
    if node.notice is not None:
        return f"about to go ({node.notice})"
    if node.cordoned:
        return "cordoned"
    if node.offers(pool.spec.resource_name) == 0:
        return f"without {pool.spec.resource_name}"
    cloud = node.kind.cloud if node.kind else None
    for taint in node.taints:
        # GKE runs the ExtendedResourceToleration admission: it adds this toleration by itself.
        by_admission = cloud == "gcp" and taint.key == pool.spec.resource_name
        if not by_admission and not _tolerates(pool.spec.tolerations or (), taint):
            return f"with the taint {taint}, which the pool does not tolerate"
    return None


def _tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    if taint.effect == TaintEffect.PREFER_NO_SCHEDULE:
        return True
    for each in tolerations:
        exists = each.operator is TolerationOperator.EXISTS or (
            each.operator is None and each.value is None
        )
        if (
            each.key == taint.key
            and each.effect in (None, taint.effect)
            and (exists or (each.value or "") == taint.value)
        ):
            return True
    return False


def _facts(
    resource: AcceleratorPool, found: _Holdings, promised: int, fed: Price | None
) -> PoolFacts:
    pool = None
    try:
        pool = pool_of(
            resource,
            nodes=found.nodes,
            devices=found.devices,
            foreign_devices=found.foreign,
            node_free=found.free,
            unready_nodes=sum(not node.ready for node in found.members),
            catalogue_price=fed or catalogue_price(resource, found.members),
        )
        ready, reason, message = _verdict(pool, found)
    except InvalidInput as error:
        ready, reason, message = False, Reason.INVALID_SPEC, str(error)
    return PoolFacts(
        name=resource.metadata.name,
        pool=pool,
        nodes=found.nodes,
        devices=found.devices,
        foreign_devices=found.foreign,
        promised=promised,
        price=pool.price if pool else None,
        ready=ready,
        reason=reason,
        message=message,
        discovered=is_discovered(resource),
    )


def _verdict(pool: Pool, found: _Holdings) -> tuple[bool, Reason, str]:
    if pool.accelerator is None:
        message = (
            f"The catalogue does not know {pool.accelerator_name}: "
            "write its figures in spec.hardware"
        )
        return False, Reason.UNKNOWN_ACCELERATOR, message
    others = ", ".join(f"{count} {problem}" for problem, count in found.problems)
    if found.nodes == 0:
        grows = pool.max_devices or 0
        reason = f"No node that can take a replica ({others})" if others else "No node at present"
        if grows:
            return True, Reason.NO_NODES, f"{reason}; the pool may grow to {grows} devices"
        return False, Reason.NO_NODES, reason
    plural = "" if found.nodes == 1 else "s"
    nodes = f"{found.nodes} node{plural} with {found.devices} devices"
    nodes += f"; {others}" if others else ""
    if pool.price is None:
        return False, Reason.NO_PRICE, f"{nodes}, but no price: write one in spec.price"
    return True, Reason.IN_USE, nodes


def catalogue_price(
    resource: AcceleratorPool,
    members: Sequence[NodeFacts],
    capacity_type: CapacityType | None = None,
) -> Price | None:
    """Return the catalogue's price for the most common node type, else for what is selected.

    Args:
        resource: The pool.
        members: Its nodes.
        capacity_type: How they are bought; the pool's own unless given.
    """
    spec = resource.spec
    kinds: Counter[tuple[str, str, str]] = Counter(
        _bought(node.kind) for node in members if node.kind is not None
    )
    if kinds:
        instance, cloud, region = min(kinds, key=lambda each: (-kinds[each], each))
    else:
        selected = identify(spec.node_selector, (), {spec.resource_name: spec.devices_per_node})
        instance, cloud, region = _bought(selected) if selected else ("", "", "")
    known = accelerators.get(spec.accelerator)
    return device_price(
        known.name if known else spec.accelerator,
        capacity_type or spec.capacity_type or CapacityType.ON_DEMAND,
        instance_type=instance or None,
        provider=cloud or None,
        region=region or None,
    )


def _bought(kind: NodeKind) -> tuple[str, str, str]:
    return (kind.instance_type or "", kind.cloud or "", kind.region or "")
