"""What a rival is shown of a run, and what becomes of its answers."""

from dataclasses import dataclass, field

import pytest

from trimtab.models.snapshot import Key
from trimtab.simulate.offers import offers_of, scenes_of
from trimtab.simulate.rival_policy import RivalPolicy, Seat
from trimtab.simulate.rivals.base import Decision, Observation, Phase, Source
from trimtab.simulate.run import run
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.world import world_of
from unit.simulate.worlds import CHAT, scenario, steady, traffic


@dataclass(slots=True)
class Watcher:
    """A rule that asks for one replica more every minute on one pool, and keeps what it saw."""

    pool: str = "h100"
    name: str = "watcher"
    interval_s: float = 5.0
    started: list[Observation] = field(default_factory=list)
    seen: list[tuple[float, Observation]] = field(default_factory=list)

    def start(self, observation: Observation, now: float) -> int:
        self.started.append(observation)
        return 0

    def decide(self, observation: Observation, memory: int, now: float) -> Decision[int]:
        self.seen.append((now, observation))
        replicas = {self.pool: 1 + int(now // 60)}
        return Decision(replicas=replicas, memory=memory + 1, reason=f"call {memory}")


def watch(of: Scenario, pools: tuple[str, ...] = ("h100",)) -> tuple[Watcher, dict[str, int]]:
    requests = traffic(of)
    world = world_of(of, requests)
    scene = scenes_of(world, offers_of(world), {CHAT: pools})[CHAT]
    watcher = Watcher()
    seats: dict[Key, Seat] = {CHAT: Seat(scene=scene, rival=watcher, begins=scene.beginning())}
    result = run(of, requests, RivalPolicy("watcher", seats), 0)
    return watcher, dict(result.decisions[-1].fleet)


def test_a_rival_starts_with_ready_replicas_and_is_asked_at_its_own_pace() -> None:
    watcher, last = watch(scenario(duration="3m", traffic=[steady(2.0)]))

    (start,) = watcher.started
    assert [replica.phase for replica in start.pools[0].replicas] == [Phase.READY]
    assert start.pools[0].desired == 1
    assert [now for now, _ in watcher.seen] == [5.0 * i for i in range(1, 37)]
    assert last == {"h100/tp1": 4}
    assert watcher.seen[-2][1].pools[0].desired == 3


def test_phases_are_those_of_pods() -> None:
    watcher, _ = watch(
        scenario(
            duration="6m",
            traffic=[steady(2.0)],
            pools={"h100": {"provisioning": "0s", "load": "40s"}},
        )
    )
    at = dict(watcher.seen)
    phases = [replica.phase for replica in at[65.0].pools[0].replicas]
    assert phases == [Phase.READY, Phase.LOADING]
    assert at[65.0].pools[0].replicas[1].scrape is None
    assert at[105.0].pools[0].ready == 2


def test_requests_are_told_once_and_latencies_of_a_scrape_once() -> None:
    of = scenario(duration="5m", traffic=[steady(4.0)])
    watcher, _ = watch(of)

    told = [arrival.at for _, seen in watcher.seen for arrival in seen.arrivals]
    assert told == [at for at in traffic(of)[CHAT].at_s.tolist() if at < 300.0]
    first = [seen.pools[0].replicas[0] for _, seen in watcher.seen[3:]]
    fresh = [one.scrape.itl_s is not None for one in first if one.scrape is not None]
    # It looks every 5 s at pages that are read every 15 s.
    assert sum(fresh) == pytest.approx(len(fresh) / 3, abs=1)


def test_an_outage_of_metrics_takes_latencies_not_the_gateway_s_counts_nor_the_pods_own_pages() -> (
    None
):
    watcher, _ = watch(
        scenario(
            duration="5m",
            traffic=[steady(4.0)],
            faults=[{"kind": "metrics-empty", "from": "2m", "to": "3m"}],
        )
    )
    at = dict(watcher.seen)
    assert at[150.0].metrics is Source.EMPTY
    assert at[150.0].latency is None
    ready = [one for one in at[150.0].pools[0].replicas if one.phase is Phase.READY]
    assert ready
    assert None not in {replica.scrape for replica in ready}
    assert at[150.0].arrivals
    assert at[150.0].ongoing > 0.0
    assert at[240.0].metrics is Source.ANSWERS
    assert at[240.0].latency is not None


def test_a_rival_of_several_pools_sees_all_of_them() -> None:
    watcher, last = watch(scenario(duration="2m", traffic=[steady(2.0)]), ("h100", "l40s"))

    assert [pool.name for pool in watcher.seen[0][1].pools] == ["h100", "l40s"]
    assert watcher.started[0].pool("l40s").desired == 1
    # What it does not speak of keeps what it has.
    assert last == {"h100/tp1": 3, "l40s/tp1": 1}
