"""The policy in force for one deployment: its own fields, its ServingPolicy's, our defaults."""

from dataclasses import dataclass
from typing import TypeVar
from zoneinfo import ZoneInfo

from trimtab.api.demand import ScheduledDemand
from trimtab.api.llmdeployment import (
    LLMDeploymentSpec,
    Mode,
    PlacementSpec,
    Routing,
    WorkloadSpec,
)
from trimtab.api.policy import (
    Baseline,
    CapacityType,
    CostPolicy,
    LatencyPolicy,
    Objective,
    ScalingPolicy,
    ServingPolicySpec,
)
from trimtab.errors import InvalidInput
from trimtab.models.load import LatencyTargets, TokenClass, TokenShape, mix_of
from trimtab.units import parse_decimal, parse_duration

_Policy = TypeVar("_Policy", LatencyPolicy, CostPolicy, ScalingPolicy)

DEFAULT_PERCENTILE = 95
DEFAULT_PRIORITY = 100
DEFAULT_MIN_REPLICAS = 1
DEFAULT_MAX_REPLICAS = 10
DEFAULT_INPUT_TOKENS = 512
DEFAULT_OUTPUT_TOKENS = 256
CLASS_INPUT_CV = 3**-0.5
"""Deviation over the mean of prompts that may have any length up to twice the mean: what a bound
between classes leaves at most where short ones are no rarer than long ones."""
DEFAULT_CAPACITY_TYPES = (CapacityType.ON_DEMAND, CapacityType.RESERVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectivePolicy:
    """What holds for a deployment, with nothing left to look up. Times are seconds."""

    targets: LatencyTargets
    objective: Objective
    capacity_types: tuple[CapacityType, ...]
    max_usd_per_hour: float | None
    baseline: Baseline | None
    min_replicas: int
    max_replicas: int
    fallback_replicas: int = 0
    """Fewest replicas while nothing is known of demand; 0: what runs is held."""
    scale_to_zero_after_s: float | None
    scale_down_window_s: float | None
    """None: the platform's window."""
    placement: PlacementSpec
    shape: TokenShape
    """The prior of the token shape."""
    prior_rps: float | None
    """The prior of the request rate."""
    schedule: tuple[ScheduledDemand, ...] = ()
    """When more is asked than can be seen before; the time zones exist."""
    priority: int
    mode: Mode
    even: bool
    """Whether the router gives each replica the same, whatever it can take."""
    dealt: bool
    """Whether it deals requests out evenly in time, and not at random."""
    classes: tuple[TokenClass, ...] = ()
    """What it tells apart and sends where each weighs least; empty where it tells nothing apart."""


def resolve(spec: LLMDeploymentSpec, policy: ServingPolicySpec | None) -> EffectivePolicy:
    """Return the policy in force: inline fields win over `policy`, which wins over the defaults.

    Raises:
        InvalidInput: The fields contradict each other once they are merged.
    """
    named = policy or ServingPolicySpec()
    latency = _merge("spec.latency", spec.latency or LatencyPolicy(), named.latency)
    cost = _merge("spec.cost", spec.cost or CostPolicy(), named.cost)
    scaling = _merge("spec.scaling", spec.scaling or ScalingPolicy(), named.scaling)
    minimum = DEFAULT_MIN_REPLICAS if scaling.min_replicas is None else scaling.min_replicas
    maximum = scaling.max_replicas
    if maximum is None:
        maximum = max(DEFAULT_MAX_REPLICAS, minimum, scaling.fallback_replicas or 0)
    workload = spec.workload
    classes = _classes(workload)
    return EffectivePolicy(
        targets=LatencyTargets(
            percentile=(latency.percentile or DEFAULT_PERCENTILE) / 100,
            ttft_s=_seconds(latency.time_to_first_token, "spec.latency.timeToFirstToken"),
            itl_s=_seconds(latency.inter_token_latency, "spec.latency.interTokenLatency"),
            e2e_s=_seconds(latency.end_to_end, "spec.latency.endToEnd"),
        ),
        objective=cost.objective or Objective.MINIMIZE_COST,
        capacity_types=tuple(cost.capacity_types or DEFAULT_CAPACITY_TYPES),
        max_usd_per_hour=(
            None
            if cost.max_per_hour is None
            else parse_decimal(cost.max_per_hour, "spec.cost.maxPerHour")
        ),
        baseline=cost.baseline,
        min_replicas=minimum,
        max_replicas=maximum,
        fallback_replicas=scaling.fallback_replicas or 0,
        scale_to_zero_after_s=_seconds(
            scaling.scale_to_zero_after, "spec.scaling.scaleToZeroAfter"
        ),
        scale_down_window_s=_seconds(scaling.scale_down_window, "spec.scaling.scaleDownWindow"),
        placement=spec.placement or PlacementSpec(),
        shape=mix_of(classes) if classes else _shape(workload),
        prior_rps=(
            parse_decimal(workload.requests_per_second, "spec.workload.requestsPerSecond")
            if workload and workload.requests_per_second
            else None
        ),
        schedule=_schedule(spec),
        priority=DEFAULT_PRIORITY if spec.priority is None else spec.priority,
        mode=spec.mode or Mode.AUTO,
        even=spec.routing not in (Routing.LOAD_AWARE, Routing.BY_SIZE),
        dealt=spec.routing not in (None, Routing.EVEN),
        classes=classes if spec.routing is Routing.BY_SIZE else (),
    )


def _shape(workload: WorkloadSpec | None) -> TokenShape:
    given = workload or WorkloadSpec(
        input_tokens=DEFAULT_INPUT_TOKENS, output_tokens=DEFAULT_OUTPUT_TOKENS
    )
    return TokenShape(
        input_tokens=given.input_tokens or DEFAULT_INPUT_TOKENS,
        output_tokens=given.output_tokens or DEFAULT_OUTPUT_TOKENS,
        prefix_hit=_prefix_hit(given),
    )


def _classes(workload: WorkloadSpec | None) -> tuple[TokenClass, ...]:
    """Return the classes that are expected.

    Routers can bound prompts and not answers, so answers vary in each as they do in all traffic.
    """
    given = (workload.classes if workload else None) or ()
    total = sum(one.weight for one in given)
    return tuple(
        TokenClass(
            name=one.name,
            share=one.weight / total,
            shape=TokenShape(
                input_tokens=one.input_tokens,
                output_tokens=one.output_tokens,
                prefix_hit=_prefix_hit(workload),
                input_cv=CLASS_INPUT_CV,
            ),
        )
        for one in given
    )


def _prefix_hit(workload: WorkloadSpec | None) -> float:
    if workload is None or not workload.prefix_hit_ratio:
        return 0.0
    return parse_decimal(workload.prefix_hit_ratio, "spec.workload.prefixHitRatio")


def _schedule(spec: LLMDeploymentSpec) -> tuple[ScheduledDemand, ...]:
    """Return the schedule, whose time zones only the zone database can check."""
    entries = tuple((spec.demand.schedule if spec.demand else None) or ())
    for entry in entries:
        if entry.time_zone is not None:
            _known_zone(entry.time_zone, f"spec.demand.schedule[{entry.name}].timeZone")
    return entries


def _known_zone(name: str, field: str) -> None:
    try:
        ZoneInfo(name)
    # A name of a folder in the database is an OSError, one of none a KeyError.
    except (KeyError, ValueError, OSError) as error:
        raise InvalidInput(
            field, f"there is no time zone {name!r}", "Write one of IANA's, such as Europe/Berlin"
        ) from error


def _merge(field: str, inline: _Policy, named: _Policy | None) -> _Policy:
    """Return `named` with the fields of `inline` over it, which must still obey the API's rules."""
    if named is None:
        return inline
    merged = named.model_copy(update={name: value for name, value in inline if value is not None})
    for rule in merged.RULES:
        if not rule.holds(merged):
            raise InvalidInput(
                f"{field}.{rule.field}",
                f"together with the ServingPolicy it breaks a rule: it {rule.message}",
                "Change it here or in the ServingPolicy",
            )
    return merged


def _seconds(text: str | None, field: str) -> float | None:
    return None if text is None else parse_duration(text, field)
