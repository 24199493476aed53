"""The mirror: order, loss, duplicates, and what is worth a new plan."""

from typing import Any

import pytest

import bodies
from trimtab.api.naming import PAUSE_ANNOTATION
from trimtab.observe.kinds import Kind
from trimtab.observe.store import Store

CHAT = Kind.LLM_DEPLOYMENT


def names(store: Store) -> list[str]:
    return [each.metadata.name for each in store.view().deployments]


def test_an_older_event_never_overwrites_a_newer_object() -> None:
    store = Store()
    store.observe(CHAT, "MODIFIED", bodies.llm_deployment(version=9, generation=3))
    assert not store.observe(CHAT, "MODIFIED", bodies.llm_deployment(version=5, generation=2))
    assert store.view().deployments[0].metadata.generation == 3


def test_resource_versions_are_compared_as_numbers() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=9, generation=1))
    store.observe(CHAT, "MODIFIED", bodies.llm_deployment(version=10, generation=2))
    assert store.view().deployments[0].metadata.generation == 2


def test_a_late_event_does_not_revive_a_deleted_object() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=5))
    assert store.observe(CHAT, "DELETED", bodies.llm_deployment(version=8))
    assert not store.observe(CHAT, "MODIFIED", bodies.llm_deployment(version=7))
    assert names(store) == []


def test_a_deletion_that_overtakes_the_creation_wins() -> None:
    store = Store()
    store.observe(CHAT, "DELETED", bodies.llm_deployment(version=8))
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=5))
    assert names(store) == []


def test_an_object_made_anew_under_its_old_name_survives_the_late_deletion_of_the_old_one() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=5, uid="old"))
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=9, uid="new"))
    store.observe(CHAT, "DELETED", bodies.llm_deployment(version=8, uid="old"))
    assert [each.metadata.uid for each in store.view().deployments] == ["new"]


def test_a_list_prunes_what_it_lacks() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment("lost", version=5))
    store.observe(CHAT, "ADDED", bodies.llm_deployment("kept", version=6))
    assert store.replace(CHAT, [bodies.llm_deployment("kept", version=6)], "20")
    assert names(store) == ["kept"]


def test_an_event_from_before_the_list_does_not_revive_what_the_list_lacks() -> None:
    store = Store()
    store.replace(CHAT, [], "20")
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=19))
    assert names(store) == []
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=21))
    assert names(store) == ["chat"]


def test_what_a_watch_saw_after_the_list_was_made_stays() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment("young", version=25))
    store.observe(CHAT, "MODIFIED", bodies.llm_deployment("old", version=24, generation=7))
    store.observe(CHAT, "DELETED", bodies.llm_deployment("gone", version=26))
    listed = [bodies.llm_deployment("old", version=3), bodies.llm_deployment("gone", version=4)]
    store.replace(CHAT, listed, "20")
    assert names(store) == ["old", "young"]
    assert store.view().deployments[0].metadata.generation == 7


def test_a_rewound_history_is_believed() -> None:
    """After a restore from a backup every version is lower; the mirror must not freeze."""
    store = Store()
    store.replace(CHAT, [bodies.llm_deployment("now", version=900)], "1000")
    store.replace(CHAT, [bodies.llm_deployment("then", version=90)], "100")
    assert names(store) == ["then"]
    store.observe(CHAT, "ADDED", bodies.llm_deployment("next", version=101))
    assert names(store) == ["next", "then"]


def test_synced_needs_every_kind() -> None:
    store = Store()
    for kind in Kind:
        assert not store.synced
        store.replace(kind, [], "7")
    assert store.synced


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({}, False),
        ({"status": {"summary": {"replicas": "1/1"}}}, False),
        ({"metadata": {"managedFields": [{"manager": "trimtab"}]}}, False),
        ({"spec": {"mode": "Recommend"}}, True),
        ({"metadata": {"labels": {"team": "a"}}}, True),
        ({"metadata": {"annotations": {PAUSE_ANNOTATION: "true"}}}, True),
        ({"metadata": {"deletionTimestamp": bodies.at(0)}}, True),
        ({"metadata": {"generation": 2}}, True),
    ],
)
def test_only_what_a_plan_could_depend_on_matters(change: dict[str, Any], matters: bool) -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment(version=1))
    body = bodies.llm_deployment(version=2)
    for part, fields in change.items():
        body[part] = {**body.get(part, {}), **fields}
    assert store.observe(CHAT, "MODIFIED", body) is matters


