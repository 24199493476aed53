"""The judge's own fleet: pools, nodes that take a while, replicas that load, and what goes wrong.

Time goes from event to event. Whoever decides is asked in between, and sees of it what a load
balancer sees: requests that came, requests that are open, and the state of each replica.
"""

import heapq
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count

from bench.judge.engine import Engine, Request
from bench.judge.hardware import Device, Weights, law_of

LINGERS_S = 300.0
"""A node goes so long after its last replica."""
SPREAD = 0.2
"""Standard deviation of the logarithm of every wait."""


class Router(StrEnum):
    """To which ready replica a request goes."""

    LEAST = "least"
    """The one with the fewest open."""
    TURN = "turn"
    """Each in its turn."""
    RANDOM = "random"
    STICKY = "sticky"
    """The one that has the session's prompt so far, unless it has twice as many open as the least
    and four more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Where replicas can be, and what befalls them there."""

    device: Device
    most: int = 64
    """Devices."""
    node_s: float = 70.0
    """Median wait for a node that is not there."""
    load_s: float = 50.0
    """Median time from a node to ready."""
    slow: float = 1.0
    """Time of a step, by that of the law."""
    spot_per_hour: float | None = None
    """Dollars of a device, where it is spot."""
    short: tuple[tuple[float, float], ...] = ()
    """Times in which no new node comes."""
    reclaims: tuple[tuple[float, float], ...] = ()
    """When nodes are taken back, and which share of them."""

    @property
    def per_hour(self) -> float:
        """Dollars of a device."""
        return self.device.per_hour if self.spot_per_hour is None else self.spot_per_hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One deployment: a model, and the requests for it in order of time."""

    weights: Weights
    requests: Sequence[Request]
    router: Router = Router.LEAST


@dataclass(frozen=True, slots=True)
class Variant:
    """What a replica runs on, as answers name it: `POOL/tpN`."""

    pool: str
    devices: int

    @classmethod
    def of(cls, label: str) -> "Variant":
        """Read a label."""
        pool, _, devices = label.rpartition("/tp")
        return cls(pool, int(devices))

    def __str__(self) -> str:
        return f"{self.pool}/tp{self.devices}"


@dataclass(slots=True, kw_only=True)
class Node:
    """Some devices of a pool that are one machine."""

    free: int
    at_s: float
    """When it is there."""
    empty_s: float = math.inf
    """Since when it has no replica."""


@dataclass(slots=True, kw_only=True)
class Replica:
    """One that exists."""

    name: str
    service: str
    variant: Variant
    status: str
    since: float
    node: Node | None = None
    paid_from: float = math.inf
    ready_s: float = math.inf
    engine: Engine | None = None
    version: int = 0
    """Which of its ends in the heap is the last one."""


@dataclass(slots=True)
class _Door:
    """What is outside a service's replicas."""

    next: int = 0
    """Of its requests, the one that comes next."""
    answered: int = 0
    turn: int = 0
    shut: list[Request] = field(default_factory=list)
    """Those that came while nothing was ready."""
    homes: dict[int, str] = field(default_factory=dict)
    """The replica that had a session last."""


