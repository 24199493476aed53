"""Energy and carbon as objectives: what replicas draw, what weighs, and what is unknown."""

from dataclasses import replace
from typing import Any

import pytest

from builders import catalogue_pool, planned, variant_state
from fleetworld import FleetWorld
from trimtab.config import PlannerConfig
from trimtab.models.capacity import Pool
from trimtab.models.plan import Decision, Verdict
from trimtab.planner.plan import plan
from trimtab.planner.power import TIE, Offer, Power, grams, weights

H100 = catalogue_pool("h100", "nvidia-h100-sxm", 1.0)
L40S = catalogue_pool("l40s", "nvidia-l40s", 1.0)


def decided(
    objective: str, *pools: Pool, rps: str = "30", answers: int = 256, **over: Any
) -> Decision:
    """Decide on Llama 3.1 8B, one device a replica; no speed was measured."""
    state = planned(
        cost={"objective": objective} | over.pop("cost", {}),
        placement={"tensorParallel": [1]},
        workload={"inputTokens": 1024, "outputTokens": answers, "requestsPerSecond": rps},
        **over,
    )
    world = FleetWorld(pools=list(pools), deployments={}, profiles=())
    snapshot = replace(world.snapshot(), deployments=(state,))
    return plan(snapshot, world.config).decisions[0]


def fleet(decision: Decision) -> dict[str, int]:
    return {target.pool: target.replicas for target in decision.targets if target.replicas}


def verdicts(decision: Decision) -> dict[str, Verdict]:
    return {each.pool: each.verdict for each in decision.candidates}


def test_power_rises_with_load_from_idle_to_what_the_device_is_rated_for() -> None:
    one = Power(rated_w=700.0, busy=1.0)
    drawn = [one.at(load) for load in (0.0, 0.3, 0.6, 0.8, 1.0)]
    assert drawn == pytest.approx([224.0, 406.0, 588.0, 644.0, 700.0])
    assert one.at(2.0) == 700.0
    assert Power(rated_w=700.0, busy=0.6).at(1.0) == pytest.approx(588.0)


def test_what_is_unknown_of_power_or_grid_is_unknown_of_carbon() -> None:
    assert grams(500.0, 400.0) == 200.0
    assert grams(500.0, 0.0) == 0.0
    assert grams(None, 400.0) is None
    assert grams(500.0, None) is None


def test_a_unit_weighs_what_it_costs_on_average_and_money_breaks_ties() -> None:
    alike = Offer(burden=500.0, price=2.0, rps=5.0)
    first, second = weights([alike, replace(alike, price=4.0)])
    assert first is not None
    assert second is not None
    assert first == pytest.approx(3.0, rel=2 * TIE)
    assert first < second < first * (1.0 + 2 * TIE)


