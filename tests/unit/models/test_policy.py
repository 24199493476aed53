import pytest

from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.api.policy import Baseline, CapacityType, ServingPolicySpec
from trimtab.errors import InvalidInput
from trimtab.models.policy import resolve

MODEL = {"name": "org/m"}


def spec(**fields: object) -> LLMDeploymentSpec:
    return LLMDeploymentSpec.model_validate({"model": MODEL, "policyRef": "p", **fields})


def policy(**fields: object) -> ServingPolicySpec:
    return ServingPolicySpec.model_validate(fields)


def test_without_a_word_the_defaults_hold() -> None:
    effective = resolve(LLMDeploymentSpec.model_validate({"model": MODEL}), None)
    assert (effective.min_replicas, effective.max_replicas) == (1, 10)
    assert effective.capacity_types == (CapacityType.ON_DEMAND, CapacityType.RESERVED)
    assert not effective.targets.any


def test_inline_fields_win_one_by_one() -> None:
    effective = resolve(
        spec(latency={"timeToFirstToken": "300ms"}, scaling={"maxReplicas": 4}),
        policy(
            latency={"timeToFirstToken": "1s", "interTokenLatency": "50ms"},
            scaling={"minReplicas": 2, "maxReplicas": 20},
        ),
    )
    assert (effective.targets.ttft_s, effective.targets.itl_s) == (0.3, 0.05)
    assert (effective.min_replicas, effective.max_replicas) == (2, 4)


def test_an_inline_baseline_stays_a_baseline() -> None:
    effective = resolve(
        spec(cost={"baseline": {"pool": "h100", "replicas": 4}}),
        policy(cost={"baseline": {"pool": "l40s", "replicas": 9}, "maxPerHour": "60"}),
    )
    assert effective.baseline == Baseline(pool="h100", replicas=4)
    assert effective.max_usd_per_hour == 60.0


@pytest.mark.parametrize(
    ("inline", "named", "field"),
    [
        (
            {"scaling": {"maxReplicas": 2}},
            {"scaling": {"minReplicas": 3}},
            "spec.scaling.minReplicas",
        ),
        (
            {"latency": {"timeToFirstToken": "5s"}},
            {"latency": {"endToEnd": "4s"}},
            "spec.latency.endToEnd",
        ),
    ],
)
def test_what_contradicts_the_policy_is_refused_by_field(
    inline: dict[str, object], named: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        resolve(spec(**inline), policy(**named))
    assert refusal.value.field == field


def office(**over: object) -> LLMDeploymentSpec:
    entry = {"name": "office", "start": "08:30", "end": "18:00", "requestsPerSecond": "9"}
    return spec(demand={"schedule": [entry | over]})


def test_a_schedule_is_in_force_as_it_stands() -> None:
    (entry,) = resolve(office(timeZone="Europe/Berlin", days=["Mon"]), None).schedule
    assert (entry.name, entry.start, entry.time_zone) == ("office", "08:30", "Europe/Berlin")
    assert resolve(spec(), None).schedule == ()


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "Europe", "CET-is-not-it", "a/b/c"])
def test_a_time_zone_that_nobody_knows_is_named(zone: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        resolve(office(timeZone=zone), None)
    assert str(refusal.value).startswith("spec.demand.schedule[office].timeZone: ")
    assert zone in str(refusal.value)
