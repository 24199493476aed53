"""Whose price counts, and that a feed that lies or dies moves nothing."""

import math
from dataclasses import replace
from typing import Any

import pytest

import bodies
from trimtab.errors import Unavailable
from trimtab.models.capacity import Price
from trimtab.observe.kinds import Kind
from trimtab.observe.pools import pool_facts
from trimtab.observe.pricing import PERIOD_S, PriceBook, query
from trimtab.observe.prometheus import Sample
from trimtab.observe.queries import PART_LABEL
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

TYPE = "p5.48xlarge"
LISTED = 55.04
"""The catalogue's price of that node in us-east-1, $/h."""
LABELS = {
    "node.kubernetes.io/instance-type": TYPE,
    "topology.kubernetes.io/region": "us-east-1",
    "karpenter.sh/capacity-type": "on-demand",
    "pool": "h100",
    "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
    "nvidia.com/gpu.count": "8",
}


class Feed:
    """What Prometheus says of prices."""

    def __init__(self, *samples: Sample, fails: bool = False) -> None:
        self.samples, self.fails = samples, fails
        self.asked = 0

    def query(self, expr: str) -> tuple[Sample, ...]:
        assert expr == query()
        self.asked += 1
        if self.fails:
            raise Unavailable("no route")
        return self.samples


def karpenter(usd: float, capacity: str = "on-demand", kind: str = TYPE) -> Sample:
    labels = {PART_LABEL: "karpenter", "instance_type": kind, "capacity_type": capacity}
    return Sample(labels=labels, value=usd, timestamp=bodies.NOW)


def opencost(usd: float, node: str = "node-1") -> Sample:
    return Sample(labels={PART_LABEL: "opencost", "node": node}, value=usd, timestamp=bodies.NOW)


def world(**spec: Any) -> WorldView:
    store = Store()
    pool = bodies.pool(spec={"price": None} | spec)
    pool["spec"] = {key: value for key, value in pool["spec"].items() if value is not None}
    store.replace(Kind.ACCELERATOR_POOL, [pool], "")
    store.replace(Kind.NODE, [bodies.node(labels=LABELS)], "")
    return store.view()


def restarted(**status: Any) -> WorldView:
    """The world as a new process finds it: the pool's status holds the price of the one before."""
    store = Store()
    pool = bodies.pool()
    del pool["spec"]["price"]
    written = {"perDeviceHour": "6.40", "source": "Karpenter", "asOf": "2026-09-19"} | status
    pool["status"] = {"price": written}
    store.replace(Kind.ACCELERATOR_POOL, [pool], "")
    store.replace(Kind.NODE, [bodies.node(labels=LABELS)], "")
    return store.view()


def price(book: PriceBook, view: WorldView, feed: Feed | None, at: float = 0.0) -> Price | None:
    prices = book.refresh(feed, view, bodies.NOW + at)
    (facts,) = pool_facts(replace(view, prices=prices))
    assert facts.ready
    return facts.price


def usd(found: Price | None) -> float:
    assert found is not None
    return found.usd_per_hour


def test_the_pool_s_own_price_comes_first_and_the_catalogue_s_last() -> None:
    both = Feed(karpenter(48.0), opencost(7.0))
    own = price(PriceBook(), world(price={"perDeviceHour": "2.5"}), both)
    assert own == Price(usd_per_hour=2.5, source="Pool")
    assert price(PriceBook(), world(), both) == Price(
        usd_per_hour=6.0, source="Karpenter", as_of="2026-09-21"
    )
    assert price(PriceBook(), world(), Feed(opencost(7.0))) == Price(
        usd_per_hour=7.0, source="OpenCost", as_of="2026-09-21"
    )
    for feed in (Feed(), Feed(fails=True), None):
        listed = price(PriceBook(), world(), feed)
        assert usd(listed) == pytest.approx(LISTED / 8)
        assert listed is not None
        assert listed.source == "Catalogue (AWS us-east-1)"


def test_spot_is_priced_as_spot() -> None:
    feed = Feed(karpenter(48.0), karpenter(16.0, "spot"))
    assert usd(price(PriceBook(), world(capacityType="Spot"), feed)) == 2.0
    assert usd(price(PriceBook(), world(), feed)) == 6.0


def test_reserved_capacity_has_no_price_there() -> None:
    feed = Feed(karpenter(0.0, "reserved"), karpenter(48.0))
    found = price(PriceBook(), world(capacityType="Reserved"), feed)
    assert usd(found) == pytest.approx(LISTED / 8)