def test_a_node_s_heartbeat_does_not_matter_and_its_readiness_does() -> None:
    store = Store()
    store.observe(Kind.NODE, "ADDED", bodies.node(version=1))
    beat = bodies.node(version=2)
    beat["status"]["conditions"][0]["lastHeartbeatTime"] = bodies.at(0)
    beat["status"]["images"] = [{"names": ["vllm"]}]
    assert not store.observe(Kind.NODE, "MODIFIED", beat)
    assert store.observe(Kind.NODE, "MODIFIED", bodies.node(version=3, ready=False))
    assert store.observe(Kind.NODE, "MODIFIED", bodies.node(version=4, ready=False, cordoned=True))
    fewer = bodies.node(version=5, ready=False, cordoned=True, devices={"nvidia.com/gpu": "7"})
    assert store.observe(Kind.NODE, "MODIFIED", fewer)


def test_a_pod_matters_when_it_becomes_ready_or_finds_no_place() -> None:
    store = Store()
    assert store.observe(Kind.POD, "ADDED", bodies.pod(version=1, ready_s=None))
    assert store.observe(
        Kind.POD, "MODIFIED", bodies.pod(version=2, unschedulable_s=5, ready_s=None)
    )
    assert store.observe(Kind.POD, "MODIFIED", bodies.pod(version=3))
    again = bodies.pod(version=4)
    again["status"]["containerStatuses"] = [{"restartCount": 0}]
    assert not store.observe(Kind.POD, "MODIFIED", again)
    assert store.observe(Kind.POD, "DELETED", bodies.pod(version=5))


def test_a_broken_object_is_an_error_of_its_own() -> None:
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment("good"))
    bad = bodies.llm_deployment("bad", spec={"model": {"name": 7}})
    assert store.observe(CHAT, "ADDED", bad)
    view = store.view()
    assert names(store) == ["good"]
    assert [(str(each.key), each.generation) for each in view.broken] == [
        ("LLMDeployment assistants/bad", 1)
    ]
    assert "spec.model.name" in view.broken[0].message
    store.observe(CHAT, "MODIFIED", bodies.llm_deployment("bad", version=2))
    assert store.view().broken == ()
    assert names(store) == ["bad", "good"]


def test_a_status_of_another_version_does_not_break_the_object() -> None:
    store = Store()
    body = bodies.llm_deployment() | {"status": {"conditions": "soon", "observedGeneration": "x"}}
    store.observe(CHAT, "ADDED", body)
    assert names(store) == ["chat"]


def test_a_view_never_changes() -> None:
    store = Store()
    body = bodies.llm_deployment(spec={"mode": "Auto"})
    store.observe(CHAT, "ADDED", body)
    view = store.view()
    body["spec"]["mode"] = "Recommend"
    store.observe(CHAT, "DELETED", bodies.llm_deployment(version=2))
    assert view.live(CHAT)[0]["spec"]["mode"] == "Auto"
    assert [each.metadata.name for each in view.deployments] == ["chat"]
    assert store.view().deployments == ()


def test_items_of_a_list_get_the_kind_that_the_server_leaves_out() -> None:
    store = Store()
    body = bodies.child(managedFields=[{"manager": "trimtab"}])
    del body["kind"], body["apiVersion"]
    store.replace(Kind.DEPLOYMENT, [body], "3")
    (live,) = store.view().live(Kind.DEPLOYMENT)
    assert (live["apiVersion"], live["kind"]) == ("apps/v1", "Deployment")
    assert "managedFields" not in live["metadata"]
    # The watch sends the same object with its kind: nothing has changed.
    assert not store.observe(Kind.DEPLOYMENT, "MODIFIED", bodies.child(version=2))


def test_pools_keep_the_record_of_who_owns_a_field() -> None:
    store = Store()
    owned = [{"manager": "kubectl", "fieldsV1": {"f:spec": {"f:price": {}}}}]
    store.observe(Kind.ACCELERATOR_POOL, "ADDED", bodies.pool(managedFields=owned))
    assert store.view().live(Kind.ACCELERATOR_POOL)[0]["metadata"]["managedFields"] == owned


def test_pods_that_are_gone_are_remembered_for_the_rates_of_the_window() -> None:
    store = Store()
    store.observe(Kind.POD, "ADDED", bodies.pod("abcde", version=1))
    store.observe(Kind.POD, "DELETED", bodies.pod("abcde", version=2))
    assert dict(store.view().departed) == {("assistants", f"chat-h100-tp1-{bodies.HASH}-"): "chat"}


def test_a_body_that_does_not_say_its_name_is_nothing() -> None:
    store = Store()
    assert not store.observe(CHAT, "ADDED", {"metadata": {"namespace": "assistants"}})
    assert store.view().broken == ()


def test_a_body_nested_without_end_is_broken_and_harms_nothing() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    store = Store()
    store.observe(CHAT, "ADDED", bodies.llm_deployment("deep", spec={"engine": deep}))
    assert [each.key.name for each in store.view().broken] == ["deep"]
    store.observe(CHAT, "MODIFIED", bodies.llm_deployment("deep", version=2, spec={"engine": deep}))
    assert names(store) == []
