"""A scrape that is late is no lull: what a rate does not reach counts as what came before."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bodies
from answers import CONFIG, NAMESPACE, by_pod, steady
from trimtab.models.load import LatencyTargets
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import Key
from trimtab.observe.coverage import STALE_AFTER_SCRAPES
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.reader import LATE, Subject
from trimtab.observe.signals import read
from trimtab.observe.world import PodFacts

RPS = 10.0
WINDOW_S, SCRAPE_S = CONFIG.rate_window_s, CONFIG.scrape_interval_s
TOO_FEW = 0.8
"""Where one replica of two would do instead of both, a fifth less is too little."""


def prometheus_rate(ages: Sequence[float]) -> float:
    """What rate() makes of a counter that grows by RPS, from the ages of its samples.

    As extrapolatedRate in Prometheus' promql/functions.go, without the bound at a counter's zero.
    """
    inside = sorted((age for age in ages if age < WINDOW_S), reverse=True)
    sampled = inside[0] - inside[-1]
    apart = sampled / (len(inside) - 1)

    def reach(gap: float) -> float:
        return gap if gap < 1.1 * apart else apart / 2

    reached = sampled + reach(WINDOW_S - inside[0]) + reach(inside[-1])
    return RPS * reached / WINDOW_S


def arrivals(ages: Sequence[float]) -> float:
    """What we make of it; Prometheus' subquery finds the sample before the window, too."""
    facts = parse(Kind.POD, bodies.pod("aaaaa")).facts
    assert isinstance(facts, PodFacts)
    key = Key(namespace=NAMESPACE, name="chat")
    subject = Subject(key=key, targets=LatencyTargets(ttft_s=0.5), pods=(facts,))
    source = steady(
        ["aaaaa"],
        seen=by_pod({"aaaaa": bodies.NOW - min(ages)}),
        covered=by_pod({"aaaaa": max(ages)}),
        samples=by_pod({"aaaaa": float(sum(age < WINDOW_S for age in ages))}),
        arrivals=by_pod({"aaaaa": prometheus_rate(ages)}),
    )
    load = read(source, [subject], now=bodies.NOW, config=CONFIG)[key]
    assert isinstance(load.arrival_rps, Fresh)
    late = load.arrival_rps.value > prometheus_rate(ages) * 1.001
    (variant,) = load.variants
    assert (variant.first_tokens_per_s == Missing(why=LATE)) is late
    return load.arrival_rps.value


def scraped(newest: float, apart: float = SCRAPE_S) -> list[float]:
    """The ages of regular scrapes, the newest of which is so old, up to one before the window."""
    count = math.ceil((WINDOW_S - newest) / apart)
    return [newest + apart * at for at in range(count + 1)]


@pytest.mark.parametrize("age", [17.0, 20.0, 25.0, 29.0, 35.0, 40.0, 44.0])
def test_while_a_scrape_is_late_demand_stays_what_it_was(age: float) -> None:
    assert age < STALE_AFTER_SCRAPES * SCRAPE_S
    assert prometheus_rate(scraped(age)) < RPS * 0.95
    assert arrivals(scraped(age)) == pytest.approx(RPS, rel=0.02)


@pytest.mark.parametrize("age", [0.0, 1.0, 8.0, 14.9])
def test_in_time_it_is_what_prometheus_says(age: float) -> None:
    assert arrivals(scraped(age)) == prometheus_rate(scraped(age)) == pytest.approx(RPS)


@pytest.mark.parametrize("age", [1.0, 15.0, 29.0])
def test_who_is_scraped_half_as_often_is_not_late(age: float) -> None:
    """A scrape interval that the operator was not told of."""
    ages = scraped(age, apart=2 * SCRAPE_S)
    assert arrivals(ages) == prometheus_rate(ages)


@given(st.floats(0.1, 44.0), st.lists(st.floats(3.0, 18.0), min_size=25, max_size=25))
def test_however_irregular_it_is_never_far_below(newest: float, gaps: list[float]) -> None:
    """Unless the window's first sample is late, too, which a plan later it no longer is."""
    ages = [newest]
    for gap in gaps:
        if ages[-1] > WINDOW_S:
            break
        ages.append(ages[-1] + gap)
    inside = [age for age in ages if age < WINDOW_S]
    if len(inside) < 2 or WINDOW_S - inside[-1] > 1.1 * (inside[-1] - newest) / (len(inside) - 1):
        return
    assert TOO_FEW * RPS < arrivals(ages) < 1.4 * RPS


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0, 1.0])
def test_without_a_count_of_samples_a_rate_is_taken_as_it_comes(value: float) -> None:
    facts = parse(Kind.POD, bodies.pod("aaaaa")).facts
    assert isinstance(facts, PodFacts)
    key = Key(namespace=NAMESPACE, name="chat")
    subject = Subject(key=key, targets=LatencyTargets(ttft_s=0.5), pods=(facts,))
    source = steady(["aaaaa"], samples=by_pod({"aaaaa": value}))
    found = read(source, [subject], now=bodies.NOW, config=CONFIG)[key].arrival_rps
    assert found == Fresh(value=10.0, age_s=5.0)
