"""ServingPolicy: a named latency, cost and scaling policy that many deployments refer to.

No field here has a schema default: the API server would write it into the deployment, and it would
then win over the policy that the deployment refers to. `models/policy.py` fills the defaults in.
"""

from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel, Duration, Money, ObjectName, Resource
from trimtab.api.columns import AGE, Column
from trimtab.api.lists import Keyed
from trimtab.api.rules import Rule, lasting, ordered, positive
from trimtab.units import parse_duration


class Objective(ApiEnum):
    """What is best when several fleets meet the targets."""

    MINIMIZE_COST = "MinimizeCost"
    MINIMIZE_LATENCY = "MinimizeLatency"
    MINIMIZE_ENERGY = "MinimizeEnergy"
    MINIMIZE_CARBON = "MinimizeCarbon"


class CapacityType(ApiEnum):
    """How a node is bought."""

    ON_DEMAND = "OnDemand"
    SPOT = "Spot"
    RESERVED = "Reserved"


def _not_longer(first: str | None, second: str | None) -> bool:
    return first is None or second is None or parse_duration(first) <= parse_duration(second)


class LatencyPolicy(ApiModel):
    """Latency targets, each at the percentile."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="endToEnd",
            cel=(
                "!has(self.endToEnd) || !has(self.timeToFirstToken)"
                " || duration(self.timeToFirstToken) <= duration(self.endToEnd)"
            ),
            holds=lambda self: _not_longer(self.time_to_first_token, self.end_to_end),
            message="must not be shorter than timeToFirstToken, which is a part of it",
        ),
        Rule(
            field="endToEnd",
            cel=(
                "!has(self.endToEnd) || !has(self.interTokenLatency)"
                " || duration(self.interTokenLatency) <= duration(self.endToEnd)"
            ),
            holds=lambda self: _not_longer(self.inter_token_latency, self.end_to_end),
            message="must not be shorter than interTokenLatency, which is a part of it",
        ),
    )

    percentile: int | None = Field(default=None, ge=50, le=99)
    """Share of requests, in percent, that must meet each target. Default: 95."""
    time_to_first_token: Annotated[Duration, lasting("1ms", "1h")] | None = None
    """Longest time from a request to its first token (TTFT), such as 800ms. Default: no target."""
    inter_token_latency: Annotated[Duration, lasting("1ms", "1m")] | None = None
    """Longest mean time between the tokens of an answer (ITL), such as 50ms. Default: none."""
    end_to_end: Annotated[Duration, lasting("1ms", "24h")] | None = None
    """Longest time from a request to its last token (E2E), such as 20s. Default: no target."""

    @property
    def has_target(self) -> bool:
        """Whether there is a target at all."""
        targets = (self.time_to_first_token, self.inter_token_latency, self.end_to_end)
        return any(target is not None for target in targets)


class Baseline(ApiModel):
    """The fleet that savings are measured against."""

    pool: ObjectName
    """Name of the AcceleratorPool of the baseline."""
    replicas: int = Field(ge=1, le=10000)
    """Number of its replicas."""


class CostPolicy(ApiModel):
    """What may be spent, and on what."""

    objective: Objective | None = None
    """What is best when several fleets meet the targets. Default: MinimizeCost."""
    capacity_types: (
        Annotated[list[CapacityType], Field(min_length=1, max_length=3), Keyed()] | None
    ) = None
    """How nodes may be bought. Default: OnDemand and Reserved."""
    max_per_hour: Annotated[Money, positive(most=1000000)] | None = None
    """Most that this deployment may cost, in $/h, such as "150". Default: no limit."""
    baseline: Baseline | None = None
    """The fleet that savings are measured against. Default: the best fixed on-demand fleet."""


class ScalingPolicy(ApiModel):
    """Bounds and pace of scaling."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        ordered("minReplicas", "maxReplicas"),
        ordered("fallbackReplicas", "maxReplicas"),
    )

    min_replicas: int | None = Field(default=None, ge=0, le=10000)
    """Fewest replicas over all variants while it serves; 0 counts as 1 then. Default: 1."""
    max_replicas: int | None = Field(default=None, ge=1, le=10000)
    """Most replicas over all variants. Default: 10, or a larger minReplicas or fallbackReplicas."""
    fallback_replicas: int | None = Field(default=None, ge=1, le=10000)
    """Fewest replicas once demand has been unknown for 3m, as without Prometheus. Default: none."""
    scale_to_zero_after: Annotated[Duration, lasting("1s", "720h")] | None = None
    """Idle time after which no replica is kept, whatever minReplicas says. Default: never."""
    scale_down_window: Annotated[Duration, lasting("0s", "24h")] | None = None
    """Time over which demand must have been low before replicas go, such as 10m. Default: 5m, of
    which less counts where demand does not come back, and three times as much where it leaps."""


class ServingPolicySpec(ApiModel):
    """The policy."""

    latency: LatencyPolicy | None = None
    """Latency targets. Default: none."""
    cost: CostPolicy | None = None
    """Cost policy. Default: the cheapest on-demand fleet, without a limit."""
    scaling: ScalingPolicy | None = None
    """Bounds and pace of scaling. Default: 1 to 10 replicas."""


class ServingPolicy(Resource):
    """A named latency, cost and scaling policy that many deployments refer to."""

    KIND: ClassVar[str] = "ServingPolicy"
    PLURAL: ClassVar[str] = "servingpolicies"
    SINGULAR: ClassVar[str] = "servingpolicy"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("spol",)
    NAMESPACED: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(
            name="TTFT",
            path=".spec.latency.timeToFirstToken",
            description="Longest time to the first token.",
        ),
        Column(
            name="ITL",
            path=".spec.latency.interTokenLatency",
            description="Longest mean time between two tokens.",
        ),
        Column(
            name="E2E",
            path=".spec.latency.endToEnd",
            description="Longest time to the last token.",
        ),
        Column(
            name="Percentile",
            path=".spec.latency.percentile",
            description="Share of requests that must meet each target.",
            kind="integer",
        ),
        Column(
            name="Max-$/h",
            path=".spec.cost.maxPerHour",
            description="Most that a deployment may cost, in $/h.",
        ),
        Column(
            name="Min",
            path=".spec.scaling.minReplicas",
            description="Fewest replicas.",
            kind="integer",
        ),
        Column(
            name="Max",
            path=".spec.scaling.maxReplicas",
            description="Most replicas.",
            kind="integer",
        ),
        AGE,
        Column(
            name="Objective",
            path=".spec.cost.objective",
            description="What is best when several fleets meet the targets.",
            wide=True,
        ),
    )

    spec: ServingPolicySpec
    """The policy."""
