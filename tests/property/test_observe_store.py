"""Whatever a watch loses or reorders, a LIST sets the mirror right; garbage never hurts."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import bodies
from trimtab.config import OperatorConfig
from trimtab.models.memory import PlannerMemory
from trimtab.observe.collect import collect
from trimtab.observe.discovery import drafts, skipped
from trimtab.observe.kinds import Kind
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

Event = tuple[Kind, str, dict[str, Any]]

_MAKERS = {
    Kind.LLM_DEPLOYMENT: lambda name, **over: bodies.llm_deployment(name, **over),
    Kind.POD: lambda name, **over: bodies.pod(name, **over),
    Kind.DEPLOYMENT: lambda name, **over: bodies.child(name, **over),
    Kind.ACCELERATOR_POOL: lambda name, **over: bodies.pool(name, **over),
}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], Mapping[Kind, list[dict[str, Any]]], int]:
    """What happened in a cluster, in order; what is there at the end; the last version."""
    live: dict[tuple[Kind, str], dict[str, Any]] = {}
    events: list[Event] = []
    version = 0
    for version in range(1, draw(st.integers(1, 25)) + 1):
        key = draw(st.tuples(st.sampled_from(sorted(_MAKERS)), st.sampled_from("abc")))
        if key in live and draw(st.booleans()):
            gone = live.pop(key)
            metadata = gone["metadata"] | {"resourceVersion": str(version)}
            events.append((key[0], "DELETED", gone | {"metadata": metadata}))
        else:
            kind = "MODIFIED" if key in live else "ADDED"
            live[key] = _MAKERS[key[0]](key[1], version=version, generation=version)
            events.append((key[0], kind, live[key]))
    by_kind = {kind: [body for (of, _), body in live.items() if of is kind] for kind in _MAKERS}
    return events, by_kind, version


def listed(store: Store, live: Mapping[Kind, list[dict[str, Any]]], version: int) -> WorldView:
    for kind, items in live.items():
        store.replace(kind, items, str(version))
    return replace(store.view(), departed={})


@given(histories(), st.data())
def test_any_order_loss_or_repetition_and_a_list_give_what_the_list_alone_gives(
    history: tuple[list[Event], Mapping[Kind, list[dict[str, Any]]], int], data: st.DataObject
) -> None:
    events, live, version = history
    seen = data.draw(st.lists(st.sampled_from(events), max_size=40))
    early = data.draw(st.integers(0, len(seen)))
    store = Store()
    for kind, event, body in seen[:early]:
        store.observe(kind, event, body)
    listed(store, live, version)
    for kind, event, body in seen[early:]:  # what the watch still has in its queue
        store.observe(kind, event, body)
    assert replace(store.view(), departed={}) == listed(Store(), live, version)


@given(histories(), st.randoms(use_true_random=False))
def test_all_events_in_any_order_give_the_final_state(
    history: tuple[list[Event], Mapping[Kind, list[dict[str, Any]]], int], random: Any
) -> None:
    events, live, version = history
    shuffled = list(events)
    random.shuffle(shuffled)
    store = Store()
    for kind, event, body in shuffled:
        store.observe(kind, event, body)
    expected = listed(Store(), live, version)
    assert replace(store.view(), departed={}) == expected


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["1e400", "8", "-1", "1Ei", "0x8", "2026-11-25T00:00:00Z", "True", "NoSchedule"]
    ),
)
_FIELDS = [
    "metadata", "name", "namespace", "labels", "annotations", "ownerReferences", "resourceVersion",
    "uid", "spec", "status", "containers", "resources", "limits", "nvidia.com/gpu", "conditions",
    "type", "Ready", "PodScheduled", "lastTransitionTime", "allocatable", "taints", "key", "effect",
    "template", "replicas", "model", "nodeSelector", "controller", "kind", "unschedulable",
    "nvidia.com/gpu.memory", "nvidia.com/gpu.product", "node.kubernetes.io/instance-type",
]  # fmt: skip
_GARBAGE = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.sampled_from(_FIELDS), st.text(max_size=4)), inner, max_size=5
        ),
        st.dictionaries(st.integers(), inner, max_size=2),
    ),
    max_leaves=25,
)


@given(st.sampled_from(Kind), st.sampled_from(["ADDED", "DELETED", None, "BOOKMARK"]), _GARBAGE)
def test_garbage_never_raises(kind: Kind, event: str | None, garbage: Any) -> None:
    store = Store()
    store.observe(kind, event, garbage)
    store.replace(kind, [garbage], "x")
    store.view()


@given(st.sampled_from(Kind), st.data())
def test_garbage_in_one_object_leaves_the_others_alone(kind: Kind, data: st.DataObject) -> None:
    body = data.draw(
        st.fixed_dictionaries(
            {
                "metadata": st.dictionaries(st.sampled_from(_FIELDS), _GARBAGE, max_size=5).map(
                    lambda found: found | {"name": "bad", "namespace": "assistants"}
                ),
                "spec": _GARBAGE,
                "status": _GARBAGE,
            }
        )
    )
    store = Store()
    store.observe(Kind.LLM_DEPLOYMENT, "ADDED", bodies.llm_deployment("good"))
    store.observe(Kind.NODE, "ADDED", bodies.node("good"))
    store.observe(kind, "ADDED", body)
    view = store.view()
    assert "good" in [each.metadata.name for each in view.deployments]
    assert "good" in [each.name for each in view.nodes]
    drafts(view)
    skipped(view)
    snapshot = collect(view, None, now=bodies.NOW, memory=PlannerMemory(), config=OperatorConfig())
    assert "good" in [each.key.name for each in snapshot.deployments]
