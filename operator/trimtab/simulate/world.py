"""What a scenario means for one run: its objects as a snapshot, its pools, its chances."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from trimtab.api.engine import EngineSpec
from trimtab.models.capacity import Pool
from trimtab.models.snapshot import DeploymentState, Key, Snapshot
from trimtab.planner.offline import UNLIMITED, snapshot_of
from trimtab.simulate.inputs.spec import Lognormal
from trimtab.simulate.inputs.traces import spot_course
from trimtab.simulate.kinds import Kind, Kinds, shape_of
from trimtab.simulate.nodes import Delay, PoolRules
from trimtab.simulate.prices import PriceHistory, history_of, priced
from trimtab.simulate.rivals.base import Source
from trimtab.simulate.scenario import FaultKind, PoolWorld, Scenario
from trimtab.simulate.traffic import EMPTY, Floats, Traffic
from trimtab.units import parse_duration

EPOCH = 1_790_000_000.0
"""Unix seconds at the start of a run, for what reads a clock."""
PROVISIONING_S = 300.0
"""Time to a new node where neither the scenario nor the manifest says, as on the cluster."""
LOAD_BYTES_S = 3.4e9
"""Weights from disk to an H100: safetensors of 16 and 66 GB took 4.5 and 20 s (medians of 30 runs,
ServerlessLLM benchmarks/results, Apache-2.0)."""
LOAD_SPREAD = 0.15
"""Deviation of the logarithm of the same runs: their slowest take 1.4 times the median."""
INIT_S = (60.0, 90.0)
"""Median and 95th percentile of what vLLM does beside loading: profiling, graphs, compilation take
45 to 90 s (research/models.md, cold start facts)."""
SHUTDOWN_S = 60.0
"""Time that a leaving replica has to finish where spec.engine.shutdownTimeout does not say."""
NOTICE_S = {"aws": 120.0}
"""From the notice of a spot reclaim to its end: two minutes at AWS, 30 s at the others."""
SHORT_NOTICE_S = 30.0
_Z95 = 1.6448536269514722


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One scenario with its traffic, before any policy."""

    scenario: Scenario
    snapshot: Snapshot
    """A pool whose price changes has its mean of the scored time here."""
    traffic: Mapping[Key, Traffic]
    kinds: Kinds
    prices: Mapping[str, PriceHistory]
    """Of the pools whose price changes, by name."""

    @property
    def states(self) -> tuple[DeploymentState, ...]:
        """The deployments, sorted by key."""
        return self.snapshot.deployments

    def source(self, now: float) -> Source:
        """Return what the metrics server does at `now`."""
        for fault in self.scenario.faults:
            if fault.from_s <= now < fault.to_s:
                return Source.FAILS if fault.kind is FaultKind.METRICS_DOWN else Source.EMPTY
        return Source.ANSWERS


def world_of(scenario: Scenario, traffic: Mapping[Key, Traffic]) -> World:
    """Return the world of one run.

    Raises:
        InvalidInput: A manifest cannot be understood.
    """
    snapshot, _ = snapshot_of(scenario.manifests, EPOCH)
    prices = {
        pool.name: history_of(pool, scenario.pools[pool.name].prices)
        for pool in snapshot.pools
        if pool.name in scenario.pools and scenario.pools[pool.name].prices
    }
    scored = scenario.warmup_s, scenario.duration_s
    snapshot = replace(
        snapshot,
        pools=tuple(
            priced(pool, prices[pool.name].mean(*scored)) if pool.name in prices else pool
            for pool in snapshot.pools
        ),
    )
    shapes = {}
    for state in snapshot.deployments:
        if state.policy is not None:
            longest = state.spec.model.max_model_len or 8192
            requests = traffic.get(state.key, EMPTY)
            shapes[state.key] = shape_of(requests, state.policy.shape, longest)
    return World(
        scenario=scenario,
        snapshot=snapshot,
        traffic=traffic,
        kinds=Kinds(snapshot.deployments, snapshot.pools, snapshot.profiles, shapes),
        prices=prices,
    )


