"""The status of an LLMDeployment: what Trimtab found, decided and did."""

from typing import Annotated

from pydantic import Field

from trimtab.api.base import ApiModel, Count, Generation
from trimtab.api.conditions import Conditions
from trimtab.api.lists import Keyed


class VariantStatus(ApiModel):
    """One variant: the replicas of this model on one pool with one parallelism."""

    name: str = Field(max_length=63)
    """Name of the Deployment."""
    pool: str = Field(max_length=63)
    """The AcceleratorPool."""
    accelerator: str = Field(max_length=63)
    """The accelerator of the pool."""
    tensor_parallel: int = Field(ge=1, le=1024)
    """Number of devices of one replica."""
    desired: Count
    """Number of replicas that the last decision asks for."""
    ready: Count
    """Number of replicas that serve."""
    cost_per_hour: str = Field(max_length=16)
    """Price of the desired replicas, in $/h."""
    provenance: str | None = Field(default=None, max_length=16)
    """Where the request rate of one replica comes from: estimated from data sheets, calibrated by
    its own engines or by a profile, or measured; absent when it is unknown."""
    confidence: str | None = Field(default=None, max_length=8)
    """How sure that rate is, 0 to 1: one less its relative standard error, which costs headroom."""


class RouteBackend(ApiModel):
    """What one variant gets of the requests of a class."""

    service: str = Field(max_length=63)
    """The Service of the variant."""
    weight: int = Field(ge=1, le=100)
    """Requests of the class that go to it, in percent."""


class ClassRouteStatus(ApiModel):
    """Where the gateway shall send the requests of one class."""

    name: str = Field(max_length=63)
    """The class, as spec.workload.classes names it."""
    backends: Annotated[list[RouteBackend], Field(max_length=8), Keyed("service")] = Field(
        default_factory=list
    )
    """Services and their weights, the largest eight; none while no Ready replica serves it."""


class ObservedStatus(ApiModel):
    """What was seen, rounded so that it moves only when a person would act on it."""

    requests_per_second: str | None = Field(default=None, max_length=16)
    """Arrival rate, in requests per second; absent when unknown."""
    input_tokens: Count | None = None
    """Mean prompt length, in tokens; absent when unknown."""
    output_tokens: Count | None = None
    """Mean answer length, in tokens; absent when unknown."""
    source: str = Field(max_length=32)
    """Where the demand comes from: Prometheus, Workload, or Unknown."""
    time_to_first_token: str | None = Field(default=None, max_length=16)
    """Measured TTFT at the policy's percentile; absent when unknown."""
    inter_token_latency: str | None = Field(default=None, max_length=16)
    """Measured inter-token latency at the policy's percentile; absent when unknown."""
    end_to_end: str | None = Field(default=None, max_length=16)
    """Measured end-to-end latency at the policy's percentile; absent when unknown."""
    slo: str | None = Field(default=None, max_length=8)
    """Share of requests within the targets, 0 to 1; absent when unknown."""


class CostStatus(ApiModel):
    """What it costs, and against what that is cheap."""

    per_hour: str = Field(max_length=16)
    """Price of the desired replicas, in $/h."""
    per_million_tokens: str | None = Field(default=None, max_length=16)
    """Price of a million answered tokens at the seen demand, in $."""
    baseline: str | None = Field(default=None, max_length=128)
    """The fleet that the saving is measured against."""
    baseline_per_hour: str | None = Field(default=None, max_length=16)
    """Its price, in $/h."""
    saved: str | None = Field(default=None, max_length=8)
    """Saving against the baseline, such as 38%."""
    price_source: str | None = Field(default=None, max_length=64)
    """Where the prices come from."""
    price_as_of: str | None = Field(default=None, max_length=32)
    """Date of the oldest price used, in ISO 8601."""


class EnergyStatus(ApiModel):
    """What the desired replicas draw and emit at the demand of now: their accelerators alone."""

    watts: str | None = Field(default=None, max_length=16)
    """What they draw, in W. Missing when a part of it is unknown."""
    carbon_grams_per_hour: str | None = Field(default=None, max_length=16)
    """What they emit, in gCO2/h. Missing when a part of it is unknown."""


class RejectedCandidate(ApiModel):
    """A candidate that lost, and why."""

    pool: str = Field(max_length=63)
    """The AcceleratorPool."""
    tensor_parallel: int = Field(ge=1, le=1024)
    """Number of devices of one replica."""
    reason: str = Field(max_length=64)
    """Why it lost, in one word."""
    message: str = Field(max_length=256)
    """Why it lost, in one sentence with the figures."""


class DecisionStatus(ApiModel):
    """The last decision and its reasons."""

    time: str = Field(max_length=32)
    """When it was taken, in RFC 3339."""
    reason: str = Field(max_length=64)
    """What moved it, in one word."""
    message: str = Field(max_length=512)
    """What was decided and why, in one or two sentences."""
    rejected: list[RejectedCandidate] = Field(default_factory=list, max_length=24)
    """The candidates that lost, cheapest first."""


class HistoryEntry(ApiModel):
    """One earlier decision that changed something."""

    time: str = Field(max_length=32)
    """When it was taken, in RFC 3339."""
    reason: str = Field(max_length=64)
    """What moved it, in one word."""
    variants: str = Field(max_length=256)
    """The fleet after it."""


class SummaryStatus(ApiModel):
    """What `kubectl get` prints."""

    model: str = Field(max_length=255)
    """Model name without its organisation."""
    replicas: str = Field(max_length=16)
    """Ready and desired replicas, such as 4/5."""
    variants: str = Field(max_length=256)
    """The fleet, such as h200:3,l40s:2."""


class LLMDeploymentStatus(ApiModel):
    """What Trimtab found, decided and did."""

    observed_generation: Generation = -1
    """The generation of the spec that this status answers."""
    conditions: Conditions = Field(default_factory=list)
    """Ready, MetricsAvailable, CapacityAvailable, SLOMet, Optimized, Reconciling, Stalled."""
    summary: SummaryStatus | None = None
    """What `kubectl get` prints."""
    variants: Annotated[list[VariantStatus], Field(max_length=32), Keyed("name")] = Field(
        default_factory=list
    )
    """The variants, one Deployment each."""
    routes: Annotated[list[ClassRouteStatus], Field(max_length=8), Keyed("name")] | None = None
    """Where each class of requests shall go, with routing BySize. Trimtab writes no route of a
    gateway: what the gateway does must follow this."""
    observed: ObservedStatus | None = None
    """What was seen."""
    cost: CostStatus | None = None
    """What it costs."""
    energy: EnergyStatus | None = None
    """What it draws, where the objective is MinimizeEnergy or MinimizeCarbon."""
    decision: DecisionStatus | None = None
    """The last decision."""
    history: list[HistoryEntry] = Field(default_factory=list, max_length=10)
    """Earlier decisions that changed something, newest first."""
    service: str | None = Field(default=None, max_length=63)
    """The Service over all variants."""
