"""A snapshot from live objects alone: what Trimtab published of each in its status."""

from dataclasses import replace

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.llmdeployment import LLMDeployment, ObservedStatus
from trimtab.models.capacity import Pool, Price
from trimtab.models.hardware import Parallelism
from trimtab.models.plan import DemandSource
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState, Snapshot, VariantState
from trimtab.planner.offline import Manifests, snapshot_of
from trimtab.units import parse_decimal


def published_world(manifests: Manifests, now: float) -> tuple[Snapshot, tuple[str, ...]]:
    """Return the world that `manifests` and their statuses describe, and notes on assumptions.

    Whoever may read these objects can ask what-if questions with it; Prometheus, nodes and pods
    are not asked. The demand that a status names stands in for `spec.workload`. Unknown stay the
    queues, the latencies, and devices that pods of others hold. Objects without a status count as
    in `snapshot_of`.

    Raises:
        InvalidInput: A price, duration or rate is none.
    """
    world, notes = snapshot_of(manifests, now)
    pools = {resource.metadata.name: resource for resource in manifests.pools}
    written = {
        (resource.metadata.namespace or "default", resource.metadata.name): resource
        for resource in manifests.deployments
    }
    states = tuple(
        _state(state, written[state.key.namespace, state.key.name]) for state in world.deployments
    )
    known = tuple(_pool(pool, pools[pool.name]) for pool in world.pools)
    return replace(world, deployments=states, pools=known), notes


def _pool(pool: Pool, resource: AcceleratorPool) -> Pool:
    """Return `pool` with the nodes and the price in force that its status names."""
    status, spec = resource.status, resource.spec
    if status is None or status.observed_generation < 0:
        return pool
    price = pool.price
    if status.price is not None:
        price = Price(
            usd_per_hour=parse_decimal(status.price.per_device_hour, "status.price.perDeviceHour"),
            source=status.price.source,
            as_of=status.price.as_of,
        )
    return replace(
        pool,
        nodes=status.nodes,
        devices=status.devices,
        max_devices=spec.capacity.max_devices if spec.capacity else None,
        price=price,
    )


def _state(state: DeploymentState, resource: LLMDeployment) -> DeploymentState:
    status = resource.status
    if status is None or status.observed_generation < 0:
        return state
    variants = tuple(
        VariantState(
            pool=variant.pool,
            parallelism=Parallelism(tensor=variant.tensor_parallel),
            replicas=variant.desired,
            ready=variant.ready,
            pods=max(variant.desired, variant.ready),
        )
        for variant in status.variants
    )
    return replace(state, variants=variants, policy=_expecting(state.policy, status.observed))


def _expecting(
    policy: EffectivePolicy | None, seen: ObservedStatus | None
) -> EffectivePolicy | None:
    """Return `policy` where what was seen is what is expected."""
    if policy is None or seen is None or seen.source == DemandSource.UNKNOWN:
        return policy
    rps = seen.requests_per_second
    return replace(
        policy,
        prior_rps=(
            policy.prior_rps
            if rps is None
            else parse_decimal(rps, "status.observed.requestsPerSecond")
        ),
        shape=replace(
            policy.shape,
            input_tokens=seen.input_tokens or policy.shape.input_tokens,
            output_tokens=seen.output_tokens or policy.shape.output_tokens,
        ),
    )
