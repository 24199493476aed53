"""The conditions of an LLMDeployment: what the planner found, and what became of writing it."""

import re
from collections.abc import Iterable, Sequence

from trimtab.actuate.apply import Failure, Outcome
from trimtab.api.conditions import Condition, ConditionStatus, ConditionType, Reason, merge
from trimtab.models.plan import Decision, Why
from trimtab.models.snapshot import DeploymentState

MAX_MESSAGE = 1024
_FIGURE = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_OURS = frozenset(ConditionType)

_Found = tuple[str, bool | None, str, str]
"""Type, status, reason and message of a condition."""


def conditions_of(
    state: DeploymentState, decision: Decision, outcome: Outcome, when: str
) -> list[Condition]:
    """Return every condition that holds, in their fixed order.

    Args:
        state: The deployment and its replicas as they are.
        decision: What was decided for it.
        outcome: What became of writing it.
        when: Now, as a Kubernetes timestamp.
    """
    facts = {fact.type: fact for fact in decision.facts}
    stalled = facts.pop(ConditionType.STALLED, None)
    ready = _ready(state, decision, outcome)
    result: list[_Found] = [ready]
    transient = [failure for failure in outcome.failures if not failure.refused]
    refused = [failure for failure in outcome.failures if failure.refused]
    if refused:
        result.append((ConditionType.STALLED, True, Reason.CHILD_REJECTED, _failures(refused)))
    elif stalled is not None and stalled.status:
        result.append((ConditionType.STALLED, True, stalled.reason, stalled.message))
    elif transient:
        result.append((ConditionType.RECONCILING, True, Reason.MOVING, _failures(transient)))
    elif not ready[1] and ready[2] is Reason.REPLICAS_NOT_READY:
        result.append((ConditionType.RECONCILING, True, ready[2], ready[3]))
    result += [(fact.type, fact.status, fact.reason, fact.message) for fact in facts.values()]
    return [
        Condition(
            type=kind,
            status=_status(status),
            reason=reason,
            message=message[:MAX_MESSAGE],
            last_transition_time=when,
            observed_generation=decision.generation,
        )
        for kind, status, reason, message in result
    ]


def settle(old: Sequence[Condition], new: Sequence[Condition], *, refresh: bool) -> list[Condition]:
    """Return `new` with the times of `old`, and with its messages where only figures differ.

    Args:
        old: The conditions as published.
        new: The conditions as they are.
        refresh: Take the new figures all the same.
    """
    before = {condition.type: condition for condition in old}
    result = merge(old, new)
    if refresh:
        return result
    return [
        condition.model_copy(update={"message": before[condition.type].message})
        if condition.type in before and _same_but_figures(before[condition.type], condition)
        else condition
        for condition in result
    ]


def turned(old: Iterable[Condition], new: Iterable[Condition]) -> bool:
    """Return whether a condition of ours appeared, went, or changed its status or reason."""
    before = {(item.type, item.status, item.reason) for item in old if item.type in _OURS}
    after = {(item.type, item.status, item.reason) for item in new}
    return before != after


def _ready(state: DeploymentState, decision: Decision, outcome: Outcome) -> _Found:
    kind = ConditionType.READY
    decided, serving = replicas(state, decision)
    refused = [failure for failure in outcome.failures if failure.refused]
    counts = f"{serving} of {decided} replicas serve"
    if decision.why is Why.INVALID:
        return kind, False, Reason.INVALID_SPEC, decision.message
    if decision.why is Why.NO_CANDIDATE and serving == 0:
        return kind, False, Reason.NO_FEASIBLE_CANDIDATE, decision.message
    if refused:
        return kind, False, Reason.CHILD_REJECTED, f"{counts}. {_failures(refused)}"
    if decided > 0 and serving >= decided:
        return kind, True, Reason.SERVING, f"All {decided} replicas serve"
    if not decision.write:
        reason = Reason.PAUSED if state.paused else Reason.RECOMMENDING
        return kind, False, reason, f"{counts}; nothing is touched"
    if decided == 0 and decision.wanted_replicas:
        return kind, False, Reason.CAPACITY_SHORT, decision.message
    if decided == 0:
        return kind, True, Reason.SCALED_TO_ZERO, "No replica is wanted"
    return kind, False, Reason.REPLICAS_NOT_READY, counts


def replicas(state: DeploymentState, decision: Decision) -> tuple[int, int]:
    """Return how many replicas are decided, and how many of those serve."""
    ready = {(item.pool, item.parallelism): item.ready for item in state.variants}
    decided = sum(target.replicas for target in decision.targets)
    serving = sum(
        min(target.replicas, ready.get((target.pool, target.parallelism), 0))
        for target in decision.targets
    )
    return decided, serving


def _failures(failures: Iterable[Failure]) -> str:
    return ". ".join(f"{failure.target}: {failure.message}" for failure in failures)


def _same_but_figures(old: Condition, new: Condition) -> bool:
    return (
        old.status == new.status
        and old.reason == new.reason
        and _FIGURE.sub("#", old.message) == _FIGURE.sub("#", new.message)
    )


def _status(status: bool | None) -> ConditionStatus:
    if status is None:
        return ConditionStatus.UNKNOWN
    return ConditionStatus.TRUE if status else ConditionStatus.FALSE
