"""Status: true from the first second, still at rest, bounded, and never a number that is none."""

import dataclasses
import json
from typing import Any

import pytest

import builders
from trimtab.actuate.apply import Failure, Outcome
from trimtab.actuate.kinds import Reference
from trimtab.actuate.status import MAX_BYTES, Published, Subject, differs, publish
from trimtab.api.llmdeployment import LLMDeploymentStatus
from trimtab.api.policy import CapacityType
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.performance import LatencyPrediction, Provenance, ReplicaCapacity
from trimtab.models.plan import Candidate, Decision, Demand, DemandSource, Saving, Verdict, Why
from trimtab.models.signals import Fresh, Partial
from trimtab.models.snapshot import DeploymentState

NOW = builders.NOW
POOLS = {
    "h100": builders.pool(),
    "spot": builders.pool(name="spot", capacity_type=CapacityType.SPOT),
}


def state(ready: int, **over: Any) -> DeploymentState:
    """The deployment with so many Ready replicas on h100."""
    variants = (builders.variant_state(replicas=ready, ready=ready, pods=ready),) if ready else ()
    return builders.deployment_state(**({"variants": variants} | over))


def shown(
    where: DeploymentState, decided: Decision, outcome: Outcome | None = None, **over: Any
) -> Published:
    """Publish; `old`, `now` and `figures_at` may be given."""
    values: dict[str, Any] = {"old": {}, "now": NOW, "figures_at": 0.0} | over
    subject = Subject(state=where, decision=decided, outcome=outcome or Outcome(), **values)
    return publish(subject, POOLS)


def condition(published: Published, kind: str) -> dict[str, Any] | None:
    found = [item for item in published.status["conditions"] if item["type"] == kind]
    return found[0] if found else None


def verdict(published: Published, kind: str = "Ready") -> tuple[str, str] | None:
    found = condition(published, kind)
    return None if found is None else (found["status"], found["reason"])


def failing(*, refused: bool) -> Outcome:
    target = Reference(kind="Deployment", namespace="assistants", name="chat-h100-tp1")
    return Outcome(failures=(Failure(target=target, message="no quota", refused=refused),))


def load(**signals: float) -> ObservedLoad:
    fresh: dict[str, Any] = {name: Fresh(value=value) for name, value in signals.items()}
    return ObservedLoad(**fresh)


def demand(rps: float) -> Demand:
    return dataclasses.replace(builders.decision().demand, rps=rps, observed_rps=rps)


def test_while_replicas_start_it_is_reconciling_and_then_ready() -> None:
    starting = shown(state(1), builders.decision())
    assert verdict(starting) == ("False", "ReplicasNotReady")
    assert verdict(starting, "Reconciling") == ("True", "ReplicasNotReady")
    assert starting.status["summary"]["replicas"] == "1/2"
    serving = shown(state(2), builders.decision())
    assert verdict(serving) == ("True", "Serving")
    assert verdict(serving, "Reconciling") is None
    assert verdict(serving, "Stalled") is None


@pytest.mark.parametrize(
    ("where", "decided", "outcome", "ready", "stalled", "reconciling"),
    [
        (
            state(0),
            builders.decision(targets=(), why=Why.IDLE, wanted_replicas=0),
            Outcome(),
            ("True", "ScaledToZero"),
            None,
            None,
        ),
        (
            state(0),
            builders.decision(targets=(), why=Why.CAPACITY_SHORT, wanted_replicas=3),
            Outcome(),
            ("False", "CapacityShort"),
            None,
            None,
        ),
        (
            state(0),
            builders.decision(
                targets=(),
                write=False,
                why=Why.INVALID,
                facts=(builders.fact(type="Stalled", status=True, reason="InvalidSpec"),),
            ),
            Outcome(),
            ("False", "InvalidSpec"),
            ("True", "InvalidSpec"),
            None,
        ),
        (
            state(0),
            builders.decision(targets=(), why=Why.NO_CANDIDATE),
            Outcome(),
            ("False", "NoFeasibleCandidate"),
            None,
            None,
        ),
        (
            state(0),
            builders.decision(write=False, why=Why.MODE),
            Outcome(),
            ("False", "Recommending"),
            None,
            None,
        ),
        (
            state(1, paused=True),
            builders.decision(write=False, why=Why.PAUSED),
            Outcome(),
            ("False", "Paused"),
            None,
            None,
        ),
        (
            state(2, paused=True),
            builders.decision(write=False, why=Why.PAUSED),
            Outcome(),
            ("True", "Serving"),
            None,
            None,
        ),
        (
            state(1),
            builders.decision(),
            failing(refused=True),
            ("False", "ChildRejected"),
            ("True", "ChildRejected"),
            None,
        ),
        (
            state(2),
            builders.decision(),
            failing(refused=False),
            ("True", "Serving"),
            None,
            ("True", "Moving"),
        ),
    ],
)
def test_ready_says_whether_what_was_decided_serves(
    where: DeploymentState,
    decided: Decision,
    outcome: Outcome,
    ready: tuple[str, str],
    stalled: tuple[str, str] | None,
    reconciling: tuple[str, str] | None,
) -> None:
    published = shown(where, decided, outcome)
    assert verdict(published) == ready
    assert verdict(published, "Stalled") == stalled
    assert verdict(published, "Reconciling") == reconciling
    if ready[0] == "False":
        assert condition(published, "Ready") is not None


