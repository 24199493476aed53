"""LLMDeployment: one model to serve, its latency and cost policy, its bounds, and the answer."""

import re
from typing import Annotated, ClassVar

from pydantic import Field

from trimtab.api.base import ApiEnum, ApiModel, ObjectName, Resource
from trimtab.api.columns import AGE, MESSAGE, READY, Column
from trimtab.api.demand import DemandSpec, ScheduledDemand, Weekday
from trimtab.api.engine import (
    Adapter,
    CacheVolume,
    EngineSpec,
    EngineType,
    EnvVar,
    SecretKey,
)
from trimtab.api.enginemetrics import EngineMetrics
from trimtab.api.gateway import GatewaySpec, GatewayType
from trimtab.api.lists import Keyed
from trimtab.api.llmdeploymentstatus import (
    ClassRouteStatus,
    CostStatus,
    DecisionStatus,
    EnergyStatus,
    HistoryEntry,
    LLMDeploymentStatus,
    ObservedStatus,
    RejectedCandidate,
    RouteBackend,
    SummaryStatus,
    VariantStatus,
)
from trimtab.api.model import KVCacheDtype, ModelArchitecture, ModelName, ModelSpec, Quantization
from trimtab.api.naming import MAX_DEPLOYMENT_NAME
from trimtab.api.policy import CostPolicy, LatencyPolicy, ScalingPolicy
from trimtab.api.rules import Rule
from trimtab.api.workload import RequestClass, WorkloadSpec

# Everything that stands in an LLMDeployment can be imported from here.
__all__ = [
    "Adapter",
    "CacheVolume",
    "ClassRouteStatus",
    "CostStatus",
    "DecisionStatus",
    "DemandSpec",
    "EnergyStatus",
    "EngineMetrics",
    "EngineSpec",
    "EngineType",
    "EnvVar",
    "GatewaySpec",
    "GatewayType",
    "HistoryEntry",
    "KVCacheDtype",
    "LLMDeployment",
    "LLMDeploymentSpec",
    "LLMDeploymentStatus",
    "Mode",
    "ModelArchitecture",
    "ModelName",
    "ModelSpec",
    "ObservedStatus",
    "PlacementSpec",
    "Quantization",
    "RejectedCandidate",
    "RequestClass",
    "RouteBackend",
    "Routing",
    "ScheduledDemand",
    "SecretKey",
    "SummaryStatus",
    "VariantStatus",
    "Weekday",
    "WorkloadSpec",
]

_DEPLOYMENT_NAME = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
Names = Annotated[list[ObjectName], Field(min_length=1, max_length=32), Keyed()]


class Mode(ApiEnum):
    """How far Trimtab may go with this deployment."""

    RECOMMEND = "Recommend"
    SCALE_UP_ONLY = "ScaleUpOnly"
    AUTO = "Auto"


class Routing(ApiEnum):
    """How requests find their replica."""

    EVEN = "Even"
    IN_TURN = "InTurn"
    LOAD_AWARE = "LoadAware"
    BY_SIZE = "BySize"


