"""A snapshot from manifests alone: no cluster, no node, nothing measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from trimtab.api.acceleratorpool import AcceleratorPool
from trimtab.api.fleetbudget import FleetBudget
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import PAUSE_ANNOTATION
from trimtab.api.performanceprofile import PerformanceProfile
from trimtab.api.policy import ServingPolicy
from trimtab.catalog.pools import pool_of, selected_price
from trimtab.errors import InvalidInput
from trimtab.models.capacity import Pool
from trimtab.models.load import ObservedLoad
from trimtab.models.policy import EffectivePolicy, resolve
from trimtab.models.signals import Missing
from trimtab.models.snapshot import Budget, DeploymentState, Key, Profile, Snapshot

UNLIMITED = 1_000_000
"""Devices of a pool whose manifest names no maximum: the most that the API admits."""
_OFFLINE = Missing(why="planned without a cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What was written down."""

    deployments: Sequence[LLMDeployment] = ()
    pools: Sequence[AcceleratorPool] = ()
    policies: Sequence[ServingPolicy] = ()
    profiles: Sequence[PerformanceProfile] = ()
    budgets: Sequence[FleetBudget] = ()
    namespace_labels: Mapping[str, Mapping[str, str]] | None = None
    """Labels of each namespace; None when no Namespace was written."""


def snapshot_of(
    manifests: Manifests, now: float, base: Snapshot | None = None
) -> tuple[Snapshot, tuple[str, ...]]:
    """Return the world that `manifests` describe, and notes on what was assumed.

    With `base`, a recorded snapshot, manifests replace the objects of the same name in it: the
    replicas, signals, nodes and memory of the record stay, so that a change can be tried on it.

    Raises:
        InvalidInput: A price or duration is none.
    """
    world = base or Snapshot(now=now, deployments=(), pools=())
    policies = {(p.metadata.namespace or "default", p.metadata.name): p for p in manifests.policies}
    old_pools = {pool.name: pool for pool in world.pools}
    old_states = {state.key: state for state in world.deployments}
    pools, assumed = dict(old_pools), []
    for resource in manifests.pools:
        name = resource.metadata.name
        pools[name] = _pool(resource, old_pools.get(name))
        if pools[name].max_devices == UNLIMITED and name not in old_pools:
            assumed.append(name)
    states = dict(old_states)
    for deployment in manifests.deployments:
        state = _state(deployment, policies, manifests.namespace_labels or {}, now=world.now)
        known = old_states.get(state.key)
        if known is not None:
            state = replace(
                state,
                uid=known.uid,
                created=known.created,
                variants=known.variants,
                load=known.load,
                namespace_labels=known.namespace_labels or state.namespace_labels,
            )
        states[state.key] = state
    profiles = {profile.name: profile for profile in world.profiles}
    profiles |= {p.metadata.name: _profile(p) for p in manifests.profiles}
    budgets = {budget.name: budget for budget in world.budgets}
    budgets |= {
        b.metadata.name: Budget(name=b.metadata.name, spec=b.spec) for b in manifests.budgets
    }
    notes = []
    if assumed:
        notes.append(
            f"Capacity of {', '.join(sorted(assumed))} taken as unlimited: "
            "set spec.capacity.maxDevices to limit it"
        )
    snapshot = replace(
        world,
        deployments=tuple(states[key] for key in sorted(states)),
        pools=tuple(pools[name] for name in sorted(pools)),
        profiles=tuple(profiles[name] for name in sorted(profiles)),
        budgets=tuple(budgets[name] for name in sorted(budgets)),
    )
    return snapshot, tuple(notes)


def _pool(resource: AcceleratorPool, known: Pool | None) -> Pool:
    """Return the pool; without a maximum and without nodes that were recorded it is unlimited."""
    pool = pool_of(
        resource,
        nodes=known.nodes if known else 0,
        devices=known.devices if known else 0,
        foreign_devices=known.foreign_devices if known else 0,
        node_free=known.node_free if known else (),
        catalogue_price=selected_price(resource.spec) or (known.price if known else None),
    )
    if known is None and pool.max_devices is None:
        return replace(pool, max_devices=UNLIMITED)
    return pool


def _state(
    deployment: LLMDeployment,
    policies: Mapping[tuple[str, str], ServingPolicy],
    labels: Mapping[str, Mapping[str, str]],
    *,
    now: float,
) -> DeploymentState:
    metadata, spec = deployment.metadata, deployment.spec
    namespace = metadata.namespace or "default"
    policy, error = _policy(deployment, policies.get((namespace, spec.policy_ref or "")))
    return DeploymentState(
        key=Key(namespace=namespace, name=metadata.name),
        uid=metadata.uid,
        generation=metadata.generation,
        created=now,
        spec=spec,
        policy=policy,
        error=error,
        paused=metadata.annotations.get(PAUSE_ANNOTATION) == "true",
        namespace_labels=tuple(sorted(labels.get(namespace, {}).items())),
        variants=(),
        load=ObservedLoad(arrival_rps=_OFFLINE, waiting=_OFFLINE),
    )


def _policy(
    deployment: LLMDeployment, named: ServingPolicy | None
) -> tuple[EffectivePolicy | None, str | None]:
    reference = deployment.spec.policy_ref
    if reference is not None and named is None:
        namespace = deployment.metadata.namespace or "default"
        return None, (
            f"spec.policyRef: no ServingPolicy is called {reference} in namespace {namespace}: "
            "write one, or remove the field"
        )
    try:
        return resolve(deployment.spec, named.spec if named else None), None
    except InvalidInput as error:
        return None, str(error)


def _profile(resource: PerformanceProfile) -> Profile:
    return Profile(name=resource.metadata.name, spec=resource.spec)
