"""Prometheus first, and the pods' own pages while it does not answer: never less doubt than due."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

import pages
from answers import NAMESPACE, Answers, steady
from podpages import CONFIG, World, growing, serving
from trimtab.api.engine import EngineType
from trimtab.api.gateway import GatewayType
from trimtab.errors import Unavailable
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import Key
from trimtab.observe.gateways import Asked
from trimtab.observe.reader import JUST_SEEN
from trimtab.observe.signals import GATEWAY_UNSEEN, MEANWHILE, read

DOWN = Answers(seen=Unavailable("Prometheus at there does not answer: Connection refused"))
FIRST_TOKENS = pages.gained("vllm:time_to_first_token_seconds_count")


@pytest.fixture
def world() -> Iterator[World]:
    with serving() as found:
        found.server.answer = growing(found)
        found.prometheus = DOWN
        yield found


def test_while_prometheus_answers_no_page_is_read(world: World) -> None:
    world.prometheus = steady(["aaaaa"])
    found = world.load()
    assert found.arrival_rps == Fresh(value=10.0, age_s=5.0)
    assert found.note is None
    assert world.server.asked == []


def test_while_it_is_down_the_pages_tell_the_same_as_by_themselves(world: World) -> None:
    world.ends = ("aaaaa", "bbbbb")
    found = world.passes(5)
    assert isinstance(found.arrival_rps, Fresh)
    assert found.arrival_rps.value == pytest.approx(2 * FIRST_TOKENS, rel=0.01)
    assert found.source_error is None
    assert found.note is not None
    assert "Connection refused" in found.note
    assert MEANWHILE in found.note


def test_the_first_page_knows_no_rate_so_an_outage_begins_with_doubt(world: World) -> None:
    found = world.load()
    assert isinstance(found.running, Fresh)
    assert found.arrival_rps == Missing(why=JUST_SEEN)


def test_of_an_outage_an_hour_ago_nothing_is_left(world: World) -> None:
    world.passes(5)
    world.prometheus = steady(["aaaaa"])
    world.passes(3)
    world.now += 3600
    world.prometheus = DOWN
    assert world.load().arrival_rps == Missing(why=JUST_SEEN)


def test_where_it_answers_now_and_then_rates_stay_right(world: World) -> None:
    """Pages are read in two passes of three, and the answers between are Prometheus' own."""
    for turn in range(12):
        world.prometheus = steady(["aaaaa"]) if turn % 3 == 0 else DOWN
        rate = world.load().arrival_rps
        if turn % 3 and turn > 3:
            assert isinstance(rate, Fresh)
            assert rate.value == pytest.approx(FIRST_TOKENS, rel=0.01)
        world.now += 15.0


def test_a_gateway_may_hold_what_no_engine_has_seen(world: World) -> None:
    world.gateway = Asked(type=GatewayType.LLM_D, name="llama", namespace="")
    found = world.passes(5)
    assert found.arrival_rps == Missing(why=GATEWAY_UNSEEN)
    assert isinstance(found.waiting, Fresh)


def test_what_only_prometheus_knows_stays_unknown(world: World) -> None:
    mine = world.subject()
    custom = replace(mine, key=Key(namespace=NAMESPACE, name="custom"), engine=EngineType.CUSTOM)
    asleep = replace(mine, key=Key(namespace=NAMESPACE, name="asleep"), pods=())
    found = read(world.source(), [mine, custom, asleep], now=world.now, config=CONFIG)
    assert isinstance(found[mine.key].running, Fresh)
    for each in (custom, asleep):
        assert found[each.key].source_error is not None
        assert isinstance(found[each.key].arrival_rps, Missing)
        assert isinstance(found[each.key].running, Missing)
    assert len(world.server.asked) == 1
