"""Judges one plan by the snapshot that it was made from, after research/reliability.md, 3.

Each invariant S1 to S26 that a plan can keep or break is named where it is asserted. A judge knows
nothing of how a plan comes about: what was fresh, and since when, a witness has seen for itself.
"""

import math
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

from trimtab.api.conditions import ConditionType
from trimtab.api.fleetbudget import AtCap
from trimtab.api.llmdeployment import Mode
from trimtab.models.capacity import Pool
from trimtab.models.load import ObservedLoad
from trimtab.models.plan import Decision, Plan, Verdict, Why
from trimtab.models.signals import Fresh, Missing, Partial, Signal
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.planner.history import GAP_S

WINDOW_S = 300.0
MINUTE_S = 60.0
TAUGHT = 24.0
"""Minutes of a rate before which nobody can know for how long demand has to be remembered."""
BRIDGED = 6.0
"""Minutes that one look can close at most, those before it that nobody saw among them."""
OLD_S = 30.0
"""A replica is a replacement once it has been Ready for so long."""
NEW_S = 120.0
"""Two windows of the rates: for so long a new replica's silence may be no news of the others."""
_STAYS = {Verdict.CHOSEN, Verdict.DEARER, Verdict.NO_CAPACITY, Verdict.NO_PRICE,
          Verdict.OVER_BUDGET, Verdict.POOL_SHORT}  # fmt: skip
_GIVES = {Why.BUDGET, Why.CAPACITY_SHORT, Why.NO_CANDIDATE}
"""What a decision says whose replicas go for others, or for a cap."""
_NEEDED = ("arrival_rps", "waiting")
_LOOKED_AT = ("kv_utilization", "running", "input_tokens", "output_tokens", "ttft_s", "itl_s")
_SIGNED = {"saved_share", "scales", "used", "log_mean", "forecast"}


def is_fresh(load: ObservedLoad) -> bool:
    """Whether a test gave this load as trustworthy. Negative ages are not (S26)."""
    if not load.configured or load.source_error is not None:
        return False
    needed = [getattr(load, name) for name in _NEEDED]
    others: list[Signal] = [getattr(load, name) for name in _LOOKED_AT]
    # Without traffic some are missing; what is not exported at all is another matter.
    there = [one for one in others if not isinstance(one, Missing) or one.absent]
    return all(isinstance(signal, Fresh) and signal.age_s >= 0 for signal in [*needed, *there])


def is_sure(load: ObservedLoad) -> bool:
    """Whether its demand is at least what was measured, be it only by some replicas."""
    partial: dict[str, Any] = {
        name: Fresh(value=signal.value)
        for name in (*_NEEDED, *_LOOKED_AT)
        if isinstance(signal := getattr(load, name), Partial)
    }
    return is_fresh(replace(load, **partial))


def is_idle(load: ObservedLoad) -> bool:
    """Whether fresh signals say that nothing arrives, waits or runs."""
    busy = (load.arrival_rps, load.waiting, load.running)
    return is_fresh(load) and not any(getattr(signal, "value", 0.0) for signal in busy)


