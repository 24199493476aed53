"""What the operator would collect of a deployment's pods, and what it would write."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from trimtab.models.plan import Decision
from trimtab.models.snapshot import DeploymentState, VariantState
from trimtab.simulate.policy import ReplicaView, Variant
from trimtab.simulate.rivals.base import Phase


def collected(
    state: DeploymentState, wanted: Mapping[Variant, int], replicas: Iterable[ReplicaView]
) -> DeploymentState:
    """Return `state` with its children as they are: what was asked for, and the pods."""
    pods: dict[Variant, list[ReplicaView]] = {variant: [] for variant in wanted}
    for pod in replicas:
        pods.setdefault(pod.variant, []).append(pod)
    variants = tuple(
        _variant(variant, wanted.get(variant, 0), pods[variant])
        for variant in sorted(pods, key=lambda variant: variant.order)
    )
    return replace(state, variants=variants)


def _variant(variant: Variant, wanted: int, pods: Iterable[ReplicaView]) -> VariantState:
    pods = list(pods)
    ready = [pod for pod in pods if serves(pod) and pod.ready_s is not None]
    youngest = min(ready, key=lambda pod: pod.ready_s or 0.0, default=None)
    waiting = [pod.age_s for pod in pods if pod.unschedulable]
    return VariantState(
        pool=variant.pool,
        parallelism=variant.parallelism,
        replicas=wanted,
        ready=len(ready),
        pods=len(pods),
        unplaced=sum(pod.placed_s is None for pod in pods),
        unschedulable=len(waiting),
        unschedulable_s=max(waiting, default=0.0),
        youngest_ready_s=youngest.ready_s if youngest else None,
        placed_s=_between(youngest.age_s, youngest.placed_s) if youngest else None,
        loaded_s=_between(youngest.placed_s, youngest.ready_s) if youngest else None,
    )


def _between(earlier_s: float | None, later_s: float | None) -> float | None:
    """Return the time between two events, given how long ago each was."""
    return None if earlier_s is None or later_s is None else earlier_s - later_s


def written(decision: Decision) -> dict[Variant, int]:
    """Return the replicas that a decision asks for, by variant."""
    return {
        Variant(
            deployment=decision.key, pool=target.pool, parallelism=target.parallelism
        ): target.replicas
        for target in decision.targets
        if target.replicas > 0
    }


def serves(pod: ReplicaView) -> bool:
    """Tell whether a pod gets requests."""
    return pod.phase is Phase.READY and not pod.terminating
