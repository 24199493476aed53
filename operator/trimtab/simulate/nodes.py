"""The nodes of one pool: what is there, what is coming, what could still be had."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from trimtab.errors import Bug
from trimtab.simulate.timeline import Timeline

NODE_IDLE_S = 60.0
"""Time after which an empty node is given back, as Karpenter's `consolidateAfter` is often set."""

Delay = Callable[[], float]
"""Draws a time in seconds."""
Died = Callable[["Node", float, float], None]
"""Is told a node that is taken back, now, and when it is gone."""


@dataclass(slots=True, kw_only=True, eq=False)
class Node:
    """One node."""

    number: int
    free: int
    """Devices that no pod holds."""
    leaving: bool = False
    """Whether it is being taken back: nothing new lands there."""
    idle_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolRules:
    """How the nodes of one pool come and go."""

    name: str
    per_node: int
    """Devices of one node."""
    grows: bool
    """Whether nodes come when pods want them; else those of the start are all."""
    provisioning: Delay
    """From a pending pod to a new node."""
    limits: Sequence[tuple[float, int]]
    """When, and how many devices can be had from then on; the first at 0."""
    reclaim_after: Delay | None
    """Draws the time after which a node is taken back; None means never."""
    notice_s: float
    """From the notice of a reclaim to the node's being gone."""
    shares: Sequence[tuple[float, float]] = ()
    """When, and which share of the largest limit a spot market leaves from then on; as limits."""


class Room:
    """Where the pods of one pool land. Devices in use never exceed those of its nodes."""

    def __init__(self, rules: PoolRules, timeline: Timeline, rng: np.random.Generator) -> None:
        """Start without a node; `open` brings those of the start."""
        self.rules = rules
        self._timeline = timeline
        self._rng = rng
        self._nodes: dict[int, Node] = {}
        self._made = 0
        self._coming = 0
        self._limit = rules.limits[0][1]
        self._share = rules.shares[0][1] if rules.shares else 1.0
        self._most = max(devices for _, devices in rules.limits)
        self.on_room: Callable[[float], None] = lambda now: None
        """Called when pods may fit that did not."""
        self.on_reclaim: Died = lambda node, now, gone_at: None
        """Called with the notice."""
        self.on_gone: Callable[[Node, float], None] = lambda node, now: None
        """Called when a reclaimed node goes."""
        self.on_nodes: Callable[[float], None] = lambda now: None
        """Called when a node has come, takes no more pods or is gone."""
        for at, devices in rules.limits[1:]:
            timeline.at(at, partial(self._limited, devices))
        for at, share in rules.shares[1:]:
            timeline.at(at, partial(self._shared, share))

    @property
    def nodes(self) -> int:
        """Nodes that take pods."""
        return sum(not node.leaving for node in self._nodes.values())

    @property
    def devices(self) -> int:
        """Devices of all nodes, those that leave too."""
        return len(self._nodes) * self.rules.per_node

    @property
    def limit(self) -> int:
        """Devices that can be had now, those that are there included."""
        whole = self._limit
        if self.rules.shares:
            whole = min(whole, int(self._share * self._most + 1e-9))
        return whole if self.rules.grows else min(whole, self.devices)

    def open(self, nodes: int, now: float) -> None:
        """Bring nodes at once, as the fleet had run before."""
        for _ in range(nodes):
            self._arrive(now)

    def place(self, devices: int) -> Node | None:
        """Take devices on the fullest node that has them; None when no node has."""
        fitting = [n for n in self._nodes.values() if not n.leaving and n.free >= devices]
        if not fitting:
            return None
        node = min(fitting, key=lambda n: (n.free, n.number))
        node.free -= devices
        node.idle_since = None
        return node

    def release(self, node: Node, devices: int, now: float) -> None:
        """Give back devices."""
        node.free += devices
        if node.free > self.rules.per_node:
            raise Bug("a node has more devices free than it has")
        if node.number in self._nodes and node.free == self.rules.per_node:
            self._idle(node, now)

    def order(self, waiting: Iterable[int], now: float) -> int:
        """Order nodes for pods of so many devices; return how many of the pods cannot be had."""
        if not self.rules.grows:
            return sum(1 for _ in waiting)
        bins: list[int] = [self.rules.per_node] * self._coming
        refused = 0
        for devices in waiting:
            fitting = [i for i, free in enumerate(bins) if free >= devices]
            if fitting:
                bins[fitting[0]] -= devices
            elif devices <= self.rules.per_node and self._can_grow():
                self._coming += 1
                bins.append(self.rules.per_node - devices)
                self._timeline.at(now + self.rules.provisioning(), self._provisioned)
            else:
                refused += 1
        return refused

    def grow_now(self) -> bool:
        """Bring one node at once if one can be had; tell whether."""
        if not (self.rules.grows and self._can_grow()):
            return False
        self._arrive(0.0)
        return True

    def _can_grow(self) -> bool:
        stays = sum(not node.leaving for node in self._nodes.values())
        return (stays + self._coming + 1) * self.rules.per_node <= self.limit

    def _provisioned(self, now: float) -> None:
        self._coming -= 1
        stays = sum(not node.leaving for node in self._nodes.values())
        if (stays + 1) * self.rules.per_node <= self.limit:
            self._arrive(now)
        self.on_room(now)

    def _arrive(self, now: float) -> None:
        node = Node(number=self._made, free=self.rules.per_node)
        self._made += 1
        self._nodes[node.number] = node
        if self.rules.grows:
            self._idle(node, now)
        if self.rules.reclaim_after is not None:
            self._timeline.at(now + self.rules.reclaim_after(), partial(self._reclaim, node))
        self.on_nodes(now)

    def _idle(self, node: Node, now: float) -> None:
        if node.leaving or not self.rules.grows:
            return
        node.idle_since = now
        self._timeline.at(now + NODE_IDLE_S, partial(self._give_back, node, now))

    def _give_back(self, node: Node, since: float, now: float) -> None:
        """Give a node back at `now` that has been empty since `since`."""
        if node.idle_since == since and node.number in self._nodes and not node.leaving:
            del self._nodes[node.number]
            self.on_nodes(now)

    def _limited(self, devices: int, now: float) -> None:
        self._limit = devices
        self.on_room(now)

    def _shared(self, share: float, now: float) -> None:
        self._share = share
        staying = [node for node in self._nodes.values() if not node.leaving]
        surplus = len(staying) - self.limit // self.rules.per_node
        if surplus > 0:
            for index in sorted(self._rng.choice(len(staying), surplus, replace=False)):
                self._reclaim(staying[index], now)
        self.on_room(now)

    def _reclaim(self, node: Node, now: float) -> None:
        if node.number not in self._nodes or node.leaving:
            return
        node.leaving = True
        self.on_nodes(now)
        gone_at = now + self.rules.notice_s
        self.on_reclaim(node, now, gone_at)
        self._timeline.at(gone_at, partial(self._gone, node))

    def _gone(self, node: Node, now: float) -> None:
        self.on_gone(node, now)
        del self._nodes[node.number]
        self.on_nodes(now)
        self.on_room(now)
