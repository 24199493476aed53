"""Every metric that the operator itself exports, with its labels; none carries a user's text.

The only free labels are the namespace and name of a deployment and the name of a pool.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from trimtab.version import VERSION

CYCLES = "trimtab_cycles"
CYCLE_SECONDS = "trimtab_cycle_seconds"
DECISIONS = "trimtab_decisions"
WRITES = "trimtab_writes"
LEADER = "trimtab_leader"
WATCH_AGE = "trimtab_watch_age_seconds"
LIST_AGE = "trimtab_list_age_seconds"
DESIRED = "trimtab_desired_replicas"
READY = "trimtab_ready_replicas"
RECOMMENDED = "trimtab_recommended"
COST = "trimtab_cost_dollars_per_hour"
SLO = "trimtab_slo_attainment_ratio"
DEMAND = "trimtab_demand_requests_per_second"
QUEUE = "trimtab_queued_requests"
SIGNALS = "trimtab_signals"
POOL_DEVICES = "trimtab_pool_devices"

PHASES = ("observe", "plan", "apply", "publish")
"""Label `phase` of CYCLE_SECONDS."""
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_DEPLOYMENT = ("namespace", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentSample:
    """The figures of one deployment; None is unknown and is not exported."""

    namespace: str
    name: str
    desired: int
    ready: int
    recommended: bool
    """Whether the decision is only published: what it asks for is then neither missing nor paid."""
    usd_per_hour: float | None
    slo: float | None
    demand_rps: float | None
    queued: float | None
    signals: tuple[tuple[str, int], ...]
    """How many signals are in each state: fresh, partial, stale, missing, invalid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSample:
    """The devices of one pool."""

    name: str
    total: int
    promised: int
    foreign: int


@dataclass(slots=True)
class Metrics:
    """The metrics of this process, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    cycles: Counter = field(init=False)
    cycle_seconds: Histogram = field(init=False)
    decisions: Counter = field(init=False)
    writes: Counter = field(init=False)
    leader: Gauge = field(init=False)
    watch_age: Gauge = field(init=False)
    list_age: Gauge = field(init=False)
    fleet: "Fleet" = field(init=False)

    def __post_init__(self) -> None:
        registry = self.registry
        Info("trimtab_build", "The running version", registry=registry).info({"version": VERSION})
        ProcessCollector(registry=registry)
        self.cycles = Counter(CYCLES, "Planning cycles", ("outcome",), registry=registry)
        self.cycle_seconds = Histogram(
            CYCLE_SECONDS,
            "Time of the parts of a planning cycle",
            ("phase",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self.decisions = Counter(
            DECISIONS, "Decisions that changed a fleet, by reason", ("why",), registry=registry
        )
        self.writes = Counter(
            WRITES, "Writes to the API server", ("kind", "verb", "outcome"), registry=registry
        )
        self.leader = Gauge(LEADER, "1 while this process holds the lease", registry=registry)
        self.watch_age = Gauge(
            WATCH_AGE, "Time since a kind was last watched anew", ("kind",), registry=registry
        )
        self.list_age = Gauge(LIST_AGE, "Time since all kinds were last listed", registry=registry)
        self.fleet = Fleet()
        registry.register(self.fleet)

    def written(self, kind: str, verb: str, outcome: str) -> None:
        """Count one write."""
        self.writes.labels(kind=kind, verb=verb, outcome=outcome).inc()


class Fleet(Collector):
    """Exports the last state of deployments and pools: one that is gone leaves no series."""

    def __init__(self) -> None:
        self._deployments: tuple[DeploymentSample, ...] = ()
        self._pools: tuple[PoolSample, ...] = ()

    def show(self, deployments: Iterable[DeploymentSample], pools: Iterable[PoolSample]) -> None:
        """Replace what is exported."""
        self._deployments, self._pools = tuple(deployments), tuple(pools)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every family, for prometheus_client."""
        desired = GaugeMetricFamily(DESIRED, "Decided replicas", labels=_DEPLOYMENT)
        ready = GaugeMetricFamily(READY, "Decided replicas that serve", labels=_DEPLOYMENT)
        recommended = GaugeMetricFamily(
            RECOMMENDED, "1 where the decision is only published, else 0", labels=_DEPLOYMENT
        )
        cost = GaugeMetricFamily(COST, "Price of the decided replicas", labels=_DEPLOYMENT)
        slo = GaugeMetricFamily(SLO, "Share of requests within the targets", labels=_DEPLOYMENT)
        demand = GaugeMetricFamily(DEMAND, "Demand that was planned for", labels=_DEPLOYMENT)
        queue = GaugeMetricFamily(QUEUE, "Requests that wait in the engines", labels=_DEPLOYMENT)
        signals = GaugeMetricFamily(
            SIGNALS, "Signals of the engines in each state", labels=(*_DEPLOYMENT, "state")
        )
        for item in self._deployments:
            where = (item.namespace, item.name)
            desired.add_metric(where, item.desired)
            ready.add_metric(where, item.ready)
            recommended.add_metric(where, item.recommended)
            for family, value in (
                (cost, item.usd_per_hour),
                (slo, item.slo),
                (demand, item.demand_rps),
                (queue, item.queued),
            ):
                if value is not None:
                    family.add_metric(where, value)
            for state, count in item.signals:
                signals.add_metric((*where, state), count)
        devices = GaugeMetricFamily(POOL_DEVICES, "Devices of a pool", labels=("pool", "state"))
        for pool in self._pools:
            devices.add_metric((pool.name, "total"), pool.total)
            devices.add_metric((pool.name, "promised"), pool.promised)
            devices.add_metric((pool.name, "foreign"), pool.foreign)
        yield from (desired, ready, recommended, cost, slo, demand, queue, signals, devices)
