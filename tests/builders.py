"""Complete domain values for tests: override by keyword what the test is about."""

from typing import Any

from trimtab.api.llmdeployment import LLMDeploymentSpec
from trimtab.api.policy import CapacityType
from trimtab.catalog import accelerators
from trimtab.models.capacity import Pool, Price
from trimtab.models.hardware import Accelerator, Parallelism
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import Decision, Demand, DemandSource, Fact, VariantTarget, Why
from trimtab.models.policy import resolve
from trimtab.models.snapshot import DeploymentState, Key, VariantState

NOW = 1_790_000_000.0
"""A moment in 2026, in Unix seconds."""


def accelerator(**over: Any) -> Accelerator:
    """An NVIDIA H100 SXM, from its data sheet."""
    values: dict[str, Any] = {
        "name": "nvidia-h100-sxm",
        "short_name": "h100",
        "vendor": "nvidia",
        "family": "hopper",
        "memory_bytes": 80e9,
        "bandwidth": 3.35e12,
        "bf16_flops": 989e12,
        "fp8_flops": 1979e12,
        "int8_ops": 1979e12,
        "fp4_flops": None,
        "link_bandwidth": 450e9,
        "watts": 700.0,
        "resource_name": "nvidia.com/gpu",
    }
    return Accelerator(**(values | over))


def pool(**over: Any) -> Pool:
    """Two nodes of eight H100, on demand, priced by the pool itself."""
    values: dict[str, Any] = {
        "name": "h100",
        "accelerator": accelerator(),
        "accelerator_name": "nvidia-h100-sxm",
        "resource_name": "nvidia.com/gpu",
        "devices_per_node": 8,
        "node_selector": (("nvidia.com/gpu.product", "NVIDIA-H100-80GB-HBM3"),),
        "tolerations": (),
        "capacity_type": CapacityType.ON_DEMAND,
        "price": Price(usd_per_hour=2.5, source="Pool", as_of=None),
        "nodes": 2,
        "devices": 16,
        "foreign_devices": 0,
        "max_devices": None,
        "provisioning_s": 300.0,
        "failure_domain": "h100",
    }
    return Pool(**(values | over))


def catalogue_pool(name: str, accelerator: str, usd: float, **over: Any) -> Pool:
    """A pool of a known accelerator with 16 devices, eight to a node, at `usd` per device hour."""
    known = accelerators.get(accelerator)
    assert known is not None
    values: dict[str, Any] = {
        "name": name,
        "accelerator": known,
        "accelerator_name": known.name,
        "price": Price(usd_per_hour=usd, source="Pool"),
        "failure_domain": name,
    }
    return pool(**(values | over))


def spec(**over: Any) -> LLMDeploymentSpec:
    """A spec as a user writes it, camelCase; `model` is Llama 3.1 8B unless given."""
    values: dict[str, Any] = {"model": {"name": "meta-llama/Llama-3.1-8B-Instruct"}}
    return LLMDeploymentSpec.model_validate(values | over)


def deployment_state(**over: Any) -> DeploymentState:
    """The deployment assistants/chat without replicas and without any signal."""
    wanted = over.get("spec") or spec()
    values: dict[str, Any] = {
        "key": Key(namespace="assistants", name="chat"),
        "uid": "11111111-2222-3333-4444-555555555555",
        "generation": 1,
        "created": NOW - 3600,
        "spec": wanted,
        "policy": resolve(wanted, None),
        "error": None,
        "paused": False,
        "namespace_labels": (),
        "variants": (),
        "load": ObservedLoad(),
    }
    return DeploymentState(**(values | over))


def planned(name: str = "chat", **over: Any) -> DeploymentState:
    """A deployment with latency targets, a prior of 10 requests/s and room for 20 replicas.

    `over` are fields of the state, or of the spec as users write them (camelCase).
    """
    wanted: dict[str, Any] = {
        "latency": {"timeToFirstToken": "800ms", "interTokenLatency": "50ms"},
        "workload": {"inputTokens": 1024, "outputTokens": 256, "requestsPerSecond": "10"},
        "scaling": {"maxReplicas": 20},
    }
    fields = {key: over.pop(key) for key in list(over) if key not in _STATE_FIELDS}
    made = spec(**(wanted | fields))
    values: dict[str, Any] = {
        "key": Key(namespace="assistants", name=name),
        "uid": f"uid-{name}",
        "created": NOW,
        "spec": made,
        "policy": resolve(made, None),
    }
    return deployment_state(**(values | over))


_STATE_FIELDS = frozenset(DeploymentState.__dataclass_fields__)


def variant_state(**over: Any) -> VariantState:
    """One Ready replica of one device on the pool h100."""
    values: dict[str, Any] = {
        "pool": "h100",
        "parallelism": Parallelism(),
        "replicas": 1,
        "ready": 1,
        "pods": 1,
    }
    return VariantState(**(values | over))


def target(**over: Any) -> VariantTarget:
    """Two replicas of one device on the pool h100."""
    values: dict[str, Any] = {
        "pool": "h100",
        "accelerator": "h100",
        "parallelism": Parallelism(),
        "replicas": 2,
        "usd_per_replica_hour": 2.5,
        "price": Price(usd_per_hour=2.5, source="Pool", as_of=None),
    }
    return VariantTarget(**(values | over))


def fact(**over: Any) -> Fact:
    """All signals are fresh."""
    values: dict[str, Any] = {
        "type": "MetricsAvailable",
        "status": True,
        "reason": "MetricsFresh",
        "message": "All signals are fresh",
    }
    return Fact(**(values | over))


def decision(**over: Any) -> Decision:
    """Two replicas on h100 for a steady 4 requests/s, at $5.00 an hour."""
    values: dict[str, Any] = {
        "key": Key(namespace="assistants", name="chat"),
        "uid": "11111111-2222-3333-4444-555555555555",
        "generation": 1,
        "targets": (target(),),
        "wanted_replicas": 2,
        "changed": True,
        "write": True,
        "why": Why.INITIAL,
        "message": "First placement: 2 replicas on h100",
        "demand": Demand(
            source=DemandSource.PROMETHEUS,
            rps=4.0,
            observed_rps=4.0,
            input_tokens=1000.0,
            output_tokens=200.0,
        ),
        "candidates": (),
        "usd_per_hour": 5.0,
        "usd_per_million_tokens": 1.7,
        "saving": None,
        "facts": (fact(),),
    }
    return Decision(**(values | over))
