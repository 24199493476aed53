"""The status of an LLMDeployment, from what was decided, what is there and what was published."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from trimtab.actuate import figures
from trimtab.actuate.apply import Outcome
from trimtab.actuate.conditions import conditions_of, replicas, settle, turned
from trimtab.actuate.kinds import Document
from trimtab.actuate.manifests import variant_name_of
from trimtab.actuate.routes import published_routes
from trimtab.api.base import API_VERSION
from trimtab.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from trimtab.api.llmdeployment import (
    CostStatus,
    DecisionStatus,
    EnergyStatus,
    HistoryEntry,
    LLMDeployment,
    LLMDeploymentStatus,
    ObservedStatus,
    RejectedCandidate,
    SummaryStatus,
    VariantStatus,
)
from trimtab.api.policy import CapacityType
from trimtab.models.capacity import Pool
from trimtab.models.plan import Decision, VariantTarget, Verdict, Why
from trimtab.models.signals import Signal, at_least
from trimtab.models.snapshot import DeploymentState

MAX_BYTES = 16 * 1024
MAX_REJECTED = 24
MAX_HISTORY = 10
MAX_VARIANTS = 32
FIGURES_S = 60.0
"""Figures alone move the status at most once in this time."""
_TYPES = frozenset(ConditionType)
_LASTING = frozenset(
    {
        Why.INITIAL,
        Why.DEMAND_ROSE,
        Why.SCHEDULED,
        Why.DEMAND_FELL,
        Why.QUEUE_GREW,
        Why.OVER_TARGET,
        Why.BOUNDS,
        Why.CHEAPER_POOL,
        Why.POOL_SHORT,
        Why.POOL_GONE,
        Why.NODE_NOTICE,
        Why.UNFIT,
        Why.IDLE,
        Why.WAKE,
    }
)
"""What moved the fleet last stays readable through the steady ticks that follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One deployment, and all that its status is made from."""

    state: DeploymentState
    decision: Decision
    outcome: Outcome
    old: Document
    """The status as published; may be empty or malformed."""
    now: float
    """Unix seconds."""
    figures_at: float
    """When figures were last published, in Unix seconds; 0 when that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A status to publish, and whether it carries the newest figures."""

    status: dict[str, Any]
    refreshed: bool


def publish(subject: Subject, pools: Mapping[str, Pool]) -> Published:
    """Return the status of one deployment; the published one again where nothing moved."""
    state, decision = subject.state, subject.decision
    before, stamp = _parsed(subject.old), timestamp(subject.now)
    conditions = conditions_of(state, decision, subject.outcome, stamp)
    variants = [_sure(variant, before) for variant in _variants(state, decision)]
    retargeted = _desired(before.variants) != _desired(variants)
    new = DecisionStatus(
        time=stamp,
        reason=decision.why,
        message=decision.message[:512],
        rejected=_rejected(decision),
    )
    observed: ObservedStatus | None = _observed(state, decision)
    cost, energy = _cost(decision), _energy(decision)
    refresh = (
        retargeted
        or turned(before.conditions, conditions)
        or before.observed_generation != decision.generation
        or (
            subject.now - subject.figures_at >= FIGURES_S
            and _moved(
                before,
                LLMDeploymentStatus(observed=observed, cost=cost, energy=energy, decision=new),
            )
        )
    )
    if not refresh:
        observed, cost, energy = before.observed, before.cost, before.energy
    history = before.history
    if retargeted:
        entry = HistoryEntry(time=stamp, reason=decision.why, variants=_fleet(decision, pools))
        history = [entry, *history][:MAX_HISTORY]
    status = LLMDeploymentStatus(
        observed_generation=decision.generation,
        conditions=settle(before.conditions, conditions, refresh=refresh),
        summary=_summary(state, decision, pools),
        variants=variants,
        routes=published_routes(state, decision, before.routes),
        observed=observed,
        cost=cost,
        energy=energy,
        decision=_lasting(before.decision, new, retargeted=retargeted, refresh=refresh),
        history=history,
        service=state.key.name,
    )
    return Published(status=_fitted(status), refreshed=refresh)


def invalid(old: Document, message: str, generation: int, now: float) -> dict[str, Any]:
    """Return the status of an object that cannot be understood: nothing is changed for it.

    Args:
        old: The status as published; what it says of the fleet stays.
        message: What is wrong, and the remedy.
        generation: The generation that was looked at.
        now: Unix seconds.
    """
    before = _parsed(old)
    conditions = [
        Condition(
            type=kind,
            status=status,
            reason=Reason.INVALID_SPEC,
            message=message[:1024],
            last_transition_time=timestamp(now),
            observed_generation=generation,
        )
        for kind, status in (
            (ConditionType.READY, ConditionStatus.FALSE),
            (ConditionType.STALLED, ConditionStatus.TRUE),
        )
    ]
    update = {
        "observed_generation": generation,
        "conditions": settle(before.conditions, conditions, refresh=True),
    }
    return _fitted(before.model_copy(update=update))


def document(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> Document:
    """Return what is applied to the status subresource of the object with this metadata."""
    return {
        "apiVersion": API_VERSION,
        "kind": LLMDeployment.KIND,
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
        "status": dict(status),
    }


def differs(new: Mapping[str, Any], old: Document) -> bool:
    """Return whether `new` must be written over `old`; conditions of others do not count."""
    ours = [item for item in old.get("conditions") or () if item.get("type") in _TYPES]
    return _canonical(new) != _canonical({**old, "conditions": ours})


def timestamp(now: float) -> str:
    """Return Unix seconds as a Kubernetes timestamp."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _parsed(old: Document) -> LLMDeploymentStatus:
    try:
        return LLMDeploymentStatus.model_validate(old)
    except ValidationError:
        return LLMDeploymentStatus()


