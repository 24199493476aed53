"""Trimtab itself as a policy: the operator's own `plan` on what the operator would have seen.

`TrimtabPolicy` gives it all signals. `ReducedPolicy` gives it only counts of arrivals, requests in
flight and the states of replicas, which any simulator or load balancer has: the way to drive `plan`
from elsewhere.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trimtab.config import OperatorConfig
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import DeploymentState, Key, Snapshot, VariantState
from trimtab.planner.plan import plan
from trimtab.planner.query import engine_settings
from trimtab.simulate.policy import Choice, DeploymentView, FleetView, Reason, ReplicaView, Variant
from trimtab.simulate.rivals.base import Phase

_NAME = "trimtab"


@dataclass(slots=True, kw_only=True)
class TrimtabPolicy:
    """The operator's decision: every 15 s, and half a second after a pod got Ready or lost."""

    base: Snapshot
    """The manifests, as `planner.offline.snapshot_of` reads them."""
    config: OperatorConfig = field(default_factory=OperatorConfig)
    name: str = _NAME
    memory: PlannerMemory = field(default_factory=PlannerMemory)
    """What the last plan left."""
    decisions: tuple[Decision, ...] = ()
    """The last plan's, with their candidates."""

    @property
    def interval_s(self) -> float:
        """Return the operator's period."""
        return self.config.period_s

    @property
    def debounce_s(self) -> float | None:
        """Return how long the operator gathers events."""
        return self.config.debounce_s

    def decide(self, view: FleetView) -> Choice:
        """Return what the operator would write."""
        loads = {each.key: each.load for each in view.deployments}
        return self._planned(view, loads)

    def _planned(self, view: FleetView, loads: Mapping[Key, ObservedLoad]) -> Choice:
        found = plan(snapshot_at(self.base, view, loads, self.memory), self.config.planner)
        self.memory, self.decisions = found.memory, found.decisions
        wanted: dict[Variant, int] = {}
        for decision, deployment in zip(found.decisions, view.deployments, strict=True):
            wanted |= _written(decision) if decision.write else deployment.wanted
        return Choice(
            replicas=wanted,
            reasons={d.key: Reason(why=d.why.value, message=d.message) for d in found.decisions},
        )


@dataclass(slots=True, kw_only=True)
class ReducedPolicy(TrimtabPolicy):
    """The same with nothing but arrival counts, requests in flight and states of replicas.

    A request is taken to wait when no batch has room for it; lengths are those of the manifest's
    workload, for nobody reports them.
    """

    name: str = "trimtab-reduced"
    _counts: dict[Key, deque[tuple[float, int]]] = field(default_factory=dict)
    """When, and how many requests had arrived since the time before."""

    def decide(self, view: FleetView) -> Choice:
        """Return what the operator would write if that were all it saw."""
        return self._planned(view, {each.key: self._load(each, view) for each in view.deployments})

    def _load(self, deployment: DeploymentView, view: FleetView) -> ObservedLoad:
        window_s, now = self.config.rate_window_s, view.now
        counts = self._counts.setdefault(deployment.key, deque())
        counts.append((now, len(deployment.arrivals)))
        while counts and counts[0][0] <= now - window_s:
            counts.popleft()
        if now <= 0.0:
            return ObservedLoad(arrival_rps=Missing(why="nothing was counted yet"))
        state = next(each for each in self.base.deployments if each.key == deployment.key)
        serving = [each for each in deployment.replicas if _serves(each)]
        if not serving:
            return ObservedLoad(arrival_rps=Missing(why="no ready replica"))
        room = len(serving) * engine_settings(state.spec).max_num_seqs
        in_flight = deployment.in_flight
        return ObservedLoad(
            arrival_rps=Fresh(value=sum(n for _, n in counts) / min(window_s, now)),
            waiting=Fresh(value=float(max(0, in_flight - room))),
            running=Fresh(value=float(min(in_flight, room))),
            window_s=window_s,
        )


def snapshot_at(
    base: Snapshot, view: FleetView, loads: Mapping[Key, ObservedLoad], memory: PlannerMemory
) -> Snapshot:
    """Return what the operator would collect: `base` with the pods, pools and signals of `view`."""
    deployments = {each.key: each for each in view.deployments}
    return replace(
        base,
        now=base.now + view.now,
        pools=view.pools,
        memory=memory,
        deployments=tuple(
            _state(state, deployments[state.key], loads[state.key]) for state in base.deployments
        ),
    )


def _state(
    state: DeploymentState, deployment: DeploymentView, load: ObservedLoad
) -> DeploymentState:
    pods: dict[Variant, list[ReplicaView]] = {variant: [] for variant in deployment.wanted}
    for pod in deployment.replicas:
        pods.setdefault(pod.variant, []).append(pod)
    variants = tuple(
        _variant(variant, deployment.wanted.get(variant, 0), pods[variant])
        for variant in sorted(pods, key=lambda variant: variant.order)
    )
    return replace(state, variants=variants, load=load)


def _variant(variant: Variant, wanted: int, pods: Iterable[ReplicaView]) -> VariantState:
    pods = list(pods)
    ready = [pod for pod in pods if _serves(pod) and pod.ready_s is not None]
    youngest = min(ready, key=lambda pod: pod.ready_s or 0.0, default=None)
    unplaced = [pod.age_s for pod in pods if pod.unschedulable]
    return VariantState(
        pool=variant.pool,
        parallelism=variant.parallelism,
        replicas=wanted,
        ready=len(ready),
        pods=len(pods),
        unschedulable=len(unplaced),
        unschedulable_s=max(unplaced, default=0.0),
        youngest_ready_s=youngest.ready_s if youngest else None,
        placed_s=_between(youngest.age_s, youngest.placed_s) if youngest else None,
        loaded_s=_between(youngest.placed_s, youngest.ready_s) if youngest else None,
    )


def _between(earlier_s: float | None, later_s: float | None) -> float | None:
    """Return the time between two events, given how long ago each was."""
    return None if earlier_s is None or later_s is None else earlier_s - later_s


def _written(decision: Decision) -> dict[Variant, int]:
    return {
        Variant(
            deployment=decision.key, pool=target.pool, parallelism=target.parallelism
        ): target.replicas
        for target in decision.targets
        if target.replicas > 0
    }


def _serves(pod: ReplicaView) -> bool:
    return pod.phase is Phase.READY and not pod.terminating