class PlacementSpec(ApiModel):
    """Where replicas may land."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="excludePools",
            cel=(
                "!has(self.pools) || !has(self.excludePools)"
                " || !self.pools.exists(pool, pool in self.excludePools)"
            ),
            holds=lambda self: not set(self.pools or ()) & set(self.exclude_pools or ()),
            message="must not name a pool that stands in pools",
        ),
    )

    pools: Names | None = None
    """Only these AcceleratorPools. Default: all."""
    exclude_pools: Names | None = None
    """Never these AcceleratorPools. Default: none."""
    accelerators: Names | None = None
    """Only accelerators of these names, such as nvidia-h100-sxm. Default: all."""
    tensor_parallel: (
        Annotated[
            list[Annotated[int, Field(ge=1, le=64)]], Field(min_length=1, max_length=8), Keyed()
        ]
        | None
    ) = None
    """Only these numbers of devices for one replica. Default: 1, 2, 4 and 8 where they fit."""


class LLMDeploymentSpec(ApiModel):
    """What the user wants. A model and a latency target are enough."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            field="latency",
            cel=(
                "has(self.policyRef) || !has(self.latency)"
                " || has(self.latency.timeToFirstToken) || has(self.latency.interTokenLatency)"
                " || has(self.latency.endToEnd)"
            ),
            holds=lambda self: (
                self.policy_ref is not None or self.latency is None or self.latency.has_target
            ),
            message=(
                "at least one of timeToFirstToken, interTokenLatency and endToEnd must be set"
                " where no policyRef gives one"
            ),
        ),
        Rule(
            field="workload.inputTokens",
            cel=(
                "!has(self.workload) || !has(self.workload.inputTokens)"
                " || !has(self.workload.outputTokens)"
                " || self.workload.inputTokens + self.workload.outputTokens"
                " <= (has(self.model.maxModelLen) ? self.model.maxModelLen : 8192)"
            ),
            holds=lambda self: (
                self.workload is None
                or (self.workload.input_tokens or 0) + (self.workload.output_tokens or 0)
                <= (self.model.max_model_len or 8192)
            ),
            message=(
                "with workload.outputTokens must not be more than model.maxModelLen"
                " (8192 where that is not set)"
            ),
        ),
        Rule(
            field="workload.classes",
            cel=(
                "!has(self.workload) || !has(self.workload.classes)"
                " || self.workload.classes.all(it, it.inputTokens + it.outputTokens"
                " <= (has(self.model.maxModelLen) ? self.model.maxModelLen : 8192))"
            ),
            holds=lambda self: (
                self.workload is None
                or all(
                    one.input_tokens + one.output_tokens <= (self.model.max_model_len or 8192)
                    for one in self.workload.classes or ()
                )
            ),
            message=(
                "inputTokens with outputTokens must not be more than model.maxModelLen"
                " (8192 where that is not set) in any class"
            ),
        ),
        Rule(
            field="routing",
            cel=(
                "!has(self.routing) || self.routing != 'BySize'"
                " || (has(self.workload) && has(self.workload.classes))"
            ),
            holds=lambda self: (
                self.routing is not Routing.BY_SIZE
                or (self.workload is not None and self.workload.classes is not None)
            ),
            message="BySize tells apart what workload.classes names, which must be set",
        ),
        Rule(
            field="engine.adapters",
            cel=(
                "!has(self.engine) || !has(self.engine.adapters) || self.engine.adapters.all(it,"
                " it.name != self.model.name"
                " && (!has(self.model.servedName) || it.name != self.model.servedName))"
            ),
            holds=lambda self: (
                self.engine is None
                or not {self.model.name, self.model.served_name}
                & {adapter.name for adapter in self.engine.adapters or ()}
            ),
            message="no adapter may have the name of the model",
        ),
    )

    model: ModelSpec
    """The model to serve."""
    engine: EngineSpec | None = None
    """The engine that serves it. Default: vLLM with its defaults."""
    gateway: GatewaySpec | None = None
    """The gateway that counts its requests, also while no replica runs.

    Default: none, so that the engines alone tell the demand.
    """
    policy_ref: ObjectName | None = None
    """ServingPolicy in this namespace; what stands here wins over what stands there.

    Default: none.
    """
    latency: LatencyPolicy | None = None
    """Latency targets. Default: those of the policy, else none."""
    cost: CostPolicy | None = None
    """Cost policy. Default: that of the policy, else the cheapest on-demand fleet."""
    scaling: ScalingPolicy | None = None
    """Bounds and pace of scaling. Default: those of the policy, else 1 to 10 replicas."""
    placement: PlacementSpec | None = None
    """Where replicas may land. Default: on every pool that fits."""
    routing: Routing | None = None
    """How requests find their replica: Even, where each gets as many at random, as from a Service;
    InTurn, where each gets as many in turn or where least are open, as from most gateways;
    LoadAware, where each gets what it can take, as by weights; BySize, where the gateway knows
    the class of a request (workload.classes) and sends each class to variants as status.routes
    says, such as an HTTPRoute that matches a header. A mix of fast and slow replicas counts as
    that many slow ones with Even and InTurn; replicas that take turns, or get what they can take,
    can be busier than those that requests reach at random. Default: Even."""
    workload: WorkloadSpec | None = None
    """What is expected until real traffic has been measured. Default: 512 in, 256 out."""
    demand: DemandSpec | None = None
    """What is known of the demand beforehand, such as office hours. Default: nothing."""
    priority: int | None = Field(default=None, ge=0, le=1000)
    """Who comes first when capacity is short; more is more important. Where a pool is full, the
    less important give replicas to the more important, down to one each. Default: 100."""
    mode: Mode | None = None
    """How far Trimtab may go: Recommend only publishes (Off in VPA), ScaleUpOnly never removes.

    Default: Auto.
    """


class LLMDeployment(Resource):
    """A model to serve at its latency targets for the least money."""

    KIND: ClassVar[str] = "LLMDeployment"
    PLURAL: ClassVar[str] = "llmdeployments"
    SINGULAR: ClassVar[str] = "llmdeployment"
    SHORT_NAMES: ClassVar[tuple[str, ...]] = ("llmd",)
    NAMESPACED: ClassVar[bool] = True
    SELECTABLE: ClassVar[tuple[str, ...]] = (".spec.model.name", ".spec.policyRef")
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column(
            name="Model",
            path=".status.summary.model",
            description="The model, without its organisation.",
        ),
        READY,
        Column(
            name="Replicas",
            path=".status.summary.replicas",
            description="Ready and desired replicas.",
        ),
        Column(name="Variants", path=".status.summary.variants", description="The fleet."),
        Column(
            name="SLO",
            path=".status.observed.slo",
            description="Share of requests within the targets.",
        ),
        Column(name="$/h", path=".status.cost.perHour", description="What it costs, in $/h."),
        Column(name="Saved", path=".status.cost.saved", description="Saving against the baseline."),
        AGE,
        Column(name="Mode", path=".spec.mode", description="How far Trimtab may go.", wide=True),
        MESSAGE,
    )
    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            cel=(
                f"size(self.metadata.name) <= {MAX_DEPLOYMENT_NAME}"
                f" && self.metadata.name.matches('{_DEPLOYMENT_NAME}')"
            ),
            holds=lambda self: (
                len(self.metadata.name) <= MAX_DEPLOYMENT_NAME
                and re.fullmatch(_DEPLOYMENT_NAME, self.metadata.name) is not None
            ),
            message=(
                f"metadata.name must have at most {MAX_DEPLOYMENT_NAME} characters, start with a"
                " letter and have no dots, for the Service is named after it"
            ),
        ),
    )

    spec: LLMDeploymentSpec
    """What the user wants."""
    status: LLMDeploymentStatus | None = None
    """What Trimtab found, decided and did."""
