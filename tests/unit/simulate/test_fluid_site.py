"""One deployment served as a flow: each request has one fate, whatever happens to replicas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.models.load import LatencyTargets
from trimtab.simulate.fluidsite import FluidSite
from trimtab.simulate.gateway import GatewaySettings
from trimtab.simulate.routers import Router
from trimtab.simulate.sites import ExactSite
from trimtab.simulate.traffic import Traffic
from trimtab.simulate.world import world_of
from unit.simulate.worlds import scenario, traffic, variant

TARGETS = LatencyTargets(ttft_s=2.0, itl_s=0.06)
WORLD = world_of(scenario(), traffic(scenario()))
KIND = WORLD.kinds.of(variant("l40s"))


def of(at: list[float]) -> Traffic:
    return Traffic(
        at_s=np.array(at, dtype=float),
        input_tokens=np.full(len(at), 1500),
        output_tokens=np.full(len(at), 150),
    )


def site(at: list[float], **over: object) -> FluidSite:
    return FluidSite(of(at), TARGETS, GatewaySettings(**over))  # type: ignore[arg-type]


@pytest.mark.parametrize("router", list(Router))
def test_it_scores_as_exact_mode_does_behind_any_router(router: Router) -> None:
    """Three replicas, one of which leaves and one is lost, and a minute of too many requests."""
    rng = np.random.default_rng(5)
    at = np.sort(np.concatenate([rng.uniform(0, 300, 2400), rng.uniform(100, 160, 1500)])).tolist()
    made = GatewaySettings(router=router, client_timeout_s=20.0)
    sites = (ExactSite(of(at), TARGETS, made), FluidSite(of(at), TARGETS, made))
    for one in sites:
        for name in ("a", "b", "c"):
            one.open(name, variant("l40s"), KIND, 0.0)
        for now in range(15, 600, 15):
            one.advance(float(now))
            if now == 240:
                one.leave("a", 240.0)
            if now == 270:
                one.close("b", 270.0)
            one.scrape(float(now))
    exact, flow = (one.total for one in sites)
    for name in ("arrived", "settled", "served", "met", "met_ttft", "met_itl", "timed_out", "gaps"):
        assert getattr(flow, name) == pytest.approx(getattr(exact, name), rel=0.03), name
    assert flow.settled == flow.arrived == len(at)
    assert flow.lost == pytest.approx(exact.lost, abs=15)


def test_who_finds_no_replica_waits_is_rejected_or_gives_up() -> None:
    held = site([1.0, 2.0, 3.0, 20.0], queue=2, client_timeout_s=10.0)
    held.advance(5.0)
    assert (held.held, held.total.rejected) == (2, 1)
    held.advance(19.0)
    assert (held.held, held.total.timed_out) == (0, 2)
    held.advance(25.0)
    held.open("a", variant("l40s"), KIND, 25.0)
    assert held.busy("a")
    held.advance(60.0)
    total = held.total
    assert (total.served, total.settled, held.in_flight) == (1, 4, 0)
    assert total.met == 0, "it had waited for five seconds before it reached a replica"


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0.1, 40.0), st.sampled_from(["open", "leave", "close", "score", "wait"])
        ),
        min_size=1,
        max_size=25,
    ),
    rps=st.floats(0.1, 20.0),
)
@settings(deadline=None, max_examples=30)
def test_every_request_has_one_fate(steps: list[tuple[float, str]], rps: float) -> None:
    end = sum(pause for pause, _ in steps)
    flow = site(np.arange(0.0, end, 1.0 / rps).tolist(), queue=20, client_timeout_s=10.0)
    now, before, opened = 0.0, 0, 0
    there: list[str] = []
    accepting: list[str] = []
    for pause, action in steps:
        now += pause
        if action == "open":
            there.append(f"r{opened}")
            accepting.append(f"r{opened}")
            flow.open(f"r{opened}", variant("l40s"), KIND, now)
            opened += 1
        elif action == "leave" and accepting:
            flow.leave(accepting.pop(), now)
        elif action == "close" and there:
            name = there.pop(0)
            accepting = [other for other in accepting if other != name]
            flow.close(name, now)
        flow.advance(now)
        if action == "score":
            flow.begin_score()
            before = flow.in_flight
        total = flow.total
        assert total.settled + flow.in_flight == total.arrived + before
        assert total.met <= min(total.met_ttft, total.met_itl) <= total.served
    flow.advance(now + 5000.0)
    assert flow.in_flight == 0
