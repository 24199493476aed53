"""Random worlds, driven plan -> apply -> clock: the invariants of research/reliability.md, 3."""

import math
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from builders import catalogue_pool, planned
from fleetworld import FleetWorld, fresh_load, idle_load
from trimtab.api.fleetbudget import FleetBudgetSpec
from trimtab.api.llmdeployment import Mode
from trimtab.models.capacity import Pool, Price
from trimtab.models.codec import Record, dump_record, load_record
from trimtab.models.hardware import Parallelism
from trimtab.models.load import ObservedLoad, VariantReading
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision, Plan, Verdict, Why
from trimtab.models.signals import Fresh, Invalid, Missing, Partial, Stale
from trimtab.models.snapshot import Budget, DeploymentState, Key, Snapshot
from trimtab.planner.history import GAP_S
from trimtab.planner.plan import plan

NAMES = ("a", "b", "c")
WINDOW_S = 300.0
POOLS = (
    catalogue_pool("cheap", "nvidia-h100-sxm", 2.0, devices=8),
    catalogue_pool("dear", "nvidia-h100-sxm", 6.0, devices=32),
    catalogue_pool("weak", "nvidia-l40s", 0.8, devices=8, devices_per_node=4, max_devices=16),
)
STAYS = {Verdict.CHOSEN, Verdict.DEARER, Verdict.NO_CAPACITY, Verdict.NO_PRICE,
         Verdict.OVER_BUDGET, Verdict.POOL_SHORT}  # fmt: skip
RATES = st.sampled_from([0.0, 0.5, 20.0, 60.0, 150.0, 1e5])


def loads() -> st.SearchStrategy[ObservedLoad]:
    """Every quality that a signal can have."""

    def doubtful(rps: float, kind: int) -> ObservedLoad:
        signals: dict[int, Any] = {
            0: Missing(why="gone"),
            1: Stale(value=rps, age_s=120.0),
            2: Invalid(why="NaN"),
            3: Partial(value=rps, reporting=1, expected=3),
        }
        return fresh_load(rps, arrival_rps=signals[kind])

    def teaching(rps: float, itl_s: float) -> ObservedLoad:
        """Replicas on two pools that are as fast as predicted, or by far not."""
        return fresh_load(
            rps,
            variants=tuple(
                VariantReading(
                    pool=pool,
                    parallelism=Parallelism(),
                    revision=f"chat-{pool}-",
                    itl_s=Fresh(value=itl_s),
                    gaps_per_s=Fresh(value=400.0),
                    first_tokens_per_s=Fresh(value=2.0),
                    input_tokens=Fresh(value=1000.0),
                    output_tokens=Fresh(value=200.0),
                    waiting=Fresh(value=0.0),
                    kv_utilization=Fresh(value=0.3),
                )
                for pool in ("cheap", "weak")
            ),
        )

    return st.one_of(
        RATES.map(lambda rps: fresh_load(rps) if rps else idle_load()),
        st.builds(teaching, RATES, st.sampled_from([0.005, 0.015, 0.1])),
        st.builds(doubtful, RATES, st.integers(0, 3)),
        st.sampled_from(
            [ObservedLoad(), ObservedLoad(source_error="down"), ObservedLoad(configured=False)]
        ),
    )


SCALINGS = st.sampled_from(
    [
        {"minReplicas": 1, "maxReplicas": 10},
        {"minReplicas": 3, "maxReplicas": 6},
        {"minReplicas": 0, "maxReplicas": 4, "scaleToZeroAfter": "6m"},
        {"minReplicas": 0, "maxReplicas": 3},
        {"minReplicas": 2, "maxReplicas": 2},
    ]
)
PLACEMENTS = st.sampled_from([None, {"excludePools": ["cheap"]}, {"tensorParallel": [1]}])
MODES = st.sampled_from(["Auto", "Auto", "Auto", "ScaleUpOnly", "Recommend"])


