"""The status of every FleetBudget: what its deployments hold, and whether it holds one back."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trimtab.actuate import figures
from trimtab.actuate.kinds import BUDGET, Document
from trimtab.actuate.objects import ObjectWriter
from trimtab.actuate.status import differs, timestamp
from trimtab.api.conditions import Condition, ConditionStatus, ConditionType, Reason, merge
from trimtab.api.fleetbudget import FleetBudgetStatus
from trimtab.models.plan import Decision
from trimtab.models.snapshot import Budget, DeploymentState, Key, Snapshot
from trimtab.planner.ledger import bound_by


@dataclass(slots=True, kw_only=True)
class BudgetWriter:
    """Publishes what budgets bind, only where it changed."""

    objects: ObjectWriter

    def publish(
        self, snapshot: Snapshot, decisions: Iterable[Decision], live: Mapping[str, Document]
    ) -> None:
        """Write the status of every budget whose figures or conditions changed.

        Args:
            snapshot: What the decisions rest on.
            decisions: Those of all deployments.
            live: All FleetBudgets by name.

        Raises:
            LostLeadership: The lease is gone.
        """
        decided = {decision.key: decision for decision in decisions}
        for budget in snapshot.budgets:
            known = live.get(budget.name)
            if known is None:
                continue
            old = known.get("status") or {}
            status = _status(budget, snapshot, decided, known)
            if differs(status, old):
                document = {
                    "apiVersion": BUDGET.api_version,
                    "kind": BUDGET.kind,
                    "metadata": {"name": budget.name},
                    "status": status,
                }
                self.objects.write(document, known, status=True)


def _status(
    budget: Budget, snapshot: Snapshot, decided: Mapping[Key, Decision], known: Document
) -> dict[str, Any]:
    keys = bound_by(budget, snapshot.deployments)
    members = [state for state in snapshot.deployments if state.key in keys]
    held_back = [
        str(state.key)
        for state in members
        if state.key in decided and _is_held_back(state, decided[state.key])
    ]
    generation = known["metadata"].get("generation", 0)
    stamp = timestamp(snapshot.now)
    who = ", ".join(held_back[:5]) + (" and others" if len(held_back) > 5 else "")
    conditions = [
        Condition(
            type=kind,
            status=status,
            reason=reason,
            message=message[:1024],
            last_transition_time=stamp,
            observed_generation=generation,
        )
        for kind, status, reason, message in (
            (
                ConditionType.READY,
                ConditionStatus.TRUE,
                Reason.ENFORCED,
                f"{len(members)} deployments are bound",
            ),
            (
                ConditionType.WITHIN_BUDGET,
                ConditionStatus.FALSE if held_back else ConditionStatus.TRUE,
                Reason.BUDGET_REACHED if held_back else Reason.ENFORCED,
                f"It holds back {who}" if held_back else "Nothing is held back",
            ),
        )
    ]
    try:
        before = FleetBudgetStatus.model_validate(known.get("status") or {}).conditions
    except ValueError:
        before = []
    money, devices = _held(members, snapshot)
    status = FleetBudgetStatus(
        observed_generation=generation,
        conditions=merge(before, conditions),
        per_hour=figures.money(money),
        devices=devices,
    )
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def _held(members: Iterable[DeploymentState], snapshot: Snapshot) -> tuple[float, int]:
    """Return the $/h and the devices of the replicas that were decided and of pods that leave."""
    prices = {pool.name: pool.price for pool in snapshot.pools}
    money, devices = [], 0
    for state in members:
        for variant in state.variants:
            held = max(variant.replicas, variant.pods) * variant.parallelism.devices
            price = prices.get(variant.pool)
            devices += held
            if price is not None:
                money.append(held * price.usd_per_hour)
    return math.fsum(money), devices


def _is_held_back(state: DeploymentState, decision: Decision) -> bool:
    """Return whether a FleetBudget, and not a cap of its own, holds the deployment back."""
    own = state.policy is not None and state.policy.max_usd_per_hour is not None
    return not own and any(fact.reason == Reason.BUDGET_REACHED for fact in decision.facts)
