"""The HorizontalPodAutoscaler decides as Kubernetes' own code does."""

from dataclasses import replace
from typing import Any, Literal

import pytest

from trimtab.simulate.rivals.base import Observation
from trimtab.simulate.rivals.hpa import (
    DEFAULT_DOWN,
    DEFAULT_UP,
    Behavior,
    Hpa,
    HpaMemory,
    Limits,
    Policy,
    ScalingRules,
    normalize,
)
from trimtab.simulate.rivals.hpa_metrics import (
    PodsMetric,
    PodsReading,
    combine,
    external_average_replicas,
    external_value_replicas,
    pods_replicas,
)
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

FILE = load("hpa")
CASES = list(zip(FILE["input"], FILE["output"], strict=True))


def rules(given: dict[str, Any] | None, default: ScalingRules) -> ScalingRules:
    if given is None:
        return default
    policies = tuple(
        Policy(kind=p["type"], value=p["value"], period_s=p["periodSeconds"])
        for p in given.get("policies", ())
    )
    return ScalingRules(
        window_s=given.get("stabilizationWindowSeconds", default.window_s),
        policies=policies or default.policies,
    )


def behavior(given: dict[str, Any] | None) -> Behavior | None:
    if given is None:
        return None
    return Behavior(
        up=rules(given.get("scaleUp"), DEFAULT_UP), down=rules(given.get("scaleDown"), DEFAULT_DOWN)
    )


def proposal(case: dict[str, Any], step: dict[str, Any], current: int) -> int | None:
    target = case["Target"]
    if case["Kind"] == "pods":
        reporting = current - step["Missing"] - step["Unready"]
        reading = PodsReading(
            values=(step["Values"][0],) * reporting,
            missing=step["Missing"],
            pending=step["Unready"],
        )
        return pods_replicas(reading, current, target)
    if case["Kind"] == "external-average":
        return external_average_replicas(step["External"], current, target)
    assert case["Kind"] == "external-value"
    return external_value_replicas(step["External"], (current, current), target)


@pytest.mark.parametrize(("case", "truth"), CASES, ids=[case["Name"] for case, _ in CASES])
def test_it_decides_as_kubernetes_does(case: dict[str, Any], truth: dict[str, Any]) -> None:
    limits = Limits(minimum=case["Min"], maximum=case["Max"], behavior=behavior(case["Behavior"]))
    current = case["Start"]
    memory = HpaMemory(recommendations=((0.0, current),))
    raw, seen, desired = [], [], []
    for index, step in enumerate(case["Steps"]):
        seen.append(current)
        wanted = combine([proposal(case, step, current)], current)
        raw.append(-1 if wanted is None else wanted)
        if wanted is not None:
            now = float(index * case["StepSeconds"])
            current, memory = normalize(wanted, current, limits, memory, now)
        desired.append(current)
    assert (raw, seen, desired) == (truth["raw"], truth["current"], truth["desired"])


def test_the_highest_metric_wins() -> None:
    assert combine([3, 5, 2], 4) == 5


def test_an_unreadable_metric_forbids_scaling_down_but_not_up() -> None:
    assert combine([3, None], 4) is None
    assert combine([6, None], 4) == 6
    assert combine([None], 4) is None


@pytest.mark.parametrize(
    ("select", "up", "down"), [("Max", 20, 1), ("Min", 14, 8), ("Disabled", 10, 10)]
)
def test_select_takes_the_looser_or_stricter_policy_or_none(
    select: Literal["Max", "Min", "Disabled"], up: int, down: int
) -> None:
    remove_two = Policy(kind="Pods", value=2, period_s=15.0)
    limits = Limits(
        minimum=1,
        maximum=100,
        behavior=Behavior(
            up=replace(DEFAULT_UP, select=select),
            down=ScalingRules(
                window_s=0.0, policies=(*DEFAULT_DOWN.policies, remove_two), select=select
            ),
        ),
    )
    memory = HpaMemory(recommendations=((0.0, 10),))
    assert normalize(50, 10, limits, memory, 0.0)[0] == up
    assert normalize(0, 10, limits, memory, 0.0)[0] == down


HPA = Hpa(pool="a", metrics=(PodsMetric(read=lambda scrape: scrape.waiting, target=10.0),))


def decided(seen: Observation) -> dict[str, int]:
    return dict(HPA.decide(seen, HPA.start(seen, 0.0), 0.0).replicas)


def test_a_pending_replica_counts_as_idle_and_a_loading_one_as_missing() -> None:
    busy = [replica(waiting=30.0) for _ in range(2)]
    pending = pool("a", [*busy, replica(phase="pending"), replica(phase="pending")])
    loading = pool("a", [*busy, replica(phase="loading"), replica(phase="loading")])
    assert decided(observation(pool("a", busy))) == {"a": 4}
    assert decided(observation(pending)) == {"a": 6}
    assert decided(observation(loading)) == {"a": 6}


def test_it_keeps_what_is_while_the_metrics_server_is_silent() -> None:
    seen = pool("a", [replica(waiting=0.0)] * 3)
    assert decided(observation(seen, metrics="empty")) == {"a": 3}


def test_bounds_come_before_metrics_and_zero_disables() -> None:
    assert decided(observation(pool("a", [replica(waiting=99.0)] * 5), maximum=3)) == {"a": 3}
    assert decided(observation(pool("a", []))) == {"a": 0}