@dataclass
class Witness:
    """What was seen of one deployment since its memory began, without a break."""

    seen: list[tuple[float, float]] = field(default_factory=list)
    """When its load was fresh, and the requests/s then."""
    sure: bool = False
    """Whether it is fresh now."""
    idle_since: float | None = None
    """Since when it has been known to be idle."""
    minutes: float = 0.0
    """As many as were seen at most."""
    at: float | None = None
    """When it was looked at last."""

    def look(self, state: DeploymentState, now: float) -> None:
        """Take in one look; doubt, a gap and a clock that goes back are breaks (S5, S26)."""
        if self.seen and not 0 <= now - self.seen[-1][0] <= GAP_S:
            self.seen.clear()
        if self.at is not None:
            self.minutes += min(BRIDGED, abs(now - self.at) / MINUTE_S)
        self.at = now
        self.sure = is_fresh(state.load) and not state.paused and state.policy is not None
        if self.sure:
            self.seen.append((now, getattr(state.load.arrival_rps, "value", 0.0)))
        elif not _is_bridged(state):
            self.seen.clear()
        if not self.seen or (self.sure and not is_idle(state.load)):
            self.idle_since = None
        elif self.sure and (self.idle_since is None or len(self.seen) == 1):
            self.idle_since = now
        while len(self.seen) > 1 and self.seen[1][0] <= now - WINDOW_S:
            del self.seen[0]

    def is_whole(self, now: float) -> bool:
        """Whether all was fresh for a whole window."""
        return self.sure and self.seen[0][0] <= now - WINDOW_S

    def asked(self, now: float, *, named: bool) -> float:
        """The most requests/s of the window.

        Of its last minute, where no policy has named the window and enough was seen to know that
        nothing comes back: that it was enough is another test's matter.
        """
        over_s = WINDOW_S if named or self.minutes < TAUGHT else MINUTE_S
        return max((rps for at, rps in self.seen if at > now - over_s), default=0.0)


def _is_bridged(state: DeploymentState) -> bool:
    """Whether only some report, and one of the others may be too new to."""
    ages = [v.youngest_ready_s for v in state.variants if v.youngest_ready_s is not None]
    new = min(ages, default=0.0) < NEW_S
    return new and not state.paused and isinstance(state.load.arrival_rps, Partial)


def total(decision: Decision) -> int:
    """Replicas of one decision."""
    return sum(target.replicas for target in decision.targets)


