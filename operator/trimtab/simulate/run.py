"""One policy on one scenario, from the first request to the last answer. Deterministic."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial

from trimtab.models.capacity import Pool
from trimtab.models.gateway import merged
from trimtab.models.load import ObservedLoad
from trimtab.models.snapshot import Key
from trimtab.simulate.bill import Bill
from trimtab.simulate.fleet import Fleet, Ground, Service
from trimtab.simulate.front import Front
from trimtab.simulate.ledger import Tally
from trimtab.simulate.nodes import Room
from trimtab.simulate.policy import DeploymentView, FleetView, Policy
from trimtab.simulate.prices import priced
from trimtab.simulate.readings import SCRAPE_S
from trimtab.simulate.recorder import Desk, Recorder
from trimtab.simulate.result import RunResult
from trimtab.simulate.rivals.base import Source
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.sites import Site
from trimtab.simulate.staged import exact_sites, fluid_sites, targets_of
from trimtab.simulate.timeline import DECIDE, LATER, SCRAPE, Action, Timeline
from trimtab.simulate.traffic import EMPTY, Traffic
from trimtab.simulate.world import Chances, World, shutdown_s, world_of

DRAIN_STEP_S = 60.0


class Mode(StrEnum):
    """How requests are served."""

    EXACT = "exact"
    """One by one, on engines that work step by step."""
    FLUID = "fluid"
    """As a flow: for weeks and many models. Prompts share nothing and nobody tries again."""


def run(
    scenario: Scenario,
    traffic: Mapping[Key, Traffic],
    policy: Policy,
    seed: int,
    mode: Mode = Mode.EXACT,
) -> RunResult:
    """Return what `policy` makes of `traffic` in `scenario`.

    Args:
        scenario: Pools, clients, faults.
        traffic: The requests of each deployment, as `traffic_of` gives them.
        policy: Fresh: one object serves one run.
        seed: Chooses the luck of nodes and pods: delays, failures, reclaims.
        mode: How requests are served.

    Raises:
        InvalidInput: A manifest cannot be understood, or the mode does not know what the scenario
            is about.
    """
    return started(scenario, traffic, policy, seed, mode).result()


def started(
    scenario: Scenario,
    traffic: Mapping[Key, Traffic],
    policy: Policy,
    seed: int,
    mode: Mode = Mode.EXACT,
) -> "Run":
    """Return the run before its first request. Arguments and errors as those of `run`."""
    world = world_of(scenario, traffic)
    sites = exact_sites(world) if mode is Mode.EXACT else fluid_sites(world)
    return Run(world, policy, seed, sites)


@dataclass(frozen=True, slots=True, kw_only=True)
class SoFar:
    """A run that is under way, as far as it is scored. Nothing in it ever gets less."""

    cost_usd: float
    tallies: Mapping[Key, Tally]


@dataclass(slots=True)
class _Stream:
    """The requests of one deployment, and what was told of them."""

    traffic: Traffic
    seen: int = 0
    """By the last decision."""
    ongoing: float = 0.0
    """Requests in flight times seconds since the last decision."""
    in_flight: int = 0
    """At `until`."""
    until: float = 0.0
    began: float = 0.0
    """When the last decision was."""


class Run:
    """One run, which can be let go once and no further."""

    def __init__(self, world: World, policy: Policy, seed: int, sites: Mapping[Key, Site]) -> None:
        self._world = world
        self._policy = policy
        self._seed = seed
        self._timeline = Timeline()
        chances = Chances(world, seed)
        self._rooms = {
            pool.name: Room(
                chances.pool_rules(pool), self._timeline, chances.stream(pool.name, "nodes")
            )
            for pool in world.snapshot.pools
        }
        for name, room in self._rooms.items():
            room.open(chances.nodes_at_start(name), 0.0)
        self._desks = {
            state.key: Desk(
                state=state,
                targets=targets_of(state),
                site=sites[state.key],
                front=None if state.spec.gateway is None else Front(),
            )
            for state in world.states
        }
        self._streams = {
            state.key: _Stream(traffic=world.traffic.get(state.key, EMPTY))
            for state in world.states
        }
        lives = {name: chances.fail_after(name) for name in self._rooms}
        ground = Ground(
            kinds=world.kinds,
            rooms=self._rooms,
            services={
                state.key: Service(
                    site=self._desks[state.key].site,
                    shutdown_s=shutdown_s(state),
                )
                for state in world.states
            },
            load_s=chances.load_s,
            fail_after={name: life for name, life in lives.items() if life is not None},
        )
        self._bill = Bill()
        for name, history in world.prices.items():
            for at, usd in history.steps:
                if at > 0.0:
                    self._timeline.at(at, partial(self._bill.reprice, name, usd))
                else:
                    self._bill.reprice(name, usd, 0.0)
        self._fleet = Fleet(ground, self._timeline, self._bill)
        self._recorder = Recorder(world, self._desks, self._fleet, self._rooms, self._bill)
        self._woken = False
        self._due = 0.0
        """When a policy decides that is not woken before."""

    def result(self) -> RunResult:
        """Run it all."""
        for now, action in self._begun():
            self._advance(now)
            action(now)
        return self._ended()

    def result_unless(self, beaten: Callable[[SoFar], bool]) -> RunResult | None:
        """Run it all, or return None as soon as it is `beaten`, which is asked while it is scored.

        What is asked changes nothing: a whole run is the same as without.
        """
        asked = self._world.scenario.warmup_s
        for now, action in self._begun():
            self._advance(now)
            action(now)
            if now >= asked + SCRAPE_S:
                asked = now
                if beaten(self._so_far()):
                    return None
        return self._ended()

    def _begun(self) -> Iterator[tuple[float, Action]]:
        """Begin, and yield what happens, with its time, until the end of the scenario."""
        scenario, timeline, policy = self._world.scenario, self._timeline, self._policy
        first = policy.decide(self._view(0.0))
        self._recorder.decided(first, 0.0)
        self._fleet.begin(first.replicas)
        end = scenario.duration_s
        timeline.every(SCRAPE_S, end, self._scrape, SCRAPE)
        if policy.debounce_s is None:
            timeline.every(policy.interval_s, end, self._decide, DECIDE)
        else:
            self._fleet.on_change = self._wake
            self._wait(0.0)
        if scenario.warmup_s > 0.0:
            timeline.at(scenario.warmup_s, self._recorder.score_from_here, LATER)
        while (following := timeline.next(end)) is not None:
            yield following

    def _so_far(self) -> SoFar:
        # The bill is left as it is: bringing it up to date would round it differently.
        return SoFar(
            cost_usd=sum(account.usd for account in self._bill.pools.values()),
            tallies={key: desk.site.total for key, desk in self._desks.items()},
        )

    def _ended(self) -> RunResult:
        end = self._world.scenario.duration_s
        self._advance(end)
        self._bill.settle(end)
        for desk in self._desks.values():
            # Whoever waits still gets his answer or gives up; nothing else happens any more.
            until = end
            while desk.site.in_flight:
                until += DRAIN_STEP_S
                desk.site.advance(until)
        return self._recorder.result(self._policy.name, self._seed)

    def _advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        for key, stream in self._streams.items():
            site = self._desks[key].site
            site.advance(now)
            in_flight = site.in_flight
            stream.ongoing += (stream.in_flight + in_flight) / 2.0 * (now - stream.until)
            stream.in_flight, stream.until = in_flight, now

    def _scrape(self, now: float) -> None:
        for desk in self._desks.values():
            desk.site.scrape(now)
            if desk.front is not None:
                desk.front.scrape(desk.site.tries, desk.site.held, now)
        self._recorder.note(now, {key: desk.site.sent for key, desk in self._desks.items()})

    def _wake(self, now: float) -> None:
        if not self._woken and self._policy.debounce_s is not None:
            self._woken = True
            self._timeline.at(now + self._policy.debounce_s, self._decide_woken, DECIDE)

    def _decide_woken(self, now: float) -> None:
        self._woken = False
        self._decide(now)
        self._wait(now)

    def _wait(self, now: float) -> None:
        """Have the next decision a whole period after this one, as the operator's loop does."""
        self._due = now + self._policy.interval_s
        self._timeline.at(self._due, self._decide_due, DECIDE)

    def _decide_due(self, now: float) -> None:
        if now == self._due:  # nothing has woken it since
            self._decide(now)
            self._wait(now)

    def _decide(self, now: float) -> None:
        choice = self._policy.decide(self._view(now))
        self._recorder.decided(choice, now)
        self._fleet.apply(choice.replicas, now)

    def _view(self, now: float) -> FleetView:
        source = self._world.source(now)
        lost, self._fleet.lost = self._fleet.lost, type(self._fleet.lost)()
        deployments = []
        for key, stream in self._streams.items():
            desk = self._desks[key]
            ready = [pod.id for pod in self._fleet.ready(key)]
            span = now - stream.began
            deployments.append(
                DeploymentView(
                    key=key,
                    wanted={v: n for v, n in self._fleet.wanted.items() if v.deployment == key},
                    replicas=self._fleet.views(key, now),
                    lost={v: n for v, n in lost.items() if v.deployment == key},
                    load=partial(self._load, key, ready, source, now),
                    arrivals=_part(stream.traffic, stream.seen, desk.site.sent),
                    ongoing=stream.ongoing / span if span > 0.0 else float(stream.in_flight),
                    in_flight=stream.in_flight,
                    held=desk.site.held,
                    latency=desk.site.latency(source),
                )
            )
            stream.seen, stream.ongoing, stream.began = desk.site.sent, 0.0, now
        return FleetView(
            now=now,
            metrics=source,
            deployments=tuple(deployments),
            pools=tuple(self._pool(pool) for pool in self._world.snapshot.pools),
        )

    def _load(self, key: Key, ready: Sequence[str], source: Source, now: float) -> ObservedLoad:
        """Return what the operator would read of a deployment, of its gateway too if it has one."""
        desk = self._desks[key]
        load = desk.site.load(ready, source, now)
        if desk.front is None or load.source_error:
            return load
        return merged(load, desk.front.demand(source, now), pods=self._fleet.stays(key))

    def _pool(self, pool: Pool) -> Pool:
        room = self._rooms[pool.name]
        usd = self._bill.prices.get(pool.name)
        return replace(
            pool if usd is None else priced(pool, usd),
            nodes=room.nodes,
            devices=room.nodes * pool.devices_per_node,
            max_devices=pool.max_devices if room.rules.grows else None,
        )


def _part(traffic: Traffic, start: int, end: int) -> Traffic:
    return Traffic(
        at_s=traffic.at_s[start:end],
        input_tokens=traffic.input_tokens[start:end],
        output_tokens=traffic.output_tokens[start:end],
    )
