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


@pytest.mark.parametrize(
    ("values", "missing", "pending", "current", "target", "expected"),
    [
        # Loads that divide without a rest: 145 / 5, 74 / 5 and, with idle ones, 49 / 7.
        ((19, 25, 36, 34, 28, 3), 0, 0, 6, 5, 29),
        ((19, 4, 21, 21), 0, 2, 6, 5, 13),
        ((23, 26), 3, 0, 5, 7, 7),
        ((2.3, 2.6), 3, 0, 5, 0.7, 7),
        # Half the target, two silent: (4 + 4 + 8 + 8) / 4 is 3/4 of it.
        ((4, 4), 2, 0, 4, 8, 3),
        # A third more than the target, but with those that start or are silent below it.
        ((16, 16), 1, 1, 4, 12, 4),
        # Three times the target: 60 / 40 of those counted, whether missing or pending.
        ((30, 30), 1, 1, 4, 10, 6),
        # A pending one is left out on the way down.
        ((4, 4, 4), 0, 2, 5, 10, 2),
        # More than the target of those that report, for fewer than there are: never down.
        ((12, 12), 0, 0, 4, 10, 3),
        ((12, 12), 1, 0, 4, 10, 4),
    ],
)
def test_silent_and_starting_pods_speak_against_the_move(
    values: tuple[float, ...],
    missing: int,
    pending: int,
    current: int,
    target: float,
    expected: int,
) -> None:
    reading = PodsReading(values=values, missing=missing, pending=pending)
    assert pods_replicas(reading, current, target) == expected


def test_a_total_counts_in_thousandths() -> None:
    assert external_average_replicas(0.1 + 0.2, 1, 0.1) == 3
    assert external_value_replicas(0.1 + 0.2, (1, 1), 0.1) == 3


def test_policies_count_what_was_added_and_removed_within_their_period() -> None:
    up = ScalingRules(window_s=0.0, policies=(Policy(kind="Percent", value=50, period_s=60.0),))
    down = ScalingRules(window_s=0.0, policies=(Policy(kind="Pods", value=3, period_s=30.0),))
    limits = Limits(minimum=1, maximum=100, behavior=Behavior(up=up, down=down))
    memory, replicas, seen = HpaMemory(recommendations=((0.0, 10),)), 10, []
    for step, wanted in enumerate([40, 40, 1, 1, 1, 40, 40]):
        replicas, memory = normalize(wanted, replicas, limits, memory, 15.0 * step)
        seen.append(replicas)
    # 10 x 1.5. At 30 s the 5 of the last 30 s are older, so 15 - 3; at 45 s those 3 are not.
    # At 60 s the first move is out of all periods: 12 - 3. At 75 s the minute began with 15.
    assert seen == [15, 15, 12, 12, 9, 23, 23]


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
