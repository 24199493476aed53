"""The snapshot: what a plan sees of the mirror."""

from dataclasses import replace
from typing import Any

import pytest

import bodies
from answers import CONFIG, steady
from trimtab.models.hardware import Parallelism
from trimtab.models.memory import PlannerMemory
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import DeploymentState, Key, Snapshot, VariantState
from trimtab.observe.collect import collect
from trimtab.observe.kinds import Kind
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.store import Store

MEMORY = PlannerMemory()
H100 = {"pool": "h100", "parallelism": Parallelism()}


def stored(objects: dict[Kind, list[dict[str, Any]]]) -> Store:
    store = Store()
    for kind, items in objects.items():
        store.replace(kind, items, "")
    return store


def snapshot(
    objects: dict[Kind, list[dict[str, Any]]], metrics: MetricsSource | None = None
) -> Snapshot:
    return collect(stored(objects).view(), metrics, now=bodies.NOW, memory=MEMORY, config=CONFIG)


def only(objects: dict[Kind, list[dict[str, Any]]]) -> DeploymentState:
    objects = {Kind.LLM_DEPLOYMENT: [bodies.llm_deployment()]} | objects
    (state,) = snapshot(objects).deployments
    return state


def test_a_deployment() -> None:
    labels = {"team": "ml", "env": "prod"}
    state = only({Kind.NAMESPACE: [bodies.namespace("assistants", labels)]})
    assert state.key == Key(namespace="assistants", name="chat")
    assert (state.uid, state.generation, state.created) == (bodies.UID, 1, bodies.NOW - 3600)
    assert state.policy is not None
    assert (state.error, state.paused, state.variants) == (None, False, ())
    assert state.namespace_labels == (("env", "prod"), ("team", "ml"))
    assert state.load.running == Missing(why="no metrics source is configured")


def test_the_policy_that_is_referred_to() -> None:
    body = bodies.llm_deployment(spec={"policyRef": "gold", "scaling": {"maxReplicas": 7}})
    policy = bodies.serving_policy("gold", {"scaling": {"minReplicas": 2, "maxReplicas": 5}})
    elsewhere = bodies.serving_policy("gold", {"scaling": {"minReplicas": 4}}, namespace="other")
    state = only({Kind.LLM_DEPLOYMENT: [body], Kind.SERVING_POLICY: [elsewhere, policy]})
    assert state.policy is not None
    assert (state.policy.min_replicas, state.policy.max_replicas) == (2, 7)


def test_a_policy_that_is_missing_or_broken_is_an_error_with_a_remedy() -> None:
    body = bodies.llm_deployment(spec={"policyRef": "gold"})
    missing = only({Kind.LLM_DEPLOYMENT: [body]})
    assert missing.policy is None
    assert missing.error == (
        "spec.policyRef: there is no ServingPolicy assistants/gold. Create it, or remove policyRef"
    )
    broken = bodies.serving_policy("gold", {"scaling": {"minReplicas": "two"}})
    state = only({Kind.LLM_DEPLOYMENT: [body], Kind.SERVING_POLICY: [broken]})
    assert "cannot be used (spec.scaling.minReplicas" in (state.error or "")


def test_a_spec_that_contradicts_its_policy_is_an_error() -> None:
    body = bodies.llm_deployment(spec={"policyRef": "gold", "scaling": {"minReplicas": 9}})
    policy = bodies.serving_policy("gold", {"scaling": {"maxReplicas": 5}})
    state = only({Kind.LLM_DEPLOYMENT: [body], Kind.SERVING_POLICY: [policy]})
    assert state.policy is None
    assert (state.error or "").startswith("spec.scaling.minReplicas: ")


def test_the_pause_annotation() -> None:
    body = bodies.llm_deployment(annotations={"trimtab.dev/paused": "true"})
    assert only({Kind.LLM_DEPLOYMENT: [body]}).paused


def test_what_is_being_deleted_or_broken_is_not_decided_on() -> None:
    found = snapshot(
        {
            Kind.LLM_DEPLOYMENT: [
                bodies.llm_deployment("going", deletionTimestamp=bodies.at(1)),
                bodies.llm_deployment("bad", spec={"model": {}}),
                bodies.llm_deployment("good"),
            ]
        }
    )
    assert [each.key.name for each in found.deployments] == ["good"]


