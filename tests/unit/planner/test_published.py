"""The world as statuses publish it: replicas, demand, nodes and the price in force."""

from typing import Any

from builders import NOW
from trimtab.config import PlannerConfig
from trimtab.models.hardware import Parallelism
from trimtab.models.snapshot import Snapshot
from trimtab.planner.plan import plan
from trimtab.planner.published import published_world
from trimtab.planner.written import manifests_of

POOL: dict[str, Any] = {
    "accelerator": "nvidia-l40s",
    "resourceName": "nvidia.com/gpu",
    "devicesPerNode": 4,
    "nodeSelector": {"pool": "l40s"},
    "price": {"perDeviceHour": "2"},
}
SPEC: dict[str, Any] = {
    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct"},
    "latency": {"interTokenLatency": "80ms"},
    "workload": {"inputTokens": 100, "outputTokens": 100, "requestsPerSecond": "50"},
}
SEEN: dict[str, Any] = {
    "observedGeneration": 1,
    "variants": [
        {
            "name": "chat-l40s-tp2", "pool": "l40s", "accelerator": "l40s", "tensorParallel": 2,
            "desired": 3, "ready": 2, "costPerHour": "12.00",
        }
    ],
    "observed": {
        "requestsPerSecond": "1.5", "inputTokens": 900, "outputTokens": 300, "source": "Prometheus",
    },
}  # fmt: skip


def world(status: object = None, pool_status: object = None, **pool: Any) -> Snapshot:
    def written(kind: str, name: str, spec: object, state: object) -> tuple[str, dict[str, Any]]:
        document = {
            "apiVersion": "trimtab.dev/v1alpha1", "kind": kind, "spec": spec,
            "metadata": {"name": name},
        }  # fmt: skip
        return "test", document | ({} if state is None else {"status": state})

    documents = [
        written("LLMDeployment", "chat", SPEC, status),
        written("AcceleratorPool", "l40s", POOL | pool, pool_status),
    ]
    return published_world(manifests_of(documents)[0], NOW)[0]


def test_replicas_and_the_seen_demand_are_those_of_the_status() -> None:
    (state,) = world(SEEN).deployments
    (variant,) = state.variants
    assert (variant.pool, variant.parallelism) == ("l40s", Parallelism(tensor=2))
    assert (variant.replicas, variant.ready, variant.pods) == (3, 2, 3)
    assert state.policy is not None
    assert state.policy.prior_rps == 1.5
    assert (state.policy.shape.input_tokens, state.policy.shape.output_tokens) == (900, 300)
    (decision,) = plan(world(SEEN), PlannerConfig()).decisions
    assert decision.demand.rps == 1.5


def test_what_was_never_published_stays_as_it_was_written() -> None:
    for status in (None, {}, {"observedGeneration": 2, "observed": {"source": "Unknown"}}):
        (state,) = world(status).deployments
        assert state.variants == ()
        assert state.policy is not None
        assert state.policy.prior_rps == 50


def test_a_pool_has_the_devices_and_the_price_of_its_status() -> None:
    price = {"perDeviceHour": "1.25", "source": "Catalogue", "asOf": "2026-11-01"}
    status = {"observedGeneration": 1, "nodes": 2, "devices": 8, "price": price}
    (pool,) = world(SEEN, status).pools
    assert (pool.nodes, pool.devices, pool.usable_devices) == (2, 8, 8)
    assert pool.price is not None
    assert (pool.price.usd_per_hour, pool.price.as_of) == (1.25, "2026-11-01")


def test_a_pool_that_can_grow_grows_and_one_without_a_status_is_not_limited() -> None:
    status = {"observedGeneration": 1, "nodes": 0, "devices": 0}
    (grows,) = world(SEEN, status, capacity={"maxDevices": 12}).pools
    assert grows.usable_devices == 12
    (unseen,) = world(SEEN).pools
    assert unseen.usable_devices > 1000