def _variants(state: DeploymentState, decision: Decision) -> list[VariantStatus]:
    ready = {(item.pool, item.parallelism): item.ready for item in state.variants}
    rates = {(item.pool, item.parallelism): item.capacity for item in decision.candidates}
    found = []
    for target in decision.targets[:MAX_VARIANTS]:
        key = target.pool, target.parallelism
        if target.replicas == 0 and key not in ready:
            continue
        rate = rates.get(key)
        found.append(
            VariantStatus(
                name=variant_name_of(state, target),
                pool=target.pool,
                accelerator=target.accelerator,
                tensor_parallel=target.parallelism.tensor,
                desired=target.replicas,
                ready=ready.get(key, 0),
                cost_per_hour=_price(target),
                provenance=rate.provenance if rate else None,
                confidence=figures.number(1.0 - rate.uncertainty, digits=2) if rate else None,
            )
        )
    return found


def _sure(variant: VariantStatus, before: LLMDeploymentStatus) -> VariantStatus:
    """Return `variant` with the confidence as published, while it has not moved much.

    What a plan says nothing of, such as that of a paused deployment, stays as it was said.
    """
    old = next((item for item in before.variants if item.name == variant.name), None)
    if old is None:
        return variant
    said = variant.provenance is not None
    if said and (
        variant.provenance != old.provenance or figures.moved(old.confidence, variant.confidence)
    ):
        return variant
    return variant.model_copy(update={"provenance": old.provenance, "confidence": old.confidence})


def _summary(
    state: DeploymentState, decision: Decision, pools: Mapping[str, Pool]
) -> SummaryStatus:
    decided, serving = replicas(state, decision)
    return SummaryStatus(
        model=state.spec.model.name.rpartition("/")[2],
        replicas=f"{serving}/{decided}",
        variants=_fleet(decision, pools),
    )


def _fleet(decision: Decision, pools: Mapping[str, Pool]) -> str:
    counts: dict[str, int] = {}
    for target in decision.targets:
        if target.replicas > 0:
            label = _label(target, pools.get(target.pool))
            counts[label] = counts.get(label, 0) + target.replicas
    return ",".join(f"{label}:{count}" for label, count in counts.items())[:256]


def _label(target: VariantTarget, pool: Pool | None) -> str:
    devices = target.parallelism.devices
    size = f"x{devices}" if devices > 1 else ""
    spot = "-s" if pool is not None and pool.capacity_type is CapacityType.SPOT else ""
    return f"{target.accelerator}{size}{spot}"


