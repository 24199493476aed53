"""What each pool has, holds and costs, and which node is in it."""

from typing import Any

import bodies
from trimtab.api.conditions import Reason
from trimtab.config import OperatorConfig
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision, Verdict
from trimtab.observe.collect import collect
from trimtab.observe.kinds import Kind
from trimtab.observe.pools import PoolFacts, assign, pool_facts
from trimtab.observe.store import Store
from trimtab.observe.world import WorldView
from trimtab.planner.plan import plan

DISCOVERED = {"trimtab.dev/discovered": "true"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def world(**objects: list[dict[str, Any]]) -> WorldView:
    """A view of the objects, given by kind in lower case."""
    store = Store()
    kinds = {
        "pools": Kind.ACCELERATOR_POOL,
        "nodes": Kind.NODE,
        "pods": Kind.POD,
        "foreign": Kind.FOREIGN_POD,
        "children": Kind.DEPLOYMENT,
        "deployments": Kind.LLM_DEPLOYMENT,
    }
    for name, items in objects.items():
        store.replace(kinds[name], items, "")
    return store.view()


def h100_node(name: str = "node-1", **over: Any) -> dict[str, Any]:
    return bodies.node(name, labels={"pool": "h100"}, **over)


def only(view: WorldView) -> PoolFacts:
    (facts,) = pool_facts(view)
    return facts


def test_nodes_and_devices_that_can_take_replicas() -> None:
    facts = only(world(pools=[bodies.pool()], nodes=[h100_node("a"), h100_node("b")]))
    assert (facts.nodes, facts.devices, facts.foreign_devices) == (2, 16, 0)
    assert (facts.ready, facts.reason) == (True, Reason.IN_USE)
    assert facts.pool is not None
    assert facts.pool.usable_devices == 16


def test_nodes_that_can_take_none_do_not_count_and_are_named() -> None:
    nodes = [
        h100_node("a"),
        h100_node("b", ready=False),
        h100_node("c", cordoned=True),
        h100_node("d", devices={}),
        h100_node("e", taints=[GPU_TAINT]),
    ]
    facts = only(world(pools=[bodies.pool()], nodes=nodes))
    assert (facts.nodes, facts.devices) == (1, 8)
    assert facts.pool is not None
    assert facts.pool.unready_nodes == 1
    assert facts.message == (
        "1 node with 8 devices; 1 cordoned, 1 not ready, "
        "1 with the taint nvidia.com/gpu=present:NoSchedule, which the pool does not tolerate, "
        "1 without nvidia.com/gpu"
    )


def test_tolerated_taints_and_those_that_gke_tolerates_by_itself() -> None:
    tolerating = bodies.pool(spec={"tolerations": [{"key": "nvidia.com/gpu"}]})
    assert only(world(pools=[tolerating], nodes=[h100_node(taints=[GPU_TAINT])])).nodes == 1
    gke = bodies.node(
        labels={"pool": "h100", "cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
        taints=[GPU_TAINT],
    )
    assert only(world(pools=[bodies.pool()], nodes=[gke])).nodes == 1


def test_a_toleration_must_match_value_and_effect() -> None:
    taint = {"key": "team", "value": "ml", "effect": "NoExecute"}
    for toleration, nodes in (
        ({"key": "team", "value": "ml"}, 1),
        ({"key": "team", "operator": "Exists"}, 1),
        ({"key": "team", "value": "web"}, 0),
        ({"key": "team", "value": "ml", "effect": "NoSchedule"}, 0),
    ):
        pool = bodies.pool(spec={"tolerations": [toleration]})
        assert only(world(pools=[pool], nodes=[h100_node(taints=[taint])])).nodes == nodes


def test_a_node_is_in_one_pool_and_the_hand_written_one_comes_first() -> None:
    nodes = [bodies.node("a", labels={"pool": "h100", "zone": "z1"})]
    pools = [
        bodies.pool(
            "found", spec={"nodeSelector": {"pool": "h100", "zone": "z1"}}, labels=DISCOVERED
        ),
        bodies.pool("general", spec={"nodeSelector": {"pool": "h100"}}),
        bodies.pool("same", spec={"nodeSelector": {"zone": "z1"}}),
    ]
    members = assign(world(pools=pools, nodes=nodes))
    assert {name: len(found) for name, found in members.items()} == {
        "found": 0,
        "general": 1,
        "same": 0,
    }
    pools.append(bodies.pool("special", spec={"nodeSelector": {"pool": "h100", "zone": "z1"}}))
    members = assign(world(pools=pools, nodes=nodes))
    assert [name for name, found in members.items() if found] == ["special"]


def test_devices_of_others_are_foreign_and_ours_are_not() -> None:
    facts = only(
        world(
            pools=[bodies.pool()],
            nodes=[h100_node("node-1"), h100_node("node-2")],
            deployments=[bodies.llm_deployment()],
            pods=[bodies.pod("aaaaa", tensor=2)],
            foreign=[
                bodies.foreign_pod(node="node-1", devices=3),
                bodies.foreign_pod("other", node="x"),
            ],
        )
    )
    assert (facts.devices, facts.foreign_devices) == (16, 3)


def test_replicas_that_no_plan_counts_are_in_the_way_like_foreign_ones() -> None:
    gone = bodies.pod("aaaaa", deployment="gone", variant="gone-h100-tp1")
    elsewhere = bodies.pod("bbbbb", pool="l40s")
    over = bodies.pod("ccccc", phase="Failed", deployment="gone", variant="gone-h100-tp1")
    pending = bodies.pod("ddddd", unschedulable_s=5, ready_s=None)
    facts = only(
        world(
            pools=[bodies.pool()],
            nodes=[h100_node()],
            deployments=[bodies.llm_deployment()],
            pods=[gone, elsewhere, over, pending],
        )
    )
    assert facts.foreign_devices == 2


def test_a_cordoned_node_has_what_our_replicas_hold_there() -> None:
    facts = only(
        world(
            pools=[bodies.pool()],
            nodes=[h100_node("node-1", cordoned=True), h100_node("node-2")],
            deployments=[bodies.llm_deployment()],
            pods=[bodies.pod("aaaaa", tensor=2)],
            foreign=[bodies.foreign_pod(node="node-1", devices=4)],
        )
    )
    assert (facts.nodes, facts.devices, facts.foreign_devices) == (1, 10, 0)


def test_free_devices_are_counted_on_each_node_that_takes_replicas() -> None:
    facts = only(
        world(
            pools=[bodies.pool()],
            nodes=[
                h100_node("a"),
                h100_node("b"),
                h100_node("c", cordoned=True),
                h100_node("d"),
                h100_node("e", ready=False),
            ],
            deployments=[bodies.llm_deployment()],
            pods=[
                bodies.pod("aaaaa", tensor=2, node="a"),
                bodies.pod("bbbbb", tensor=4, node="b"),
                bodies.pod("ccccc", tensor=4, unschedulable_s=5, ready_s=None),
                bodies.pod("ddddd", tensor=8, node="a", phase="Succeeded"),
            ],
            foreign=[
                bodies.foreign_pod(node="b", devices=3),
                bodies.foreign_pod("full", node="d", devices=9),
            ],
        )
    )
    assert facts.pool is not None
    assert facts.pool.node_free == (0, 1, 6)


def test_a_pool_without_nodes_says_nothing_of_what_is_free_on_them() -> None:
    grows = bodies.pool(spec={"capacity": {"maxDevices": 32}})
    facts = only(world(pools=[grows]))
    assert facts.pool is not None
    assert (facts.pool.node_free, facts.pool.usable_devices) == ((), 32)


def test_a_replica_of_four_is_not_planned_onto_four_devices_of_four_nodes() -> None:
    wanted = bodies.llm_deployment(
        spec={
            "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
            "placement": {"tensorParallel": [4]},
            "workload": {"inputTokens": 500, "outputTokens": 100, "requestsPerSecond": "1"},
        }
    )
    nodes = [h100_node(name) for name in "abcd"]

    def decided(*held: int) -> Decision:
        view = world(
            pools=[bodies.pool()],
            nodes=nodes,
            deployments=[wanted],
            foreign=[
                bodies.foreign_pod(f"other-{node}", node=node, devices=count)
                for node, count in zip("abcd", held, strict=True)
            ],
        )
        config = OperatorConfig()
        snapshot = collect(view, None, now=bodies.NOW, memory=PlannerMemory(), config=config)
        return plan(snapshot, config.planner).decisions[0]

    assert sum(each.replicas for each in decided(8, 8, 8, 4).targets) == 1
    scattered = decided(7, 7, 7, 7)
    assert sum(each.replicas for each in scattered.targets) == 0
    assert "on h100 4 devices are free and no node has 4 of them" in scattered.message
    (lost,) = scattered.candidates
    assert lost.verdict is Verdict.NO_CAPACITY
    assert lost.message.endswith("but 4 devices are free and no node has 4 of them")


def test_promised_is_what_the_children_ask_for() -> None:
    children = [
        bodies.child(replicas=3, tensor=2),
        bodies.child("code-h100-tp4", deployment="code", replicas=1, tensor=4),
        bodies.child("code-l40s-tp1", deployment="code", pool="l40s", replicas=9),
        bodies.child("old-h100-tp1", replicas=5, deletionTimestamp=bodies.at(1)),
    ]
    assert only(world(pools=[bodies.pool()], children=children)).promised == 10


def test_the_price_is_the_pool_s_own_or_the_catalogue_s_for_the_node_type() -> None:
    own = only(world(pools=[bodies.pool()], nodes=[h100_node()]))
    assert own.price is not None
    assert (own.price.usd_per_hour, own.price.source) == (2.5, "Pool")
    labels = {
        "pool": "h100",
        "node.kubernetes.io/instance-type": "p5.48xlarge",
        "topology.kubernetes.io/region": "us-east-1",
    }
    listed = only(
        world(pools=[bodies.pool(spec={"price": None})], nodes=[bodies.node(labels=labels)])
    )
    assert listed.price is not None
    assert listed.price.source == "Catalogue (AWS us-east-1)"
    assert listed.price.usd_per_hour == 55.04 / 8


def test_a_pool_without_nodes_is_priced_by_what_it_selects_and_may_grow() -> None:
    spec = {
        "price": None,
        "nodeSelector": {
            "karpenter.sh/nodepool": "gpu",
            "node.kubernetes.io/instance-type": "p5.48xlarge",
        },
        "capacity": {"maxDevices": 32},
    }
    facts = only(world(pools=[bodies.pool(spec=spec)]))
    assert (facts.ready, facts.reason) == (True, Reason.NO_NODES)
    assert facts.message == "No node at present; the pool may grow to 32 devices"
    assert facts.price is not None
    assert facts.price.source.startswith("Catalogue (")
    assert "AWS" in facts.price.source


def test_why_nothing_can_land() -> None:
    assert only(world(pools=[bodies.pool()])).reason is Reason.NO_NODES
    unknown = bodies.pool(spec={"accelerator": "acme-x1"})
    assert only(world(pools=[unknown], nodes=[h100_node()])).reason is Reason.UNKNOWN_ACCELERATOR
    unpriced = bodies.pool(spec={"accelerator": "acme-x1", "price": None, "hardware": {
        "memoryGiB": 80, "bandwidthGBs": 3000, "bf16TFLOPs": 900}})  # fmt: skip
    facts = only(world(pools=[unpriced], nodes=[h100_node()]))
    assert (facts.ready, facts.reason) == (False, Reason.NO_PRICE)
