"""Which pools the nodes ask for, and under which names."""

from typing import Any

import bodies
from trimtab.observe.discovery import PoolDraft, drafts, skipped
from trimtab.observe.kinds import Kind
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView

DISCOVERED = {"trimtab.dev/discovered": "true"}


def gke(name: str, *, pool: str = "h100-pool", **labels: str) -> dict[str, Any]:
    known = {
        "cloud.google.com/gke-nodepool": pool,
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
    }
    taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
    return bodies.node(name, labels=known | labels, taints=[taint])


def karpenter(name: str, *, nodepool: str = "gpu", bought: str = "on-demand") -> dict[str, Any]:
    labels = {
        "karpenter.sh/nodepool": nodepool,
        "karpenter.sh/capacity-type": bought,
        "node.kubernetes.io/instance-type": "p5en.48xlarge",
    }
    return bodies.node(name, labels=labels)


def world(nodes: list[dict[str, Any]], pools: list[dict[str, Any]] | None = None) -> WorldView:
    store = Store()
    store.replace(Kind.NODE, nodes, "")
    store.replace(Kind.ACCELERATOR_POOL, pools or [], "")
    return store.view()


def live(draft: PoolDraft, **spec: Any) -> dict[str, Any]:
    """The draft after it was written, with fields that a user has changed."""
    return bodies.pool(
        draft.name, spec=dict(draft.spec) | {"price": None} | spec, labels=DISCOVERED
    )


def test_one_pool_for_each_kind_of_node() -> None:
    view = world(
        [gke("a"), gke("b"), karpenter("c"), karpenter("d", bought="spot"), bodies.node("e")]
    )
    assert [draft.name for draft in drafts(view)] == [
        "gke-h100-pool",
        "h100",
        "p5en-48xlarge",
        "p5en-48xlarge-spot",
    ]


def test_a_draft_says_what_the_nodes_tell() -> None:
    (draft,) = drafts(world([gke("a"), gke("b")]))
    assert draft.spec == {
        "accelerator": "nvidia-h100-sxm",
        "resourceName": "nvidia.com/gpu",
        "devicesPerNode": 8,
        "nodeSelector": {"cloud.google.com/gke-nodepool": "h100-pool"},
        "capacityType": "OnDemand",
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    }


def test_a_written_draft_is_drafted_again_unchanged() -> None:
    nodes = [gke("a"), karpenter("b"), bodies.node("c")]
    before = drafts(world(nodes))
    assert drafts(world(nodes, [live(draft) for draft in before])) == before


def test_a_broken_device_does_not_lower_the_pool() -> None:
    weak = gke("a")
    weak["status"]["allocatable"]["nvidia.com/gpu"] = "7"
    (draft,) = drafts(world([weak, gke("b")]))
    assert draft.spec["devicesPerNode"] == 8


def test_nodes_of_a_hand_written_pool_are_not_drafted() -> None:
    pool = bodies.pool(
        "mine", spec={"nodeSelector": {"cloud.google.com/gke-nodepool": "h100-pool"}}
    )
    assert drafts(world([gke("a")], [pool])) == ()


def test_a_name_that_a_hand_written_pool_has_is_not_taken_over() -> None:
    other = bodies.pool("gke-h100-pool", spec={"nodeSelector": {"somewhere": "else"}})
    (draft,) = drafts(world([gke("a")], [other]))
    assert draft.name == "gke-h100-pool-h100"


def test_the_same_instance_in_two_node_pools_makes_two_pools_with_lasting_names() -> None:
    first = drafts(world([karpenter("b", nodepool="beta")]))
    assert [draft.name for draft in first] == ["p5en-48xlarge"]
    both = drafts(
        world(
            [karpenter("a", nodepool="alpha"), karpenter("b", nodepool="beta")],
            [live(draft) for draft in first],
        )
    )
    names = {draft.name: draft.spec["nodeSelector"]["karpenter.sh/nodepool"] for draft in both}
    assert names == {"p5en-48xlarge": "beta", "alpha-p5en-48xlarge": "alpha"}


def test_when_every_name_is_taken_a_digest_tells_them_apart() -> None:
    taken = [
        bodies.pool(name, spec={"nodeSelector": {"somewhere": "else"}})
        for name in ("p5en-48xlarge", "gpu-p5en-48xlarge")
    ]
    (draft,) = drafts(world([karpenter("a")], taken))
    assert draft.name.startswith("gpu-p5en-48xlarge-")
    assert drafts(world([karpenter("a")], [*taken, live(draft)])) == (draft,)


def test_a_selector_that_a_user_changed_is_left_alone() -> None:
    (draft,) = drafts(world([gke("a", team="ml")]))
    changed = live(draft, nodeSelector={"team": "ml"})
    assert drafts(world([gke("a", team="ml")], [changed])) == ()
    # Nodes that the changed selector leaves out get a pool of their own.
    again = drafts(world([gke("a", team="web")], [changed]))
    assert [each.name for each in again] == ["gke-h100-pool-h100"]


def test_nodes_that_cannot_be_used_are_named_with_the_reason() -> None:
    reserved = bodies.node(
        "a", taints=[{"key": "dedicated", "value": "training", "effect": "NoSchedule"}]
    )
    view = world([reserved, bodies.node("b", labels={}), bodies.node("c", labels={}, devices={})])
    assert drafts(view) == ()
    assert skipped(view) == (
        ("a", "the taint dedicated=training:NoSchedule reserves it"),
        ("b", "no label names its accelerator"),
    )


def test_a_node_pool_that_mixes_hardware_is_no_pool() -> None:
    l4 = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    view = world([gke("a"), gke("b", **l4)])
    assert drafts(view) == ()
    assert [name for name, _ in skipped(view)] == ["a", "b"]
