"""The judge's fleet, its hindsight, and that it knows nothing of what it judges."""

import ast
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import bench.judge.fleet
from bench.judge.__main__ import main
from bench.judge.cases import CASES, Case, chat, pools
from bench.judge.engine import Request
from bench.judge.fleet import LINGERS_S, Fleet, Pool, Router, Service
from bench.judge.hardware import A100, L40S, QWEN_14B, law_of
from bench.judge.hindsight import Hindsight
from bench.judge.play import WARM_S, Planner, play
from bench.judge.traffic import agents

SERVES = "chat"
SMALL = Case(
    name="small",
    deployments={SERVES: chat(lambda _: 4.0, 900.0, 4.0)},
    pools=pools("l40s"),
    lasts_s=900.0,
)


def fleet(requests: list[Request], router: Router = Router.LEAST, **spec: Pool) -> Fleet:
    service = Service(weights=QWEN_14B, requests=requests, router=router)
    return Fleet({SERVES: service}, spec or {"l40s": Pool(device=L40S)}, seed=1)


def every(gap_s: float, until_s: float) -> list[Request]:
    return [Request(at_s=gap_s * k, inputs=1000, outputs=100) for k in range(int(until_s / gap_s))]


def states(of: Fleet) -> list[str]:
    return sorted(each.status for each in of.replicas.values())


