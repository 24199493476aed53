"""The pods of a simulated fleet: wanted, pending, loading, ready, leaving, gone.

A child Deployment for each variant, as Kubernetes runs one: a pod that is lost or drains is
replaced at once, and of surplus pods those go first that are least far, then the youngest.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from trimtab.models.snapshot import Key
from trimtab.simulate.bill import Bill
from trimtab.simulate.kinds import Kind, Kinds
from trimtab.simulate.nodes import Node, Room
from trimtab.simulate.policy import ReplicaView, Variant
from trimtab.simulate.rivals.base import Phase
from trimtab.simulate.sites import Site
from trimtab.simulate.timeline import Timeline

DRAIN_CHECK_S = 1.0
"""How often a leaving pod is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One deployment's clients and pages."""

    site: Site
    shutdown_s: float
    """Time that a leaving replica has to finish its requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What pods stand on."""

    kinds: Kinds
    rooms: Mapping[str, Room]
    services: Mapping[Key, Service]
    load_s: Callable[[str, Kind], float]
    """Draws the time from a node to Ready for a replica on a pool."""
    fail_after: Mapping[str, Callable[[], float]]
    """Draws the time from Ready to a failure, by pool; a pool that is left out has none."""


@dataclass(slots=True, kw_only=True, eq=False)
class Pod:
    """One pod."""

    id: str
    variant: Variant
    kind: Kind
    made_at: float
    phase: Phase = Phase.PENDING
    node: Node | None = None
    placed_at: float | None = None
    ready_at: float | None = None
    stop_at: float | None = None
    """When it is killed, once it is leaving."""
    refused: bool = False
    """Whether its pool had nothing for it when it was last asked."""


