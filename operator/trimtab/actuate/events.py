"""Kubernetes Events: one per transition that a person would want to know of, never one per tick."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimtab.actuate.kinds import EVENT, Document
from trimtab.actuate.status import timestamp
from trimtab.api.base import API_VERSION
from trimtab.api.conditions import ConditionStatus, ConditionType
from trimtab.api.llmdeployment import LLMDeployment
from trimtab.models.snapshot import DeploymentState

MAX_NOTE = 1024
MAX_NAME = 253
COMPONENT = "trimtab"
_BAD = {
    ConditionType.METRICS_AVAILABLE: ConditionStatus.FALSE,
    ConditionType.CAPACITY_AVAILABLE: ConditionStatus.FALSE,
    ConditionType.SLO_MET: ConditionStatus.FALSE,
    ConditionType.WITHIN_BUDGET: ConditionStatus.FALSE,
    ConditionType.STALLED: ConditionStatus.TRUE,
}
"""Conditions whose turns are told, and the status that is bad news."""
_LOST = {ConditionType.METRICS_AVAILABLE, ConditionType.SLO_MET}
"""Of these only a loss is bad news: a new deployment has neither for a while."""
BURST = 20.0
PER_SECOND = 10 / 3600
"""Events of one deployment: a flapping condition must not flood its namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    kind: str
    reason: str
    message: str
    good: bool


@dataclass(slots=True, kw_only=True)
class Allowance:
    """How many Events a deployment may still cause."""

    clock: Callable[[], float]
    """Monotonic seconds."""
    _left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, uid: str) -> bool:
        """Return whether one more Event of the deployment `uid` may be sent now."""
        now = self.clock()
        left, at = self._left.get(uid, (BURST, now))
        left = min(BURST, left + (now - at) * PER_SECOND)
        self._left[uid] = (left - 1 if left >= 1 else left, now)
        return left >= 1

    def keep(self, uids: frozenset[str]) -> None:
        """Forget every deployment that is not one of `uids`."""
        self._left = {uid: left for uid, left in self._left.items() if uid in uids}


def transitions(
    state: DeploymentState, old: Mapping[str, Any], new: Mapping[str, Any], now: float
) -> list[Document]:
    """Return one Event for each transition from one published status to the next.

    A name is made from what happened and when, so the same transition never makes a second one.

    Args:
        state: The deployment.
        old: Its status as it was published before; empty at first.
        new: Its status as it is published now.
        now: Unix seconds.
    """
    return [_event(state, turn, now) for turn in (*_decided(old, new), *_turned(old, new))]


def _decided(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[_Turn]:
    history = new.get("history") or []
    if history and history[:1] != (old.get("history") or [])[:1]:
        decision = new["decision"]
        yield _Turn(
            kind="Decision", reason=decision["reason"], message=decision["message"], good=True
        )


def _turned(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[_Turn]:
    before = {item.get("type"): item for item in old.get("conditions") or ()}
    after = {item["type"]: item for item in new.get("conditions") or ()}
    for kind, bad in _BAD.items():
        was, now = before.get(kind, {}), after.get(kind, {})
        was_bad, now_bad = was.get("status") == bad, now.get("status") == bad
        if was_bad == now_bad or now.get("status") == ConditionStatus.UNKNOWN:
            continue
        if now_bad and kind in _LOST and was.get("status") != ConditionStatus.TRUE:
            continue
        told = now if now else {"reason": was.get("reason", ""), "message": f"No longer {kind}"}
        yield _Turn(kind=kind, reason=told["reason"], message=told["message"], good=not now_bad)


def _event(state: DeploymentState, turn: _Turn, now: float) -> Document:
    stamp = timestamp(now)
    note = turn.message[:MAX_NOTE]
    identity = "\0".join((state.uid, turn.kind, turn.reason, note, stamp))
    suffix = hashlib.sha256(identity.encode()).hexdigest()[:16]
    name = f"{state.key.name[: MAX_NAME - 17]}.{suffix}"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": name, "namespace": state.key.namespace},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": LLMDeployment.KIND,
            "name": state.key.name,
            "namespace": state.key.namespace,
            "uid": state.uid,
        },
        "type": "Normal" if turn.good else "Warning",
        "reason": turn.reason,
        "message": note,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