def test_variants_with_their_pods() -> None:
    state = only(
        {
            Kind.DEPLOYMENT: [
                bodies.child(replicas=4),
                bodies.child("chat-l40s-tp2", pool="l40s", tensor=2, replicas=0),
                bodies.child("other-h100-tp1", deployment="other", replicas=9),
            ],
            Kind.POD: [
                bodies.pod("aaaaa", ready_s=600),
                bodies.pod("bbbbb", ready_s=40),
                bodies.pod("ccccc", ready_s=None, unschedulable_s=30, phase="Pending"),
                bodies.pod("ddddd", ready_s=None, unschedulable_s=700, phase="Pending"),
                bodies.pod("eeeee", ready_s=900, deletionTimestamp=bodies.at(99)),
                bodies.pod("fffff", phase="Failed", ready_s=None),
            ],
        }
    )
    assert state.variants == (
        VariantState(
            **H100,  # type: ignore[arg-type]
            replicas=4,
            ready=2,
            pods=5,
            unplaced=2,
            unschedulable=2,
            unschedulable_s=700.0,
            youngest_ready_s=40.0,
        ),
        VariantState(pool="l40s", parallelism=Parallelism(tensor=2), replicas=0, ready=0, pods=0),
    )


def test_what_each_part_of_the_way_took_the_youngest_replica() -> None:
    pod = bodies.pod("aaaaa", ready_s=360, creationTimestamp=bodies.at(800))
    pod["status"]["conditions"].append(
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": bodies.at(500)}
    )
    running = {"running": {"startedAt": bodies.at(420)}}
    pod["status"]["containerStatuses"] = [{"name": "main", "restartCount": 0, "state": running}]
    older = bodies.pod("bbbbb", ready_s=900)
    (variant,) = only({Kind.DEPLOYMENT: [bodies.child()], Kind.POD: [older, pod]}).variants
    assert variant.youngest_ready_s == 360
    assert (variant.placed_s, variant.image_s, variant.loaded_s) == (300, 80, 140)


@pytest.mark.parametrize(
    ("gone_by", "stuck", "waited_s"),
    [
        ([], 2, 700.0),
        ([-60], 1, 700.0),  # within its grace period
        ([29], 1, 700.0),  # the kubelet is about to report it
        ([30], 2, 700.0),  # its node does not answer, so nobody knows when its devices are free
        ([-60, 5], 0, 0.0),
        ([-60, 5, 5], 0, 0.0),
    ],
)
def test_a_pod_that_waits_for_one_that_ends_does_not_wait_in_vain(
    gone_by: list[float], stuck: int, waited_s: float
) -> None:
    waiting = [
        bodies.pod(f"wait{number}", ready_s=None, unschedulable_s=seconds, phase="Pending")
        for number, seconds in enumerate((20, 700))
    ]
    ending = [
        bodies.pod(f"ends{number}", deletionTimestamp=bodies.at(seconds))
        for number, seconds in enumerate(gone_by)
    ]
    (variant,) = only(
        {Kind.DEPLOYMENT: [bodies.child(replicas=2)], Kind.POD: [*waiting, *ending]}
    ).variants
    assert (variant.unschedulable, variant.unschedulable_s) == (stuck, waited_s)
    assert variant.unplaced == 2


def test_what_the_autoscaler_says_of_a_pod_that_waits_is_known_of_its_variant() -> None:
    pods = [
        bodies.pod("aaaaa", ready_s=None, unschedulable_s=40, phase="Pending"),
        bodies.pod("bbbbb", ready_s=None, unschedulable_s=20, phase="Pending"),
    ]
    said = {("assistants", pods[0]["metadata"]["name"]): "NotTriggerScaleUp: full"}

    def refusal(*objects: bodies.Body) -> str | None:
        store = stored(
            {
                Kind.LLM_DEPLOYMENT: [bodies.llm_deployment()],
                Kind.DEPLOYMENT: [bodies.child(replicas=2)],
                Kind.POD: list(objects),
            }
        )
        view = replace(store.view(), refusals=said)
        found = collect(view, None, now=bodies.NOW, memory=MEMORY, config=CONFIG)
        (variant,) = found.deployments[0].variants
        return variant.refusal

    assert refusal(*pods) == "NotTriggerScaleUp: full"
    assert refusal(pods[1]) is None
    # Those that end make room for both.
    ending = [bodies.pod(f"ends{n}", deletionTimestamp=bodies.at(5)) for n in range(2)]
    assert refusal(*pods, *ending) is None