def test_a_refusal_is_quoted() -> None:
    ready = condition(shown(state(1), builders.decision(), failing(refused=True)), "Ready")
    assert ready is not None
    assert "Deployment assistants/chat-h100-tp1: no quota" in ready["message"]


def test_replicas_of_another_variant_do_not_make_it_ready() -> None:
    decided = builders.decision(targets=(builders.target(pool="spot"), builders.target(replicas=1)))
    published = shown(state(5), decided)
    assert published.status["summary"]["replicas"] == "1/3"
    assert verdict(published) == ("False", "ReplicasNotReady")


def test_the_fleet_is_named_by_accelerator_size_and_spot() -> None:
    targets = (
        builders.target(replicas=3),
        builders.target(pool="spot", replicas=2),
        builders.target(accelerator="l40s", parallelism=Parallelism(tensor=4), replicas=1),
        builders.target(accelerator="a10g", replicas=0),
    )
    published = shown(state(0), builders.decision(targets=targets))
    assert published.status["summary"]["variants"] == "h100:3,h100-s:2,l40sx4:1"
    assert published.status["summary"]["model"] == "Llama-3.1-8B-Instruct"


def test_at_rest_the_status_is_the_published_one() -> None:
    first = shown(state(2), builders.decision())
    for minute in range(1, 6):
        again = shown(
            state(2),
            builders.decision(why=Why.STEADY, message="Nothing to change", changed=False),
            old=first.status,
            now=NOW + 60 * minute,
        )
        assert not again.refreshed
        assert not differs(again.status, first.status)


@pytest.mark.parametrize(
    ("rps", "later", "moves"),
    [(4.3, 3600, False), (3.7, 3600, False), (5.0, 30, False), (5.0, 61, True), (3.0, 61, True)],
)
def test_figures_move_the_status_by_more_than_a_tenth_and_once_a_minute(
    rps: float, later: float, moves: bool
) -> None:
    first = shown(state(2), builders.decision())
    again = shown(
        state(2),
        builders.decision(why=Why.STEADY, demand=demand(rps)),
        old=first.status,
        now=NOW + later,
        figures_at=NOW,
    )
    assert again.refreshed is moves
    assert differs(again.status, first.status) is moves
    expected = f"{rps:g}" if moves else "4"
    assert again.status["observed"]["requestsPerSecond"] == expected


def test_when_the_fleet_changes_the_newest_figures_come_along() -> None:
    first = shown(state(2), builders.decision())
    again = shown(
        state(2),
        builders.decision(
            targets=(builders.target(replicas=3),), why=Why.DEMAND_ROSE, demand=demand(4.1)
        ),
        old=first.status,
        now=NOW + 1,
        figures_at=NOW,
    )
    assert again.status["observed"]["requestsPerSecond"] == "4.1"
    assert again.status["decision"]["reason"] == "DemandRose"
    assert [entry["variants"] for entry in again.status["history"]] == ["h100:3", "h100:2"]


def test_a_figure_inside_a_message_does_not_move_the_status() -> None:
    def stale(age: int) -> Decision:
        return builders.decision(
            why=Why.DOUBT,
            message=f"The newest sample is {age} s old",
            facts=(
                builders.fact(
                    status=False,
                    reason="MetricsStale",
                    message=f"The newest sample is {age} s old",
                ),
            ),
        )

    first = shown(state(2), stale(47))
    again = shown(state(2), stale(62), old=first.status, now=NOW + 15, figures_at=NOW)
    assert not differs(again.status, first.status)


