"""Whole runs: what is conserved, what can never be, and what a policy is shown."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.load import VariantReading
from trimtab.models.signals import Fresh, Missing
from trimtab.simulate.adapter import Scaler
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Request
from trimtab.simulate.policy import FixedPolicy, FleetView, Policy, ReplicaView, Variant
from trimtab.simulate.result import RunResult, to_json
from trimtab.simulate.rivals.base import Phase, Source
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.trimtab_policy import ReducedPolicy, TrimtabPolicy
from trimtab.simulate.world import world_of
from unit.simulate.worlds import CHAT, Script, deployment, pool, scenario, steady, traffic, variant


def made(of: Scenario, policy: Policy, seed: int = 0) -> RunResult:
    return run(of, traffic(of), policy, seed)


def fixed(**replicas: int) -> FixedPolicy:
    return FixedPolicy(replicas={variant(name): count for name, count in replicas.items()})


ROUGH: dict[str, Any] = {
    "duration": "15m",
    "manifests": [
        pool("h100", "nvidia-h100-sxm", "2.50", capacity={"maxDevices": 16}),
        pool("l40s", "nvidia-l40s", "0.90", capacity={"maxDevices": 16}, capacityType="Spot"),
        deployment(cost={"capacityTypes": ["OnDemand", "Spot"]}),
    ],
    "pools": {
        "h100": {
            "failuresPerHour": 6,
            "capacity": [{"at": "3m", "devices": 0}, {"at": "9m", "devices": 16}],
        },
        "l40s": {"reclaims": {"perHour": 6}, "provisioning": {"p50": "60s", "p95": "120s"}},
    },
    "clients": {"timeout": "20s"},
    "faults": [{"kind": "metrics-down", "from": "6m", "to": "8m"}],
}


def test_runs_are_equal_whenever_their_seeds_are() -> None:
    rough = scenario(**ROUGH)
    requests = traffic(rough)
    base = world_of(rough, requests).snapshot

    def once(seed: int) -> str:
        return json.dumps(to_json(run(rough, requests, TrimtabPolicy(base=base), seed)))

    first = once(3)
    assert once(3) == first
    assert once(4) != first


counts = st.integers(min_value=0, max_value=6)
plans = st.lists(st.tuples(counts, counts), min_size=1, max_size=12)


@settings(max_examples=12, deadline=None)
@given(plan=plans, seed=st.integers(min_value=0, max_value=5), warm=st.sampled_from(["0s", "5m"]))
def test_whatever_a_policy_does_nothing_is_lost_or_made(
    plan: list[tuple[int, int]], seed: int, warm: str
) -> None:
    rough = scenario(**ROUGH, warmup=warm)

    def asks(now: float) -> Mapping[Variant, int]:
        h100, l40s = plan[int(now // 60) % len(plan)]
        return {variant("h100"): h100, variant("l40s"): l40s}

    script = Script(asks)
    result = made(rough, script, seed)
    got = result.deployments[str(CHAT)]

    tally = got.tally
    assert tally.arrived + got.in_flight_before == tally.settled
    assert tally.met <= min(tally.met_ttft, tally.met_itl, tally.served)
    for view in script.views:
        for each in view.pools:
            held = [
                pod.variant.parallelism.devices
                for deployed in view.deployments
                for pod in deployed.replicas
                if pod.variant.pool == each.name and not pod.unschedulable
            ]
            # Nodes that leave are not counted as the pool's any more, but hold their pods still.
            assert sum(held) <= 16
    assert all(each <= 16 for used in result.series.devices.values() for each in used)

    step_h = result.series.step_s / 3600.0
    scored = [
        usd * step_h
        for at, usd in zip(result.series.at_s, result.series.usd_per_hour, strict=True)
        if at > result.warmup_s
    ]
    assert result.cost_usd == pytest.approx(sum(scored), abs=1e-9)
    assert sum(each.usd for each in result.pools.values()) == pytest.approx(result.cost_usd)
    assert got.usd == pytest.approx(result.cost_usd)


def test_only_ready_replicas_get_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = scenario(
        traffic=[steady(2.0)],
        pools={"h100": {"provisioning": "60s", "load": "30s"}},
        clients={"timeout": "5m"},
    )
    reached: list[float] = []
    submit = Engine.submit

    def noted(engine: Engine, request: Request, now: float) -> bool:
        reached.append(now)
        return submit(engine, request, now)

    monkeypatch.setattr(Engine, "submit", noted)
    result = made(slow, Script(lambda now: {variant(): 1 if now >= 15 else 0}))

    # The first is asked for at 15 s, gets a node at 75 s and is Ready at 105 s.
    assert min(reached) == 105.0
    assert len(reached) == result.deployments[str(CHAT)].tally.served
    series = result.series.deployments[str(CHAT)]
    assert series.wanted["h100/tp1"][:2] == (0, 1)
    assert [count for at, count in zip(result.series.at_s, series.ready["h100/tp1"], strict=True)
            if at <= 105.0] == [0, 0, 0, 0, 0, 0, 1]  # fmt: skip
    # It is paid for from 75 s on.
    assert result.cost_usd == pytest.approx(2.5 * (600 - 75) / 3600)


def test_a_fixed_fleet_costs_its_price_and_begins_ready() -> None:
    result = made(scenario(warmup="5m"), fixed(h100=2))

    assert result.cost_usd == pytest.approx(2 * 2.5 * 300 / 3600)
    assert result.pools["h100"].replica_hours == pytest.approx(2 * 300 / 3600)
    assert result.duration_s == 300.0
    assert result.attainment == 1.0
    assert result.errors == 0
    assert result.direction_changes == 0
    assert [dict(marker.fleet) for marker in result.decisions] == [{"h100/tp1": 2}]


def test_nobody_serves_without_a_replica() -> None:
    result = made(scenario(traffic=[steady(1.0)]), fixed())
    got = result.deployments[str(CHAT)]

    assert got.tally.timed_out == got.tally.arrived > 0
    assert got.attainment["all"] == 0.0
    assert result.cost_usd == 0.0
    assert got.short_s == 600.0
    # The first give up after a minute.
    assert got.over_target_s == pytest.approx(540.0, abs=15.0)


def test_a_leaving_replica_finishes_and_is_paid_until_then() -> None:
    # From 300 s on nothing is wanted; answers of 2000 tokens take longer than that instant.
    long = scenario(
        traffic=[steady(1.0, outputTokens={"mean": 2000, "cv": 0})],
        manifests=[pool("h100", "nvidia-h100-sxm", "2.50"), deployment()],
    )
    script = Script(lambda now: {variant(): 1 if now < 300 else 0}, interval_s=5.0)
    result = made(long, script)
    tally = result.deployments[str(CHAT)].tally

    leaving = [
        pod for view in script.views for pod in view.deployments[0].replicas if pod.terminating
    ]
    assert leaving
    assert all(pod.phase is Phase.READY for pod in leaving)
    assert 300 < result.pools["h100"].replica_hours * 3600 < 360
    assert tally.lost == 0


def test_one_that_takes_too_long_to_leave_loses_what_it_has() -> None:
    engine = {"shutdownTimeout": "2s"}
    long = scenario(
        traffic=[steady(1.0, outputTokens={"mean": 2000, "cv": 0})],
        manifests=[pool("h100", "nvidia-h100-sxm", "2.50"), deployment(engine=engine)],
    )
    result = made(long, Script(lambda now: {variant(): 1 if now < 300 else 0}))

    assert result.deployments[str(CHAT)].tally.lost > 0
    assert result.pools["h100"].replica_hours * 3600 == pytest.approx(302.0)


def test_a_stock_out_leaves_pods_pending_until_it_ends() -> None:
    short = scenario(
        duration="20m",
        traffic=[steady(1.0)],
        pools={
            "h100": {
                "capacity": [{"at": "0s", "devices": 8}, {"at": "10m", "devices": 16}],
                "provisioning": "60s",
                "load": "30s",
            }
        },
    )
    script = Script(lambda now: {variant(): 8 if now < 120 else 10})
    made(short, script)

    def unplaced(at: float) -> list[float]:
        view = next(view for view in script.views if view.now == at)
        return [pod.age_s for pod in view.deployments[0].replicas if pod.unschedulable]

    assert unplaced(135.0) == [15.0, 15.0]
    assert unplaced(600.0) == [480.0, 480.0]
    assert unplaced(675.0) == []
    lost = [dict(view.deployments[0].lost) for view in script.views]
    assert [each for each in lost if each] == [{variant(): 2}]


def test_a_reclaimed_node_takes_its_pods_and_others_replace_them() -> None:
    spot = pool("h100", "nvidia-h100-sxm", "1.00", capacityType="Spot")
    reclaimed = scenario(
        duration="60m",
        traffic=[steady(1.0)],
        manifests=[spot, deployment(cost={"capacityTypes": ["Spot"]})],
        pools={"h100": {"reclaims": {"perHour": 4}, "provisioning": "60s", "load": "30s"}},
    )
    script = Script(lambda now: {variant(): 2})
    result = made(reclaimed, script)

    assert result.lost_replicas > 0
    assert sum(sum(view.deployments[0].lost.values()) for view in script.views) == (
        result.lost_replicas
    )
    ready = result.series.deployments[str(CHAT)].ready["h100/tp1"]
    assert min(ready) == 0
    # Two pods share a node, so they go together and come back together.
    assert ready.count(2) > len(ready) / 2


def test_the_share_of_a_spot_course_bounds_what_runs() -> None:
    spot = pool("h100", "nvidia-h100-sxm", "1.00", capacityType="Spot", devicesPerNode=1)
    recorded = scenario(
        duration="60m",
        traffic=[steady(1.0)],
        manifests=[spot, deployment(cost={"capacityTypes": ["Spot"]})],
        pools={
            "h100": {
                "reclaims": {"trace": "gcp-v100"},
                "provisioning": "10s",
                "load": "10s",
            }
        },
    )
    result = made(recorded, fixed(h100=32))

    assert result.lost_replicas > 0
    notice = 30.0
    limits = list(zip(result.series.at_s, result.series.room["h100"], strict=True))
    assert len({limit for _, limit in limits}) > 3
    for (at, used), (_, before) in zip(
        zip(result.series.at_s, result.series.devices["h100"], strict=True),
        [limits[0], *limits],
        strict=False,
    ):
        recent = [limit for then, limit in limits if at - notice - 60 <= then <= at]
        assert used <= max(*recent, before), at


def test_failures_are_replaced_on_the_node_that_is_there() -> None:
    failing = scenario(
        duration="60m",
        traffic=[steady(1.0)],
        pools={"h100": {"failuresPerHour": 6, "load": "30s", "provisioning": "10m"}},
    )
    result = made(failing, fixed(h100=1))

    assert result.lost_replicas > 2
    tally = result.deployments[str(CHAT)].tally
    assert tally.lost > 0
    # Down for 30 s each time, not for the ten minutes of a new node.
    assert tally.served > 0.8 * tally.arrived


def test_what_the_metrics_say_is_what_came() -> None:
    script = Script(lambda now: {variant(): 1})
    made(scenario(traffic=[steady(4.0)]), script)
    loads = [view.deployments[0].load() for view in script.views]

    assert isinstance(loads[0].arrival_rps, Missing)
    last = [load.arrival_rps for load in loads[10:]]
    rates = [each.value for each in last if isinstance(each, Fresh)]
    assert len(rates) == len(last)
    assert sum(rates) / len(rates) == pytest.approx(4.0, rel=0.1)
    lengths = [load.input_tokens for load in loads[10:]]
    means = [each.value for each in lengths if isinstance(each, Fresh)]
    assert sum(means) / len(means) == pytest.approx(1000.0, rel=0.1)


def test_each_variant_reports_what_one_replica_does() -> None:
    def asks(now: float) -> Mapping[Variant, int]:
        return {variant(): 2 if now < 300 else 1, variant("l40s"): 1}

    script = Script(asks)
    made(scenario(traffic=[steady(6.0)]), script)

    def read(at: float) -> dict[str, VariantReading]:
        view = next(view for view in script.views if view.now == at)
        return {each.pool: each for each in view.deployments[0].load().variants}

    before, during, after = read(240.0), read(330.0), read(480.0)
    h100, l40s = before["h100"], before["l40s"]
    assert (h100.pool, h100.parallelism) == ("h100", variant().parallelism)
    rates = [each.first_tokens_per_s for each in (h100, h100, l40s)]
    assert sum(each.value for each in rates if isinstance(each, Fresh)) == pytest.approx(6, rel=0.3)
    # Answers of about 200 tokens have a gap less than that.
    assert isinstance(h100.gaps_per_s, Fresh)
    assert isinstance(h100.first_tokens_per_s, Fresh)
    gaps = h100.gaps_per_s.value / h100.first_tokens_per_s.value
    assert gaps == pytest.approx(199.0, rel=0.25)
    assert isinstance(h100.itl_s, Fresh)
    assert isinstance(l40s.itl_s, Fresh)
    assert h100.itl_s.value < l40s.itl_s.value
    # Little's law: as many run, at one moment, as gaps are going on.
    assert isinstance(h100.running, Fresh)
    assert h100.running.value == pytest.approx(h100.itl_s.value * h100.gaps_per_s.value, rel=0.6)
    # One of two has just gone, and what it did is in the sum.
    assert isinstance(during["h100"].gaps_per_s, Missing)
    assert isinstance(during["l40s"].gaps_per_s, Fresh)
    assert isinstance(after["h100"].gaps_per_s, Fresh)


def test_plans_learn_from_what_replicas_report() -> None:
    of = scenario()
    policy = TrimtabPolicy(base=world_of(of, traffic(of)).snapshot)
    made(of, policy)

    assert {each.pool for each in policy.memory.calibrations} == {"h100"}
    assert all(each.evidence_s > 200.0 for each in policy.memory.calibrations)


def test_an_outage_hides_the_load_and_says_why() -> None:
    faulty = scenario(
        traffic=[steady(4.0)],
        faults=[
            {"kind": "metrics-down", "from": "2m", "to": "3m"},
            {"kind": "metrics-empty", "from": "5m", "to": "6m"},
        ],
    )
    script = Script(lambda now: {variant(): 1})
    made(faulty, script)

    def seen(at: float) -> Any:
        return next(view for view in script.views if view.now == at)

    down, empty, well = seen(150.0), seen(330.0), seen(240.0)
    assert (down.metrics, empty.metrics, well.metrics) == (
        Source.FAILS, Source.EMPTY, Source.ANSWERS,
    )  # fmt: skip
    assert down.deployments[0].load().source_error is not None
    assert empty.deployments[0].load().source_error is None
    assert isinstance(empty.deployments[0].load().arrival_rps, Missing)
    assert isinstance(well.deployments[0].load().arrival_rps, Fresh)
    # The pods have their pages, for those who ask them.
    assert down.deployments[0].replicas[0].scrape is not None
    assert down.deployments[0].replicas[0].scrape != well.deployments[0].replicas[0].scrape
    # The gateway counts on.
    assert len(down.deployments[0].arrivals) > 0


def test_a_decision_sees_each_request_once_and_the_requests_in_flight() -> None:
    script = Script(lambda now: {variant(): 1})
    of = scenario(traffic=[steady(4.0)])
    made(of, script)

    seen = [at for view in script.views for at in view.deployments[0].arrivals.at_s.tolist()]
    assert seen == [at for at in traffic(of)[CHAT].at_s.tolist() if at < script.views[-1].now]
    # Little's law: about 4/s that stay for one to two seconds.
    ongoing = [view.deployments[0].ongoing for view in script.views[4:]]
    assert 2.0 < sum(ongoing) / len(ongoing) < 16.0


def test_trimtab_holds_its_targets_on_the_real_trace_and_says_why() -> None:
    of = scenario(duration="20m", warmup="5m", traffic=[
        {"deployment": "default/chat", "source": {"trace": "azure-conv"}, "scale": 2.0}
    ])  # fmt: skip
    base = world_of(of, traffic(of)).snapshot
    result = made(of, TrimtabPolicy(base=base))

    assert result.attainment is not None
    assert result.attainment > 0.95
    assert result.decisions[0].why == "Initial"
    assert result.decisions[0].message


def woken_by(asks: Callable[[float], Mapping[Variant, int]], **over: Any) -> list[FleetView]:
    script = Script(asks, debounce_s=0.5)
    made(scenario(traffic=[steady(5.0)], **over), script)
    return script.views


def test_a_pod_that_is_lost_wakes_the_operator_before_its_period() -> None:
    views = woken_by(
        lambda now: {variant(): 1}, duration="30m", pools={"h100": {"failuresPerHour": 12}}
    )
    lost = [view.deployments[0] for view in views if view.deployments[0].lost]
    assert lost
    for one in lost:  # what takes its place was made in the same moment
        assert min(pod.age_s for pod in one.replicas) == pytest.approx(0.5)


def test_every_step_in_the_life_of_a_pod_wakes_the_operator() -> None:
    """Made, placed, Ready, told to leave, gone: seen half a second later each."""
    views = woken_by(lambda now: {variant(): 2 if 100.0 < now < 300.0 else 1}, duration="10m")

    def first(seen: Callable[[ReplicaView], object]) -> float:
        return next(v.now for v in views if any(map(seen, v.deployments[0].replicas)))

    asked = next(view.now for view in views if view.now > 100.0)
    left = next(view.now for view in views if view.now >= 300.0)
    assert first(lambda pod: pod.age_s == 0.5) == asked + 0.5
    assert asked < first(lambda pod: pod.placed_s == 0.5)
    assert asked < first(lambda pod: pod.ready_s == 0.5) < left
    assert first(lambda pod: pod.terminating) == left + 0.5
    gone = next(v.now for v in views if v.now > left and len(v.deployments[0].replicas) == 1)
    assert gone - left - 0.5 in range(1, 60)  # drains are looked at once a second


def test_the_period_counts_from_the_last_decision() -> None:
    times = [view.now for view in woken_by(lambda now: {variant(): 1 + (now > 50.0)})]
    assert times[:5] == [0.0, 15.0, 30.0, 45.0, 60.0]
    assert times[5] == 60.5
    assert max(later - earlier for earlier, later in pairwise(times)) == 15.0


def test_the_reduced_policy_decides_without_any_metric() -> None:
    dark = scenario(
        traffic=[steady(60.0)],
        faults=[{"kind": "metrics-down", "from": "0s", "to": "10m"}],
    )
    requests = traffic(dark)
    base = world_of(dark, requests).snapshot
    blind = run(dark, requests, TrimtabPolicy(base=base), 0)
    reduced = run(dark, requests, ReducedPolicy(scaler=Scaler(dark.manifests)), 0)

    # The prior says 8 requests/s; only who counts finds out that there are 60.
    assert reduced.cost_usd > 1.5 * blind.cost_usd
    assert (reduced.attainment or 0.0) > (blind.attainment or 0.0)


def test_equal_series_do_not_depend_on_the_order_of_pools() -> None:
    of = scenario(traffic=[steady(2.0)])
    turned = of.model_copy(
        update={"manifests": replace(of.manifests, pools=tuple(reversed(of.manifests.pools)))}
    )

    assert to_json(made(of, fixed(h100=1, l40s=1))) == to_json(made(turned, fixed(h100=1, l40s=1)))
