"""What is found by knowing the future: the best fixed fleet, and a schedule that was really run."""

import numpy as np
import pytest

from smallfleet import KEY, make_scenario, make_traffic
from trimtab.models.hardware import Parallelism
from trimtab.simulate.asked import services_of
from trimtab.simulate.demands import Horizon, Offer
from trimtab.simulate.fixed import FixedFleets
from trimtab.simulate.optimum import ATTAINS, Clairvoyant, Optimum
from trimtab.simulate.policy import FixedPolicy, FleetView, Variant
from trimtab.simulate.result import RunResult
from trimtab.simulate.rivals.base import Source
from trimtab.simulate.run import run
from trimtab.simulate.schedule import Schedule, SchedulePolicy, Task, planned
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of
from unit.simulate.results import deployment_result, run_result

LATENCY = {"timeToFirstToken": "2s", "interTokenLatency": "50ms"}
SCENARIO = make_scenario(LATENCY, "15s", "30s")
H100 = Variant(deployment=KEY, pool="h100", parallelism=Parallelism())


def square_wave() -> Traffic:
    """A minute of much, a minute of little, and again."""
    parts = [make_traffic(seed, rps, 1.0, 900, 250) for seed, rps in ((1, 40.0), (2, 3.0))]
    busy, quiet = parts
    at, inputs, outputs = [], [], []
    for part, turn in ((busy, 0), (quiet, 1)):
        kept = (part.at_s // 60 % 2) == turn
        at.append(part.at_s[kept])
        inputs.append(part.input_tokens[kept])
        outputs.append(part.output_tokens[kept])
    order = np.argsort(np.concatenate(at))
    return Traffic(
        at_s=np.concatenate(at)[order],
        input_tokens=np.concatenate(inputs)[order],
        output_tokens=np.concatenate(outputs)[order],
    )


def test_the_fixed_fleet_like_a_fixed_fleet_is_that_fleet_or_a_cheaper_one() -> None:
    traffic = {KEY: make_traffic(3, 13.0, 3.0, 900, 250)}
    fleets = FixedFleets(SCENARIO, traffic, 0, run)
    result = run(SCENARIO, traffic, FixedPolicy(replicas={H100: 2}), 0)
    assert result.attainment is not None
    assert 0.5 < result.attainment < 0.999, "two replicas must be scarce for this test"
    found = fleets.like(result)
    assert found is not None
    assert found.usd <= result.cost_usd * 1.001
    more = fleets.like(run(SCENARIO, traffic, FixedPolicy(replicas={H100: 4}), 0))
    assert more is not None
    assert more.usd > found.usd


def test_a_result_that_serves_next_to_nothing_is_not_compared() -> None:
    traffic = {KEY: make_traffic(3, 13.0, 3.0, 900, 250)}
    fleets = FixedFleets(SCENARIO, traffic, 0, run)
    assert fleets.like(run(SCENARIO, traffic, FixedPolicy(replicas={}), 0)) is None


def test_foreknowledge_is_worth_something_on_a_square_wave() -> None:
    traffic = {KEY: square_wave()}
    seer = Clairvoyant(SCENARIO, traffic, 0, run)
    optimum = seer.optimum()
    assert optimum.result is not None
    assert (optimum.result.attainment or 0.0) >= ATTAINS
    fixed = seer.fixed.like(optimum.result)
    bound = seer.exact_bound(optimum.result)
    assert fixed is not None
    assert bound is not None
    assert bound.usd <= optimum.result.cost_usd < 0.9 * fixed.usd
    assert optimum.usd_for(optimum.result) == optimum.result.cost_usd
    assert optimum.closest is optimum.result


def attained(usd: float, met: int) -> RunResult:
    parts = {str(KEY): deployment_result(met=met, settled=1000)}
    return run_result(cost_usd=usd, deployments=parts, policy="keda")


def test_whoever_knows_the_future_can_do_what_any_policy_did() -> None:
    tried = Optimum(runs=(attained(9.0, 999), attained(5.0, 800)), goals={KEY: 0.99})
    cheap, scarce = attained(4.0, 992), attained(1.0, 700)
    optimum = tried.beside([cheap, scarce])
    assert tried.result is not None
    assert tried.result.cost_usd == 9.0
    assert optimum.result is not None
    assert (optimum.result.cost_usd, optimum.result.policy) == (4.0, "clairvoyant")
    assert optimum.closest is optimum.result
    assert optimum.usd_for(cheap) == 4.0
    assert optimum.usd_for(attained(7.0, 900)) == 4.0
    # More than the goal is not asked for, and less than was ever tried is not compared.
    assert optimum.usd_for(attained(20.0, 1000)) == 4.0
    assert optimum.usd_for(scarce) is None


def test_one_long_answer_costs_about_the_time_that_it_takes() -> None:
    """A replica that is there for one request only is paid for a little longer than it answers."""
    scenario = make_scenario({"timeToFirstToken": "1s"}, "0s", "30s", only="h100")
    traffic = {
        KEY: Traffic(
            at_s=np.array([100.0]), input_tokens=np.array([200]), output_tokens=np.array([2500])
        )
    }
    counts = np.zeros(24, dtype=np.int64)
    counts[10] = 1
    schedule = Schedule(slot_s=10.0, counts={H100: counts})
    result = run(scenario, traffic, SchedulePolicy(schedule=schedule, leads_s={"h100": 20.0}), 0)
    assert result.attainment == 1.0
    bound = Clairvoyant(scenario, traffic, 0, run).exact_bound(result)
    assert bound is not None
    assert 0.5 * result.cost_usd < bound.usd <= result.cost_usd


def test_a_start_is_charged_no_more_than_its_load_takes() -> None:
    traffic = {KEY: make_traffic(3, 1.0, 1.0, 900, 250)}
    (service,) = services_of(world_of(SCENARIO, traffic), 0)
    assert all((offer.loads_s == 15.0).all() for offer in service.offers)


def view(now: float) -> FleetView:
    return FleetView(now=now, metrics=Source.ANSWERS, deployments=(), pools=())


@pytest.mark.parametrize(("now", "replicas"), [(0.0, 1), (10.0, 4), (20.0, 4), (30.0, 1)])
def test_replicas_are_asked_for_as_early_as_they_take(now: float, replicas: int) -> None:
    schedule = Schedule(slot_s=10.0, counts={H100: np.array([1, 1, 4, 1])})
    policy = SchedulePolicy(schedule=schedule, leads_s={"h100": 10.0})
    choice = policy.decide(view(now))
    assert choice.replicas == {H100: replicas}
    assert choice.reasons[KEY].message


def task(loads: list[float], usd: float = 2.0, load_s: float = 0.0) -> Task:
    offer = Offer(
        name="h100/tp1",
        pool="h100",
        devices=2,
        usd_per_hour=usd,
        loads_s=np.array([load_s]),
        prompt_s=np.zeros(1),
        least_s=np.ones(1),
    )
    return Task(key=KEY, offers=[offer], variants=[H100], loads=np.array([loads]))


def plan(task: Task, devices: int, need: float = 1.0) -> list[int]:
    edges = np.arange(0.0, 10.0 * task.loads.shape[1] + 1.0, 10.0)
    horizon = Horizon(start_s=0.0, end_s=float(edges[-1]), room={"h100": [(0.0, devices)]})
    return [int(n) for n in planned([task], {KEY: need}, horizon, edges).counts[H100]]


def test_a_plan_covers_the_load_and_keeps_to_the_room() -> None:
    loads = [5.0, 25.0, 95.0, 5.0]
    assert plan(task(loads), devices=100) == [1, 3, 10, 1]
    assert plan(task(loads), devices=100, need=2.0) == [1, 5, 19, 1]
    assert plan(task(loads), devices=8) == [1, 3, 4, 1]


def test_a_start_that_costs_more_than_it_saves_is_not_planned() -> None:
    loads = [25.0, 5.0, 25.0]
    assert plan(task(loads), devices=100) == [3, 1, 3]
    assert plan(task(loads, load_s=30.0), devices=100) == [3, 3, 3]
