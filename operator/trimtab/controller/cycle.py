"""One planning cycle: look, decide, apply, publish. Everything it needs is handed to it."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import structlog

from trimtab.actuate.apply import Applier, Outcome, Work
from trimtab.actuate.budgets import BudgetWriter
from trimtab.actuate.conditions import replicas
from trimtab.actuate.kinds import Document
from trimtab.actuate.pools import PoolWriter
from trimtab.actuate.publisher import Item, Publisher
from trimtab.api.naming import DEPLOYMENT_LABEL
from trimtab.controller.beats import PLANNING
from trimtab.controller.context import Context
from trimtab.controller.decisionlog import DecisionLog
from trimtab.controller.warm import Recall, recalled
from trimtab.models.codec import Record
from trimtab.models.load import ObservedLoad
from trimtab.models.memory import PlannerMemory
from trimtab.models.plan import Decision, Plan, VariantTarget, Why
from trimtab.models.signals import fresh_value
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.observe.collect import collect
from trimtab.observe.discovery import drafts
from trimtab.observe.kinds import Kind
from trimtab.observe.pools import PoolFacts, pool_facts
from trimtab.observe.pricing import PriceBook
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.scrape import Scraper
from trimtab.observe.selftest import SelfTest
from trimtab.observe.signals import Either, Source
from trimtab.observe.world import WorldView
from trimtab.planner.plan import plan as make_plan
from trimtab.telemetry.names import DeploymentSample, PoolSample

APPLY_S = 15.0
"""Longest time that one cycle writes: what is left is found again by the next, with new facts."""
_CHILDREN = (Kind.SERVICE, Kind.DISRUPTION_BUDGET, Kind.DEPLOYMENT)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a cycle acts with."""

    applier: Applier
    pools: PoolWriter
    budgets: BudgetWriter
    publisher: Publisher
    log: DecisionLog


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Both clocks: Unix seconds for people and plans, monotonic seconds for durations."""

    now: Callable[[], float]
    monotonic: Callable[[], float]


@dataclass(slots=True, kw_only=True)
class Cycle:
    """Runs cycles, one after the other, and carries the planner's memory between them."""

    context: Context
    source: Source | None
    hands: Hands
    clocks: Clocks
    refusals: Callable[[WorldView, float], Mapping[tuple[str, str], str]]
    """What node autoscalers say of pods that wait, as of a time in Unix seconds."""
    recall: Recall | None = None
    """What fetches the time before this process, where there is a source that kept it."""
    memory: PlannerMemory = field(default_factory=PlannerMemory)
    prices: PriceBook = field(default_factory=PriceBook)
    selftest: SelfTest = field(default_factory=SelfTest)
    _told: dict[str, tuple[VariantTarget, ...]] = field(default_factory=dict)
    """By uid: the fleet that was last logged, for one that cannot be had stays wanted."""

    def run(self) -> bool:
        """Run one cycle and return whether something was left for the next.

        Raises:
            LostLeadership: The lease is gone; nothing more was sent.
        """
        past = self.recall.take() if self.recall else None
        if past is not None:
            self.memory = recalled(self.memory, past)
        with self._phase("observe"):
            view = self._with_pools(self.context.store.view())
            now = self.clocks.now()
            prices = self.prices.refresh(_prometheus(self.source), view, now)
            view = replace(view, prices=prices, refusals=self.refusals(view, now))
            snapshot = collect(
                view,
                self.source,
                now=now,
                memory=self.memory,
                config=self.context.config,
            )
            snapshot = self.selftest.told(_prometheus(self.source), view, snapshot)
        with self._phase("plan"):
            decided = make_plan(snapshot, self.context.config.planner)
            self.memory = decided.memory
            self._tell(snapshot, decided)
        deadline = self.clocks.monotonic() + APPLY_S
        pools = {pool.name: pool for pool in snapshot.pools}
        works = list(_works(view, snapshot, decided))
        with self._phase("apply"):
            outcomes = self.hands.applier.apply(works, pools, deadline)
        with self._phase("publish"):
            view = self.context.store.view()
            in_time = self.hands.publisher.publish(
                list(_items(view, works, outcomes)), pools, snapshot.now, deadline + APPLY_S
            )
            self._reject_broken(view, snapshot.now)
            facts = pool_facts(replace(view, prices=prices))
            self.hands.pools.publish(facts, _by_name(view, Kind.ACCELERATOR_POOL), snapshot.now)
            self.hands.budgets.publish(
                snapshot, decided.decisions, _by_name(view, Kind.FLEET_BUDGET)
            )
            self._export(works, facts)
        return not in_time or any(outcome.deferred for outcome in outcomes)

    def _with_pools(self, view: WorldView) -> WorldView:
        """Return the mirror after the pools that the nodes tell of have been written."""
        if not self.context.config.discover_pools:
            return view
        self.hands.pools.apply(drafts(view), _by_name(view, Kind.ACCELERATOR_POOL))
        return self.context.store.view()

    def _tell(self, snapshot: Snapshot, decided: Plan) -> None:
        changed = [
            decision
            for decision in decided.decisions
            if decision.changed and self._told.get(decision.uid) != decision.targets
        ]
        self._told = {decision.uid: decision.targets for decision in decided.decisions}
        for decision in changed:
            self.context.metrics.decisions.labels(why=decision.why).inc()
            _log.info(
                "fleet decided",
                deployment=str(decision.key),
                why=decision.why,
                message=decision.message,
                targets=_fleet(decision),
                usd_per_hour=decision.usd_per_hour,
                write=decision.write,
            )
        if changed:
            config = self.context.config.planner
            self.hands.log.append(Record(snapshot=snapshot, config=config, plan=decided))

    def _reject_broken(self, view: WorldView, now: float) -> None:
        for broken in view.broken:
            live = view.bodies.get(broken.key)
            if broken.key.kind is Kind.LLM_DEPLOYMENT and live is not None:
                self.hands.publisher.reject(dict(live), broken.message, now)

    def _export(self, works: list[Work], facts: tuple[PoolFacts, ...]) -> None:
        self.context.metrics.fleet.show(
            (_sample(work.state, work.decision) for work in works),
            (
                PoolSample(
                    name=item.name,
                    total=item.devices,
                    promised=item.promised,
                    foreign=item.foreign_devices,
                )
                for item in facts
            ),
        )

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        self.context.beats.beat(PLANNING)
        began = self.clocks.monotonic()
        yield
        taken = self.clocks.monotonic() - began
        self.context.metrics.cycle_seconds.labels(phase=name).observe(taken)