class Fleet:
    """All pods. Time is the caller's."""

    def __init__(self, ground: Ground, timeline: Timeline, bill: Bill) -> None:
        """Start without a pod."""
        self._ground = ground
        self._timeline = timeline
        self._bill = bill
        self._pods: dict[str, Pod] = {}
        self._made = 0
        self.wanted: dict[Variant, int] = {}
        self.lost: Counter[Variant] = Counter()
        """Replicas lost or refused since somebody emptied it."""
        self.lost_replicas = 0
        self.on_change: Callable[[float], None] = lambda now: None
        """Called when the cluster shows something new of a pod or a node."""
        for room in ground.rooms.values():
            room.on_room = partial(self._schedule, room.rules.name)
            room.on_reclaim = self._reclaimed
            room.on_gone = self._killed
            room.on_nodes = self._nodes_changed

    def pods(self, variant: Variant | None = None) -> list[Pod]:
        """Return the pods of one variant or of all, oldest first."""
        return [pod for pod in self._pods.values() if variant in (None, pod.variant)]

    def ready(self, key: Key) -> list[Pod]:
        """Return the pods of a deployment that get requests."""
        return [pod for pod in self._pods.values() if pod.variant.deployment == key
                and pod.ready_at is not None and pod.stop_at is None]  # fmt: skip

    def stays(self, key: Key) -> bool:
        """Tell whether a deployment has any pod that is not leaving."""
        return any(p.variant.deployment == key and p.stop_at is None for p in self._pods.values())

    def views(self, key: Key, now: float) -> tuple[ReplicaView, ...]:
        """Return the pods of a deployment as a policy may see them."""
        site = self._ground.services[key].site
        return tuple(
            ReplicaView(
                id=pod.id,
                variant=pod.variant,
                phase=pod.phase,
                age_s=now - pod.made_at,
                unschedulable=pod.node is None,
                placed_s=None if pod.placed_at is None else now - pod.placed_at,
                ready_s=None if pod.ready_at is None else now - pod.ready_at,
                terminating=pod.stop_at is not None,
                scrape=site.page(pod.id),
            )
            for pod in self._pods.values()
            if pod.variant.deployment == key
        )

    def begin(self, wanted: Mapping[Variant, int]) -> None:
        """Have a first fleet at once, with the nodes that it takes, as far as there is room."""
        self.wanted = {variant: count for variant, count in wanted.items() if count > 0}
        for variant in _sorted(self.wanted):
            room = self._ground.rooms[variant.pool]
            for _ in range(self.wanted[variant]):
                pod = self._make(variant, 0.0)
                node = room.place(pod.kind.devices)
                if node is None and room.grow_now():
                    node = room.place(pod.kind.devices)
                if node is not None:
                    self._assign(pod, node, 0.0)
                    self._ready(pod, 0.0)
        for name in sorted({variant.pool for variant in self.wanted}):
            self._schedule(name, 0.0)

    def apply(self, wanted: Mapping[Variant, int], now: float) -> None:
        """Have `wanted` from now on; variants that it does not name shall have none."""
        before = self.wanted
        self.wanted = {variant: count for variant, count in wanted.items() if count > 0}
        for variant in _sorted({*before, *self.wanted}):
            if before.get(variant, 0) != self.wanted.get(variant, 0):
                self._reconcile(variant, now)

    def _reconcile(self, variant: Variant, now: float) -> None:
        pods = [pod for pod in self.pods(variant) if pod.stop_at is None]
        surplus = len(pods) - self.wanted.get(variant, 0)
        if surplus > 0:
            for pod in sorted(pods, key=_dispensable)[:surplus]:
                self._stop(pod, now + self._ground.services[variant.deployment].shutdown_s, now)
        elif surplus < 0:
            for _ in range(-surplus):
                self._make(variant, now)
            self._schedule(variant.pool, now)

    def _make(self, variant: Variant, now: float) -> Pod:
        kind = self._ground.kinds.of(variant)
        name = f"{variant.deployment}/{variant.label}/{self._made}"
        self._made += 1
        pod = self._pods[name] = Pod(id=name, variant=variant, kind=kind, made_at=now)
        self.on_change(now)
        return pod

    def _schedule(self, pool: str, now: float) -> None:
        """Place what waits for `pool`, the oldest first, and order nodes for the rest."""
        room = self._ground.rooms[pool]
        waiting = []
        for pod in self._pods.values():
            if pod.variant.pool == pool and pod.node is None:
                node = room.place(pod.kind.devices)
                if node is None:
                    waiting.append(pod)
                else:
                    self._assign(pod, node, now)
                    load_s = self._ground.load_s(pool, pod.kind)
                    self._timeline.at(now + load_s, partial(self._loaded, pod))
        refused = room.order((pod.kind.devices for pod in waiting), now)
        for pod in waiting[len(waiting) - refused :]:
            if not pod.refused:
                pod.refused = True
                self.lost[pod.variant] += 1

    def _assign(self, pod: Pod, node: Node, now: float) -> None:
        pod.node, pod.placed_at = node, now
        pod.phase = Phase.LOADING
        self._bill.change(pod.variant, pod.kind, 1, now)
        self.on_change(now)

    def _loaded(self, pod: Pod, now: float) -> None:
        if pod.id in self._pods:
            self._ready(pod, now)

    def _ready(self, pod: Pod, now: float) -> None:
        pod.phase = Phase.READY
        pod.ready_at = now
        self._site(pod).open(pod.id, pod.variant, pod.kind, now)
        self.on_change(now)
        fail_after = self._ground.fail_after.get(pod.variant.pool)
        if fail_after is not None:
            self._timeline.at(now + fail_after(), partial(self._fail, pod))

    def _stop(self, pod: Pod, stop_at: float, now: float) -> None:
        """Let a pod finish what it has until `stop_at`; one that serves nothing goes at once."""
        if pod.stop_at is not None:
            pod.stop_at = min(pod.stop_at, stop_at)
            return
        pod.stop_at = stop_at
        self.on_change(now)
        if pod.ready_at is None:
            self._remove(pod, now)
            return
        self._site(pod).leave(pod.id, now)
        self._drain(pod, now)

    def _drain(self, pod: Pod, now: float) -> None:
        if pod.id not in self._pods or pod.stop_at is None:
            return
        if now >= pod.stop_at or not self._site(pod).busy(pod.id):
            self._remove(pod, now)
            return
        look = min(now + DRAIN_CHECK_S, pod.stop_at)
        self._timeline.at(look, partial(self._drain, pod))

    def _remove(self, pod: Pod, now: float) -> None:
        del self._pods[pod.id]
        if pod.ready_at is not None:
            self._site(pod).close(pod.id, now)
        if pod.node is not None:
            self._ground.rooms[pod.variant.pool].release(pod.node, pod.kind.devices, now)
            self._bill.change(pod.variant, pod.kind, -1, now)
            self._schedule(pod.variant.pool, now)
        self.on_change(now)

    def _replace(self, pods: Iterable[Pod], now: float) -> None:
        """Replace pods that were lost."""
        for variant in _sorted({pod.variant for pod in pods}):
            self._reconcile(variant, now)

    def _fail(self, pod: Pod, now: float) -> None:
        if pod.id not in self._pods:
            return
        leaving = pod.stop_at is not None
        self._remove(pod, now)
        if not leaving:
            self.lost[pod.variant] += 1
            self.lost_replicas += 1
            self._replace([pod], now)

    def _nodes_changed(self, now: float) -> None:
        self.on_change(now)

    def _site(self, pod: Pod) -> Site:
        return self._ground.services[pod.variant.deployment].site

    def _on(self, node: Node) -> list[Pod]:
        return [pod for pod in self._pods.values() if pod.node is node]

    def _reclaimed(self, node: Node, now: float, gone_at: float) -> None:
        lost = []
        for pod in self._on(node):
            if pod.stop_at is None:
                lost.append(pod)
                self.lost[pod.variant] += 1
                self.lost_replicas += 1
            self._stop(pod, gone_at, now)
        self._replace(lost, now)

    def _killed(self, node: Node, now: float) -> None:
        for pod in self._on(node):
            self._remove(pod, now)


def _dispensable(pod: Pod) -> tuple[int, float, int]:
    """Order pods as a ReplicaSet removes them: unscheduled, not ready, then the youngest."""
    stage = (Phase.PENDING, Phase.LOADING, Phase.READY).index(pod.phase)
    since = pod.made_at if pod.ready_at is None else pod.ready_at
    return stage, -since, -int(pod.id.rpartition("/")[2])


def _sorted(variants: Iterable[Variant]) -> list[Variant]:
    return sorted(variants, key=lambda variant: variant.order)