def test_the_judge_knows_only_the_adapter_of_what_it_judges() -> None:
    known: dict[str, set[str]] = {}
    for path in Path(bench.judge.fleet.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = (
                [each.name for each in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            known.setdefault(path.name, set()).update(n for n in names if "trimtab" in n)
    assert {name: found for name, found in known.items() if found} == {
        "play.py": {"trimtab.simulate.adapter"}
    }


def test_every_request_is_answered_or_lost_or_in_flight() -> None:
    requests = every(0.2, 600.0)
    strokes = Pool(device=L40S, reclaims=((150.0, 0.5), (300.0, 1.0)))
    run = fleet(requests, l40s=strokes)
    run.begin_with(SERVES, {"l40s/tp1": 4})
    while run.now < 900.0:
        run.apply(SERVES, {"l40s/tp1": 4})
        run.advance(run.now + 15.0)
        came = [each for each in requests if each.at_s <= run.now]
        gone = sum(each.last_s <= run.now or each.failed for each in came)
        assert run.arrived(SERVES) == len(came)
        assert run.in_flight(SERVES) == len(came) - gone
    failed = [each for each in requests if each.failed]
    assert 0 < len(failed) < 100
    assert all(each.failed or each.last_s < 900.0 for each in requests)
    assert not any(each.failed and each.last_s < 900.0 for each in requests)


def test_a_replica_waits_for_its_node_and_loads_and_the_next_finds_the_node_there() -> None:
    run = fleet([], l40s=Pool(device=L40S, node_s=100.0, load_s=40.0))
    run.apply(SERVES, {"l40s/tp1": 1})
    assert states(run) == ["starting"]
    (first,) = run.replicas.values()
    run.advance(400.0)
    assert states(run) == ["ready"]
    assert 80.0 < first.since < 250.0
    run.apply(SERVES, {})
    run.apply(SERVES, {"l40s/tp1": 1})
    (second,) = run.replicas.values()
    run.advance(800.0)
    assert 20.0 < second.since - 400.0 < 80.0
    run.apply(SERVES, {})
    run.advance(800.0 + LINGERS_S + 1.0)
    begun = run.now
    run.apply(SERVES, {"l40s/tp1": 1})
    (third,) = run.replicas.values()
    run.advance(begun + 400.0)
    assert third.since - begun > 80.0


def test_a_pool_that_is_short_or_full_has_no_node() -> None:
    run = fleet([], l40s=Pool(device=L40S, most=3, short=((0.0, 100.0),)))
    run.apply(SERVES, {"l40s/tp1": 5})
    assert states(run) == ["unschedulable"] * 5
    run.advance(99.0)
    assert states(run) == ["unschedulable"] * 5
    run.advance(101.0)
    run.advance(500.0)
    assert states(run) == ["ready"] * 3 + ["unschedulable"] * 2


def test_devices_are_paid_from_a_node_until_the_last_answer() -> None:
    run = fleet([Request(at_s=599.0, inputs=1000, outputs=500)])
    run.begin_with(SERVES, {"l40s/tp2": 1})
    run.bill_from = 60.0
    run.advance(600.0)
    run.apply(SERVES, {})
    assert states(run) == ["stopping"]
    run.advance(900.0)
    assert states(run) == []
    last = run.services[SERVES].requests[0].last_s
    assert 605.0 < last < 900.0
    assert run.cost() == pytest.approx(2 * (last - 60.0) / 3600.0 * L40S.per_hour)


def mean_first_s(router: Router, requests: list[Request], replicas: int) -> float:
    run = fleet(requests, router)
    run.begin_with(SERVES, {"l40s/tp1": replicas})
    run.advance(3000.0)
    return sum(each.first_s - each.at_s for each in requests) / len(requests)


def test_requests_wait_longest_where_dice_deal_them_out() -> None:
    random, turn, least = (
        mean_first_s(router, chat(lambda _: 9.0, 300.0, 9.0).requests(1), 4)
        for router in (Router.RANDOM, Router.TURN, Router.LEAST)
    )
    assert random > 1.05 * max(turn, least)


def test_a_session_that_stays_with_its_replica_waits_less() -> None:
    sticky, least = (
        mean_first_s(router, agents(lambda _: 0.1, 600.0, 1), 4)
        for router in (Router.STICKY, Router.LEAST)
    )
    assert sticky < 0.8 * least


def test_a_slower_law_and_fewer_devices_take_longer() -> None:
    def step(devices: int, slow: float = 1.0) -> float:
        law = law_of(QWEN_14B, A100, devices, slow)
        assert law is not None
        return law.takes(16, 16_000, 500)

    assert step(1, 1.4) == pytest.approx(1.4 * step(1))
    assert step(1) > step(2) > step(4)


def test_hindsight_finds_the_least_that_is_enough() -> None:
    hindsight = Hindsight(case=SMALL, name=SERVES, seed=1, variants=["l40s/tp1"])
    found = hindsight.cheapest(0.99)
    assert found is not None

    def share(replicas: int) -> float:
        wanted: Mapping[str, Mapping[str, int]] = {SERVES: {"l40s/tp1": replicas}}
        return play(SMALL, 1, lambda _: wanted, wanted).worst

    enough = -int(-found.replicas // 1)
    assert share(enough) >= 0.99 > share(enough - 1)
    assert found.cost == pytest.approx(found.replicas * L40S.per_hour * (900.0 - WARM_S) / 3600.0)
    nobody = replace(SMALL, deployments={SERVES: replace(SMALL.deployments[SERVES], ttft_s=0.001)})
    assert Hindsight(case=nobody, name=SERVES, seed=1, variants=["l40s/tp1"]).cheapest(0.9) is None


def test_the_planner_serves_a_steady_demand_by_counts_alone() -> None:
    planner = Planner(SMALL)
    outcome = play(SMALL, 1, planner, planner.first())
    assert outcome.worst > 0.9
    assert 0.0 < outcome.cost < 64 * L40S.per_hour * (900.0 - WARM_S) / 3600.0
    assert set(outcome.device_hours) == {(SERVES, "l40s")}


def test_each_case_has_manifests_that_a_user_could_write() -> None:
    for case in CASES.values():
        assert set(Planner(case).first()) == set(case.deployments)


def test_verdicts_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(CASES, "small", SMALL)
    main(["small", "-o", "json"])
    (verdict,) = json.loads(capsys.readouterr().out)
    assert verdict["case"] == "small"
    assert verdict["cost_fixed_asked"] > 0.0
    main(["small", "--alone"])
    assert len(capsys.readouterr().out.splitlines()) == 2
