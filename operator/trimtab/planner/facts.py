"""The conditions of one decision, as the planner sees them."""

from trimtab.api.conditions import ConditionType, Reason
from trimtab.api.llmdeployment import Mode
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.plan import Fact, Why
from trimtab.models.signals import Missing
from trimtab.models.snapshot import DeploymentState
from trimtab.planner import texts
from trimtab.planner.evidence import Evidence, believed, evidence_of, over_target
from trimtab.planner.outcome import Outcome, unplaced

_UNKNOWN = frozenset({Reason.NO_REPLICAS, Reason.NO_METRICS_SOURCE})
"""Reasons for which metrics are neither there nor at fault."""


def facts_of(outcome: Outcome) -> tuple[Fact, ...]:
    """Return the facts of a deployment that was decided on."""
    case = outcome.case
    facts = [
        metrics(case.evidence, case.state.load.note),
        _capacity(outcome),
        slo(case.state.load, case.policy.targets),
        _optimized(outcome),
    ]
    if outcome.why is Why.NO_CANDIDATE:
        text = unplaced(case)
        facts.append(_fact(ConditionType.STALLED, True, Reason.NO_FEASIBLE_CANDIDATE, text))
    return tuple(facts)


def inert_facts(state: DeploymentState, why: Why, message: str) -> tuple[Fact, ...]:
    """Return the facts of a deployment that is paused or cannot be followed."""
    targets = state.policy.targets if state.policy else LatencyTargets()
    reason = Reason.PAUSED if why is Why.PAUSED else Reason.INVALID_SPEC
    facts = [
        metrics(evidence_of(state, targets), state.load.note),
        _fact(ConditionType.CAPACITY_AVAILABLE, None, reason, message),
        slo(state.load, targets),
        _fact(ConditionType.OPTIMIZED, False, reason, message),
    ]
    if why is Why.INVALID:
        facts.append(_fact(ConditionType.STALLED, True, reason, message))
    return tuple(facts)


def metrics(evidence: Evidence, note: str | None) -> Fact:
    """Return whether the signals can be acted on; `note` is what else there is to know of them."""
    status = None if evidence.reason in _UNKNOWN else evidence.fresh
    message = f"{evidence.message} ({note})" if note else evidence.message
    return _fact(ConditionType.METRICS_AVAILABLE, status, evidence.reason, message)


def slo(load: ObservedLoad, targets: LatencyTargets) -> Fact:
    """Return whether the measured latencies are within the targets."""
    kind = ConditionType.SLO_MET
    if not targets.any:
        return _fact(kind, True, Reason.NO_TARGETS, "The policy has no latency target")
    signals = [
        signal
        for target, signal in (
            (targets.ttft_s, load.ttft_s),
            (targets.itl_s, load.itl_s),
            (targets.e2e_s, load.e2e_s),
        )
        if target is not None
    ]
    late = over_target(load, targets)
    if late:
        return _fact(kind, False, Reason.OVER_TARGET, "; ".join(late))
    if all(believed(signal) is not None for signal in signals):
        return _fact(kind, True, Reason.WITHIN_TARGETS, "Every target is met")
    idle = believed(load.arrival_rps) == 0
    if idle and all(isinstance(signal, Missing) for signal in signals):
        return _fact(kind, None, Reason.NO_TRAFFIC, "No request arrived")
    return _fact(kind, None, Reason.LATENCY_UNKNOWN, "The latencies could not be measured")


def _capacity(outcome: Outcome) -> Fact:
    kind = ConditionType.CAPACITY_AVAILABLE
    if outcome.why is Why.NO_CANDIDATE:
        return _fact(kind, False, Reason.NO_FEASIBLE_CANDIDATE, unplaced(outcome.case))
    if outcome.short_reason is None:
        return _fact(kind, True, Reason.CAPACITY_FOUND, "The pools hold what was decided")
    return _fact(kind, False, outcome.short_reason, outcome.short_message)


def _optimized(outcome: Outcome) -> Fact:
    kind, case = ConditionType.OPTIMIZED, outcome.case
    if case.policy.mode is Mode.RECOMMEND:
        text = f"Recommended: {texts.fleet(case, outcome.targets)}"
        return _fact(kind, False, Reason.RECOMMENDING, text)
    if outcome.why in (Why.DOUBT, Why.NO_CANDIDATE):
        return _fact(kind, False, Reason.HOLDING, case.evidence.message)
    if outcome.short_reason is not None:
        return _fact(kind, False, outcome.short_reason, outcome.short_message)
    serving = sum(outcome.targets.values()) == sum(p.ready for p in case.running) and all(
        place.ready == outcome.targets[place.key] for place in case.running
    )
    if outcome.changed or not serving:
        text = f"On the way to {texts.fleet(case, outcome.targets)}"
        return _fact(kind, False, Reason.MOVING, text)
    return _fact(kind, True, Reason.OPTIMAL, f"Runs {texts.fleet(case, outcome.targets)}")


def _fact(kind: ConditionType, status: bool | None, reason: Reason, message: str) -> Fact:
    return Fact(type=kind, status=status, reason=reason, message=message)
