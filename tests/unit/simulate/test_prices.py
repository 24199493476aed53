"""Prices that change while a fleet runs: what is paid, what policies see, what is proven."""

from dataclasses import replace
from typing import Any

import pytest

from trimtab.errors import InvalidInput
from trimtab.simulate.optimum import Clairvoyant
from trimtab.simulate.policy import FixedPolicy
from trimtab.simulate.prices import PriceHistory, history_of
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.trimtab_policy import TrimtabPolicy
from trimtab.simulate.world import world_of
from unit.simulate.worlds import CHAT, Script, scenario, steady, traffic, variant

ONE_H100 = FixedPolicy(replicas={variant("h100"): 1})


def priced(*steps: tuple[str, float], **over: Any) -> Scenario:
    """Ten minutes of which the first five are not scored; an H100 has the prices of `steps`."""
    prices = [{"at": at, "perDeviceHour": usd} for at, usd in steps]
    given = {"warmup": "5m", "traffic": [steady(1.0)]} | over
    return scenario(pools={"h100": {"prices": prices}}, **given)


def test_means_and_least_prices_are_those_of_the_time_that_is_asked_for() -> None:
    history = PriceHistory(((0.0, 4.0), (100.0, 1.0), (200.0, 3.0)))
    assert history.mean(0.0, 100.0) == 4.0
    assert history.mean(50.0, 250.0) == pytest.approx((50 * 4 + 100 * 1 + 50 * 3) / 200)
    assert history.least(0.0, 100.0) == 4.0
    assert history.least(200.0, 900.0) == 3.0
    assert history.least(0.0, 900.0) == 1.0


def test_each_moment_is_paid_at_its_own_price() -> None:
    changing = priced(("2m", 9.0), ("7m", 3.0), ("9m", 6.0))
    result = run(changing, traffic(changing), ONE_H100, 0)

    # Two minutes at 9 $/h, two at 3 and one at 6; what was before five minutes is not scored.
    assert result.cost_usd == pytest.approx((2 * 9 + 2 * 3 + 1 * 6) / 60)
    assert result.deployments[str(CHAT)].usd == pytest.approx(result.cost_usd)
    assert result.series.usd_per_hour[0] == pytest.approx(2.5)


def test_a_policy_sees_the_price_of_its_moment() -> None:
    changing = priced(("7m", 3.0))
    script = Script(lambda now: {variant("h100"): 1})
    run(changing, traffic(changing), script, 0)

    seen = {
        view.now: {each.name: each.price.usd_per_hour for each in view.pools if each.price}
        for view in script.views
    }
    assert seen[405.0] == {"h100": 2.5, "l40s": 0.9}
    assert seen[420.0] == {"h100": 3.0, "l40s": 0.9}


def test_trimtab_leaves_what_has_become_dear() -> None:
    changing = priced(("7m", 12.0), duration="40m", traffic=[steady(8.0)])
    requests = traffic(changing)
    result = run(changing, requests, TrimtabPolicy(base=world_of(changing, requests).snapshot), 0)

    ready = result.series.deployments[str(CHAT)].ready
    assert {label for label, counts in ready.items() if counts[0]} == {"h100/tp1"}
    assert {label for label, counts in ready.items() if counts[-1]} == {"l40s/tp1"}


@pytest.mark.parametrize("kind", ["h100", "l40s"])
def test_nobody_pays_less_than_the_bound_however_the_price_falls(kind: str) -> None:
    # The mean price of an H100 is dear; one that is had only when it costs next to nothing is not.
    changing = priced(("6m", 0.1), ("9m", 80.0), clients={"timeout": "60s"})
    requests = traffic(changing)
    seer = Clairvoyant(changing, requests, 0, run)
    policy = Script(lambda now: {variant(kind): 1 if kind == "l40s" or now < 540.0 else 0})
    result = run(changing, requests, policy, 0)
    bound = seer.exact_bound(result)
    assert bound is not None
    assert 0.0 < bound.usd <= result.cost_usd


@pytest.mark.parametrize(("field", "what"), [("prices", "perDeviceHour"), ("capacity", "devices")])
def test_steps_that_go_back_in_time_are_refused(field: str, what: str) -> None:
    steps = [{"at": "9m", what: 3}, {"at": "7m", what: 2}]
    with pytest.raises(InvalidInput, match=f"{field} goes back in time"):
        scenario(pools={"h100": {field: steps}})


def test_a_pool_without_a_price_needs_one_from_the_beginning() -> None:
    changing = priced(("2m", 9.0))
    (h100, _) = world_of(changing, traffic(changing)).snapshot.pools
    unpriced = replace(h100, price=None)
    with pytest.raises(InvalidInput, match="no price before the first step"):
        history_of(unpriced, changing.pools["h100"].prices)
    at_first = priced(("0s", 9.0), ("2m", 4.0)).pools["h100"].prices
    assert history_of(unpriced, at_first).steps == ((0.0, 9.0), (120.0, 4.0))
