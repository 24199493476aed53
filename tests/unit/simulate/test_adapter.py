"""Trimtab's planner as anybody's scaling policy: by counts and states alone."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bodies import pool_manifest
from trimtab.errors import InvalidInput
from trimtab.models.plan import Why
from trimtab.models.signals import fresh_value
from trimtab.planner.offline import Manifests
from trimtab.planner.starts import watched
from trimtab.planner.written import manifests_of
from trimtab.simulate.adapter import Scaler, Seen
from trimtab.simulate.statuses import ReplicaStatus

KEY = "assistants/chat"
API = "trimtab.dev/v1alpha1"


def pool(name: str = "l40s", **spec: Any) -> dict[str, Any]:
    size = {"devicesPerNode": 1, "capacity": {"maxDevices": 32}}
    return pool_manifest(name, "nvidia-l40s", "1.861", **(size | spec))


def deployment(name: str = "chat", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "LLMDeployment",
        "metadata": {"name": name, "namespace": "assistants"},
        "spec": {
            "model": {"name": "Qwen/Qwen2.5-14B-Instruct", "quantization": "fp8"},
            "latency": {"timeToFirstToken": "2s", "interTokenLatency": "80ms"},
            "scaling": {"minReplicas": 1, "maxReplicas": 32},
            "workload": {"inputTokens": 1024, "outputTokens": 200, "requestsPerSecond": "2"},
            **spec,
        },
    }


def manifests(*objects: dict[str, Any]) -> Manifests:
    return manifests_of(("test", each) for each in objects or (pool(), deployment()))[0]


class World:
    """Somebody else's simulator: replicas start in two minutes, and any number of requests fits.

    A request takes about as long as the model thinks, times `slow`.
    """

    def __init__(
        self,
        scaler: Scaler,
        rps: Callable[[float], float],
        step_s: float = 15.0,
        slow: float = 1.0,
    ) -> None:
        self.scaler, self.rps, self.step_s, self.slow = scaler, rps, step_s, slow
        self.replicas: dict[str, float] = {}
        """When each was asked for, by name."""
        self.made = 0

    def run(self, begin: float, end: float) -> list[int]:
        """Return what is wanted at each step."""
        now, course = begin, []
        while now < end:
            ready = sum(now >= asked + 120.0 for asked in self.replicas.values())
            takes_s = self.slow * (4.5 + 1.5 * self.rps(now) / max(1, ready))
            wanted = self.scaler.decide(
                now,
                arrivals=round(self.rps(now) * self.step_s),
                in_flight=round(self.rps(now) * takes_s),
                replicas=[
                    (name, "ready", asked + 120.0)
                    if now >= asked + 120.0
                    else (name, "starting", asked)
                    for name, asked in self.replicas.items()
                ],
            )
            count = sum(wanted.values())
            while len(self.replicas) < count:
                self.replicas[f"replica-{self.made}"] = now
                self.made += 1
            while len(self.replicas) > count:
                self.replicas.popitem()
            course.append(count)
            now += self.step_s
        return course


@pytest.mark.parametrize("step_s", [5.0, 15.0, 40.0])
def test_counts_and_states_are_enough_to_follow_a_demand(step_s: float) -> None:
    world = World(Scaler(manifests()), lambda now: 16.0 if 900 <= now < 2700 else 2.0, step_s)
    quiet = world.run(0.0, 900.0)[-1]
    busy = world.run(900.0, 2700.0)[-1]
    after = world.run(2700.0, 5400.0)[-1]
    assert 1 <= quiet < busy / 3
    assert busy / 3 > after >= 1


def test_the_clock_may_begin_anywhere() -> None:
    def course(begin: float) -> list[int]:
        world = World(Scaler(manifests()), lambda now: 12.0 if now - begin > 600.0 else 3.0)
        return world.run(begin, begin + 1800.0)

    assert course(0.0) == course(86_400.0 * 7.0)


def test_the_first_call_stands_for_no_time_and_the_workload_for_its_arrivals() -> None:
    crowd = Scaler(manifests()).decide(0.0, arrivals=10_000, in_flight=0, replicas=[])
    nobody = Scaler(manifests()).decide(0.0, arrivals=0, in_flight=0, replicas=[])
    assert crowd == nobody
    assert sum(nobody.values()) >= 1


def test_arrivals_are_rated_over_the_last_minute_however_calls_lie() -> None:
    def rate(*calls: tuple[float, int]) -> float:
        scaler = Scaler(manifests())
        for now, arrivals in ((0.0, 0), *calls):
            ready = [("a", "ready", 0.0)] if now else []
            scaler.decide(now, arrivals=arrivals, in_flight=0, replicas=ready)
        (decision,) = scaler.decisions
        assert decision.demand.observed_rps is not None
        return decision.demand.observed_rps

    assert rate((60.0, 240)) == pytest.approx(4.0)
    # 120 came within two minutes, 60 of them within the last; then 180 in nearly no time.
    assert rate((120.0, 120), (120.0, 180)) == pytest.approx((60 + 180) / 60)


def test_lengths_count_where_they_are_told() -> None:
    def wanted(**lengths: float) -> int:
        scaler = Scaler(manifests())
        count = 0
        for step in range(40):
            seen = Seen(
                arrivals=90 if step else 0,
                in_flight=20,
                replicas=[(f"{i}", "ready", 0.0) for i in range(count)],
                **lengths,
            )
            count = sum(scaler.decide_all(15.0 * step, {KEY: seen})[KEY].values())
        return count

    short, told, long = (
        wanted(input_tokens=256.0, output_tokens=50.0),
        wanted(),
        wanted(input_tokens=3000.0, output_tokens=400.0),
    )
    assert short < told < long


def test_requests_in_flight_beyond_what_replicas_hold_call_for_more() -> None:
    def wanted(in_flight: int) -> int:
        scaler, count = Scaler(manifests()), 0
        for step in range(6):
            replicas = [(f"{i}", "ready", 0.0) for i in range(count)]
            answer = scaler.decide(
                15.0 * step, arrivals=30 if step else 0, in_flight=in_flight, replicas=replicas
            )
            count = sum(answer.values())
        return count

    assert wanted(2000) > wanted(10)


def test_cached_prompts_take_fewer_replicas() -> None:
    def wanted(hit: float | None) -> int:
        spec = {"inputTokens": 8000, "outputTokens": 50, "requestsPerSecond": "4"}
        scaler = Scaler(manifests(pool(), deployment(workload=spec)))
        replicas = [(f"r{k}", "ready", 0.0) for k in range(6)]
        for step in range(60):
            seen = Seen(arrivals=60, in_flight=8, replicas=replicas, prefix_hit=hit,
                        input_tokens=8000.0, output_tokens=50.0)  # fmt: skip
            answer = scaler.decide_all(15.0 * step, {KEY: seen})[KEY]
        return sum(answer.values())

    assert wanted(0.9) < wanted(0.0) == wanted(None)


def test_prompts_that_are_told_count_before_anything_was_answered() -> None:
    wrong = {"inputTokens": 7000, "outputTokens": 200, "requestsPerSecond": "2"}
    latency = {"timeToFirstToken": "600ms", "interTokenLatency": "80ms"}
    scaler = Scaler(manifests(pool(), deployment(workload=wrong, latency=latency)))
    course = []
    for step in range(60):
        # Rejected ones, as nothing is there to hold them.
        seen = Seen(arrivals=30, in_flight=0, replicas=[], input_tokens=700.0)
        course.append((scaler.decide_all(15.0 * step, {KEY: seen})[KEY], scaler.decisions[0].why))
    assert course[0] == ({}, Why.NO_CANDIDATE)
    assert sum(course[-1][0].values()) > 0


def test_how_long_requests_take_teaches_that_answers_are_longer_and_replicas_slower() -> None:
    def settled(slow: float) -> tuple[int, float, float]:
        scaler = Scaler(manifests())
        count = World(scaler, lambda now: 16.0, slow=slow).run(0.0, 3600.0)[-1]
        (one,) = scaler.memory.calibrations
        answer = fresh_value(scaler.snapshot.deployments[0].load.output_tokens)
        assert answer is not None
        return count, answer, one.scales.read

    usual, slower = settled(1.0), settled(1.5)
    assert all(a < b for a, b in zip(usual, slower, strict=True))
    assert usual[1] >= 200.0
    assert slower[1] < 1.5 * 200.0


def test_several_deployments_and_pools_keep_apart() -> None:
    scaler = Scaler(
        manifests(pool(), pool("other"), deployment(), deployment("code", priority=900))
    )
    first = scaler.decide_all(0.0, {})
    assert set(first) == {KEY, "assistants/code"}
    for step in range(1, 30):
        answer = scaler.decide_all(
            15.0 * step,
            {
                KEY: Seen(
                    arrivals=150,
                    in_flight=30,
                    replicas=[ReplicaStatus("a", "ready", 0.0, "l40s/tp1")],
                ),
                "assistants/code": Seen(
                    arrivals=15, in_flight=3, replicas=[ReplicaStatus("b", "ready", 0.0, "other")]
                ),
            },
        )
    assert sum(answer[KEY].values()) > sum(answer["assistants/code"].values()) >= 1


def test_a_deployment_that_nobody_counted_keeps_what_it_has() -> None:
    world = World(Scaler(manifests()), lambda now: 12.0)
    busy = world.run(0.0, 1800.0)[-1]
    for step in range(200):
        kept = world.scaler.decide_all(1800.0 + 15.0 * step, {})[KEY]
    assert sum(kept.values()) >= busy


@pytest.mark.parametrize("asked", [True, False])
def test_starts_can_be_learnt_from_the_states(asked: bool) -> None:
    scaler = Scaler(manifests())
    scaler.decide(0.0, arrivals=0, in_flight=0, replicas=[])
    starting = [("a", "starting", 1.0)] if asked else []
    scaler.decide(15.0, arrivals=30, in_flight=5, replicas=starting)
    scaler.decide(301.0, arrivals=500, in_flight=5, replicas=[("a", "ready", 300.0)])
    known = {one.model: one.log_mean for one in watched(scaler.snapshot)}
    if asked:
        # Two weights of one: what was expected before counts as a start, too.
        assert 150.0 < math.exp(known["Qwen/Qwen2.5-14B-Instruct"]) <= 299.5
    else:
        assert not known


def test_replicas_without_a_node_make_their_pool_short() -> None:
    scaler = Scaler(manifests(pool(), pool("dear", price={"perDeviceHour": "5"}), deployment()))
    answer = scaler.decide(0.0, arrivals=0, in_flight=0, replicas=[])
    assert set(answer) == {"l40s/tp1"}
    for step in range(1, 90):
        answer = scaler.decide(
            15.0 * step,
            arrivals=60,
            in_flight=9,
            replicas=[ReplicaStatus("a", "unschedulable", 0.0, "l40s/tp1")],
        )
    assert "dear/tp1" in answer


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda s: s.decide(-1.0, arrivals=0, in_flight=0, replicas=[]), "now"),
        (lambda s: s.decide_all(1.0, {"a/b": Seen(arrivals=0, in_flight=0, replicas=[])}),
         "deployment"),
        (lambda s: s.decide(1.0, arrivals=0, in_flight=0, replicas=[("a", "up", 0.0)]),
         "replica a"),
        (lambda s: s.decide(1.0, arrivals=0, in_flight=0,
                            replicas=[ReplicaStatus("a", "ready", 0.0, "moon")]), "replica a"),
        (lambda s: s.decide(1.0, arrivals=-5, in_flight=0, replicas=[]), "arrivals"),
        (lambda s: Seen(arrivals=5, in_flight=0, replicas=[], prefix_hit=1.5), "prefix_hit"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call: Callable[[Scaler], object], field: str) -> None:
    scaler = Scaler(manifests())
    scaler.decide(0.0, arrivals=0, in_flight=0, replicas=[])
    with pytest.raises(InvalidInput, match=field):
        call(scaler)


def test_the_decisions_say_why() -> None:
    scaler = Scaler(manifests())
    scaler.decide(0.0, arrivals=0, in_flight=0, replicas=[])
    (decision,) = scaler.decisions
    assert decision.why in Why
    assert decision.message


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulate.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "manifests.yaml").write_text(yaml.safe_dump_all([pool(), deployment()]), "utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/simulate.md", "exec"), {})
    counts = [int(n) for n in re.findall(r"{'l40s/tp1': (\d+)}", capsys.readouterr().out)]
    assert len(counts) == 240
    assert max(counts[:60]) < max(counts[60:180])
    assert counts[-1] < max(counts[60:180])
