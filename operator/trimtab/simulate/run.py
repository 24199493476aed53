"""One policy on one scenario, from the first request to the last answer. Deterministic."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from trimtab.models.capacity import Pool
from trimtab.models.load import LatencyTargets
from trimtab.models.snapshot import DeploymentState, Key
from trimtab.simulate.bill import Bill
from trimtab.simulate.events import Request
from trimtab.simulate.fleet import Fleet, Ground, Service
from trimtab.simulate.gateway import Gateway, GatewaySettings, Router
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.meter import Meter
from trimtab.simulate.nodes import Room
from trimtab.simulate.policy import DeploymentView, FleetView, Policy
from trimtab.simulate.readings import SCRAPE_S
from trimtab.simulate.recorder import Desk, Recorder
from trimtab.simulate.result import RunResult
from trimtab.simulate.rivals.base import Source
from trimtab.simulate.scenario import Scenario
from trimtab.simulate.timeline import DECIDE, LATER, SCRAPE, Timeline
from trimtab.simulate.traffic import EMPTY, Traffic
from trimtab.simulate.world import Chances, World, shutdown_s, world_of

DRAIN_STEP_S = 60.0


def run(scenario: Scenario, traffic: Mapping[Key, Traffic], policy: Policy, seed: int) -> RunResult:
    """Return what `policy` makes of `traffic` in `scenario`.

    Args:
        scenario: Pools, clients, faults.
        traffic: The requests of each deployment, as `traffic_of` gives them.
        policy: Fresh: one object serves one run.
        seed: Chooses the luck of nodes and pods: delays, failures, reclaims.

    Raises:
        InvalidInput: A manifest cannot be understood.
    """
    return _Run(world_of(scenario, traffic), policy, seed).result()


@dataclass(slots=True)
class _Stream:
    """The requests of one deployment, and how many of them were sent."""

    traffic: Traffic
    at: list[float]
    inputs: list[int]
    outputs: list[int]
    sent: int = 0
    seen: int = 0
    """By the last decision."""
    ongoing: float = 0.0
    """Requests in flight times seconds since the last decision."""
    in_flight: int = 0
    """At `until`."""
    until: float = 0.0
    began: float = 0.0
    """When the last decision was."""

    @classmethod
    def of(cls, traffic: Traffic) -> "_Stream":
        return cls(
            traffic=traffic,
            at=traffic.at_s.tolist(),
            inputs=traffic.input_tokens.tolist(),
            outputs=traffic.output_tokens.tolist(),
        )


class _Run:
    """The state of one run."""

    def __init__(self, world: World, policy: Policy, seed: int) -> None:
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
        self._desks = {state.key: _desk(state, world.scenario) for state in world.states}
        self._streams = {
            state.key: _Stream.of(world.traffic.get(state.key, EMPTY)) for state in world.states
        }
        lives = {name: chances.fail_after(name) for name in self._rooms}
        ground = Ground(
            kinds=world.kinds,
            rooms=self._rooms,
            services={
                state.key: Service(
                    gateway=self._desks[state.key].gateway,
                    meter=self._desks[state.key].meter,
                    shutdown_s=shutdown_s(state),
                )
                for state in world.states
            },
            load_s=chances.load_s,
            fail_after={name: life for name, life in lives.items() if life is not None},
        )
        self._bill = Bill()
        self._fleet = Fleet(ground, self._timeline, self._bill)
        self._recorder = Recorder(world, self._desks, self._fleet, self._rooms, self._bill)
        self._woken = False

    def result(self) -> RunResult:
        """Run it all."""
        scenario, timeline, policy = self._world.scenario, self._timeline, self._policy
        first = policy.decide(self._view(0.0))
        self._recorder.decided(first, 0.0)
        self._fleet.begin(first.replicas)
        if policy.debounce_s is not None:
            self._fleet.on_change = self._wake
        end = scenario.duration_s
        timeline.every(SCRAPE_S, end, self._scrape, SCRAPE)
        timeline.every(policy.interval_s, end, self._decide, DECIDE)
        if scenario.warmup_s > 0.0:
            timeline.at(scenario.warmup_s, self._recorder.score_from_here, LATER)
        while (following := timeline.next(end)) is not None:
            now, action = following
            self._advance(now)
            action(now)
        self._advance(end)
        self._bill.settle(end)
        for desk in self._desks.values():
            # Whoever waits still gets his answer or gives up; nothing else happens any more.
            until = end
            while desk.gateway.in_flight:
                until += DRAIN_STEP_S
                desk.gateway.advance(until)
        return self._recorder.result(policy.name, self._seed)

    def _advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        for key, stream in self._streams.items():
            gateway = self._desks[key].gateway
            i, at, prefix = stream.sent, stream.at, stream.traffic.prefix
            while i < len(at) and at[i] < now:
                gateway.arrive(
                    Request(
                        id=i,
                        arrival=at[i],
                        input_tokens=stream.inputs[i],
                        output_tokens=stream.outputs[i],
                        prefix=() if prefix is None else prefix[i],
                    )
                )
                i += 1
            stream.sent = i
            gateway.advance(now)
            in_flight = gateway.in_flight
            stream.ongoing += (stream.in_flight + in_flight) / 2.0 * (now - stream.until)
            stream.in_flight, stream.until = in_flight, now

    def _scrape(self, now: float) -> None:
        for desk in self._desks.values():
            desk.meter.scrape(now)
        self._recorder.note(now, {key: stream.sent for key, stream in self._streams.items()})

    def _wake(self, now: float) -> None:
        if not self._woken and self._policy.debounce_s is not None:
            self._woken = True
            self._timeline.at(now + self._policy.debounce_s, self._decide_woken, DECIDE)

    def _decide_woken(self, now: float) -> None:
        self._woken = False
        self._decide(now)

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
                    replicas=self._fleet.views(key, now, metrics=source is Source.ANSWERS),
                    lost={v: n for v, n in lost.items() if v.deployment == key},
                    load=desk.meter.load(ready, source, now),
                    arrivals=_part(stream.traffic, stream.seen, stream.sent),
                    ongoing=stream.ongoing / span if span > 0.0 else float(stream.in_flight),
                    in_flight=stream.in_flight,
                    held=desk.gateway.queued,
                    latency=desk.meter.latency(source),
                )
            )
            stream.seen, stream.ongoing, stream.began = stream.sent, 0.0, now
        return FleetView(
            now=now,
            metrics=source,
            deployments=tuple(deployments),
            pools=tuple(self._pool(pool) for pool in self._world.snapshot.pools),
        )

    def _pool(self, pool: Pool) -> Pool:
        room = self._rooms[pool.name]
        return replace(
            pool,
            nodes=room.nodes,
            devices=room.nodes * pool.devices_per_node,
            max_devices=pool.max_devices if room.rules.grows else None,
        )


def _desk(state: DeploymentState, scenario: Scenario) -> Desk:
    targets = LatencyTargets() if state.policy is None else state.policy.targets
    ledger = Ledger(targets)
    settings = GatewaySettings(
        router=Router(scenario.router.value),
        client_timeout_s=scenario.clients.timeout_s,
        retries=scenario.clients.retries,
        backoff_s=scenario.clients.backoff_s,
    )
    return Desk(
        state=state,
        targets=targets,
        ledger=ledger,
        gateway=Gateway(settings, ledger),
        meter=Meter(targets),
    )


def _part(traffic: Traffic, start: int, end: int) -> Traffic:
    return Traffic(
        at_s=traffic.at_s[start:end],
        input_tokens=traffic.input_tokens[start:end],
        output_tokens=traffic.output_tokens[start:end],
    )
