"""Where the clients of one service come in: waiting, giving up, trying again. Deterministic."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from math import inf

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
from trimtab.simulate.routers import CHOICES, Target
from trimtab.simulate.routers import Router as Router

Observer = Callable[[list[Event]], None]

_JITTER = 0.25
"""Share of a pause that varies between clients, as in OpenAI's own client."""
_GOLDEN = 0.6180339887498949
"""Multiples of it, less their whole part, are spread evenly over 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """How a gateway treats requests, and how its clients wait and come back."""

    router: Router = Router.LEAST_OUTSTANDING
    queue: int = 1000
    """Requests that may wait while no replica accepts any; further ones are rejected."""
    client_timeout_s: float = 60.0
    """A client that has no first token after this time gives up the attempt."""
    answer_timeout_s: float = inf
    """A client that has no whole answer after this time gives up the attempt."""
    retries: int = 0
    """How often a client tries again that got no token: rejected, lost or tired of waiting."""
    backoff_s: float = 1.0
    """How long it pauses before; doubled each time, less up to a quarter by chance."""


@dataclass(slots=True, kw_only=True, eq=False)
class _Replica:
    target: Target[Engine]
    observe: Observer
    accepting: bool = True
    due: float = inf
    """When its engine must be advanced, as far as the heap knows."""


class _Flight:
    """A request whose fate is open."""

    __slots__ = ("answering", "attempt", "replica", "request")

    def __init__(self, request: Request) -> None:
        self.request = request
        self.replica: _Replica | None = None
        """None while it waits at the gateway or with its client."""
        self.answering = False
        """Whether its first token has come."""
        self.attempt = 0


class Gateway:
    """The clients of one service and its replicas. Time is the caller's and never goes back.

    Engines are left alone until something happens in them that others can see.
    """

    def __init__(self, settings: GatewaySettings, ledger: Ledger) -> None:
        self._settings = settings
        self._choose = CHOICES[settings.router]
        self._ledger = ledger
        self._replicas: dict[str, _Replica] = {}
        self._targets: list[Target[Engine]] = []
        """Of the replicas that accept."""
        self._by_target: dict[Target[Engine], _Replica] = {}
        self._flights: dict[int, _Flight] = {}
        self._queue: dict[int, _Flight] = {}
        """Those that wait at the gateway, in order of arrival."""
        self._first_by: deque[tuple[float, _Flight, int]] = deque()
        """Until when an attempt must have a first token; all wait equally long."""
        self._whole_by: deque[tuple[float, _Flight, int]] = deque()
        self._retries: list[tuple[float, int, _Flight]] = []
        """Heap of (when a client tries again, request id, flight)."""
        self._due: list[tuple[float, int, _Replica]] = []
        """Heap of (when an engine must be advanced, rank, replica); stale where not `due`."""
        self._rank = 0
        self._routed = 0
        self.tries = 0
        """Attempts that came here."""

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
        return len(self._targets)

    def add(
        self, name: str, engine: Engine, observe: Observer, now: float, *, weight: float = 1.0
    ) -> None:
        """Send requests to a new replica from `now` on; `observe` is told all it does.

        `weight` is above 0 and says how often its turn comes, where the router goes by weights.
        """
        self.advance(now)
        target = Target(engine, weight)
        target.routed_weight = min((t.routed_weight for t in self._targets), default=0.0)
        replica = self._replicas[name] = _Replica(target=target, observe=observe)
        self._by_target[target] = replica
        self._schedule(replica)
        self._changed(now)

    def accept(self, name: str, accepting: bool, now: float) -> None:
        """Begin or stop to send requests to a replica; those that it has go on."""
        self.advance(now)
        self._replicas[name].accepting = accepting
        self._changed(now)

    def remove(self, name: str, now: float) -> None:
        """Take away a replica; what it has not finished is lost."""
        self.advance(now)
        replica = self._replicas.pop(name)
        replica.due = inf
        del self._by_target[replica.target]
        self._changed(now)
        for request in replica.target.engine.unfinished():
            flight = self._flights.get(request.id)
            if flight is not None and flight.request is request:
                self._fail(flight, now, self._ledger.lost)

    def outstanding(self, name: str) -> int:
        """Return the number of unfinished requests of a replica."""
        return self._replicas[name].target.engine.outstanding

    def arrive(self, request: Request) -> None:
        """Take a request at its arrival."""
        now = request.arrival
        self._elapse(now)
        self._ledger.arrived()
        flight = self._flights[request.id] = _Flight(request)
        self._attempt(flight, now)

    def advance(self, now: float) -> None:
        """Let everything happen that happens until `now`, and observers see it."""
        self._elapse(now)
        for replica in self._replicas.values():
            if replica.target.engine.outstanding:
                self._run(replica, now)

    def _elapse(self, now: float) -> None:
        """Let everything happen until `now` that matters to clients and routers."""
        while True:
            first = self._first_by[0][0] if self._first_by else inf
            whole = self._whole_by[0][0] if self._whole_by else inf
            again = self._retries[0][0] if self._retries else inf
            at = min(first, whole, again)
            if at > now:
                break
            if at == again:
                _, _, flight = heappop(self._retries)
                self._settle(at)
                self._attempt(flight, at)
            else:
                deadlines = self._first_by if at == first else self._whole_by
                _, flight, attempt = deadlines.popleft()
                if flight.attempt == attempt and self._flights.get(flight.request.id) is flight:
                    self._expire(flight, at, whole=deadlines is self._whole_by)
        self._settle(now)

    def _settle(self, now: float) -> None:
        heap = self._due
        if not heap or heap[0][0] > now:
            return
        due = []
        while heap and heap[0][0] <= now:
            at, _, replica = heappop(heap)
            if at == replica.due:
                replica.due = inf
                due.append(replica)
        for replica in due:
            self._run(replica, now)

    def _schedule(self, replica: _Replica) -> None:
        at = replica.target.engine.next_at
        if at != replica.due:
            replica.due = at
            if at < inf:
                self._rank += 1
                heappush(self._due, (at, self._rank, replica))

    def _attempt(self, flight: _Flight, now: float) -> None:
        settings = self._settings
        self.tries += 1
        self._first_by.append((now + settings.client_timeout_s, flight, flight.attempt))
        if settings.answer_timeout_s < inf:
            self._whole_by.append((now + settings.answer_timeout_s, flight, flight.attempt))
        if self._targets:
            self._route(flight, now)
        elif len(self._queue) < settings.queue:
            self._queue[flight.request.id] = flight
        else:
            self._fail(flight, now, self._ledger.rejected)

    def _expire(self, flight: _Flight, deadline: float, *, whole: bool) -> None:
        request, replica = flight.request, flight.replica
        if replica is None:
            del self._queue[request.id]
        else:
            if flight.answering and not whole:
                return
            self._run(replica, deadline)
            if (flight.answering and not whole) or request.id not in self._flights:
                return
            replica.target.engine.cancel(request, deadline)
            self._schedule(replica)
        self._fail(flight, deadline, self._ledger.timed_out)

    def _fail(self, flight: _Flight, now: float, count: Callable[[], None]) -> None:
        """Let a client try again, or count its request as failed."""
        if flight.answering or flight.attempt >= self._settings.retries:
            del self._flights[flight.request.id]
            count()
            return
        chance = flight.request.id * _GOLDEN % 1.0
        pause = self._settings.backoff_s * 2.0**flight.attempt * (1.0 - _JITTER * chance)
        flight.attempt += 1
        flight.replica = None
        flight.request = replace(flight.request)  # what the last attempt still does is not its own
        self._ledger.retried()
        heappush(self._retries, (now + pause, flight.request.id, flight))

    def _changed(self, now: float) -> None:
        """Send what waits to the replicas that accept now."""
        self._targets = [r.target for r in self._replicas.values() if r.accepting]
        if self._targets and self._queue:
            waiting, self._queue = self._queue, {}
            for flight in waiting.values():
                self._route(flight, now)

    def _route(self, flight: _Flight, now: float) -> None:
        target = self._choose(self._targets, flight.request, now)
        self._routed += 1
        target.last_routed = self._routed
        replica = flight.replica = self._by_target[target]
        if target.engine.submit(flight.request, now):
            self._schedule(replica)
        else:
            # No other replica would take it either, nor later: it is not tried again.
            del self._flights[flight.request.id]
            self._ledger.rejected()

    def _run(self, replica: _Replica, until: float) -> None:
        events = replica.target.engine.advance(until)
        self._schedule(replica)
        if not events:
            return
        replica.observe(events)
        ledger = self._ledger
        for event in events:
            if isinstance(event, Steps):
                ledger.gaps(event)
            elif isinstance(event, FirstToken):
                flight = self._flight(event.request)
                if flight is not None:
                    flight.answering = True
                    ledger.first_token(event.at - event.request.arrival)
            elif isinstance(event, Finished):
                if event.reason is not FinishReason.ABORT and self._flight(event.request):
                    del self._flights[event.request.id]
                    ledger.served(event)
            elif isinstance(event, Resumed):
                ledger.gap(event.gap_s)

    def _flight(self, request: Request) -> _Flight | None:
        """Return the flight of what happened on a replica, or None if its client has left it."""
        flight = self._flights.get(request.id)
        return flight if flight is not None and flight.request is request else None