def test_transition_times_move_only_with_the_status_of_a_condition() -> None:
    first = shown(state(1), builders.decision())
    second = shown(state(2), builders.decision(), old=first.status, now=NOW + 90)
    ready, metrics = condition(second, "Ready"), condition(second, "MetricsAvailable")
    assert ready is not None
    assert metrics is not None
    assert ready["lastTransitionTime"] == "2026-09-21T14:14:50Z"
    assert metrics["lastTransitionTime"] == "2026-09-21T14:13:20Z"


@pytest.mark.parametrize(
    ("before", "after", "shows"),
    [
        (Why.DEMAND_ROSE, Why.STEADY, Why.DEMAND_ROSE),
        (Why.DOUBT, Why.STEADY, Why.STEADY),
        (Why.STEADY, Why.WINDOW, Why.WINDOW),
        (Why.WINDOW, Why.WINDOW, Why.WINDOW),
        (Why.DEMAND_ROSE, Why.DOUBT, Why.DOUBT),
    ],
)
def test_the_decision_shown_is_the_one_that_explains_the_fleet(
    before: Why, after: Why, shows: Why
) -> None:
    first = shown(state(2), builders.decision(why=before))
    again = shown(state(2), builders.decision(why=after), old=first.status, now=NOW + 15)
    assert again.status["decision"]["reason"] == shows
    same = before == shows
    assert (again.status["decision"]["time"] == first.status["decision"]["time"]) is same


def test_history_is_bounded_and_newest_first() -> None:
    old: dict[str, Any] = {}
    for step in range(15):
        decided = builders.decision(targets=(builders.target(replicas=step + 1),))
        old = shown(state(1), decided, old=old, now=NOW + step).status
    assert [entry["variants"] for entry in old["history"]] == [
        f"h100:{count}" for count in range(15, 5, -1)
    ]


def test_latencies_cost_and_saving_are_readable() -> None:
    decided = builders.decision(
        saving=Saving(
            baseline="static peak: 4 x h100 (tp1)", baseline_usd_per_hour=8.0, saved_share=0.376
        )
    )
    where = state(2, load=load(ttft_s=0.1844, itl_s=0.0213, e2e_s=12.345, slo_attainment=0.9876))
    status = shown(where, decided).status
    assert status["observed"] == {
        "requestsPerSecond": "4",
        "inputTokens": 1000,
        "outputTokens": 200,
        "source": "Prometheus",
        "timeToFirstToken": "184ms",
        "interTokenLatency": "21ms",
        "endToEnd": "12.3s",
        "slo": "0.99",
    }
    assert status["cost"] == {
        "perHour": "5.00",
        "perMillionTokens": "1.7",
        "baseline": "static peak: 4 x h100 (tp1)",
        "baselinePerHour": "8.00",
        "saved": "38%",
        "priceSource": "Pool",
    }


def test_energy_is_published_where_it_is_known_and_moves_the_status_like_any_figure() -> None:
    assert "energy" not in shown(state(2), builders.decision()).status
    drawn = builders.decision(watts=1213.4, grams_per_hour=None)
    first = shown(state(2), drawn).status
    assert first["energy"] == {"watts": "1210"}
    for watts, said in ((1300.0, "1210"), (1500.0, "1500")):
        decided = builders.decision(watts=watts, grams_per_hour=36.0 if watts > 1400 else None)
        after = shown(state(2), decided, old=first, now=NOW + 61).status
        assert after["energy"]["watts"] == said
    assert after["energy"]["carbonGramsPerHour"] == "36"


def test_unknown_is_absent_and_never_zero() -> None:
    decided = builders.decision(
        usd_per_hour=None,
        usd_per_million_tokens=float("nan"),
        demand=Demand(
            source=DemandSource.UNKNOWN,
            rps=None,
            observed_rps=None,
            input_tokens=float("inf"),
            output_tokens=200.0,
        ),
        targets=(builders.target(usd_per_replica_hour=None, price=None),),
    )
    status = shown(state(2), decided).status
    assert status["observed"] == {"source": "Unknown", "outputTokens": 200}
    assert "cost" not in status
    assert status["variants"][0]["costPerHour"] == "unknown"
    json.dumps(status, allow_nan=False)