@pytest.mark.parametrize(
    "wrong",
    [math.nan, math.inf, -math.inf, -48.0, 0.0, 48.0 * 1000, 48.0 / 1000, 48.0 * 7.1, 48.0 * 150],
)
def test_a_price_that_cannot_be_true_changes_nothing(wrong: float) -> None:
    """Also a slip of units, or another currency: yuan and yen are 7 and 150 to the dollar."""
    book, view = PriceBook(), world()
    good = price(book, view, Feed(karpenter(48.0)))
    assert price(book, view, Feed(karpenter(wrong)), PERIOD_S) == good
    fresh = price(PriceBook(), view, Feed(karpenter(wrong)))
    assert usd(fresh) == pytest.approx(LISTED / 8)


def test_of_a_type_that_no_list_has_a_jump_is_not_taken() -> None:
    book, view = PriceBook(), world(accelerator="prototype")
    nodes = tuple(replace(node, kind=None) for node in view.nodes)
    unlisted = replace(view, nodes=nodes)

    def fed(usd: float) -> float:
        prices = book.refresh(Feed(opencost(usd)), unlisted, bodies.NOW)
        book._asked = None
        return prices["h100"].usd_per_hour

    assert fed(2.0) == 2.0
    assert fed(2000.0) == 2.0
    assert fed(3.0) == 3.0


def test_a_feed_that_dies_leaves_its_last_good_price_and_its_date() -> None:
    book, view = PriceBook(), world()
    good = price(book, view, Feed(karpenter(48.0)))
    for feed in (Feed(fails=True), Feed(), None, Feed(karpenter(math.nan))):
        assert price(book, view, feed, 7 * 86400.0) == good
        book._asked = None


def test_it_is_asked_once_in_a_while_also_when_it_fails() -> None:
    book, view = PriceBook(), world()
    feed = Feed(fails=True)
    for second in range(0, int(2 * PERIOD_S), 15):
        price(book, view, feed, float(second))
    assert feed.asked == 2


def test_small_moves_of_a_market_are_no_news() -> None:
    book, view = PriceBook(), world()
    assert usd(price(book, view, Feed(karpenter(48.0)))) == 6.0
    assert usd(price(book, view, Feed(karpenter(48.5)), PERIOD_S)) == 6.0
    assert usd(price(book, view, Feed(karpenter(52.0)), 2 * PERIOD_S)) == 6.5


LAST_GOOD = Price(usd_per_hour=6.4, source="Karpenter", as_of="2026-09-19")


@pytest.mark.parametrize("feed", [Feed(fails=True), Feed(), None])
def test_the_last_good_price_outlives_a_restart(feed: Feed | None) -> None:
    book = PriceBook()
    assert price(book, restarted(), feed) == LAST_GOOD
    assert price(book, restarted(perDeviceHour="1"), feed, at=PERIOD_S) == LAST_GOOD


def test_a_price_of_a_feed_that_lives_takes_the_place_of_the_one_of_before() -> None:
    found = price(PriceBook(), restarted(), Feed(karpenter(48.0)))
    assert found == Price(usd_per_hour=6.0, source="Karpenter", as_of="2026-09-21")
    lie = Feed(karpenter(48.0 * 1000))
    assert price(PriceBook(), restarted(), lie) == LAST_GOOD


@pytest.mark.parametrize(
    "status",
    [
        {"source": "Catalogue"},
        {"source": "Pool"},  # its spec has it, or had it
        {"source": None},
        {"asOf": "2026-09-13"},  # eight days old
        {"asOf": "2026-09-22"},  # tomorrow
        {"asOf": "yesterday"},
        {"asOf": None},
        {"perDeviceHour": "0"},
        {"perDeviceHour": "-6.4"},
        {"perDeviceHour": "NaN"},
        {"perDeviceHour": "6400"},  # nobody sells it for that
        {"perDeviceHour": 6.4},
        {"perDeviceHour": "dear"},
    ],
)
def test_what_a_status_says_that_cannot_be_the_price_is_forgotten(status: dict[str, Any]) -> None:
    found = price(PriceBook(), restarted(**status), Feed(fails=True))
    assert usd(found) == pytest.approx(LISTED / 8)


def test_a_status_that_is_none_is_no_price() -> None:
    view = restarted()
    key = next(iter(view.bodies))
    for broken in ({}, {"status": None}, {"status": {"price": "dear"}}):
        bare = replace(view, bodies={key: broken})
        assert usd(price(PriceBook(), bare, None)) == pytest.approx(LISTED / 8)
