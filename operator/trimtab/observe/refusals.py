"""What node autoscalers say of pods that wait: whether a node will come for them.

A pod that stays unschedulable says so by itself, but only after a node could have come. An
autoscaler that has tried knows at once, and tells it in an Event on the pod. Only pods that wait
are asked about, so that nothing is asked while all is well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from trimtab.errors import Unavailable
from trimtab.observe.listing import Client, list_events_of_pod
from trimtab.observe.parse import mapping, text, unix_seconds
from trimtab.observe.world import PodFacts, WorldView

LATE_S = 15.0
"""Time a pod waits until it is asked about: the scheduler is often quicker, and autoscalers look
every ten seconds or so."""
MOST = 20
"""Pods that are asked about at a time, the longest waiting first: one of each variant."""
LONGEST = 200
"""Letters of an autoscaler's sentence that are kept: it lists every node group."""

_COMES = frozenset({"TriggeredScaleUp", "Nominated"})
"""Cluster Autoscaler and Karpenter: a node is on its way (research/ecosystem.md 2.7)."""
_REFUSED = frozenset({"NotTriggerScaleUp", "FailedScaleUp", "NoCompatibleInstanceTypes"})
"""Cluster Autoscaler, that of GKE, and Karpenter: none is."""
_ALSO_OF_SCHEDULER = "FailedScheduling"
"""Karpenter's word for it, which the scheduler uses for what it tries again and again."""
_KARPENTER = "karpenter"

_log = structlog.get_logger(__name__)


def refusal_of(events: Iterable[Mapping[str, Any]]) -> str | None:
    """Return the autoscaler's sentence by which no node comes for a pod with these Events, or None.

    Where several speak, all have to say so by their last word: beside Karpenter, a Cluster
    Autoscaler says of every pod of Karpenter's that it has no group for it.
    """
    last: dict[str, tuple[float, bool, str]] = {}
    for event in events:
        reason, who = text(event.get("reason")), _speaker(event)
        refused = reason in _REFUSED or (reason == _ALSO_OF_SCHEDULER and who == _KARPENTER)
        if not refused and reason not in _COMES:
            continue
        said = _at(event), refused, f"{reason}: {' '.join(text(event.get('message')).split())}"
        # Of two words of one second that a node comes wins: who is wrong then waits as ever.
        if who not in last or (said[0], not said[1]) >= (last[who][0], not last[who][1]):
            last[who] = said
    if not last or not all(refused for _, refused, _ in last.values()):
        return None
    return max(last.values())[2][:LONGEST]


def _speaker(event: Mapping[str, Any]) -> str:
    return text(event.get("reportingComponent")) or text(mapping(event, "source").get("component"))


def _at(event: Mapping[str, Any]) -> float:
    """Return when it was said last: repeated Events are counted in one object."""
    times = (
        event.get("lastTimestamp"),
        mapping(event, "series").get("lastObservedTime"),
        event.get("eventTime"),
        mapping(event, "metadata").get("creationTimestamp"),
    )
    return max((at for each in times if (at := unix_seconds(each)) is not None), default=0.0)


@dataclass(slots=True, kw_only=True)
class Refusals:
    """Asks the API server for the Events of pods that wait."""

    client: Client
    _failed: str = field(default="")
    """Why it could not be asked last: logged once and not in every cycle."""

    def __call__(self, view: WorldView, now: float) -> Mapping[tuple[str, str], str]:
        """Return the sentences by which no node comes, by namespace and name of the pod.

        Empty where nobody says so, and where it cannot be asked: then waiting tells, as ever.
        """
        found: dict[tuple[str, str], str] = {}
        failed = ""
        for pod in _longest_waiting(view.pods, now):
            try:
                events = list_events_of_pod(self.client, pod.namespace, pod.name)
            except Unavailable as error:
                failed = str(error)
                break
            refusal = refusal_of(events)
            if refusal is not None:
                found[pod.namespace, pod.name] = refusal
        if failed and failed != self._failed:
            _log.warning("events of waiting pods cannot be read", error=failed)
        self._failed = failed
        return found


def _longest_waiting(pods: Iterable[PodFacts], now: float) -> list[PodFacts]:
    """Return of each variant the pod that has waited for longest."""
    found: dict[tuple[str, str | None], PodFacts] = {}
    waiting = [
        (pod.unschedulable_since, pod.name, pod)
        for pod in pods
        if pod.unschedulable_since is not None
        and pod.deployment is not None
        and not pod.terminating
        and now - pod.unschedulable_since >= LATE_S
    ]
    for _, _, pod in sorted(waiting, key=lambda one: one[:2]):
        found.setdefault((pod.namespace, pod.variant), pod)
    return list(found.values())[:MOST]
