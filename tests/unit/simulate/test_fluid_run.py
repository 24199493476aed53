"""Whole runs as a flow: beside the same runs request by request, and by what is conserved."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import pytest

from bench.simulate.agree import EXAMPLES, Taped
from trimtab.errors import InvalidInput
from trimtab.models.signals import Fresh
from trimtab.simulate.entrants import policy_on
from trimtab.simulate.experiment import Experiment
from trimtab.simulate.policy import Choice, FixedPolicy
from trimtab.simulate.result import RunResult
from trimtab.simulate.run import Mode, run
from trimtab.simulate.scenario import load_scenario
from trimtab.simulate.world import world_of
from unit.simulate.worlds import CHAT, Script, scenario, steady, traffic, variant

RAMP: dict[str, Any] = {
    "duration": "40m",
    "warmup": "5m",
    "traffic": [steady(8.0, shape="ramp", peak=40.0, **{"from": "10m", "until": "25m"})],
    "pools": {name: {"nodes": 4, "provisioning": "0s", "load": "60s"} for name in ("h100", "l40s")},
}


@pytest.mark.parametrize(
    ("policy", "share", "points"),
    [("keda", 0.01, 0.01), ("hpa-batch", 0.05, 0.02)],
)
def test_a_flow_costs_and_attains_about_what_single_requests_do(
    policy: str, share: float, points: float
) -> None:
    of = scenario(**RAMP)
    requests = traffic(of)
    world = world_of(of, requests)

    def made(mode: Mode) -> RunResult:
        return run(of, requests, policy_on(policy, world, {CHAT: ("l40s",)}), 0, mode)

    exact, fluid = made(Mode.EXACT), made(Mode.FLUID)
    assert fluid.cost_usd == pytest.approx(exact.cost_usd, rel=share)
    assert exact.attainment is not None
    assert fluid.attainment == pytest.approx(exact.attainment, abs=points)
    tally = fluid.deployments[str(CHAT)].tally
    before = fluid.deployments[str(CHAT)].in_flight_before
    assert tally.arrived + before == pytest.approx(tally.settled, abs=3)


def test_a_flow_queues_as_much_where_the_same_is_decided() -> None:
    """HPA by the queue jumps on one look, so free runs differ; what it looks at must not."""
    of = load_scenario(EXAMPLES / "steady.yaml")
    requests = Experiment(scenario=of).traffic(0)
    world = world_of(of, requests)
    (key,) = requests

    def made(mode: Mode, tape: Sequence[tuple[float, Choice]] = ()) -> tuple[Taped, RunResult]:
        policy = Taped(inner=policy_on("hpa-queue", world, {key: ("l40s",)}), tape=tape)
        result = run(of, requests, policy, 0, mode)
        return policy, result

    exactly, exact = made(Mode.EXACT)
    _, fluid = made(Mode.FLUID, exactly.made)
    waited, waits = (fmean(one.series.deployments[str(key)].queue) for one in (exact, fluid))
    assert waited > 20.0
    assert waits == pytest.approx(waited, rel=0.05)
    assert fluid.cost_usd == pytest.approx(exact.cost_usd, rel=0.02)
    assert exact.attainment is not None
    assert fluid.attainment == pytest.approx(exact.attainment, abs=0.02)


def test_a_policy_is_shown_what_flows() -> None:
    of = scenario(duration="10m", traffic=[steady(20.0)])
    script = Script(lambda now: {variant("h100"): 3})
    run(of, traffic(of), script, 0, Mode.FLUID)
    (view,) = script.views[-1].deployments
    arrivals, running = view.load().arrival_rps, view.load().running
    assert isinstance(arrivals, Fresh)
    assert isinstance(running, Fresh)
    assert arrivals.value == pytest.approx(20.0, rel=0.2)
    assert running.value == pytest.approx(view.in_flight, rel=0.4)
    within = view.load().slo_attainment
    assert isinstance(within, Fresh)
    assert within.value == pytest.approx(1.0, abs=0.01)
    (reading,) = view.load().variants
    assert isinstance(reading.first_tokens_per_s, Fresh)
    assert reading.first_tokens_per_s.value == pytest.approx(20.0 / 3, rel=0.2)
    assert isinstance(reading.itl_s, Fresh)
    assert isinstance(reading.steps_per_s, Fresh)
    assert reading.steps_per_s.value == pytest.approx(1.0 / reading.itl_s.value, rel=0.1)
    assert isinstance(reading.preempted_per_s, Fresh)
    assert reading.preempted_per_s.value == 0.0
    assert 0.005 < reading.itl_s.value < 0.06
    (page, *_) = [pod.scrape for pod in view.replicas if pod.scrape is not None]
    assert 0.0 < page.kv_used < 1.0


def test_too_few_replicas_miss_and_lost_ones_lose() -> None:
    rough = scenario(
        duration="20m",
        traffic=[steady(30.0)],
        pools={"l40s": {"nodes": 4, "provisioning": "0s", "load": "60s", "failuresPerHour": 20}},
    )
    result = run(rough, traffic(rough), FixedPolicy(replicas={variant("l40s"): 2}), 0, Mode.FLUID)
    tally = result.deployments[str(CHAT)].tally
    assert result.lost_replicas > 2
    assert tally.lost > 0
    assert tally.timed_out > 0
    assert (result.attainment or 0.0) < 0.5
    assert tally.arrived == pytest.approx(tally.settled, abs=3)


@pytest.mark.parametrize(
    "over",
    [
        {"clients": {"retries": 2}},
        {"traffic": [{"deployment": "default/chat", "source": {"trace": "mooncake"}}]},
    ],
)
def test_what_a_flow_does_not_know_is_refused(over: dict[str, Any]) -> None:
    of = scenario(**over)
    with pytest.raises(InvalidInput, match="--mode"):
        run(of, traffic(of), FixedPolicy(replicas={}), 0, Mode.FLUID)
