"""What one body is taken to say."""

from typing import Any

import pytest

import bodies
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse, unix_seconds
from trimtab.observe.world import ChildFacts, NodeFacts, PodFacts, pod_stem


def pod_facts(body: dict[str, Any]) -> PodFacts:
    facts = parse(Kind.POD, body).facts
    assert isinstance(facts, PodFacts)
    return facts


def child_facts(body: dict[str, Any]) -> ChildFacts:
    facts = parse(Kind.DEPLOYMENT, body).facts
    assert isinstance(facts, ChildFacts)
    return facts


def node_facts(body: dict[str, Any]) -> NodeFacts:
    facts = parse(Kind.NODE, body).facts
    assert isinstance(facts, NodeFacts)
    return facts


def test_a_replica() -> None:
    facts = pod_facts(bodies.pod(tensor=2, ready_s=60))
    assert (facts.deployment, facts.variant) == ("chat", "chat-h100-tp1")
    assert facts.shape is not None
    assert (facts.shape.pool, facts.shape.parallelism.devices) == ("h100", 2)
    assert facts.ready_since == bodies.NOW - 60
    assert facts.unschedulable_since is None
    assert facts.devices == (("nvidia.com/gpu", 2),)
    assert facts.node == "node-1"


def container(seconds: float | None, restarts: int = 0) -> dict[str, Any]:
    state = {"waiting": {}} if seconds is None else {"running": {"startedAt": bodies.at(seconds)}}
    return {"name": "main", "restartCount": restarts, "state": state}


@pytest.mark.parametrize(
    ("containers", "started_s"),
    [
        ([], None),
        ([container(80)], 80),
        ([container(80), container(70)], 70),
        ([container(80), container(None)], None),
        # Its first start is told nowhere, and its image was there.
        ([container(80, restarts=1)], None),
        ([{"name": "main"}], None),
    ],
)
def test_since_when_all_containers_of_a_pod_run(
    containers: list[dict[str, Any]], started_s: float | None
) -> None:
    body = bodies.pod()
    body["status"]["containerStatuses"] = containers
    expected = None if started_s is None else bodies.NOW - started_s
    assert pod_facts(body).started_since == expected


def test_labels_alone_make_no_replica() -> None:
    """Who may create pods may give them any label; the Deployment controller makes ours."""
    body = bodies.pod()
    body["metadata"]["ownerReferences"] = []
    assert pod_facts(body).deployment is None
    body["metadata"]["ownerReferences"] = [
        {"kind": "ReplicaSet", "name": "other-5c9d8f7b6d", "controller": True}
    ]
    assert pod_facts(body).deployment is None


def test_a_pod_that_finds_no_place() -> None:
    facts = pod_facts(bodies.pod(ready_s=None, unschedulable_s=90, phase="Pending"))
    assert facts.unschedulable_since == bodies.NOW - 90
    assert facts.ready_since is None


def test_a_pod_that_is_held_back_by_a_gate_is_not_unschedulable() -> None:
    body = bodies.pod(ready_s=None, unschedulable_s=90)
    body["status"]["conditions"][0]["reason"] = "SchedulingGated"
    assert pod_facts(body).unschedulable_since is None


def test_init_containers_hold_devices_before_the_main_ones_do() -> None:
    body = bodies.pod(tensor=2)
    body["spec"]["initContainers"] = [{"resources": {"limits": {"nvidia.com/gpu": "4"}}}]
    body["spec"]["containers"].append({"resources": {"limits": {"nvidia.com/gpu": "1"}}})
    assert pod_facts(body).requests("nvidia.com/gpu") == 4


def test_a_child_counts_by_its_template_when_its_own_labels_are_gone() -> None:
    body = bodies.child(replicas=3)
    body["metadata"]["labels"] = {}
    facts = child_facts(body)
    assert (facts.deployment, facts.shape.pool, facts.replicas) == ("chat", "h100", 3)


@pytest.mark.parametrize("tensor", ["", "0", "-1", "1.5", "99999", "two", "²"])
def test_a_child_with_an_absurd_parallelism_is_broken(tensor: str) -> None:
    body = bodies.child()
    template = body["spec"]["template"]["metadata"]
    template["labels"] = template["labels"] | {"trimtab.dev/tensor-parallel": tensor}
    parsed = parse(Kind.DEPLOYMENT, body)
    assert parsed.facts is None
    assert "trimtab.dev/tensor-parallel" in (parsed.error or "")


def test_an_edit_of_a_child_does_not_change_what_was_decided() -> None:
    """A label or `spec.replicas` that somebody edited is undone, so it must not count."""
    body = bodies.child(replicas=7, annotations={"trimtab.dev/replicas": "3"})
    edited = {"trimtab.dev/pool": "elsewhere", "trimtab.dev/tensor-parallel": "two"}
    body["metadata"]["labels"] = body["metadata"]["labels"] | edited
    facts = child_facts(body)
    assert (facts.shape.pool, facts.shape.parallelism.tensor, facts.replicas) == ("h100", 1, 3)


@pytest.mark.parametrize("decided", ["", "-1", "1.5", "²", "12345678", "many"])
def test_nonsense_in_the_annotation_is_ignored(decided: str) -> None:
    body = bodies.child(replicas=7, annotations={"trimtab.dev/replicas": decided})
    assert child_facts(body).replicas == 7


def test_a_deployment_without_replicas_field_has_one() -> None:
    body = bodies.child()
    del body["spec"]["replicas"]
    assert child_facts(body).replicas == 1


def test_a_node() -> None:
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    facts = node_facts(bodies.node(taints=[taint], cordoned=True))
    assert facts.devices == (("nvidia.com/gpu", 8),)
    assert (facts.ready, facts.cordoned) == (True, True)
    assert [str(each) for each in facts.taints] == ["nvidia.com/gpu=present:NoSchedule"]
    assert facts.kind is not None
    assert facts.kind.accelerator == "nvidia-h100-sxm"


def test_a_node_that_does_not_answer_is_not_ready() -> None:
    assert not node_facts(bodies.node(ready=False)).ready


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-11-25T12:00:00Z", 1795608000.0),
        ("2026-11-25T12:00:00.250Z", 1795608000.25),
        ("2026-11-25T13:00:00+01:00", 1795608000.0),
        ("yesterday", None),
        (None, None),
    ],
)
def test_times(text: str | None, seconds: float | None) -> None:
    assert unix_seconds(text) == seconds


def test_the_stem_is_what_all_pods_of_a_replica_set_share() -> None:
    assert pod_stem("chat-h100-tp1-5c9d8f7b6d-x2k9q") == "chat-h100-tp1-5c9d8f7b6d-"
    # Kubernetes cuts a long name before it appends the random end, without a dash.
    assert pod_stem("a" * 58 + "x2k9q") == "a" * 58