def _prometheus(source: Source | None) -> MetricsSource | None:
    if isinstance(source, Either):
        return source.prometheus
    return None if isinstance(source, Scraper) else source


def _works(view: WorldView, snapshot: Snapshot, decided: Plan) -> Iterator[Work]:
    states = {state.key: state for state in snapshot.deployments}
    children: dict[Key, list[Document]] = {}
    for key, body in view.bodies.items():
        if key.kind in _CHILDREN:
            owner = body["metadata"].get("labels", {}).get(DEPLOYMENT_LABEL, "")
            children.setdefault(Key(namespace=key.namespace, name=owner), []).append(dict(body))
    for decision in decided.decisions:
        state = states.get(decision.key)
        if state is not None and state.uid == decision.uid:
            live = tuple(children.get(decision.key, ()))
            yield Work(state=state, decision=decision, live=live)


def _items(view: WorldView, works: list[Work], outcomes: list[Outcome]) -> Iterator[Item]:
    live = {
        (key.namespace, key.name): body
        for key, body in view.bodies.items()
        if key.kind is Kind.LLM_DEPLOYMENT
    }
    for work, outcome in zip(works, outcomes, strict=True):
        body = live.get((work.state.key.namespace, work.state.key.name))
        if body is not None and body["metadata"].get("uid") == work.state.uid:
            yield Item(state=work.state, decision=work.decision, outcome=outcome, live=dict(body))


def _by_name(view: WorldView, kind: Kind) -> Mapping[str, Document]:
    return {key.name: dict(body) for key, body in view.bodies.items() if key.kind is kind}


def _fleet(decision: Decision) -> str:
    return ",".join(
        f"{target.pool}/tp{target.parallelism.tensor}:{target.replicas}"
        for target in decision.targets
    )


def _sample(state: DeploymentState, decision: Decision) -> DeploymentSample:
    decided, serving = replicas(state, decision)
    return DeploymentSample(
        namespace=state.key.namespace,
        name=state.key.name,
        desired=decided,
        ready=serving,
        recommended=not decision.write and decision.why not in (Why.PAUSED, Why.INVALID),
        usd_per_hour=decision.usd_per_hour,
        slo=fresh_value(state.load.slo_attainment),
        demand_rps=decision.demand.rps,
        queued=fresh_value(state.load.waiting),
        signals=tuple(sorted(_states(state.load).items())),
    )


def _states(load: ObservedLoad) -> Counter[str]:
    signals = (
        load.arrival_rps,
        load.input_tokens,
        load.output_tokens,
        load.prefix_hit,
        load.waiting,
        load.running,
        load.kv_utilization,
        load.ttft_s,
        load.itl_s,
        load.e2e_s,
        load.slo_attainment,
    )
    return Counter(signal.kind for signal in signals)
