"""A gateway that is named in the spec tells of requests while no replica runs."""

from typing import Any

import pytest

from trimtab.models.signals import Fresh, Missing
from trimtab.simulate.front import Front
from trimtab.simulate.policy import FleetView
from trimtab.simulate.result import RunResult
from trimtab.simulate.rivals.base import Source
from trimtab.simulate.run import Mode, run
from trimtab.simulate.trimtab_policy import TrimtabPolicy
from trimtab.simulate.world import world_of
from unit.simulate.worlds import (
    CHAT,
    H100,
    Script,
    deployment,
    scenario,
    steady,
    traffic,
    variant,
)

LLM_D = {"gateway": {"type": "llm-d"}}


def test_it_says_how_many_came_in_the_last_minute_and_how_many_wait() -> None:
    front = Front()
    assert isinstance(front.demand(Source.ANSWERS, 0.0).arrival_rps, Missing)
    for scrape, came in enumerate((10, 10, 40, 70, 100, 130)):
        front.scrape(came, scrape, 15.0 * scrape)
    demand = front.demand(Source.ANSWERS, 80.0)
    assert demand.arrival_rps == Fresh(value=2.0, age_s=5.0)
    assert demand.queued == Fresh(value=5.0, age_s=5.0)
    assert isinstance(front.demand(Source.EMPTY, 80.0).arrival_rps, Missing)


def views(**spec: Any) -> list[FleetView]:
    """What is seen of eight minutes at 2 requests/s, with a replica from 150 s on."""
    of = scenario(
        duration="8m",
        manifests=[H100, deployment(**spec)],
        traffic=[steady(2.0)],
        pools={"h100": {"provisioning": "0s", "load": "30s"}},
        clients={"timeout": "30s", "retries": 1},
        faults=[{"kind": "metrics-down", "from": "200s", "to": "230s"}],
    )
    script = Script(lambda now: {variant(): 1 if now >= 120 else 0})
    run(of, traffic(of), script, 0)
    return script.views


def test_the_operator_reads_it_where_the_spec_names_it() -> None:
    for view in views():
        (seen,) = view.deployments
        if view.now <= 120:
            assert isinstance(seen.load().arrival_rps, Missing)
    by_time = {view.now: view.deployments[0].load() for view in views(**LLM_D)}

    # Everybody gives up after 30 s and comes again once: twice the requests, a minute's wait.
    asleep = by_time[105.0]
    assert isinstance(asleep.arrival_rps, Fresh)
    assert asleep.arrival_rps.value == pytest.approx(4.0, rel=0.3)
    assert isinstance(asleep.waiting, Fresh)
    assert asleep.waiting.value == pytest.approx(120, rel=0.3)
    assert by_time[210.0].source_error
    served = by_time[480.0]
    assert isinstance(served.arrival_rps, Fresh)
    assert served.arrival_rps.value == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("mode", list(Mode))
def test_trimtab_sleeps_until_a_request_wakes_it(mode: Mode) -> None:
    late = steady(1.0) | {"startAt": "30m"}
    scaling = {"maxReplicas": 4, "scaleToZeroAfter": "10m"}

    def slept(**spec: Any) -> RunResult:
        of = scenario(
            duration="40m",
            manifests=[H100, deployment(scaling=scaling, **spec)],
            traffic=[late],
            pools={"h100": {"provisioning": "30s", "load": "20s"}},
            clients={"timeout": "2m"},
        )
        requests = traffic(of)
        return run(of, requests, TrimtabPolicy(base=world_of(of, requests).snapshot), 0, mode)

    result = slept(**LLM_D)
    (ready,) = result.series.deployments[str(CHAT)].ready.values()
    by_time = dict(zip(result.series.at_s, ready, strict=True))
    assert by_time[300.0] == 1
    assert {count for at, count in by_time.items() if 660.0 <= at <= 1800.0} == {0}
    assert by_time[1920.0] >= 1
    assert result.errors == 0
    # Where nothing tells of requests it brings the replica back at once and keeps it.
    (ready,) = slept().series.deployments[str(CHAT)].ready.values()
    assert ready.count(0) < 20
