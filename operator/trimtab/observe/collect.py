"""The mirror and the metrics of one moment, as the Snapshot that a plan sees."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trimtab.api.base import Resource
from trimtab.api.engine import EngineType
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.api.naming import PAUSE_ANNOTATION
from trimtab.api.policy import ServingPolicySpec
from trimtab.config import OperatorConfig
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets
from trimtab.models.memory import PlannerMemory
from trimtab.models.policy import EffectivePolicy, resolve
from trimtab.models.snapshot import (
    Budget,
    DeploymentState,
    Key,
    Profile,
    Snapshot,
    VariantState,
)
from trimtab.observe import gateways
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import unix_seconds
from trimtab.observe.pools import pool_facts
from trimtab.observe.reader import Subject
from trimtab.observe.signals import Source, read
from trimtab.observe.world import ChildFacts, ObjectKey, PodFacts, ReplicaShape, WorldView

ENDING_S = 30.0
"""What a kubelet may take, after a pod's grace period, to kill it and to give its devices back."""


def collect(
    view: WorldView,
    metrics: Source | None,
    *,
    now: float,
    memory: PlannerMemory,
    config: OperatorConfig,
) -> Snapshot:
    """Return everything that one plan may see. Nothing that the world does makes this raise.

    A deployment that is being deleted is not in it, and neither is an object that cannot be
    understood (`view.broken`): nothing may be changed on account of those.

    Args:
        view: The mirror.
        metrics: Where signals come from; None when there is no source.
        now: Unix seconds.
        memory: What the last plan left.
        config: Windows and intervals.
    """
    policies = {_key(each): each.spec for each in view.policies}
    found = [_Found.of(view, each, policies) for each in view.deployments if not _deleting(each)]
    replicas = _Replicas(view)
    subjects = [
        Subject(
            key=each.key,
            targets=each.policy.targets if each.policy else LatencyTargets(),
            pods=replicas.pods(each.key),
            stems=replicas.departed(each.key),
            engine=engine_of(each.resource),
            gateway=gateways.asked(each.key, each.resource.spec),
            metrics=each.resource.spec.engine.metrics if each.resource.spec.engine else None,
        )
        for each in found
    ]
    loads = read(metrics, subjects, now=now, config=config)
    states = (
        DeploymentState(
            key=each.key,
            uid=each.resource.metadata.uid,
            generation=each.resource.metadata.generation,
            created=unix_seconds(each.resource.metadata.creation_timestamp) or 0.0,
            spec=each.resource.spec,
            policy=each.policy,
            error=each.error,
            paused=each.resource.metadata.annotations.get(PAUSE_ANNOTATION, "").lower() == "true",
            namespace_labels=tuple(sorted(view.namespaces.get(each.key.namespace, {}).items())),
            variants=replicas.variants(each.key, each.resource.metadata.uid, now),
            load=loads[each.key],
        )
        for each in found
    )
    return Snapshot(
        now=now,
        deployments=tuple(states),
        pools=tuple(facts.pool for facts in pool_facts(view) if facts.pool is not None),
        profiles=tuple(Profile(name=each.metadata.name, spec=each.spec) for each in view.profiles),
        budgets=tuple(Budget(name=each.metadata.name, spec=each.spec) for each in view.budgets),
        memory=memory,
    )


def _key(resource: Resource) -> Key:
    return Key(namespace=resource.metadata.namespace, name=resource.metadata.name)


def engine_of(resource: LLMDeployment) -> EngineType:
    """Return what the pods of `resource` run."""
    engine = resource.spec.engine
    return (engine.type if engine else None) or EngineType.VLLM


def _deleting(resource: Resource) -> bool:
    return resource.metadata.deletion_timestamp is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """One LLMDeployment with the policy in force."""

    key: Key
    resource: LLMDeployment
    policy: EffectivePolicy | None
    error: str | None

    @classmethod
    def of(
        cls,
        view: WorldView,
        resource: LLMDeployment,
        policies: Mapping[Key, ServingPolicySpec],
    ) -> "_Found":
        policy, error = None, None
        try:
            policy = resolve(resource.spec, _named_policy(view, resource, policies))
        except InvalidInput as problem:
            error = str(problem)
        return cls(key=_key(resource), resource=resource, policy=policy, error=error)


def _named_policy(
    view: WorldView, resource: LLMDeployment, policies: Mapping[Key, ServingPolicySpec]
) -> ServingPolicySpec | None:
    name = resource.spec.policy_ref
    if name is None:
        return None
    namespace = resource.metadata.namespace
    found = policies.get(Key(namespace=namespace, name=name))
    if found is not None:
        return found
    key = ObjectKey(kind=Kind.SERVING_POLICY, namespace=namespace, name=name)
    broken = next((each.message for each in view.broken if each.key == key), None)
    if broken is not None:
        raise InvalidInput("spec.policyRef", f"{key} cannot be used ({broken})", "Correct it")
    raise InvalidInput("spec.policyRef", f"there is no {key}", "Create it, or remove policyRef")


