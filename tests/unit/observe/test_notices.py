"""Notices on nodes: which say that a node goes, and what pools and replicas make of them."""

from typing import Any

import pytest

import bodies
from answers import CONFIG
from trimtab.models.memory import PlannerMemory
from trimtab.observe.collect import collect
from trimtab.observe.discovery import drafts
from trimtab.observe.kinds import Kind
from trimtab.observe.pools import pool_facts
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

SPOT_ITN = "aws-node-termination-handler/spot-itn"


def taint(key: str, **over: str) -> dict[str, str]:
    return {"key": key, "effect": "NoSchedule"} | over


def azure(reason: str, status: str = "True", **over: str) -> dict[str, str]:
    return {"type": "VMEventScheduled", "status": status, "reason": reason} | over


def seen(node: dict[str, Any], *pods: dict[str, Any]) -> WorldView:
    store = Store()
    store.replace(Kind.ACCELERATOR_POOL, [bodies.pool()], "")
    store.replace(Kind.LLM_DEPLOYMENT, [bodies.llm_deployment()], "")
    store.replace(Kind.DEPLOYMENT, [bodies.child(replicas=2)], "")
    store.replace(Kind.NODE, [node, bodies.node("node-2", labels={"pool": "h100"})], "")
    store.replace(Kind.POD, list(pods), "")
    return store.view()


def node(*conditions: dict[str, str], **over: Any) -> dict[str, Any]:
    body = bodies.node("node-1", labels={"pool": "h100"}, **over)
    body["status"]["conditions"] += conditions
    return body


def notice(*conditions: dict[str, str], **over: Any) -> str | None:
    return next(n.notice for n in seen(node(*conditions, **over)).nodes if n.name == "node-1")


@pytest.mark.parametrize(
    ("key", "goes"),
    [
        (SPOT_ITN, True),
        ("cloud.google.com/impending-node-termination", True),
        ("karpenter.sh/disrupted", True),
        ("ToBeDeletedByClusterAutoscaler", True),
        # More likely to go than others, but nobody has said that it does.
        ("aws-node-termination-handler/rebalance-recommendation", False),
        ("DeletionCandidateOfClusterAutoscaler", False),
        ("node.kubernetes.io/unreachable", False),
        ("cloud.google.com/gke-spot", False),
    ],
)
def test_a_taint_tells_that_a_node_goes(key: str, goes: bool) -> None:
    assert notice(taints=[taint(key)]) == (f"taint {key}" if goes else None)


@pytest.mark.parametrize(
    ("condition", "event"),
    [
        (azure("PreemptScheduled"), "Preempt"),
        (azure("VMEventScheduled", message="TerminateScheduled for vm-3"), "Terminate"),
        (azure("FreezeScheduled"), None),
        (azure("PreemptScheduled", status="False"), None),
        ({"type": "KernelDeadlock", "status": "True", "reason": "Preempt"}, None),
        ({"type": "VMEventScheduled", "status": "True"}, None),
    ],
)
def test_azure_says_it_in_a_condition(condition: dict[str, str], event: str | None) -> None:
    assert notice(condition) == (f"condition VMEventScheduled ({event})" if event else None)


def test_a_node_with_notice_takes_no_more_replicas_even_where_the_taint_is_tolerated() -> None:
    (facts,) = pool_facts(seen(node(azure("PreemptScheduled"))))
    assert (facts.nodes, facts.devices) == (1, 8)
    assert facts.message == (
        "1 node with 8 devices; 1 about to go (condition VMEventScheduled (Preempt))"
    )


def test_its_replicas_are_going_and_those_that_end_already_have_notice_too() -> None:
    view = seen(
        node(taints=[taint(SPOT_ITN)]),
        bodies.pod("aaaaa", node="node-1"),
        bodies.pod("bbbbb", node="node-2"),
        bodies.pod("ccccc", node="node-1", deletionTimestamp=bodies.at(9)),
    )
    found = collect(view, None, now=bodies.NOW, memory=PlannerMemory(), config=CONFIG)
    (variant,) = found.deployments[0].variants
    assert (variant.ready, variant.pods, variant.noticed, variant.going) == (2, 3, 2, 1)


def test_a_notice_makes_no_other_pool_of_a_node_that_nobody_described() -> None:
    store = Store()
    store.replace(Kind.NODE, [bodies.node("a"), bodies.node("b", taints=[taint(SPOT_ITN)])], "")
    (draft,) = drafts(store.view())
    assert "tolerations" not in draft.spec
