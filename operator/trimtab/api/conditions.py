"""Condition types and their reasons, each with its meaning, and how a condition list changes."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel, Generation
from trimtab.api.lists import Keyed


class ConditionStatus(ApiEnum):
    """Truth of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """What a condition speaks of."""

    READY = "Ready"
    """The model serves with the replicas that were decided."""
    METRICS_AVAILABLE = "MetricsAvailable"
    """The signals that the policy needs are fresh and complete."""
    CAPACITY_AVAILABLE = "CapacityAvailable"
    """The pools hold what was decided."""
    SLO_MET = "SLOMet"
    """The measured latencies are within the targets."""
    OPTIMIZED = "Optimized"
    """The running fleet is the one that the last decision asks for."""
    RECONCILING = "Reconciling"
    """Work is going on; present only while true."""
    STALLED = "Stalled"
    """Only a person can help; present only while true."""
    WITHIN_BUDGET = "WithinBudget"
    """A FleetBudget holds nothing back."""


class Reason(StrEnum):
    """Why a condition is what it is. Each has a row in docs/troubleshooting.md."""

    PENDING = "Pending"
    """The controller has not looked at the object yet."""
    SERVING = "Serving"
    """All decided replicas serve."""
    SCALED_TO_ZERO = "ScaledToZero"
    """No replica is wanted and none runs."""
    REPLICAS_NOT_READY = "ReplicasNotReady"
    """Some decided replicas do not serve yet."""
    NO_FEASIBLE_CANDIDATE = "NoFeasibleCandidate"
    """No pool can serve this model within its targets."""
    INVALID_SPEC = "InvalidSpec"
    """The spec contradicts itself or refers to something that does not exist."""
    RECOMMENDING = "Recommending"
    """Mode Recommend: the decision is published and nothing is touched."""
    PAUSED = "Paused"
    """The pause annotation is set."""
    METRICS_FRESH = "MetricsFresh"
    """All needed signals are fresh."""
    METRICS_MISSING = "MetricsMissing"
    """A needed signal does not exist."""
    METRICS_STALE = "MetricsStale"
    """A needed signal is too old."""
    METRICS_PARTIAL = "MetricsPartial"
    """Some replicas do not report."""
    METRICS_INVALID = "MetricsInvalid"
    """A needed signal is not a usable number."""
    PROMETHEUS_UNAVAILABLE = "PrometheusUnavailable"
    """Prometheus does not answer."""
    NO_METRICS_SOURCE = "NoMetricsSource"
    """No Prometheus is configured; the workload prior counts."""
    NO_REPLICAS = "NoReplicas"
    """No replica serves yet, so nothing can be measured."""
    CAPACITY_FOUND = "CapacityFound"
    """The pools hold what was decided."""
    CAPACITY_SHORT = "CapacityShort"
    """The pools hold less than the demand needs."""
    POOL_SHORT = "PoolShort"
    """Pods of a pool stay pending; the decision avoids it for a while."""
    BUDGET_REACHED = "BudgetReached"
    """The cost cap holds replicas back."""
    MAX_REPLICAS_REACHED = "MaxReplicasReached"
    """maxReplicas holds replicas back."""
    WITHIN_TARGETS = "WithinTargets"
    """The measured latencies are within the targets."""
    OVER_TARGET = "OverTarget"
    """A measured latency is over its target."""
    NO_TARGETS = "NoTargets"
    """The policy has no latency target."""
    NO_TRAFFIC = "NoTraffic"
    """No request arrived, so nothing was measured."""
    LATENCY_UNKNOWN = "LatencyUnknown"
    """The latencies could not be measured."""
    OPTIMAL = "Optimal"
    """The running fleet is the decided one."""
    MOVING = "Moving"
    """The running fleet is on its way to the decided one."""
    HOLDING = "Holding"
    """The decision is held because a signal cannot be trusted."""
    CHILD_REJECTED = "ChildRejected"
    """The API server refused a child object."""
    IN_USE = "InUse"
    """Nodes of the pool exist and are ready."""
    NO_NODES = "NoNodes"
    """No node of the pool exists at present."""
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    """The catalogue does not know the accelerator and the pool gives no hardware figures."""
    NO_PRICE = "NoPrice"
    """No price is known for the pool, so it takes no part in a decision on cost."""
    ENFORCED = "Enforced"
    """The budget is enforced."""


class Condition(ApiModel):
    """A Kubernetes condition."""

    type: str = Field(min_length=1, max_length=64)
    """What it speaks of."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: str = Field(min_length=1, max_length=64)
    """Why, in one word that never changes its meaning."""
    message: str = Field(default="", max_length=1024)
    """Why, in a sentence for a person."""
    last_transition_time: str = Field(max_length=32, json_schema_extra={"format": "date-time"})
    """When status last changed, in RFC 3339."""
    observed_generation: Generation = -1
    """The generation of the spec that it speaks of."""


Conditions = Annotated[list[Condition], Field(max_length=16), Keyed("type")]

NEVER = "1970-01-01T00:00:00Z"
"""The transition time of a condition that nobody has set yet."""

WAITING = Condition(
    type=ConditionType.READY,
    status=ConditionStatus.UNKNOWN,
    reason=Reason.PENDING,
    message="Waiting for controller",
    last_transition_time=NEVER,
)
"""What the API server says of an object that no controller has looked at."""


def merge(old: Iterable[Condition], new: Iterable[Condition]) -> list[Condition]:
    """Return `new`, keeping each `lastTransitionTime` whose status did not change.

    Conditions that are only in `old` are dropped: the caller lists all that hold.
    """
    before = {condition.type: condition for condition in old}
    result = []
    for condition in new:
        known = before.get(condition.type)
        if known is not None and known.status == condition.status:
            condition = condition.model_copy(
                update={"last_transition_time": known.last_transition_time}
            )
        result.append(condition)
    return result