def test_what_some_replicas_report_is_published_as_a_lower_bound() -> None:
    partial = ObservedLoad(ttft_s=Partial(value=0.5, reporting=1, expected=2))
    assert shown(state(2, load=partial), builders.decision()).status["observed"][
        "timeToFirstToken"
    ] == ("500ms")


def test_the_largest_status_stays_within_its_bound_and_the_schema() -> None:
    lost = tuple(
        Candidate(
            pool=f"pool-{number:02}" + "x" * 50,
            accelerator="h100",
            parallelism=Parallelism(tensor=8),
            verdict=Verdict.UNKNOWN_ACCELERATOR,
            message="m" * 5000,
            capacity=None,
            usd_per_replica_hour=None,
        )
        for number in range(60)
    )
    targets = tuple(
        builders.target(pool=f"pool-{number:02}" + "x" * 50, accelerator="a" * 30)
        for number in range(40)
    )
    facts = tuple(
        builders.fact(type=kind, message="é" * 5000)
        for kind in ("MetricsAvailable", "CapacityAvailable", "SLOMet", "Optimized")
    )
    decided = builders.decision(candidates=lost, targets=targets, facts=facts, message="w" * 5000)
    old: dict[str, Any] = {}
    for step in range(12):
        bigger = tuple(dataclasses.replace(item, replicas=step + 1) for item in targets)
        old = shown(
            state(1), dataclasses.replace(decided, targets=bigger), failing(refused=True), old=old
        ).status
    assert len(json.dumps(old, separators=(",", ":")).encode()) <= MAX_BYTES
    LLMDeploymentStatus.model_validate(old)
    assert verdict(Published(status=old, refreshed=True)) == ("False", "ChildRejected")


@pytest.mark.parametrize("old", [{"conditions": [{"type": "Ready"}]}, {"variants": "many"}, {}])
def test_a_malformed_status_is_replaced(old: dict[str, Any]) -> None:
    published = shown(state(2), builders.decision(), old=old)
    assert differs(published.status, old)
    assert published.status["observedGeneration"] == 1


def test_conditions_of_others_are_left_alone_and_ours_that_ended_are_removed() -> None:
    first = shown(state(1), builders.decision()).status
    theirs = {"type": "Audited", "status": "True", "reason": "x", "lastTransitionTime": "t"}
    polluted = {**first, "conditions": [theirs, *first["conditions"]]}
    again = shown(state(1), builders.decision(), old=polluted, now=NOW + 5, figures_at=NOW)
    assert not differs(again.status, polluted)
    ready = shown(state(2), builders.decision(), old=polluted, now=NOW + 5, figures_at=NOW)
    assert differs(ready.status, polluted)
    assert condition(ready, "Reconciling") is None


def rated(uncertainty: float, provenance: Provenance = Provenance.CALIBRATED) -> Decision:
    """Two replicas on h100 whose rate is as sure as that."""
    waits = LatencyPrediction(
        ttft_s=0.1, itl_s=0.02, gap_s=0.03, e2e_s=5.0, kv_utilization=0.5, concurrency=10.0
    )
    rate = ReplicaCapacity(
        max_rps=4.0, at_max=waits, provenance=provenance, uncertainty=uncertainty, kv_tokens=1000
    )
    candidate = Candidate(
        pool="h100",
        accelerator="h100",
        parallelism=Parallelism(),
        verdict=Verdict.CHOSEN,
        message="",
        capacity=rate,
        usd_per_replica_hour=2.5,
    )
    return builders.decision(candidates=(candidate,))


def sureness(published: Published) -> tuple[str | None, str | None]:
    (variant,) = published.status["variants"]
    return variant.get("provenance"), variant.get("confidence")


def test_a_variant_says_where_its_rate_comes_from_and_how_sure_it_is() -> None:
    first = shown(state(2), rated(0.15, Provenance.ESTIMATED))
    assert sureness(first) == ("estimated", "0.85")
    learnt = shown(state(2), rated(0.13), old=first.status)
    assert sureness(learnt) == ("calibrated", "0.87")
    assert sureness(shown(state(2), builders.decision())) == (None, None)


def test_a_little_more_confidence_does_not_move_the_status_nor_does_silence() -> None:
    first = shown(state(2), rated(0.20))
    for again in (rated(0.19), rated(0.15), builders.decision(why=Why.PAUSED)):
        assert sureness(shown(state(2), again, old=first.status)) == ("calibrated", "0.8")
    assert sureness(shown(state(2), rated(0.10), old=first.status)) == ("calibrated", "0.9")