class _Replicas:
    """Child Deployments and pods, by the LLMDeployment that they serve."""

    def __init__(self, view: WorldView) -> None:
        self._children: dict[Key, list[ChildFacts]] = defaultdict(list)
        self._pods: dict[Key, list[PodFacts]] = defaultdict(list)
        self._departed: dict[Key, set[str]] = defaultdict(set)
        self._refusals = view.refusals
        self._noticed = frozenset(node.name for node in view.nodes if node.notice is not None)
        for child in view.children:
            self._children[Key(namespace=child.namespace, name=child.deployment)].append(child)
        for pod in view.pods:
            if pod.deployment is not None:
                self._pods[Key(namespace=pod.namespace, name=pod.deployment)].append(pod)
        for (namespace, stem), name in view.departed.items():
            self._departed[Key(namespace=namespace, name=name)].add(stem)

    def pods(self, key: Key) -> tuple[PodFacts, ...]:
        return tuple(self._pods.get(key, ()))

    def departed(self, key: Key) -> frozenset[str]:
        return frozenset(self._departed.get(key, ()))

    def variants(self, key: Key, uid: str, now: float) -> tuple[VariantState, ...]:
        """Return the variants of one deployment, sorted by pool and parallelism.

        Where a child is gone, or is another deployment's, but its pods live, they are the
        variant: replicas that run must not look like none.
        """
        children = {
            child.shape: child
            for child in self._children.get(key, ())
            if not child.deleting and child.owner_uid in (None, uid)
        }
        pods: dict[ReplicaShape, list[PodFacts]] = defaultdict(list)
        for pod in self._pods.get(key, ()):
            if pod.shape is not None and not pod.finished:
                pods[pod.shape].append(pod)
        shapes = sorted(
            children.keys() | pods.keys(),
            key=lambda shape: (
                shape.pool,
                shape.parallelism.tensor,
                shape.parallelism.pipeline,
            ),
        )
        return tuple(
            _variant(
                shape,
                children.get(shape),
                pods.get(shape, []),
                refusals=self._refusals,
                noticed=self._noticed,
                now=now,
            )
            for shape in shapes
        )


def _variant(
    shape: ReplicaShape,
    child: ChildFacts | None,
    pods: Sequence[PodFacts],
    *,
    refusals: Mapping[tuple[str, str], str],
    noticed: frozenset[str],
    now: float,
) -> VariantState:
    staying = [pod for pod in pods if not pod.terminating]
    ready = [pod for pod in staying if pod.ready_since is not None]
    youngest = max(ready, key=lambda pod: pod.ready_since or 0.0, default=None)
    since = sorted(
        pod.unschedulable_since for pod in staying if pod.unschedulable_since is not None
    )
    # In a pool that is full a successor waits until its predecessor has ended: that is no shortage.
    waiting = since[: max(0, len(since) - sum(_gives_way(pod, now) for pod in pods))]
    refused = (refusals.get((pod.namespace, pod.name)) for pod in staying)
    return VariantState(
        pool=shape.pool,
        parallelism=shape.parallelism,
        replicas=len(staying) if child is None else child.replicas,
        ready=len(ready),
        pods=len(pods),
        unplaced=sum(pod.node is None for pod in pods),
        unschedulable=len(waiting),
        unschedulable_s=max((max(0.0, now - start) for start in waiting), default=0.0),
        refusal=next(filter(None, refused), None) if waiting else None,
        noticed=sum(pod.node in noticed for pod in pods),
        going=sum(pod.node in noticed for pod in staying),
        youngest_ready_s=_between(youngest.ready_since, now) if youngest else None,
        placed_s=_between(youngest.created, youngest.placed_since) if youngest else None,
        image_s=_between(youngest.placed_since, youngest.started_since) if youngest else None,
        loaded_s=_between(youngest.placed_since, youngest.ready_since) if youngest else None,
    )


def _gives_way(pod: PodFacts, now: float) -> bool:
    """Return whether a pod is about to give its devices back; not if it is stuck in its end."""
    placed = pod.node is not None and not pod.finished
    return placed and pod.gone_by is not None and now < pod.gone_by + ENDING_S


def _between(start: float | None, end: float | None) -> float | None:
    """Return the seconds between two times of one clock or two, never fewer than none."""
    return None if start is None or end is None else max(0.0, end - start)