class Fleet:
    """Replicas of some services on some pools."""

    def __init__(
        self, services: Mapping[str, Service], pools: Mapping[str, Pool], seed: int
    ) -> None:
        self.services, self.pools = services, pools
        self.now = 0.0
        self.replicas: dict[str, Replica] = {}
        self.device_hours: dict[tuple[str, str], float] = {}
        """Of each service on each pool, from `bill_from` on."""
        self.bill_from = 0.0
        self._dice = random.Random(seed)
        self._nodes: dict[str, list[Node]] = {name: [] for name in pools}
        self._doors = {name: _Door() for name in services}
        self._names = count(1)
        self._ends: list[tuple[float, int, str]] = []
        """Heap of what engines have in hand: when it ends, version, replica."""
        self._coming: list[tuple[float, str]] = []
        """Heap of the next request of each service."""
        self._strokes = sorted(
            (at, name, share) for name, pool in pools.items() for at, share in pool.reclaims
        )
        for name, service in services.items():
            if service.requests:
                heapq.heappush(self._coming, (service.requests[0].at_s, name))

    def arrived(self, service: str) -> int:
        """Return the requests of a service that came so far."""
        return self._doors[service].next

    def in_flight(self, service: str) -> int:
        """Return those of them that are neither answered nor lost."""
        door = self._doors[service]
        return door.next - door.answered

    def cost(self) -> float:
        """Return the dollars for the devices that replicas had."""
        return sum(
            hours * self.pools[pool].per_hour for (_, pool), hours in self.device_hours.items()
        )

    def apply(self, service: str, wanted: Mapping[str, int]) -> None:
        """Ask for replicas and take some away, until there are as many of each variant."""
        mine: dict[str, list[Replica]] = {label: [] for label in wanted}
        for replica in self.replicas.values():
            if replica.service == service and replica.status != "stopping":
                mine.setdefault(str(replica.variant), []).append(replica)
        ranks = ("unschedulable", "starting", "ready")
        for label, there in sorted(mine.items()):
            want = wanted.get(label, 0)
            there.sort(key=lambda each: (ranks.index(each.status), -each.since))
            for replica in there[: max(0, len(there) - want)]:
                self._dismiss(replica)
            for _ in range(want - len(there)):
                self._ask(service, Variant.of(label))

    def begin_with(self, service: str, wanted: Mapping[str, int]) -> None:
        """Have replicas ready at once, as a fleet that was there before."""
        self.apply(service, wanted)
        for replica in list(self.replicas.values()):
            if replica.service == service and replica.status == "starting":
                self._open(replica)

    def advance(self, until: float) -> None:
        """Let time pass."""
        while True:
            starting = [each for each in self.replicas.values() if each.status == "starting"]
            soonest = min(starting, key=lambda each: each.ready_s, default=None)
            ready_s = soonest.ready_s if soonest else math.inf
            stroke_s = self._strokes[0][0] if self._strokes else math.inf
            at = min(ready_s, stroke_s)
            self._serve(min(at, until))
            if at > until:
                break
            self.now = at
            if soonest is not None and ready_s <= stroke_s:
                self._open(soonest)
            else:
                _, pool, share = self._strokes.pop(0)
                self._take_back(pool, share)
        self.now = until
        for nodes in self._nodes.values():
            nodes[:] = [node for node in nodes if node.empty_s > until - LINGERS_S]
        for replica in self.replicas.values():
            if replica.status == "unschedulable":
                self._place(replica)

    def close(self) -> None:
        """Stop the bill: all that is there is paid until now."""
        for replica in self.replicas.values():
            self._pay(replica)
            replica.paid_from = math.inf

    def _ask(self, service: str, variant: Variant) -> None:
        name = f"r{next(self._names)}"
        replica = Replica(
            name=name, service=service, variant=variant, status="unschedulable", since=self.now
        )
        self.replicas[name] = replica
        self._place(replica)

    def _place(self, replica: Replica) -> None:
        """Put a replica on a node that has room, or on one that is got for it, if one can be."""
        pool, devices = self.pools[replica.variant.pool], replica.variant.devices
        nodes = self._nodes[replica.variant.pool]
        node = next((each for each in nodes if each.free >= devices), None)
        if node is None:
            size = max(pool.device.per_node, devices)
            short = any(begin <= self.now < end for begin, end in pool.short)
            if short or size * (len(nodes) + 1) > pool.most:
                return
            node = Node(free=size, at_s=self.now + self._lasts(pool.node_s))
            nodes.append(node)
        node.free -= devices
        node.empty_s = math.inf
        replica.node, replica.paid_from = node, self.now
        replica.status, replica.since = "starting", self.now
        replica.ready_s = max(self.now, node.at_s) + self._lasts(pool.load_s)

    def _lasts(self, median_s: float) -> float:
        return median_s * math.exp(self._dice.gauss(0.0, SPREAD))

    def _open(self, replica: Replica) -> None:
        service, pool = self.services[replica.service], self.pools[replica.variant.pool]
        law = law_of(service.weights, pool.device, replica.variant.devices, pool.slow)
        if law is None:
            raise ValueError(f"{service.weights.name} does not fit on {replica.variant}")
        replica.engine = Engine(law)
        replica.status, replica.since = "ready", self.now
        shut, self._doors[replica.service].shut = self._doors[replica.service].shut, []
        for request in shut:
            self._give(replica.service, request, self.now)

    def _dismiss(self, replica: Replica) -> None:
        if replica.engine is not None and replica.engine.open:
            replica.status, replica.since = "stopping", self.now
        else:
            self._end(replica)

    def _end(self, replica: Replica) -> None:
        del self.replicas[replica.name]
        self._pay(replica)
        if replica.node is not None:
            replica.node.free += replica.variant.devices
            size = max(self.pools[replica.variant.pool].device.per_node, replica.variant.devices)
            if replica.node.free == size:
                replica.node.empty_s = self.now

    def _pay(self, replica: Replica) -> None:
        hours = max(0.0, self.now - max(replica.paid_from, self.bill_from)) / 3600.0
        key = replica.service, replica.variant.pool
        self.device_hours[key] = self.device_hours.get(key, 0.0) + hours * replica.variant.devices

    def _take_back(self, pool: str, share: float) -> None:
        """Take nodes away with all that is on them: what runs there is lost."""
        nodes = self._nodes[pool]
        taken = self._dice.sample(nodes, math.ceil(share * len(nodes)))
        nodes[:] = [node for node in nodes if not any(node is each for each in taken)]
        for replica in list(self.replicas.values()):
            if replica.node is None or not any(replica.node is each for each in taken):
                continue
            self._end(replica)
            if replica.engine is not None:
                lost, rest = replica.engine.stop()
                for request in lost:
                    request.failed = True
                self._doors[replica.service].answered += len(lost)
                for request in rest:
                    self._give(replica.service, request, self.now)

    def _serve(self, until: float) -> None:
        """Go through what comes and what ends, up to `until`."""
        while True:
            comes_s = self._coming[0][0] if self._coming else math.inf
            ends_s = self._ends[0][0] if self._ends else math.inf
            if min(comes_s, ends_s) > until:
                return
            if comes_s <= ends_s:
                at, name = heapq.heappop(self._coming)
                door, requests = self._doors[name], self.services[name].requests
                request = requests[door.next]
                door.next += 1
                if door.next < len(requests):
                    heapq.heappush(self._coming, (requests[door.next].at_s, name))
                self._give(name, request, at)
                continue
            _, version, key = heapq.heappop(self._ends)
            replica = self.replicas.get(key)
            if replica is None or replica.engine is None or replica.version != version:
                continue
            self._doors[replica.service].answered += len(replica.engine.advance())
            if replica.status == "stopping" and not replica.engine.open:
                self.now = ends_s
                self._end(replica)
            else:
                self._note(replica)

    def _note(self, replica: Replica) -> None:
        assert replica.engine is not None
        replica.version += 1
        if replica.engine.end_s < math.inf:
            heapq.heappush(self._ends, (replica.engine.end_s, replica.version, replica.name))

    def _give(self, service: str, request: Request, now: float) -> None:
        """Bring a request to a replica; to the door where none is ready."""
        ready = [
            (each, each.engine)
            for each in self.replicas.values()
            if each.service == service and each.status == "ready" and each.engine is not None
        ]
        if not ready:
            self._doors[service].shut.append(request)
            return
        replica, engine = self._routed(service, request, ready)
        before = engine.end_s
        engine.add(request, now)
        if engine.end_s != before:
            self._note(replica)

    def _routed(
        self, service: str, request: Request, ready: Sequence[tuple[Replica, Engine]]
    ) -> tuple[Replica, Engine]:
        door, router = self._doors[service], self.services[service].router
        door.turn += 1
        turned = (*ready[door.turn % len(ready) :], *ready[: door.turn % len(ready)])
        if router is Router.TURN:
            return turned[0]
        if router is Router.RANDOM:
            return self._dice.choice(ready)
        least = min(turned, key=lambda each: each[1].open)
        if router is Router.STICKY and request.session >= 0:
            home = door.homes.get(request.session)
            there: Iterable[tuple[Replica, Engine]] = (x for x in ready if x[0].name == home)
            kept = next(iter(there), None)
            if kept is not None and kept[1].open <= 2 * least[1].open + 4:
                least = kept
            door.homes[request.session] = least[0].name
        return least
