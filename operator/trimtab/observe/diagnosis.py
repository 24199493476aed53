"""What a support engineer would point at in a cluster: pools, nodes, deployments, signals. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum

from trimtab.models.load import ObservedLoad
from trimtab.models.signals import Invalid, Missing, Partial, Stale, describe
from trimtab.models.snapshot import DeploymentState, Snapshot
from trimtab.observe.discovery import skipped
from trimtab.observe.pools import PoolFacts, pool_facts
from trimtab.observe.world import WorldView
from trimtab.planner.evidence import checked, evidence_of
from trimtab.units import format_duration

PENDING_S = 120.0
"""Pods that the scheduler cannot place for longer are worth a word."""
MAX_NODES = 5
"""Nodes with one and the same fault that are named."""


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    subject: str
    """What it is about: a kind and a name."""
    message: str
    remedy: str = ""
    """What to do, where it is not fine."""


def diagnose(view: WorldView, snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what the mirror and its metrics tell, good news included."""
    yield from _broken(view)
    yield from _nodes(view)
    yield from _pools(pool_facts(view))
    if not snapshot.deployments:
        yield Finding(
            level=Level.WARNING,
            subject="LLMDeployments",
            message="there is none",
            remedy="Apply one: kubectl apply -f examples/smallest.yaml",
        )
    for state in snapshot.deployments:
        yield from _deployment(state)


def _broken(view: WorldView) -> Iterator[Finding]:
    for each in view.broken:
        yield Finding(
            level=Level.FAILED,
            subject=str(each.key),
            message=f"cannot be understood: {each.message}",
            remedy="Correct the object; until then nothing is changed on its account",
        )


def _nodes(view: WorldView) -> Iterator[Finding]:
    by_reason: dict[str, list[str]] = {}
    for name, reason in skipped(view):
        by_reason.setdefault(reason, []).append(name)
    for reason, names in sorted(by_reason.items()):
        more = f" and {len(names) - MAX_NODES} more" if len(names) > MAX_NODES else ""
        yield Finding(
            level=Level.WARNING,
            subject="Node",
            message=f"{', '.join(names[:MAX_NODES])}{more}: {reason}",
            remedy="Write an AcceleratorPool for them, or label them as their platform does",
        )


def _pools(pools: tuple[PoolFacts, ...]) -> Iterator[Finding]:
    if not pools:
        yield Finding(
            level=Level.FAILED,
            subject="AcceleratorPools",
            message="there is none, so no replica can land anywhere",
            remedy="Add nodes with accelerators, or write a pool that grows from none",
        )
    for pool in pools:
        yield Finding(
            level=Level.OK if pool.ready else Level.WARNING,
            subject=f"AcceleratorPool {pool.name}",
            message=pool.message,
            remedy="" if pool.ready else f"See reason {pool.reason} in docs/troubleshooting.md",
        )


def _deployment(state: DeploymentState) -> Iterator[Finding]:
    subject = f"LLMDeployment {state.key}"
    if state.policy is None:
        yield Finding(
            level=Level.FAILED, subject=subject, message=state.error or "its policy contradicts",
            remedy="Correct the spec; until then what runs stays as it is",
        )  # fmt: skip
        return
    if state.paused:
        yield Finding(
            level=Level.WARNING, subject=subject, message="is paused: nothing of it is changed",
            remedy="Remove the annotation trimtab.dev/paused",
        )  # fmt: skip
    for variant in state.variants:
        if variant.unschedulable and variant.unschedulable_s > PENDING_S:
            waited = format_duration(variant.unschedulable_s)
            said = "" if variant.refusal is None else f" ({variant.refusal})"
            yield Finding(
                level=Level.WARNING,
                subject=subject,
                message=f"{variant.unschedulable} pods on {variant.pool} wait since {waited}{said}",
                remedy="kubectl describe the pods: quota, taints or nodes that do not come",
            )
    evidence = evidence_of(state, state.policy.targets)
    yield Finding(
        level=Level.OK if evidence.fresh else Level.WARNING,
        subject=subject,
        message=f"{evidence.reason}: {evidence.message}",
        remedy="" if evidence.fresh else "Nothing is scaled down meanwhile",
    )
    yield from _signals(subject, checked(state.load))


def _signals(subject: str, load: ObservedLoad) -> Iterator[Finding]:
    """Name each signal that cannot be trusted. Missing is normal without traffic, and said so."""
    for field in fields(load):
        signal = getattr(load, field.name)
        if not isinstance(signal, Partial | Stale | Missing | Invalid):
            continue
        normal = isinstance(signal, Missing) and not signal.absent
        remedy = "See MetricsAvailable in docs/troubleshooting.md"
        lacking = isinstance(signal, Missing) and signal.absent
        if lacking or (isinstance(signal, Partial) and signal.why):
            remedy = "Renamed or switched off? docs/engines.md has the names that are known"
        yield Finding(
            level=Level.OK if normal else Level.WARNING,
            subject=f"{subject} {field.name}",
            message=f"{signal.kind}: {describe(signal)}",
            remedy="" if normal else remedy,
        )