def test_what_is_unknown_weighs_more_than_what_is_known_however_it_rounds() -> None:
    big = Offer(burden=900.0, price=9.0, rps=100.0)
    small = Offer(burden=90.0, price=0.5, rps=3.0)
    unknown = Offer(burden=None, price=0.01, rps=1.0)
    for rps in (1.0, 3.0, 100.0, 1000.0):
        known_big, known_small, other = weights([big, small, replace(unknown, rps=rps)])
        assert known_big is not None
        assert known_small is not None
        assert other is not None
        for demand in (0.5, 7.0, 99.0, 101.0, 950.0):
            others = -(-demand // rps) * other
            assert -(-demand // big.rps) * known_big < others
            assert -(-demand // small.rps) * known_small < others


def test_where_nothing_or_only_zero_is_known_money_decides() -> None:
    cheap = Offer(burden=None, price=1.0, rps=5.0)
    assert weights([cheap, replace(cheap, price=3.0)]) == [1.0, 3.0]
    first, second = weights([replace(cheap, burden=0.0), replace(cheap, burden=0.0, price=3.0)])
    assert first is not None
    assert second is not None
    assert second == pytest.approx(3.0 * first)


def test_energy_takes_what_draws_least_whatever_it_costs() -> None:
    dear = catalogue_pool("h100", "nvidia-h100-sxm", 9.0)
    assert fleet(decided("MinimizeCost", dear, L40S)).keys() == {"l40s"}
    thrifty = decided("MinimizeEnergy", dear, L40S)
    assert fleet(thrifty).keys() == {"h100"}
    assert thrifty.watts is not None
    replicas = sum(fleet(thrifty).values())
    assert 0.32 * 700 * replicas < thrifty.watts < 700 * replicas
    assert thrifty.grams_per_hour is None
    assert "kW for 30 req/s" in thrifty.message
    (lost,) = [each for each in thrifty.candidates if each.pool == "l40s"]
    assert lost.verdict is Verdict.DEARER
    assert "of them draw" in lost.message


def test_what_serves_less_than_a_request_a_second_draws_too() -> None:
    slow = decided("MinimizeEnergy", L40S, rps="0.2", answers=2000)
    (only,) = slow.candidates
    assert only.verdict is Verdict.CHOSEN
    assert only.message.startswith("1 wanted: one replica serves 0.")
    assert slow.watts is not None


def test_of_pools_that_draw_alike_the_cheaper_is_taken() -> None:
    reserve = catalogue_pool("reserve", "nvidia-h100-sxm", 0.5)
    assert fleet(decided("MinimizeEnergy", H100, reserve)).keys() == {"reserve"}


def test_carbon_takes_the_cleaner_grid() -> None:
    coal = replace(H100, name="coal", carbon_g_per_kwh=700.0)
    hydro = replace(L40S, name="hydro", carbon_g_per_kwh=24.0)
    assert fleet(decided("MinimizeEnergy", coal, hydro)).keys() == {"coal"}
    clean = decided("MinimizeCarbon", coal, hydro)
    assert fleet(clean).keys() == {"hydro"}
    assert clean.watts is not None
    assert clean.grams_per_hour == pytest.approx(clean.watts / 1000.0 * 24.0)
    assert "gCO2/h for 30 req/s" in clean.message


def test_a_mix_draws_what_its_router_makes_of_it() -> None:
    def held(rps: float, routing: str, *pools: str) -> Decision:
        variants = tuple(variant_state(pool=name) for name in pools)
        found = decided(
            "MinimizeEnergy", H100, L40S, rps=f"{rps:.6f}", variants=variants, routing=routing
        )
        assert fleet(found) == dict.fromkeys(pools, 1)
        return found

    def watts(rps: float, pool: str) -> float:
        alone = held(rps, "Even", pool).watts
        assert alone is not None
        return alone

    alike = watts(2.0, "h100") + watts(2.0, "l40s")
    assert held(4.0, "Even", "h100", "l40s").watts == pytest.approx(alike, rel=1e-6)
    by_load = held(4.0, "LoadAware", "h100", "l40s")
    assert by_load.watts is not None
    given = {
        each.pool: each.capacity.max_rps
        * (1.0 - PlannerConfig().headroom - each.capacity.uncertainty)
        for each in by_load.candidates
        if each.capacity is not None
    }
    fast = 4.0 * given["h100"] / (given["h100"] + given["l40s"])
    expected = watts(fast, "h100") + watts(4.0 - fast, "l40s")
    assert by_load.watts == pytest.approx(expected, rel=1e-3)
    assert by_load.watts < 0.95 * alike


def test_a_pool_of_unknown_carbon_serves_only_where_the_others_are_full() -> None:
    known = replace(H100, carbon_g_per_kwh=400.0)
    cheap = catalogue_pool("cheap", "nvidia-h100-sxm", 0.1)
    enough = decided("MinimizeCarbon", known, cheap)
    assert fleet(enough).keys() == {"h100"}
    assert verdicts(enough)["cheap"] is Verdict.NO_CARBON
    full = decided("MinimizeCarbon", replace(known, max_devices=1), cheap, rps="60")
    assert fleet(full).keys() == {"h100", "cheap"}
    assert full.grams_per_hour is None
    assert "Taken for want of others: cheap: set spec.carbonIntensity of the pool." in full.message


def test_a_device_of_unknown_power_serves_only_where_nothing_else_does() -> None:
    assert L40S.accelerator is not None
    dark = replace(L40S, accelerator=replace(L40S.accelerator, watts=None))
    assert fleet(decided("MinimizeEnergy", H100, dark)).keys() == {"h100"}
    assert verdicts(decided("MinimizeEnergy", H100, dark))["l40s"] is Verdict.NO_POWER
    alone = decided("MinimizeEnergy", dark)
    assert fleet(alone).keys() == {"l40s"}
    assert alone.watts is None
    assert "so cost decides" in alone.message


def test_without_any_grid_figure_cost_decides_and_it_says_so() -> None:
    cheap = catalogue_pool("l40s", "nvidia-l40s", 0.01)
    blind = decided("MinimizeCarbon", H100, cheap)
    assert fleet(blind) == fleet(decided("MinimizeCost", H100, cheap))
    assert "cost decides: set spec.carbonIntensity of the pool" in blind.message


def test_targets_headroom_and_budget_stay_as_they_are() -> None:
    cost, energy = (decided(each, H100, L40S) for each in ("MinimizeCost", "MinimizeEnergy"))
    rates = [{c.pool: c.capacity for c in each.candidates} for each in (cost, energy)]
    assert rates[0] == rates[1]
    assert cost.watts is None
    capped = decided("MinimizeEnergy", H100, L40S, cost={"maxPerHour": "1"})
    assert capped.usd_per_hour is not None
    assert capped.usd_per_hour <= 1.0


def test_two_objectives_share_a_pool_without_either_being_drowned() -> None:
    # In W and in $/h alike numbers would mean a thousand times more to one of them.
    offers = [Offer(burden=b, price=p, rps=5.0) for b, p in ((500.0, 3.0), (300.0, 1.0))]
    for scale in (1.0, 1e3):
        found = weights([replace(o, burden=scale * (o.burden or 0.0)) for o in offers])
        assert found == pytest.approx([2.503, 1.501], rel=1e-6)
