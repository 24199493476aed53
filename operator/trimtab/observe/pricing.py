"""Prices that the cluster itself knows: Karpenter's offers, then what OpenCost says of the nodes.

A feed never stops anything. What cannot be true is not taken, a price that is lost stays the last
good one, dated: a feed that fails moves no replica. A new process begins with the prices that the
one before it has written into the status of the pools.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib import resources
from statistics import median
from typing import Any

import yaml

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.policy import CapacityType
from trimtab.catalog.nodes import identify
from trimtab.errors import InvalidInput, Unavailable
from trimtab.models.capacity import Price
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import mapping, text
from trimtab.observe.pools import assign, catalogue_price
from trimtab.observe.prometheus import MetricsSource, Sample
from trimtab.observe.promql import Labels, labelled, series
from trimtab.observe.queries import PART_LABEL
from trimtab.observe.world import NodeFacts, ObjectKey, WorldView
from trimtab.units import parse_decimal

PERIOD_S = 300.0
"""Time between two questions; Karpenter looks at its own prices every minute."""
APART = 4.0
"""How many times more or less than the list price an on-demand price may be, and than the last good
one any price. Discounts and surcharges are within it; wrong units or another currency are not."""
SPOT_LEAST, SPOT_MOST = 1 / 20, 1.5
"""What a spot price may be of the on-demand list price: clouds advertise up to 90 % off, and none
sells spot for long above on-demand."""
RECALLED_DAYS = 7
"""A price of before the process counts for so long: spot markets are others a week later, and of
on-demand prices the catalogue has one, dated too."""
MOVED = 0.02
"""A smaller change is no news: neither a status nor a plan should follow every tick of a market."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """What the feeds said, in $ per device and hour or $ per node and hour."""

    by_type: Mapping[tuple[str, str], float]
    """Karpenter's price of a node, by instance type and its word for the capacity type."""
    by_node: Mapping[str, float]
    """OpenCost's price of a device, its share of the node included, by node."""


class PriceBook:
    """The last good price of each pool."""

    def __init__(self, labels: Labels = ()) -> None:
        """Know none; `labels` are what all series have that are of this cluster."""
        self._labels = labels
        self._good: dict[str, Price] = {}
        self._asked: float | None = None
        self._recalled = False

    def refresh(
        self, source: MetricsSource | None, view: WorldView, now: float
    ) -> Mapping[str, Price]:
        """Return the prices by pool, asked anew when it is time; no failure raises.

        Args:
            source: Where the feeds are scraped to; None leaves what is known.
            view: The pools and their nodes.
            now: Unix seconds.
        """
        if not self._recalled:
            self._recalled = True
            self._recall(view, datetime.fromtimestamp(now, UTC).date())
        due = self._asked is None or not 0 <= now - self._asked < PERIOD_S
        if source is not None and due:
            self._asked = now
            try:
                offers = _read(source.query(query(self._labels)))
            except Unavailable:
                return dict(self._good)
            today = datetime.fromtimestamp(now, UTC).date().isoformat()
            members = assign(view)
            for pool in view.pools:
                self._take(pool, members[pool.metadata.name], offers, today)
        return dict(self._good)

    def _recall(self, view: WorldView, today: date) -> None:
        """Take the prices of feeds that the statuses hold, where a feed could say them now."""
        members = assign(view)
        for pool in view.pools:
            key = ObjectKey(kind=Kind.ACCELERATOR_POOL, namespace="", name=pool.metadata.name)
            found = _published(mapping(view.bodies.get(key), "status", "price"), today)
            if found and _plausible(found.usd_per_hour, pool, members[pool.metadata.name]):
                self._good[pool.metadata.name] = found

    def _take(
        self, pool: AcceleratorPool, nodes: Sequence[NodeFacts], offers: Offers, today: str
    ) -> None:
        name = pool.metadata.name
        last = self._good.get(name)
        for source, usd in _offered(pool, nodes, offers):
            if not _plausible(usd, pool, nodes) or (last is not None and _far(usd, last)):
                continue
            if last is not None and last.source == source:
                moved = abs(usd / last.usd_per_hour - 1.0) > MOVED
                usd = usd if moved else last.usd_per_hour
            self._good[name] = Price(usd_per_hour=usd, source=source, as_of=today)
            return