def test_only_one_that_holds_devices_makes_room_for_another() -> None:
    pods = [
        bodies.pod("waits", ready_s=None, unschedulable_s=40, phase="Pending"),
        bodies.pod("never", ready_s=None, node=None, deletionTimestamp=bodies.at(-60)),
        bodies.pod("ended", phase="Succeeded", ready_s=None, deletionTimestamp=bodies.at(-60)),
    ]
    (variant,) = only({Kind.DEPLOYMENT: [bodies.child(replicas=1)], Kind.POD: pods}).variants
    assert (variant.unschedulable, variant.unschedulable_s) == (1, 40.0)


def test_replicas_whose_child_is_not_seen_do_not_look_like_none() -> None:
    """Somebody took the label off the child, or the child is an earlier deployment's."""
    pods = [bodies.pod("aaaaa"), bodies.pod("bbbbb"), bodies.pod("ccccc", deletionTimestamp="now")]
    for children in (
        [],
        [bodies.child(replicas=0, ownerReferences=[{"uid": "x", "controller": True}])],
    ):
        (variant,) = only({Kind.DEPLOYMENT: children, Kind.POD: pods}).variants
        assert (variant.replicas, variant.ready, variant.pods) == (2, 2, 3)


def test_signals_reach_the_deployment_they_belong_to() -> None:
    found = snapshot(
        {
            Kind.LLM_DEPLOYMENT: [bodies.llm_deployment(), bodies.llm_deployment("idle")],
            Kind.DEPLOYMENT: [bodies.child()],
            Kind.POD: [bodies.pod("aaaaa")],
        },
        steady(["aaaaa"]),
    )
    chat, idle = found.deployments
    assert chat.load.arrival_rps == Fresh(value=10.0, age_s=5.0)
    assert idle.load.arrival_rps == Missing(why="no ready replica")


def test_equal_worlds_are_equal_snapshots_whatever_the_order() -> None:
    names = ["b", "a", "c"]
    objects = {
        Kind.LLM_DEPLOYMENT: [bodies.llm_deployment(name) for name in names],
        Kind.ACCELERATOR_POOL: [bodies.pool(name) for name in names],
        Kind.NODE: [bodies.node(name, labels={"pool": name}) for name in names],
    }
    turned = {kind: list(reversed(items)) for kind, items in reversed(objects.items())}
    one = snapshot(objects)
    assert one == snapshot(turned)
    assert [each.key.name for each in one.deployments] == sorted(names)
    assert [each.name for each in one.pools] == sorted(names)


def test_pools_profiles_budgets_and_memory_are_handed_on() -> None:
    found = snapshot(
        {
            Kind.ACCELERATOR_POOL: [bodies.pool()],
            Kind.NODE: [bodies.node(labels={"pool": "h100"})],
            Kind.FLEET_BUDGET: [
                {"metadata": bodies.metadata("team"), "spec": {"maxPerHour": "100"}}
            ],
            Kind.PERFORMANCE_PROFILE: [
                {
                    "metadata": bodies.metadata("measured"),
                    "spec": {
                        "model": "m",
                        "accelerator": "nvidia-h100-sxm",
                        "points": [
                            {
                                "inputTokens": 1,
                                "outputTokens": 1,
                                "requestsPerSecond": "1",
                                "timeToFirstToken": "1s",
                                "interTokenLatency": "10ms",
                            }
                        ],
                    },
                }
            ],
        }
    )
    assert [(each.name, each.devices) for each in found.pools] == [("h100", 8)]
    assert [each.name for each in found.budgets] == ["team"]
    assert [each.name for each in found.profiles] == ["measured"]
    assert (found.memory, found.now) == (MEMORY, bodies.NOW)
