"""Trimtab itself as a policy: the operator's own `plan` on what the operator would have seen.

`TrimtabPolicy` gives it all signals. `ReducedPolicy` gives it only what any simulator or load
balancer has, through the adapter for those (`adapter`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from trimtab.config import OperatorConfig
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision
from trimtab.models.snapshot import Key, Snapshot
from trimtab.planner.plan import plan
from trimtab.simulate.adapter import Scaler, Seen
from trimtab.simulate.collected import collected, written
from trimtab.simulate.policy import Choice, FleetView, Reason, ReplicaView, Variant
from trimtab.simulate.statuses import ReplicaStatus, Status

_NAME = "trimtab"


@dataclass(slots=True, kw_only=True)
class TrimtabPolicy:
    """The operator's decision: 15 s after the last, or half a second after something has changed.

    What its own writes change counts, too: a pod that is made wakes the operator.
    """

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
        loads = {each.key: each.load() for each in view.deployments}
        return self._planned(view, loads)

    def _planned(self, view: FleetView, loads: Mapping[Key, ObservedLoad]) -> Choice:
        found = plan(snapshot_at(self.base, view, loads, self.memory), self.config.planner)
        self.memory, self.decisions = found.memory, found.decisions
        wanted: dict[Variant, int] = {}
        for decision, deployment in zip(found.decisions, view.deployments, strict=True):
            wanted |= written(decision) if decision.write else deployment.wanted
        return Choice(
            replicas=wanted,
            reasons=_reasons(found.decisions),
        )


@dataclass(slots=True, kw_only=True)
class ReducedPolicy:
    """The same with nothing but arrival counts, requests in flight and states of replicas."""

    scaler: Scaler
    """Fresh, for it remembers."""
    name: str = "trimtab-reduced"
    interval_s: float = field(default_factory=lambda: OperatorConfig().period_s)
    debounce_s: float | None = field(default_factory=lambda: OperatorConfig().debounce_s)

    def decide(self, view: FleetView) -> Choice:
        """Return what the operator would write if that were all it saw."""
        answer = self.scaler.decide_all(
            view.now,
            {
                str(each.key): Seen(
                    arrivals=len(each.arrivals),
                    in_flight=each.in_flight,
                    replicas=[_status(pod, view.now) for pod in each.replicas],
                )
                for each in view.deployments
            },
        )
        return Choice(
            replicas={
                self.scaler.variants[each.key][label]: count
                for each in view.deployments
                for label, count in answer[str(each.key)].items()
            },
            reasons=_reasons(self.scaler.decisions),
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
            collected(
                replace(state, load=loads[state.key]),
                deployments[state.key].wanted,
                deployments[state.key].replicas,
            )
            for state in base.deployments
        ),
    )


def _reasons(decisions: Iterable[Decision]) -> dict[Key, Reason]:
    return {each.key: Reason(why=each.why.value, message=each.message) for each in decisions}


def _status(pod: ReplicaView, now: float) -> ReplicaStatus:
    """Return what a load balancer knows of a pod."""
    if pod.terminating:
        status, age_s = Status.STOPPING, 0.0
    elif pod.ready_s is not None:
        status, age_s = Status.READY, pod.ready_s
    elif pod.unschedulable:
        status, age_s = Status.UNSCHEDULABLE, pod.age_s
    else:
        status, age_s = Status.STARTING, pod.age_s if pod.placed_s is None else pod.placed_s
    return ReplicaStatus(pod.id, status, now - age_s, pod.variant.label)
