"""The saturation analyzer decides as llm-d's own code does."""

from typing import Any

import pytest

from trimtab.simulate.rivals.wva_saturation import (
    Peak,
    Thresholds,
    Variant,
    WvaSaturation,
    analyze,
    targets,
)
from unit.simulate.rivals.builders import observation, pool, replica
from unit.simulate.rivals.vectors import load

CASES = load("wva_saturation")["vectors"]


def peak(row: dict[str, Any]) -> Peak:
    return Peak(kv_used=row["Kv"], waiting=row["Queue"])


@pytest.mark.parametrize("case", CASES, ids=[case["input"]["Name"] for case in CASES])
def test_it_decides_as_llm_d_does(case: dict[str, Any]) -> None:
    given = case["input"]
    thresholds = Thresholds(
        kv=given["Kv"], queue=given["Q"], spare_kv=given["KvT"], spare_queue=given["QT"]
    )
    costs = {row["Variant"]: row["Cost"] for row in given["Replicas"]}
    variants = [
        Variant(
            name=state["Variant"],
            cost=costs.get(state["Variant"], 0.0),
            current=state["Current"],
            desired=state["Desired"],
            pending=state["Pending"],
            peaks=tuple(
                peak(row) for row in given["Replicas"] if row["Variant"] == state["Variant"]
            ),
        )
        for state in given["States"]
    ]
    analysis = analyze([peak(row) for row in given["Replicas"]], thresholds)
    assert analysis.unsaturated == case["non_saturated"]
    assert analysis.spare_kv == pytest.approx(case["avg_spare_kv"], abs=1e-12)
    assert analysis.spare_queue == pytest.approx(case["avg_spare_queue"], abs=1e-12)
    assert (analysis.up, analysis.down_safe) == (case["scale_up"], case["scale_down_safe"])
    assert targets(variants, analysis) == case["targets"]


def test_one_less_is_safe_where_its_load_leaves_just_the_spare_that_is_asked_for() -> None:
    # 12 waiting at seven replicas are 2 at each of six: 3 below the threshold, and 3 are asked for.
    waiting = (1.0, 0.0, 3.0, 1.0, 4.0, 3.0, 0.0)
    assert analyze([Peak(kv_used=0.1, waiting=w) for w in waiting], Thresholds()).down_safe
    one_more = (*waiting[:-1], 1.0)
    assert not analyze([Peak(kv_used=0.1, waiting=w) for w in one_more], Thresholds()).down_safe


def test_a_spike_of_the_last_minute_counts_and_an_older_one_does_not() -> None:
    rival = WvaSaturation()
    memory = rival.start(observation(), 0.0)
    decided = []
    for call in range(9):
        names = [replica(name=str(i), kv_used=0.85 if call == 2 else 0.4) for i in range(3)]
        decision = rival.decide(observation(pool("a", names)), memory, 15.0 * call)
        memory = decision.memory
        decided.append(decision.replicas.get("a"))
    # Two replicas would do at 0 and 120 s; at 60 s the spike of 30 s says that all are full.
    assert decided == [2, *[None] * 3, 4, *[None] * 3, 2]


def test_it_waits_for_a_replica_that_does_not_report_yet() -> None:
    rival = WvaSaturation()
    busy = [replica(name=str(i), kv_used=0.79) for i in range(2)]
    for extra in (replica(phase="loading", name="2"), replica(phase="pending", name="2")):
        seen = observation(pool("a", [*busy, extra]))
        assert rival.decide(seen, rival.start(seen, 0.0), 0.0).replicas == {"a": 3}


def test_it_stays_within_the_bounds() -> None:
    rival = WvaSaturation()
    busy = observation(pool("a", [replica(kv_used=0.79)]), maximum=1)
    assert rival.decide(busy, rival.start(busy, 0.0), 0.0).replicas == {}


def test_a_variant_at_zero_can_grow() -> None:
    rival = WvaSaturation()
    seen = observation(pool("cheap", price=1.0), pool("dear", [replica(kv_used=0.79)], price=2.0))
    assert rival.decide(seen, rival.start(seen, 0.0), 0.0).replicas == {"cheap": 1, "dear": 1}