def _observed(state: DeploymentState, decision: Decision) -> ObservedStatus:
    load, demand = state.load, decision.demand
    return ObservedStatus(
        requests_per_second=figures.number(
            demand.rps if demand.observed_rps is None else demand.observed_rps
        ),
        input_tokens=figures.whole(demand.input_tokens),
        output_tokens=figures.whole(demand.output_tokens),
        source=demand.source,
        time_to_first_token=_latency(load.ttft_s),
        inter_token_latency=_latency(load.itl_s),
        end_to_end=_latency(load.e2e_s),
        slo=figures.number(at_least(load.slo_attainment), digits=2),
    )


def _latency(signal: Signal) -> str | None:
    return figures.duration(at_least(signal))


def _cost(decision: Decision) -> CostStatus | None:
    per_hour = figures.money(decision.usd_per_hour)
    if per_hour is None:
        return None
    saving = decision.saving
    prices = [target.price for target in decision.targets if target.replicas and target.price]
    dates = sorted(price.as_of for price in prices if price.as_of)
    return CostStatus(
        per_hour=per_hour,
        per_million_tokens=figures.number(decision.usd_per_million_tokens),
        baseline=None if saving is None else saving.baseline[:128],
        baseline_per_hour=None if saving is None else figures.money(saving.baseline_usd_per_hour),
        saved=None if saving is None else figures.share(saving.saved_share),
        price_source=",".join(sorted({price.source for price in prices}))[:64] or None,
        price_as_of=dates[0] if dates else None,
    )


def _energy(decision: Decision) -> EnergyStatus | None:
    watts, grams = figures.number(decision.watts), figures.number(decision.grams_per_hour)
    if watts is None and grams is None:
        return None
    return EnergyStatus(watts=watts, carbon_grams_per_hour=grams)


def _rejected(decision: Decision) -> list[RejectedCandidate]:
    lost = [item for item in decision.candidates if item.verdict is not Verdict.CHOSEN]
    return [
        RejectedCandidate(
            pool=item.pool,
            tensor_parallel=item.parallelism.tensor,
            reason=item.verdict,
            message=item.message[:256],
        )
        for item in lost[:MAX_REJECTED]
    ]


def _lasting(
    old: DecisionStatus | None, new: DecisionStatus, *, retargeted: bool, refresh: bool
) -> DecisionStatus:
    """Return the decision to show: the old one while what it says still explains the fleet."""
    if old is None or retargeted:
        return new
    explains = new.reason == old.reason or (new.reason == Why.STEADY and old.reason in _LASTING)
    if not explains:
        return new
    return old.model_copy(update={"rejected": new.rejected}) if refresh else old


def _moved(old: LLMDeploymentStatus, new: LLMDeploymentStatus) -> bool:
    """Return whether a figure moved enough to act on, or a text beside a figure changed."""
    if _verdicts(old) != _verdicts(new):
        return True
    before, after = _figures(old), _figures(new)
    return any(
        figures.moved(before.get(name), after.get(name))
        if name not in _TEXTS
        else before.get(name) != after.get(name)
        for name in before.keys() | after.keys()
    )


_SHORTENED = ("history", "variants", "conditions")
_TEXTS = {"source", "baseline", "price_source", "price_as_of"}


def _figures(status: LLMDeploymentStatus) -> dict[str, Any]:
    parts = (status.observed, status.cost, status.energy)
    return {name: value for part in parts if part for name, value in part.model_dump().items()}


def _verdicts(status: LLMDeploymentStatus) -> list[tuple[str, int, str]]:
    rejected = status.decision.rejected if status.decision else []
    return [(item.pool, item.tensor_parallel, item.reason) for item in rejected]


def _desired(variants: Iterable[VariantStatus]) -> dict[str, int]:
    return {variant.name: variant.desired for variant in variants if variant.desired}


def _price(target: VariantTarget) -> str:
    usd = target.usd_per_replica_hour
    return figures.money(None if usd is None else usd * target.replicas) or "unknown"


def _fitted(status: LLMDeploymentStatus) -> dict[str, Any]:
    """Return `status` as it is published, without its oldest details where it grew too large."""
    raw = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    lists = [raw.get("decision", {}).get("rejected", []), *(raw[name] for name in _SHORTENED)]
    while len(_canonical(raw).encode()) > MAX_BYTES:
        next(items for items in lists if items).pop()
    return raw


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