@dataclass
class Judge:
    """One plan against its snapshot."""

    snapshot: Snapshot
    result: Plan
    witnesses: dict[Key, Witness]

    def all(self) -> None:
        """Assert every invariant that one plan can keep or break."""
        self.pools: dict[str, Pool] = {pool.name: pool for pool in self.snapshot.pools}
        assert [d.key for d in self.result.decisions] == [d.key for d in self.snapshot.deployments]
        numbers_are_sane(self.result, "plan")
        for state, decision in zip(self.snapshot.deployments, self.result.decisions, strict=True):
            assert decision.message
            self.targets_are_complete(state, decision)
            self.facts_are_true(state, decision)
            if self.is_left_alone(state, decision):
                continue
            self.bounds_hold(state, decision)
            if decision.write:
                self.nothing_falls_without_evidence(state, decision)
                self.steps_are_bounded(state, decision)
                self.ready_replicas_outlive_their_replacement(state, decision)
                self.it_wakes(state, decision)
                self.its_own_cap_holds(state, decision)
        self.the_fleet_shrinks_slowly()
        self.devices_are_promised_once()
        self.budgets_hold()
        for memory in self.result.memory.deployments:
            assert len(memory.samples) <= 64

    def targets_are_complete(self, state: DeploymentState, decision: Decision) -> None:
        """What exists is never left unnamed, and `changed` tells the truth (S15)."""
        known = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
        assert len(known) == len(decision.targets)
        current = _current(state)
        assert current.keys() <= known.keys()
        assert decision.changed == any(n != current.get(key, 0) for key, n in known.items())

    def facts_are_true(self, state: DeploymentState, decision: Decision) -> None:
        """S24: no condition says more than is so."""
        facts = {fact.type: fact.status for fact in decision.facts}
        if state.policy is not None:
            # Without a policy there is no target, and its latency need not be known.
            assert (facts[ConditionType.METRICS_AVAILABLE] is True) == is_fresh(state.load)
        if facts[ConditionType.OPTIMIZED] is True:
            assert decision.write
            assert not decision.changed
            assert all(v.ready >= v.replicas for v in state.variants)

    def is_left_alone(self, state: DeploymentState, decision: Decision) -> bool:
        """S1, S21: what is paused or cannot be followed is not touched, and a condition says so."""
        if not decision.write:
            assert decision.why in (Why.PAUSED, Why.INVALID) or (
                state.policy is not None and state.policy.mode is Mode.RECOMMEND
            )
        if state.policy is not None and not state.paused:
            return False
        assert not decision.changed
        assert not decision.write
        if not state.paused:
            assert any(f.type == ConditionType.STALLED and f.status for f in decision.facts)
        return True

    def bounds_hold(self, state: DeploymentState, decision: Decision) -> None:
        """S1: between the minimum and the maximum, what is on its way out aside."""
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        most = state.policy.max_replicas + self._leaving(state, decision)
        if state.policy.mode is Mode.SCALE_UP_ONLY:
            most = max(most, before)
        assert total(decision) <= most, decision.message
        idle = state.policy.scale_to_zero_after_s is not None
        if not self.witnesses[state.key].sure or total(decision) < before:
            floor = max(state.policy.min_replicas, 1)
            assert total(decision) >= min(floor, before) or idle
        facts = {fact.type: fact.status for fact in decision.facts}
        if decision.write and facts[ConditionType.CAPACITY_AVAILABLE] is True and not idle:
            assert total(decision) >= state.policy.min_replicas, decision.message

    def _leaving(self, state: DeploymentState, decision: Decision) -> int:
        """Replicas on places that may not stay, or that wait on a short pool."""
        verdicts = {(c.pool, c.parallelism): c.verdict for c in decision.candidates}
        short = {entry.pool for entry in self.result.memory.pools}
        return sum(
            v.replicas if verdicts.get((v.pool, v.parallelism)) not in _STAYS else v.unschedulable
            for v in state.variants
            if verdicts.get((v.pool, v.parallelism)) not in _STAYS or v.pool in short
        )

    def nothing_falls_without_evidence(self, state: DeploymentState, decision: Decision) -> None:
        """S2 to S5, S11, S21: a fall has a whole window of evidence, or a lower maximum or cap.

        There is no other number to fall back to (S4): on doubt what runs is held, and what held it
        must be fresh for a window before anything goes.
        """
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        if before > state.policy.max_replicas:
            return
        if self._is_over_cap() and decision.why in _GIVES:
            return
        whole = self.witnesses[state.key].is_whole(self.snapshot.now)
        if whole and not self._nodes_are_lost() and state.policy.mode is Mode.AUTO:
            return
        assert total(decision) >= before, decision.message
        after = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
        for v in state.variants:
            assert after[v.pool, v.parallelism] >= min(v.ready, v.replicas), decision.message

    def _nodes_are_lost(self) -> bool:
        """S11: whether more than three nodes, and more than 45 % of them, are not Ready."""
        lost = sum(pool.unready_nodes for pool in self.snapshot.pools)
        every = lost + sum(pool.nodes for pool in self.snapshot.pools)
        return lost > 3 and 100 * lost > 45 * every

    def the_fleet_shrinks_slowly(self) -> None:
        """S10: together no more Ready replicas go than a tenth of all, or one's own step.

        But for what is taken for others or for a cap, and what is beyond a maximum.
        """
        all_of_them, gone = 0, []
        for state, decision in zip(self.snapshot.deployments, self.result.decisions, strict=True):
            if state.paused or state.policy is None or state.policy.mode is Mode.RECOMMEND:
                continue
            before = sum(v.replicas for v in state.variants)
            all_of_them += before
            if before > state.policy.max_replicas or decision.why in _GIVES:
                continue
            after = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
            ready = {(v.pool, v.parallelism): min(v.ready, v.replicas) for v in state.variants}
            gone.append(sum(max(0, count - after[key]) for key, count in ready.items()))
        assert sum(gone) <= max([all_of_them // 10, *gone])

    def steps_are_bounded(self, state: DeploymentState, decision: Decision) -> None:
        """S6: up by no more than there are, down by no more than a quarter."""
        assert state.policy is not None
        current = _current(state)
        before = sum(current.values())
        added = sum(
            max(0, t.replicas - current.get((t.pool, t.parallelism), 0)) for t in decision.targets
        )
        if before:
            least = max(state.policy.min_replicas, state.policy.fallback_replicas)
            lacking = least - before + self._leaving(state, decision)
            assert added <= max(2, before, lacking)
        if before <= state.policy.max_replicas:
            assert before - total(decision) <= max(1, before // 4)
            after = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
            ready = {(v.pool, v.parallelism): min(v.ready, v.replicas) for v in state.variants}
            gone = sum(max(0, count - after[key]) for key, count in ready.items())
            assert gone <= max(1, before // 4) + added

    def ready_replicas_outlive_their_replacement(
        self, state: DeploymentState, decision: Decision
    ) -> None:
        """S5, S7: what stays Ready serves the window's largest demand.

        It is nothing only after the idle time, all of it known to be idle.
        """
        assert state.policy is not None
        current = _current(state)
        if sum(current.values()) > state.policy.max_replicas:
            return
        after = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
        ready = {(v.pool, v.parallelism): min(v.ready, v.replicas) for v in state.variants}
        if all(after[key] >= count for key, count in ready.items()):
            return
        if decision.why in _GIVES and self._gives_way(state):
            return
        rates = {
            (c.pool, c.parallelism): c.capacity.max_rps * (1 - 0.10 - c.capacity.uncertainty)
            for c in decision.candidates
            if c.capacity is not None
        }
        stable = {
            (v.pool, v.parallelism): min(v.ready, after[v.pool, v.parallelism])
            for v in state.variants
            if v.youngest_ready_s is not None and v.youngest_ready_s >= OLD_S
        }
        served = sum(rates.get(key, 0.0) * count for key, count in stable.items())
        named = state.policy.scale_down_window_s is not None
        asked = self.witnesses[state.key].asked(self.snapshot.now, named=named)
        assert served >= asked * (1 - 1e-5), decision.message
        if sum(stable.values()) == 0:
            assert asked == 0
            after_s = state.policy.scale_to_zero_after_s
            since = self.witnesses[state.key].idle_since
            assert after_s is not None
            assert since is not None
            assert since <= self.snapshot.now - after_s
            for memory in self.result.memory.deployments:
                if (memory.namespace, memory.name) == (state.key.namespace, state.key.name):
                    assert memory.move_to is None or memory.move_since is not None

    def _gives_way(self, state: DeploymentState) -> bool:
        """Whether one that is more important and surely needs it lacks room where this one runs.

        Or a cap that degrades was lowered.
        """
        assert state.policy is not None
        if self._is_over_cap():
            return True
        mine = {v.pool for v in state.variants}
        for other, decision in zip(self.snapshot.deployments, self.result.decisions, strict=True):
            facts = {fact.type: fact.status for fact in decision.facts}
            if (
                other.policy is not None
                and other.policy.priority > state.policy.priority
                and not other.paused
                and is_sure(other.load)
                and facts[ConditionType.CAPACITY_AVAILABLE] is False
                and mine & {c.pool for c in decision.candidates}
            ):
                return True
        return False

    def _is_over_cap(self) -> bool:
        """Whether what is asked for already is beyond a cap that takes from the least important."""
        now = [(each, usd, before) for _, each, usd, before, _ in self._pods()]
        money = math.fsum(count * usd for _, usd, count in now)
        devices = sum(count * each for each, _, count in now)
        return any(
            budget.spec.at_cap is AtCap.DEGRADE
            and (
                (budget.spec.max_per_hour is not None and money > float(budget.spec.max_per_hour))
                or (budget.spec.max_devices is not None and devices > budget.spec.max_devices)
            )
            for budget in self.snapshot.budgets
        )

    def it_wakes(self, state: DeploymentState, decision: Decision) -> None:
        """S25: with nothing there, only what is known to be idle stays so where there is room."""
        assert state.policy is not None
        if state.variants or total(decision):
            return
        facts = {fact.type: fact.status for fact in decision.facts}
        if facts[ConditionType.CAPACITY_AVAILABLE] is True:
            assert state.policy.scale_to_zero_after_s is not None, decision.message
            assert is_idle(state.load), decision.message

    def devices_are_promised_once(self) -> None:
        """S9 for devices: what grows fits beside everything that exists, whoever is first.

        Nor does a pool that rests get more than it has proved to have (S8).
        """
        now = self.snapshot.now
        proven = {e.pool: e.held for e in self.result.memory.pools if now < e.short_until}
        held: dict[str, int] = {}
        grown: dict[str, int] = {}
        for pool, devices, _, before, after in self._pods():
            held[pool] = held.get(pool, 0) + after * devices
            grown[pool] = grown.get(pool, 0) + (after - before) * devices
        for pool, growth in grown.items():
            if growth:
                assert held[pool] <= self.pools[pool].usable_devices
                assert held[pool] <= proven.get(pool, math.inf)

    def budgets_hold(self) -> None:
        """S9: no growth beyond a cap, what surges and what terminates included."""
        if not self.snapshot.budgets:
            return
        pods = self._pods()
        if not any(after > before for *_, before, after in pods):
            return
        money = math.fsum(after * usd for _, _, usd, _, after in pods)
        devices = sum(after * each for _, each, _, _, after in pods)
        for budget in self.snapshot.budgets:
            if budget.spec.max_per_hour is not None:
                assert money <= float(budget.spec.max_per_hour) + 1e-6
            if budget.spec.max_devices is not None:
                assert devices <= budget.spec.max_devices

    def its_own_cap_holds(self, state: DeploymentState, decision: Decision) -> None:
        """S9 for `cost.maxPerHour`: nothing is added beyond it."""
        assert state.policy is not None
        cap = state.policy.max_usd_per_hour
        pods = self._pods_of(state, decision)
        if cap is not None and any(after > before for *_, before, after in pods):
            assert math.fsum(after * usd for _, _, usd, _, after in pods) <= cap + 1e-6

    def _pods(self) -> list[tuple[str, int, float, int, int]]:
        pairs = zip(self.snapshot.deployments, self.result.decisions, strict=True)
        return [pods for state, decision in pairs for pods in self._pods_of(state, decision)]

    def _pods_of(
        self, state: DeploymentState, decision: Decision
    ) -> list[tuple[str, int, float, int, int]]:
        """Pool, devices and price of one, pods before, and the most pods that are promised.

        What is added comes beside all that exists, pods that are ending too.
        """
        found = []
        pods = {(v.pool, v.parallelism): max(v.pods, v.replicas) for v in state.variants}
        current = _current(state)
        for t in decision.targets:
            key = t.pool, t.parallelism
            before = pods.get(key, 0)
            more = max(0, t.replicas - current.get(key, 0))
            after = before + more if decision.write else before
            usd = t.usd_per_replica_hour or 0.0
            found.append((t.pool, t.parallelism.devices, usd, before, after))
        return found


def _current(state: DeploymentState) -> dict[Any, int]:
    return {(v.pool, v.parallelism): v.replicas for v in state.variants}


def numbers_are_sane(value: Any, name: str, *, signed: bool = False) -> None:
    """S22: numbers are finite; none but savings, logarithms and forecasts are negative."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is float:
        assert math.isfinite(value), name
        assert value >= 0 or signed, name
    elif kind is int:
        assert abs(value) < 2**31, name
        assert value >= 0 or signed, name
    elif kind is tuple:
        for item in value:
            numbers_are_sane(item, name, signed=signed)
    elif is_dataclass(value):
        for field_name in value.__dataclass_fields__:
            within = signed or field_name in _SIGNED
            numbers_are_sane(getattr(value, field_name), field_name, signed=within)
