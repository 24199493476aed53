"""Fluid mode by its own laws, and beside the exact engine."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.load import LatencyTargets
from trimtab.simulate.curve import Curve
from trimtab.simulate.fluid import FluidReplicas, FluidService, shared
from trimtab.simulate.fluidgroup import Counts
from trimtab.simulate.response import Response, Sample
from trimtab.simulate.routers import Router
from unit.simulate.fluid_fleets import exact, fluid, random_fleet


def make_curve(*, ttft_s: float = 2.0, prompt_s: float = 0.0) -> Curve:
    """A replica that holds 100 requests and serves 10 a second then, each after 10 s.

    Below it requests stay for 5 s at first.
    """
    latency_s = np.stack([np.full((4, 5), x) for x in (0.1, 0.1, 0.2, 0.4)])
    latency_s[:, 0] += prompt_s
    crowded = Sample(
        ttft_s=np.full(50, 0.5),
        itl_s=np.full(50, 0.05),
        e2e_s=np.full(50, 10.0),
        gap_s=np.full(5, 0.05),
    )
    return Curve(
        Response(
            in_flight=np.array([5.0, 30.0, 60.0, 90.0]),
            rps=np.array([1.0, 5.0, 8.0, 9.5]),
            ttft_s=np.array([0.1, 0.1, 0.2, 0.4]),
            on_arrival=np.array([5.0, 30.0, 60.0, 90.0]),
            in_time=np.array([1.0, 1.0, 0.95, 0.7]),
            on_stay=np.array([5.0, 30.0, 60.0, 90.0]),
            shares=np.array([[1.0] * 4, [1.0] * 4, [0.9, 0.95, 0.95, 1.0], [0.5, 0.7, 0.7, 1.0]]),
            latency_s=latency_s,
            most_rps=10.0,
            batch=100.0,
            crowded=crowded,
            targets=LatencyTargets(ttft_s=ttft_s),
        )
    )


def make_replicas(count: int, *, timeout_s: float = 60.0) -> FluidReplicas:
    replicas = FluidReplicas(
        {1: make_curve()}, np.random.default_rng(1), client_timeout_s=timeout_s
    )
    replicas.resize(count)
    return replicas


def advanced(replicas: FluidReplicas, rps: float, begin: float, end: float) -> Counts:
    total = Counts()
    now = begin
    while now < end:
        now += 10.0
        total.add(replicas.advance(now, 10.0 * rps))
    return total


def test_a_steady_load_is_served_at_the_number_that_it_takes() -> None:
    replicas = make_replicas(4)
    advanced(replicas, 20.0, 0.0, 200.0)
    total = advanced(replicas, 20.0, 200.0, 2200.0)
    assert total.served == pytest.approx(40_000, rel=0.01)
    assert replicas.in_flight / 4 == pytest.approx(30.0, rel=0.25)
    assert total.met / total.served == pytest.approx(1.0, abs=0.02)
    assert replicas.waiting == 0.0


def test_beyond_the_largest_throughput_a_queue_grows_by_what_is_too_much() -> None:
    replicas = make_replicas(2, timeout_s=1e9)
    advanced(replicas, 25.0, 0.0, 200.0)
    before = replicas.waiting
    total = advanced(replicas, 25.0, 200.0, 300.0)
    assert total.served == pytest.approx(2000.0)
    assert replicas.waiting - before == pytest.approx(500.0)
    assert replicas.ttft_s > 20.0
    late = advanced(replicas, 25.0, 300.0, 500.0)
    assert late.met_ttft < 0.01 * late.served


def test_who_has_just_come_does_not_leave_at_once() -> None:
    """All stays are equally long here, so nobody leaves in a tenth of one."""
    replicas = make_replicas(4)
    total = replicas.advance(0.5, 200.0)
    assert replicas.in_flight == pytest.approx(200.0 - total.served)
    assert total.served < 2.0


def test_prompts_beyond_the_usual_take_time_of_answers() -> None:
    curve = make_curve(prompt_s=0.08)
    assert curve.spared(5.0, 5.0) == 1.0
    assert curve.spared(5.0, 10.0) == pytest.approx(0.2 / 0.6)
    assert curve.spared(5.0, 0.0) == pytest.approx(1.0 / 0.6)


def test_latencies_are_those_of_the_load_and_first_tokens_wait_in_a_queue() -> None:
    replicas = make_replicas(2, timeout_s=1e9)
    assert replicas.latencies()[0] == 0.0
    advanced(replicas, 25.0, 0.0, 200.0)
    rps, latencies = replicas.latencies()
    assert rps == pytest.approx(20.0)
    assert latencies[1] == pytest.approx(np.full(5, 0.05))
    assert latencies[0] == pytest.approx(np.full(5, 0.5 + replicas.waiting / 20.0), rel=0.01)


def test_a_replica_that_is_killed_while_it_leaves_loses_what_it_has() -> None:
    replicas = make_replicas(2)
    advanced(replicas, 10.0, 0.0, 100.0)
    held = replicas.in_flight
    leaving = replicas.leave()
    assert replicas.replicas == 1
    replicas.kill(leaving)
    assert replicas.finishing == 0.0
    assert replicas.advance(100.1, 0.0).lost == pytest.approx(held / 2)


def test_who_waits_too_long_gives_up() -> None:
    replicas = make_replicas(2, timeout_s=20.0)
    advanced(replicas, 30.0, 0.0, 300.0)
    total = advanced(replicas, 30.0, 300.0, 400.0)
    assert total.timed_out == pytest.approx(1000.0, rel=0.01)
    assert replicas.waiting == pytest.approx(2 * 10.0 * 20.0)


def test_what_waits_at_a_replica_stays_there_when_others_come() -> None:
    """As behind a real router: the new ones get what comes, until all have as much."""
    replicas = make_replicas(1, timeout_s=1e9)
    advanced(replicas, 30.0, 0.0, 100.0)
    crowd = replicas.waiting
    replicas.resize(3)
    advanced(replicas, 5.0, 100.0, 150.0)
    assert replicas.waiting == pytest.approx(crowd - 500.0, rel=0.02)


def test_replicas_that_leave_finish_and_lost_ones_lose() -> None:
    replicas = make_replicas(4)
    advanced(replicas, 20.0, 0.0, 300.0)
    held = replicas.in_flight
    replicas.lose(1)
    assert replicas.in_flight == pytest.approx(held * 3 / 4)
    replicas.resize(0)
    total = replicas.advance(2000.0, 0.0)
    assert total.lost == pytest.approx(held / 4)
    assert total.served == pytest.approx(held * 3 / 4, rel=1e-3)


def test_what_comes_without_a_replica_waits_is_rejected_or_gives_up() -> None:
    variant = FluidReplicas({1: make_curve()}, np.random.default_rng(1))
    service = FluidService([variant], queue=50.0, client_timeout_s=30.0)
    total = service.advance(10.0, 80.0)
    assert (service.held, total.rejected) == (50.0, 30.0)
    total.add(service.advance(40.0, 0.0))
    assert (service.held, total.timed_out) == (0.0, 50.0)
    service.advance(50.0, 20.0)
    variant.resize(1)
    total = service.advance(200.0, 0.0)
    total.add(service.advance(400.0, 0.0))
    assert total.served == pytest.approx(20.0, rel=0.01)


@given(
    levels=st.lists(st.tuples(st.floats(0, 500), st.integers(1, 9)), min_size=1, max_size=6),
    arrivals=st.floats(0, 1000),
)
def test_arrivals_fill_the_emptiest_up_to_one_level(
    levels: list[tuple[float, int]], arrivals: float
) -> None:
    shares = shared(levels, arrivals, Router.LEAST_OUTSTANDING)
    assert sum(shares) == pytest.approx(arrivals, abs=1e-6)
    filled = [level + share / n for (level, n), share in zip(levels, shares, strict=True)]
    reached = [level for level, share in zip(filled, shares, strict=True) if share > 1e-9]
    if reached:
        assert max(reached) == pytest.approx(min(reached), abs=1e-6)
        assert min(filled) >= max(reached) - 1e-6


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 600), st.integers(0, 4), st.floats(1, 90)), min_size=1, max_size=30
    )
)
@settings(deadline=None, max_examples=60)
def test_every_request_has_one_fate(steps: list[tuple[float, int, float]]) -> None:
    variants = [
        FluidReplicas({1: make_curve()}, np.random.default_rng(i), client_timeout_s=20.0)
        for i in range(2)
    ]
    service = FluidService(variants, queue=100.0, client_timeout_s=20.0)
    total, now, came = Counts(), 0.0, 0.0
    for arrivals, replicas, seconds in steps:
        variants[0].resize(replicas)
        variants[1].resize(replicas // 2)
        now += seconds
        came += arrivals
        total.add(service.advance(now, arrivals))
        assert total.arrived == pytest.approx(came)
        assert total.settled + service.in_flight == pytest.approx(came, abs=1e-6)
        assert -1e-9 <= total.met <= min(total.met_ttft, total.met_itl, total.met_e2e) + 1e-6
        assert max(total.met_ttft, total.met_itl, total.met_e2e) <= total.served + 1e-6


def test_it_agrees_with_the_exact_engine() -> None:
    """On a set of random small fleets with an autoscaler: 5 % of cost, 2 points of attainment."""
    pairs = []
    for seed in (1, 3, 4, 5):
        fleet = random_fleet(seed)
        pairs.append((exact(fleet, 0), fluid(fleet, 0)))
        print(f"{fleet.devices}: exact {pairs[-1][0]}, fluid {pairs[-1][1]}")  # noqa: T201
    theirs, ours = ([pair[i] for pair in pairs] for i in range(2))
    assert sum(one.usd for one in ours) == pytest.approx(sum(one.usd for one in theirs), rel=0.05)
    requests = sum(one.requests for one in theirs)
    assert sum(one.attainment * one.requests for one in ours) / requests == pytest.approx(
        sum(one.attainment * one.requests for one in theirs) / requests, abs=0.02
    )
