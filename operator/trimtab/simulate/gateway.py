"""Where the clients of one service come in: routing, waiting, giving up. Deterministic."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from trimtab.simulate.engine import Engine
from trimtab.simulate.events import (
    Event,
    Finished,
    FinishReason,
    FirstToken,
    Request,
    Resumed,
    Steps,
)
from trimtab.simulate.ledger import Ledger

Observer = Callable[[list[Event]], None]


class Router(StrEnum):
    """How a request finds its replica."""

    LEAST_OUTSTANDING = "least-outstanding"
    """The one with the fewest unfinished requests; among equals the one longest without."""
    ROUND_ROBIN = "round-robin"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway treats requests."""

    router: Router = Router.LEAST_OUTSTANDING
    queue: int = 1000
    """Requests that may wait while no replica accepts any; further ones are rejected."""
    client_timeout_s: float = 60.0
    """A client that has no first token after this time gives up."""


@dataclass(slots=True, kw_only=True)
class _Replica:
    engine: Engine
    observe: Observer
    accepting: bool = True
    last_routed: int = 0
    """Rank of the latest request that it got, over all replicas."""


@dataclass(slots=True)
class _Flight:
    """A request whose fate is open."""

    request: Request
    replica: _Replica | None = None
    """None while it waits at the gateway."""
    answering: bool = False
    """Whether its first token has come."""


class Gateway:
    """The clients of one service and its replicas. Time is the caller's and never goes back."""

    def __init__(self, settings: GatewaySettings, ledger: Ledger) -> None:
        self._settings = settings
        self._ledger = ledger
        self._replicas: dict[str, _Replica] = {}
        self._flights: dict[int, _Flight] = {}
        self._queue: dict[int, _Flight] = {}
        """Those that wait at the gateway, in order of arrival."""
        self._deadlines: deque[tuple[float, int]] = deque()
        self._routed = 0

    @property
    def in_flight(self) -> int:
        """Requests whose fate is open."""
        return len(self._flights)

    @property
    def queued(self) -> int:
        """Those of them that wait at the gateway."""
        return len(self._queue)

    @property
    def accepting(self) -> int:
        """Replicas that get requests."""
        return sum(replica.accepting for replica in self._replicas.values())

    def add(self, name: str, engine: Engine, observe: Observer, now: float) -> None:
        """Send requests to a new replica from `now` on; `observe` is told all it does."""
        self.advance(now)
        self._replicas[name] = _Replica(engine=engine, observe=observe)
        self._flush(now)

    def accept(self, name: str, accepting: bool, now: float) -> None:
        """Begin or stop to send requests to a replica; those that it has go on."""
        self.advance(now)
        self._replicas[name].accepting = accepting
        self._flush(now)

    def remove(self, name: str, now: float) -> None:
        """Take away a replica; what it has not finished is lost."""
        self.advance(now)
        replica = self._replicas.pop(name)
        for request in replica.engine.unfinished():
            if self._flights.pop(request.id, None) is not None:
                self._ledger.lost(now)

    def outstanding(self, name: str) -> int:
        """Return the number of unfinished requests of a replica."""
        return self._replicas[name].engine.outstanding

    def arrive(self, request: Request) -> None:
        """Take a request at its arrival."""
        now = request.arrival
        self.advance(now)
        self._ledger.arrived(now)
        flight = self._flights[request.id] = _Flight(request)
        self._deadlines.append((now + self._settings.client_timeout_s, request.id))
        if self.accepting:
            self._route(flight, now)
        elif len(self._queue) < self._settings.queue:
            self._queue[request.id] = flight
        else:
            self._reject(flight, now)

    def advance(self, now: float) -> None:
        """Let everything happen that happens until `now`."""
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, request_id = self._deadlines.popleft()
            flight = self._flights.get(request_id)
            if flight is not None and not flight.answering:
                self._expire(flight, deadline)
        for replica in self._replicas.values():
            self._run(replica, now)

    def _expire(self, flight: _Flight, deadline: float) -> None:
        request, replica = flight.request, flight.replica
        if replica is None:
            del self._queue[request.id]
        else:
            self._run(replica, deadline)
            if flight.answering or request.id not in self._flights:
                return
            replica.engine.cancel(request, deadline)
        del self._flights[request.id]
        self._ledger.timed_out(deadline)

    def _flush(self, now: float) -> None:
        if self.accepting:
            waiting, self._queue = self._queue, {}
            for flight in waiting.values():
                self._route(flight, now)

    def _route(self, flight: _Flight, now: float) -> None:
        candidates = [replica for replica in self._replicas.values() if replica.accepting]
        if self._settings.router is Router.ROUND_ROBIN:
            replica = min(candidates, key=lambda r: r.last_routed)
        else:
            replica = min(candidates, key=lambda r: (r.engine.outstanding, r.last_routed))
        self._routed += 1
        replica.last_routed = self._routed
        flight.replica = replica
        if not replica.engine.submit(flight.request, now):
            self._reject(flight, now)

    def _reject(self, flight: _Flight, now: float) -> None:
        del self._flights[flight.request.id]
        self._ledger.rejected(now)

    def _run(self, replica: _Replica, until: float) -> None:
        events = replica.engine.advance(until)
        if not events:
            return
        replica.observe(events)
        for event in events:
            match event:
                case Steps():
                    self._ledger.gaps(event)
                case Resumed():
                    self._ledger.gap(event.at, event.gap_s)
                case FirstToken():
                    flight = self._flights.get(event.request.id)
                    if flight is not None:
                        flight.answering = True
                        self._ledger.first_token(event.at, event.at - event.request.arrival)
                case Finished(reason=FinishReason.STOP | FinishReason.LENGTH):
                    if self._flights.pop(event.request.id, None) is not None:
                        self._ledger.served(event)
                case _:
                    pass