class Driver(RuleBasedStateMachine):
    """The world, and what it knows of itself to judge the planner by."""

    world: FleetWorld

    def __init__(self) -> None:
        super().__init__()
        self.evidence: dict[Key, list[tuple[float, bool, float]]] = {}
        """Per deployment the plans since its memory began: time, all fresh, requests/s."""

    @initialize(count=st.integers(1, 3))
    def begin(self, count: int) -> None:
        states = [planned(name, scaling={"maxReplicas": 10}) for name in NAMES[:count]]
        self.world = FleetWorld(pools=list(POOLS), deployments={s.key: s for s in states})

    @rule(seconds=st.sampled_from([1.0, 15.0, 15.0, 60.0]), times=st.integers(1, 8))
    def tick(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.step()
            self.world.pass_time(seconds)

    @rule(load=loads(), ticks=st.sampled_from([21, 24, 45]))
    def load_for_a_window(self, load: ObservedLoad, ticks: int) -> None:
        """What may only happen after a whole window has a chance to, and something to lose."""
        self.world.set_load(fresh_load(60.0))
        self.step()
        self.world.pass_time(15.0)
        self.world.set_load(load)
        for _ in range(ticks):
            self.step()
            self.world.pass_time(15.0)

    @rule(name=st.sampled_from(NAMES), rps=RATES, start_s=st.sampled_from([1.0, 30.0, 200.0]))
    def leave_a_pool(self, name: str, rps: float, start_s: float) -> None:
        """Fresh evidence all along, and every replica on a pool that it may not stay on."""
        self.world.start_s = start_s
        self.edit(name, paused=False, scaling={"maxReplicas": 10})
        self.load_for_a_window(fresh_load(rps), ticks=24)
        used = {where for mine in self.world.pods.values() for where, _ in mine}
        placement = {"excludePools": sorted(used)[:1] or ["cheap"]}
        self.edit(name, paused=False, scaling={"maxReplicas": 10}, placement=placement)
        for _ in range(24):
            self.step()
            self.world.pass_time(15.0)

    @rule()
    def collected_in_another_order_and_replayed(self) -> None:
        """S14, and that a decision log holds all that a decision rests on."""
        snapshot = self.world.snapshot()
        result = plan(snapshot, self.world.config)
        assert plan(shuffled(snapshot), self.world.config) == result
        record = Record(snapshot=snapshot, config=self.world.config, plan=result)
        again = load_record(dump_record(record))
        assert again == record
        assert plan(again.snapshot, again.config) == result

    @rule(seconds=st.sampled_from([-3600.0, -20.0, 120.0, 86400.0]))
    def jump(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(name=st.sampled_from(NAMES), load=loads())
    def load(self, name: str, load: ObservedLoad) -> None:
        self.world.set_load(load, name)

    @rule(load=loads())
    def load_everywhere(self, load: ObservedLoad) -> None:
        self.world.set_load(load)

    @rule(
        name=st.sampled_from(NAMES),
        scaling=SCALINGS,
        placement=PLACEMENTS,
        mode=MODES,
        priority=st.sampled_from([1, 100]),
        paused=st.booleans(),
    )
    def edit(self, name: str, paused: bool, **spec: Any) -> None:
        for key, state in self.world.deployments.items():
            if key.name == name:
                spec = {field: value for field, value in spec.items() if value is not None}
                self.world.deployments[key] = planned(
                    name, load=state.load, uid=state.uid, paused=paused, **spec
                )

    @rule(name=st.sampled_from(NAMES))
    def recreate(self, name: str) -> None:
        key = Key(namespace="assistants", name=name)
        if key in self.world.deployments:
            self.world.deployments[key] = planned(
                name, uid=f"{self.world.deployments[key].uid}+", created=self.world.now
            )
            self.world.pods.pop(key, None)
            self.evidence.pop(key, None)

    @rule()
    def restart(self) -> None:
        self.world.memory = PlannerMemory()
        self.evidence.clear()

    @rule(name=st.sampled_from([pool.name for pool in POOLS]), devices=st.sampled_from([0, 2, 64]))
    def resize(self, name: str, devices: int) -> None:
        self.world.pools = [
            replace(pool, devices=devices, max_devices=None) if pool.name == name else pool
            for pool in self.world.pools
        ]

    @rule(name=st.sampled_from([pool.name for pool in POOLS]))
    def vanish(self, name: str) -> None:
        self.world.lose_pool(name)
        self.world.pools = [pool for pool in self.world.pools if pool.name != name]

    @rule()
    def restore(self) -> None:
        self.world.pools = list(POOLS)
        self.world.stock.clear()
        self.world.start_s = 30.0
        self.world.pass_time(1.0)

    @rule(
        name=st.sampled_from([pool.name for pool in POOLS]), price=st.sampled_from([None, 0.5, 9])
    )
    def reprice(self, name: str, price: float | None) -> None:
        made = None if price is None else Price(usd_per_hour=price, source="Pool")
        self.world.pools = [
            replace(pool, price=made) if pool.name == name else pool for pool in self.world.pools
        ]

    @rule(name=st.sampled_from([pool.name for pool in POOLS]))
    def stock_out(self, name: str) -> None:
        self.world.stock[name] = 0

    @rule(cap=st.sampled_from([None, {"maxPerHour": "12"}, {"maxDevices": 4}]))
    def budget(self, cap: dict[str, Any] | None) -> None:
        made = [] if cap is None else [Budget(name="b", spec=FleetBudgetSpec.model_validate(cap))]
        self.world.budgets = tuple(made)

    @rule(keep=st.integers(0, 2))
    def crash_while_writing(self, keep: int) -> None:
        """Only some of the decisions are applied; memory is lost, as in a killed process."""
        result = plan(self.world.snapshot(), self.world.config)
        self.world.apply(replace(result, decisions=result.decisions[:keep]))
        self.restart()

    def step(self) -> None:
        """Plan, judge, apply, and judge that planning again at once would undo nothing."""
        snapshot = self.world.snapshot()
        result = plan(snapshot, self.world.config)
        self.note(snapshot)
        Judge(snapshot, result, self.evidence).all()
        self.world.apply(result)
        again = plan(self.world.snapshot(), self.world.config)
        current = {
            (state.key, v.pool, v.parallelism): v.replicas
            for state in snapshot.deployments
            for v in state.variants
        }
        # What one gives up another may take at once, and then let go of what waits in vain.
        freed = any(
            target.replicas < current.get((decision.key, target.pool, target.parallelism), 0)
            for decision in result.decisions
            for target in decision.targets
        )
        for before, after in zip(result.decisions, again.decisions, strict=True):
            if before.write and after.write and not freed:
                assert total(after) >= total(before), f"{before.message} / {after.message}"
        # The end of a move is noticed in one plan and lets go of what it kept in the next.
        ended = moves_of(snapshot.memory) != moves_of(result.memory)
        if not ended and not any(decision.changed for decision in result.decisions):
            assert not any(decision.changed for decision in again.decisions if decision.write)

    def note(self, snapshot: Snapshot) -> None:
        for state in snapshot.deployments:
            known = self.evidence.setdefault(state.key, [])
            fresh = is_fresh(state.load) and not state.paused
            if known and not 0 <= snapshot.now - known[-1][0] <= GAP_S:
                known.clear()
            rps = getattr(state.load.arrival_rps, "value", 0.0) if fresh else 0.0
            known.append((snapshot.now, fresh, rps))


def moves_of(memory: PlannerMemory) -> list[str | None]:
    """The moves that are under way or considered."""
    return [entry.move_to for entry in memory.deployments]


def is_fresh(load: ObservedLoad) -> bool:
    """Whether the test gave this load as trustworthy."""
    return load.arrival_rps.kind == "fresh" and load.configured and load.source_error is None


def shuffled(snapshot: Snapshot) -> Snapshot:
    """The same world, collected in the opposite order."""
    return replace(
        snapshot,
        deployments=tuple(
            replace(state, variants=state.variants[::-1]) for state in snapshot.deployments[::-1]
        ),
        pools=snapshot.pools[::-1],
        budgets=snapshot.budgets[::-1],
        memory=replace(
            snapshot.memory,
            deployments=snapshot.memory.deployments[::-1],
            pools=snapshot.memory.pools[::-1],
        ),
    )


def total(decision: Decision) -> int:
    return sum(target.replicas for target in decision.targets)


class Judge:
    """One plan against the snapshot that it was made from."""

    def __init__(
        self,
        snapshot: Snapshot,
        result: Plan,
        evidence: dict[Key, list[tuple[float, bool, float]]],
    ) -> None:
        self.snapshot, self.result, self.evidence = snapshot, result, evidence
        self.pools: dict[str, Pool] = {pool.name: pool for pool in snapshot.pools}

    def all(self) -> None:
        assert [d.key for d in self.result.decisions] == [d.key for d in self.snapshot.deployments]
        numbers_are_sane(self.result)
        for state, decision in zip(self.snapshot.deployments, self.result.decisions, strict=True):
            assert decision.message
            self.targets_are_complete(state, decision)
            if not decision.write:
                assert decision.why in (Why.PAUSED, Why.INVALID) or (
                    state.policy is not None and state.policy.mode is Mode.RECOMMEND
                )
            if state.paused or state.policy is None:
                assert not decision.changed
                continue
            self.bounds_hold(state, decision)
            if decision.write:
                self.nothing_falls_without_evidence(state, decision)
                self.steps_are_bounded(state, decision)
                self.ready_replicas_outlive_their_replacement(state, decision)
        self.devices_are_promised_once()
        self.budgets_hold()
        self.memory_is_bounded()

    def targets_are_complete(self, state: DeploymentState, decision: Decision) -> None:
        known = {(t.pool, t.parallelism) for t in decision.targets}
        assert len(known) == len(decision.targets)
        assert {(v.pool, v.parallelism) for v in state.variants} <= known
        assert decision.changed == any(
            t.replicas != self.current(state).get((t.pool, t.parallelism), 0)
            for t in decision.targets
        )

    def current(self, state: DeploymentState) -> dict[Any, int]:
        return {(v.pool, v.parallelism): v.replicas for v in state.variants}

    def on_their_way_out(self, state: DeploymentState, decision: Decision) -> int:
        """Replicas on places that may not stay, or that wait on a short pool."""
        verdicts = {(c.pool, c.parallelism): c.verdict for c in decision.candidates}
        short = {entry.pool for entry in self.result.memory.pools}
        return sum(
            v.replicas if verdicts.get((v.pool, v.parallelism)) not in STAYS else v.unschedulable
            for v in state.variants
            if verdicts.get((v.pool, v.parallelism)) not in STAYS or v.pool in short
        )

    def bounds_hold(self, state: DeploymentState, decision: Decision) -> None:
        """S1."""
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        leaving = self.on_their_way_out(state, decision)
        most = state.policy.max_replicas + leaving
        if state.policy.mode is Mode.SCALE_UP_ONLY:
            most = max(most, before)
        assert total(decision) <= most, decision.message
        if not self.evidence[state.key][-1][1] or total(decision) < before:
            floor = max(state.policy.min_replicas, 1)
            idle = state.policy.scale_to_zero_after_s is not None
            assert total(decision) >= min(floor, before) or idle

    def nothing_falls_without_evidence(self, state: DeploymentState, decision: Decision) -> None:
        """S2, S5, S21: a fall has a whole window of fresh evidence, or a lower maximum."""
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        if before > state.policy.max_replicas:
            return
        now = self.snapshot.now
        window = [entry for entry in self.evidence[state.key] if entry[0] >= now - WINDOW_S]
        whole = (
            self.evidence[state.key][0][0] <= now - WINDOW_S
            and all(fresh for _, fresh, _ in window)
            and state.policy.mode is Mode.AUTO
        )
        if total(decision) < before:
            assert whole, decision.message
        if not whole:
            for target in decision.targets:
                ready = sum(
                    min(v.ready, v.replicas)
                    for v in state.variants
                    if (v.pool, v.parallelism) == (target.pool, target.parallelism)
                )
                assert target.replicas >= ready, decision.message

    def steps_are_bounded(self, state: DeploymentState, decision: Decision) -> None:
        """S6."""
        assert state.policy is not None
        before = sum(v.replicas for v in state.variants)
        added = sum(
            max(0, t.replicas - self.current(state).get((t.pool, t.parallelism), 0))
            for t in decision.targets
        )
        if before:
            assert added <= max(2, before, state.policy.min_replicas - before)
        if before <= state.policy.max_replicas:
            assert before - total(decision) <= max(1, before // 4)

    def ready_replicas_outlive_their_replacement(
        self, state: DeploymentState, decision: Decision
    ) -> None:
        """S7: what stays Ready serves the largest demand of the window, and is never nothing."""
        assert state.policy is not None
        if sum(v.replicas for v in state.variants) > state.policy.max_replicas:
            return
        after = {(t.pool, t.parallelism): t.replicas for t in decision.targets}
        lost = {
            key: min(v.ready, v.replicas) - min(v.ready, after[key])
            for v in state.variants
            for key in [(v.pool, v.parallelism)]
        }
        if not any(lost.values()):
            return
        rates = {
            (c.pool, c.parallelism): c.capacity.max_rps * (1 - 0.10 - c.capacity.uncertainty)
            for c in decision.candidates
            if c.capacity is not None
        }
        old = 30.0
        stable = {
            key: min(v.ready, after[key])
            for v in state.variants
            for key in [(v.pool, v.parallelism)]
            if v.youngest_ready_s is not None and v.youngest_ready_s >= old
        }
        served = sum(rates.get(key, 0.0) * count for key, count in stable.items())
        asked = max(
            rps for at, _, rps in self.evidence[state.key] if at > self.snapshot.now - WINDOW_S
        )
        assert served >= asked * (1 - 1e-5), decision.message
        if sum(stable.values()) == 0:
            assert state.policy.scale_to_zero_after_s is not None
            assert asked == 0

    def devices_are_promised_once(self) -> None:
        """The ledger: what grows fits beside everything that exists."""
        held: dict[str, int] = {}
        grown: dict[str, int] = {}
        for state, decision in zip(self.snapshot.deployments, self.result.decisions, strict=True):
            pods = {(v.pool, v.parallelism): max(v.pods, v.replicas) for v in state.variants}
            for target in decision.targets:
                key, devices = (target.pool, target.parallelism), target.parallelism.devices
                before = pods.get(key, 0)
                after = max(before, target.replicas) if decision.write else before
                held[target.pool] = held.get(target.pool, 0) + after * devices
                grown[target.pool] = grown.get(target.pool, 0) + (after - before) * devices
        for pool, growth in grown.items():
            if growth:
                assert held[pool] <= self.pools[pool].usable_devices

    def budgets_hold(self) -> None:
        """S9: no growth beyond a cap, whatever the order of deployments."""
        for budget in self.snapshot.budgets:
            money, devices, grows = 0.0, 0, False
            for state, decision in zip(
                self.snapshot.deployments, self.result.decisions, strict=True
            ):
                pods = {(v.pool, v.parallelism): max(v.pods, v.replicas) for v in state.variants}
                for target in decision.targets:
                    before = pods.get((target.pool, target.parallelism), 0)
                    after = max(before, target.replicas) if decision.write else before
                    grows = grows or after > before
                    money += after * (target.usd_per_replica_hour or 0.0)
                    devices += after * target.parallelism.devices
            if grows and budget.spec.max_per_hour is not None:
                assert money <= float(budget.spec.max_per_hour) + 1e-6
            if grows and budget.spec.max_devices is not None:
                assert devices <= budget.spec.max_devices

    def memory_is_bounded(self) -> None:
        for memory in self.result.memory.deployments:
            assert len(memory.samples) <= 64


def numbers_are_sane(value: Any, path: str = "plan") -> None:
    """S22: numbers are finite, and none but savings and logarithms negative; counts are int32."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int):
        assert 0 <= value < 2**31, path
    elif isinstance(value, float):
        assert math.isfinite(value), path
        signed = ("saved_share", ".scales", ".used", ".log_mean", ".forecast")
        assert value >= 0 or any(part in path for part in signed), path
    elif isinstance(value, tuple):
        for item in value:
            numbers_are_sane(item, path)
    elif is_dataclass(value):
        for field in fields(value):
            numbers_are_sane(getattr(value, field.name), f"{path}.{field.name}")


Driver.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestPlanner = pytest.mark.timeout(900)(Driver.TestCase)
