"""ServingPolicy: a named latency, cost and scaling policy that many deployments refer to.

No field here has a schema default: the API server would write it into the deployment, and it would
then win over the policy that the deployment refers to. `models/policy.py` fills the defaults in.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiModel, Duration, Money, ObjectName, Resource


class Objective(StrEnum):
    """What is best when several fleets meet the targets."""

    MINIMIZE_COST = "MinimizeCost"
    MINIMIZE_LATENCY = "MinimizeLatency"


class CapacityType(StrEnum):
    """How a node is bought."""

    ON_DEMAND = "OnDemand"
    SPOT = "Spot"
    RESERVED = "Reserved"


class LatencyPolicy(ApiModel):
    """Latency targets, each at the percentile."""

    percentile: int | None = Field(default=None, ge=50, le=99)
    """Share of requests, in percent, that must meet each target. Default: 95."""
    time_to_first_token: Duration | None = None
    """Longest time from a request to its first token (TTFT)."""
    inter_token_latency: Duration | None = None
    """Longest gap between two tokens of an answer (ITL)."""
    end_to_end: Duration | None = None
    """Longest time from a request to its last token (E2E)."""


class Baseline(ApiModel):
    """The fleet that savings are measured against."""

    pool: ObjectName
    """The AcceleratorPool of the baseline."""
    replicas: Annotated[int, Field(ge=1, le=10000)]
    """Its replicas."""


class CostPolicy(ApiModel):
    """What may be spent, and on what."""

    objective: Objective | None = None
    """What is best when several fleets meet the targets. Default: MinimizeCost."""
    capacity_types: list[CapacityType] | None = Field(default=None, min_length=1, max_length=3)
    """How nodes may be bought. Default: OnDemand and Reserved."""
    max_per_hour: Money | None = None
    """Most that this deployment may cost, in $/h. Default: no limit."""
    baseline: Baseline | None = None
    """The fleet that savings are measured against. Default: the best fixed on-demand fleet."""


class ScalingPolicy(ApiModel):
    """Bounds and pace of scaling."""

    min_replicas: int | None = Field(default=None, ge=0, le=10000)
    """Fewest replicas over all variants. Default: 1."""
    max_replicas: int | None = Field(default=None, ge=1, le=10000)
    """Most replicas over all variants. Default: 10."""
    scale_to_zero_after: Duration | None = None
    """Idle time after which no replica is kept; needs minReplicas 0. Default: never."""
    scale_down_window: Duration | None = None
    """Time over which demand must have been low before replicas go. Default: 5m."""


class ServingPolicySpec(ApiModel):
    """The policy."""

    latency: LatencyPolicy | None = None
    """Latency targets."""
    cost: CostPolicy | None = None
    """Cost policy."""
    scaling: ScalingPolicy | None = None
    """Bounds and pace of scaling."""


class ServingPolicy(Resource):
    """A named latency, cost and scaling policy."""

    KIND: ClassVar[str] = "ServingPolicy"
    PLURAL: ClassVar[str] = "servingpolicies"
    SINGULAR: ClassVar[str] = "servingpolicy"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("spol",)
    NAMESPACED: ClassVar[bool] = True

    spec: ServingPolicySpec
    """The policy."""