class Chances:
    """The dice of one run: a stream for each pool and purpose, so that policies meet alike luck."""

    def __init__(self, world: World, seed: int) -> None:
        """Take the scenario's distributions."""
        self._world = world
        self._seed = seed
        self._streams: dict[tuple[str, str], np.random.Generator] = {}

    def stream(self, pool: str, purpose: str) -> np.random.Generator:
        """Return the generator for one purpose on one pool."""
        key = (pool, purpose)
        if key not in self._streams:
            names = [crc32(text.encode()) for text in (self._world.scenario.name, *key)]
            self._streams[key] = np.random.default_rng([self._seed, *names])
        return self._streams[key]

    def load_s(self, pool: str, kind: Kind) -> float:
        """Draw the time from a node to a Ready replica."""
        rng = self.stream(pool, "load")
        rules = self._rules(pool).load
        if rules is not None:
            return _draw(rules, rng)()
        weights = kind.weight_bytes / LOAD_BYTES_S * math.exp(LOAD_SPREAD * rng.standard_normal())
        spread = math.log(INIT_S[1] / INIT_S[0]) / _Z95
        return weights + INIT_S[0] * math.exp(spread * float(rng.standard_normal()))

    def fail_after(self, pool: str) -> Callable[[], float] | None:
        """Return the draw of a replica's life on `pool`, None where replicas do not fail."""
        return self._life(self._rules(pool).failures_per_hour, self.stream(pool, "failure"))

    def pool_rules(self, pool: Pool) -> PoolRules:
        """Return how the nodes of `pool` come and go."""
        rules = self._rules(pool.name)
        per_node = pool.devices_per_node
        fixed = pool.max_devices in (None, UNLIMITED) and rules.nodes is not None
        most = UNLIMITED if pool.max_devices is None else pool.max_devices
        if fixed:
            most = (rules.nodes or 0) * per_node
        limits = [(0.0, most)]
        for step in rules.capacity:
            if step.at_s <= 0.0:
                limits[0] = (0.0, step.devices)
            else:
                limits.append((step.at_s, step.devices))
        reclaims = rules.reclaims
        shares: list[tuple[float, float]] = []
        reclaim_after, notice_s = None, SHORT_NOTICE_S
        if reclaims is not None and reclaims.trace is not None:
            at, share = spot_course(reclaims.trace.value)
            shares = _course(at - reclaims.skip_s, share)
            notice_s = NOTICE_S.get(reclaims.trace.value.partition("-")[0], SHORT_NOTICE_S)
        elif reclaims is not None:
            rng = self.stream(pool.name, "reclaim")
            reclaim_after = self._life(reclaims.per_hour or 0.0, rng)
        provisioning = rules.provisioning
        if provisioning is None:
            bounded = pool.max_devices not in (None, UNLIMITED)
            provisioning = pool.provisioning_s if bounded else PROVISIONING_S
        return PoolRules(
            name=pool.name,
            per_node=per_node,
            grows=not fixed or bool(rules.capacity),
            provisioning=_draw(provisioning, self.stream(pool.name, "provisioning")),
            limits=limits,
            reclaim_after=reclaim_after,
            notice_s=notice_s,
            shares=shares,
        )

    def nodes_at_start(self, pool: str) -> int:
        """Return the nodes that are there whatever the policy asks for."""
        return self._rules(pool).nodes or 0

    def _rules(self, pool: str) -> PoolWorld:
        return self._world.scenario.pools.get(pool, PoolWorld())

    @staticmethod
    def _life(per_hour: float, rng: np.random.Generator) -> Callable[[], float] | None:
        if per_hour <= 0.0:
            return None
        return lambda: float(rng.exponential(3600.0 / per_hour))


def _draw(rule: float | Lognormal, rng: np.random.Generator) -> Delay:
    if not isinstance(rule, Lognormal):
        return lambda: rule
    return lambda: rule.p50_s * math.exp(rule.sigma * float(rng.standard_normal()))


def _course(at: Floats, share: Floats) -> list[tuple[float, float]]:
    """Return the steps of a course from 0 on, the first at 0; before its start all are there."""
    before = at <= 0.0
    steps = [(0.0, float(share[before][-1]) if before.any() else 1.0)]
    return steps + [(float(t), float(s)) for t, s in zip(at[~before], share[~before], strict=True)]


def shutdown_s(state: DeploymentState) -> float:
    """Return the time that a leaving replica of a deployment has."""
    text = (state.spec.engine or EngineSpec()).shutdown_timeout
    return SHUTDOWN_S if text is None else parse_duration(text, "spec.engine.shutdownTimeout")
