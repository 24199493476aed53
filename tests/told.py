"""Judges by what users tell beforehand: schedules, fallbackReplicas, and who comes first.

Beside tests/judge.py, and as far from the planner: windows are read here by the minute of the day
in UTC, as the schedules of the tests are.
"""

from dataclasses import dataclass, field

from judge import Witness, total
from trimtab.api.conditions import ConditionType
from trimtab.api.fleetbudget import AtCap
from trimtab.api.llmdeployment import Mode
from trimtab.models.plan import Decision, Plan, Why
from trimtab.models.policy import EffectivePolicy
from trimtab.models.snapshot import DeploymentState, Key, Snapshot

OUTAGE_S = 180.0
"""For so long nothing may be known until the fallback counts (S4)."""


def scheduled_rps(policy: EffectivePolicy, now: float) -> float:
    """The largest rate of the entries that hold now; 0 without one."""
    minute = int(now // 60) % 1440
    rates = [0.0]
    for entry in policy.schedule:
        start, end = (60 * int(text[:2]) + int(text[3:]) for text in (entry.start, entry.end))
        if (minute - start) % 1440 < (end - start) % 1440:
            rates.append(float(entry.requests_per_second))
    return max(rates)


@dataclass
class Listener(Witness):
    """A witness who also knows what was told: requests by the schedule count like those seen."""

    told_rps: float = 0.0
    outage_since: float | None = None
    """Since when its Prometheus has not answered."""

    def look(self, state: DeploymentState, now: float) -> None:
        """Take in one look."""
        super().look(state, now)
        acting = not state.paused and state.policy is not None
        self.told_rps = 0.0 if state.policy is None else scheduled_rps(state.policy, now)
        if not acting or not state.load.configured or state.load.source_error is None:
            self.outage_since = None
        else:
            since = self.outage_since
            self.outage_since = now if since is None else min(since, now)

    def asked(self, now: float, *, named: bool) -> float:
        """The most of the window, and what the schedule asks for."""
        return max(super().asked(now, named=named), self.told_rps)


@dataclass
class Told:
    """One plan against what users told."""

    snapshot: Snapshot
    result: Plan
    listeners: dict[Key, Listener]
    pairs: list[tuple[DeploymentState, Decision]] = field(init=False)

    def all(self) -> None:
        """Assert that it is followed wherever there is room."""
        self.pairs = list(zip(self.snapshot.deployments, self.result.decisions, strict=True))
        for state, decision in self.pairs:
            if decision.write:
                self.schedules_are_met(state, decision)
                self.it_falls_back(state, decision)
                self.the_least_important_give_first(state, decision)

    def schedules_are_met(self, state: DeploymentState, decision: Decision) -> None:
        """Where nothing more is to come, what is there serves what the schedule asks for."""
        assert state.policy is not None
        told = self.listeners[state.key].told_rps
        if not told or decision.changed or not _has_room(decision):
            return
        rates = {
            (c.pool, c.parallelism): c.capacity.max_rps
            for c in decision.candidates
            if c.capacity is not None
        }
        served = sum(rates.get((t.pool, t.parallelism), 0.0) * t.replicas for t in decision.targets)
        assert served >= told or total(decision) >= state.policy.max_replicas, decision.message
        assert total(decision) > 0

    def it_falls_back(self, state: DeploymentState, decision: Decision) -> None:
        """S4: after 180 s without an answer there are as many as were told."""
        assert state.policy is not None
        since = self.listeners[state.key].outage_since
        if since is None or self.snapshot.now - since < OUTAGE_S or not _has_room(decision):
            return
        before = sum(v.replicas for v in state.variants)
        least = state.policy.fallback_replicas
        # A cap that was lowered takes what runs, but not what was told; a lower maximum takes both.
        degraded = decision.why is Why.BUDGET
        least = min(before, least) if degraded else max(before, least)
        assert total(decision) >= min(least, state.policy.max_replicas), decision.message

    def the_least_important_give_first(self, state: DeploymentState, decision: Decision) -> None:
        """At a cap that degrades, one gives only what those below it no longer have."""
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        if decision.why is not Why.BUDGET or total(decision) >= before:
            return
        assert any(budget.spec.at_cap is AtCap.DEGRADE for budget in self.snapshot.budgets)
        for other, given in self.pairs:
            policy = other.policy
            if not given.write or policy is None or policy.mode is not Mode.AUTO:
                continue
            had = sum(v.replicas for v in other.variants)
            if policy.priority < state.policy.priority and self.listeners[other.key].sure:
                least = max(1, policy.min_replicas, policy.fallback_replicas)
                assert total(given) != had or had <= least, decision.message


def _has_room(decision: Decision) -> bool:
    return any(f.type == ConditionType.CAPACITY_AVAILABLE and f.status for f in decision.facts)