def _published(status: Mapping[str, Any], today: date) -> Price | None:
    """Return the price that a status holds, if it is a feed's and not too old to stand for it."""
    source, as_of = text(status.get("source")), text(status.get("asOf"))
    if source not in {feed["title"] for feed in _feeds().values()}:
        return None
    try:
        age = today - date.fromisoformat(as_of)
        usd = parse_decimal(text(status.get("perDeviceHour")), "status.price.perDeviceHour")
    except (ValueError, InvalidInput):
        return None
    fresh = timedelta(0) <= age <= timedelta(days=RECALLED_DAYS)
    return Price(usd_per_hour=usd, source=source, as_of=as_of) if fresh and usd > 0 else None


def query(labels: Labels = ()) -> str:
    """Return the one query for all prices, of series that have `labels`."""
    karpenter, opencost = _feeds()["karpenter"], _feeds()["opencost"]
    kept = f"{karpenter['instance_type']}, {karpenter['capacity_type']}"
    zoned = f"max by ({kept}, {karpenter['zone']}) ({series(karpenter['node_price'], (), labels)})"
    node = opencost["node"]
    cost = f"max by ({node}) ({series(opencost['node_price'], (), labels)})"
    devices = f"max by ({node}) ({series(opencost['devices'], (), labels)} > 0)"
    parts = {"karpenter": f"avg by ({kept}) ({zoned})", "opencost": f"{cost} / {devices}"}
    return " or ".join(labelled(expr, {PART_LABEL: part}) for part, expr in parts.items())


@cache
def _feeds() -> Mapping[str, Any]:
    file = resources.files(__package__).joinpath("feeds", "prices.yaml")
    feeds: dict[str, Any] = yaml.safe_load(file.read_text("utf-8"))
    return feeds


def _read(samples: Sequence[Sample]) -> Offers:
    karpenter, opencost = _feeds()["karpenter"], _feeds()["opencost"]
    by_type, by_node = {}, {}
    for sample in samples:
        labels, usd = sample.labels, sample.value
        if not math.isfinite(usd) or usd <= 0:
            continue
        if labels.get(PART_LABEL) == "karpenter":
            kind = labels.get(karpenter["instance_type"], "")
            by_type[kind, labels.get(karpenter["capacity_type"], "")] = usd
        else:
            by_node[labels.get(opencost["node"], "")] = usd
    return Offers(by_type=by_type, by_node=by_node)


def _offered(
    pool: AcceleratorPool, nodes: Sequence[NodeFacts], offers: Offers
) -> Iterator[tuple[str, float]]:
    """Yield the source and price of a device, best source first."""
    karpenter, opencost = _feeds()["karpenter"], _feeds()["opencost"]
    spec = pool.spec
    kinds = [node.kind for node in nodes if node.kind is not None]
    if not kinds:
        selected = identify(spec.node_selector, (), {spec.resource_name: spec.devices_per_node})
        kinds = [selected] if selected is not None else []
    word = karpenter["capacity_types"].get(spec.capacity_type or CapacityType.ON_DEMAND, "")
    found = [
        offers.by_type[kind.instance_type, word] / spec.devices_per_node
        for kind in kinds
        if kind.instance_type is not None and (kind.instance_type, word) in offers.by_type
    ]
    if found:
        yield karpenter["title"], median(found)
    found = [offers.by_node[node.name] for node in nodes if node.name in offers.by_node]
    if found:
        yield opencost["title"], median(found)


def _plausible(usd: float, pool: AcceleratorPool, nodes: Sequence[NodeFacts]) -> bool:
    """Return whether the list price, where there is one, allows for `usd`."""
    listed = catalogue_price(pool, nodes, CapacityType.ON_DEMAND)
    if listed is None:
        return True
    ratio = usd / listed.usd_per_hour
    if pool.spec.capacity_type is CapacityType.SPOT:
        return SPOT_LEAST <= ratio <= SPOT_MOST
    return 1 / APART <= ratio <= APART


def _far(usd: float, last: Price) -> bool:
    return not 1 / APART <= usd / last.usd_per_hour <= APART
