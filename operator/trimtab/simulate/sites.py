"""Where one deployment's clients meet its replicas, request by request: gateway, pages, score."""

from collections.abc import Sequence
from typing import Protocol

from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Request
from trimtab.simulate.gateway import Gateway, GatewaySettings
from trimtab.simulate.kinds import Kind
from trimtab.simulate.ledger import Ledger, Tally
from trimtab.simulate.meter import Meter
from trimtab.simulate.policy import Variant
from trimtab.simulate.rivals.base import Latency, Scrape, Source
from trimtab.simulate.routers import LEAST_WEIGHT
from trimtab.simulate.traffic import Traffic


class Site(Protocol):
    """One deployment while it is served. Time is the caller's and never goes back."""

    @property
    def sent(self) -> int:
        """Requests of the traffic that clients have sent."""
        ...

    @property
    def tries(self) -> int:
        """How often clients have sent one, those that try again included."""
        ...

    @property
    def total(self) -> Tally:
        """What became of requests since the score began."""
        ...

    @property
    def served_tokens(self) -> tuple[int, int]:
        """Prompt and answer tokens of requests that were served whole since then."""
        ...

    @property
    def in_flight(self) -> int:
        """Requests whose fate is open."""
        ...

    @property
    def held(self) -> int:
        """Those of them that no replica takes."""
        ...

    def advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        ...

    def begin_score(self) -> None:
        """Forget what was counted."""
        ...

    def open(self, name: str, variant: Variant, kind: Kind, now: float) -> None:
        """Send requests to a new replica."""
        ...

    def leave(self, name: str, now: float) -> None:
        """Send a replica no more of them."""
        ...

    def close(self, name: str, now: float) -> None:
        """Take a replica away; what it has is lost."""
        ...

    def busy(self, name: str) -> bool:
        """Tell whether a replica has requests."""
        ...

    def page(self, name: str) -> Scrape | None:
        """Return a replica's metrics page as it was last read."""
        ...

    @property
    def waiting(self) -> float:
        """Requests in the queues of all replicas, as their pages say."""
        ...

    def scrape(self, now: float) -> None:
        """Read all pages."""
        ...

    def clients(self, q: float) -> tuple[float | None, float | None]:
        """Return TTFT and ITL of the last minute as clients see them, in seconds."""
        ...

    def latency(self, source: Source) -> Latency | None:
        """Return what llm-d's rule reads, or None."""
        ...

    def load(self, ready: Sequence[str], source: Source, now: float) -> ObservedLoad:
        """Return what the operator would read; `ready` names the Ready replicas that serve."""
        ...


class ExactSite:
    """Every request by itself, on engines that work step by step."""

    def __init__(self, traffic: Traffic, targets: LatencyTargets, settings: GatewaySettings):
        """Start without a replica."""
        self._prefix = traffic.prefix
        self._at: list[float] = traffic.at_s.tolist()
        self._inputs: list[int] = traffic.input_tokens.tolist()
        self._outputs: list[int] = traffic.output_tokens.tolist()
        self._ledger = Ledger(targets)
        self._gateway = Gateway(settings, self._ledger)
        self._meter = Meter(targets)
        self.page = self._meter.page
        self.scrape = self._meter.scrape
        self.clients = self._meter.clients
        self.latency = self._meter.latency
        self.load = self._meter.load
        self.sent = 0

    @property
    def tries(self) -> int:
        """How often clients have sent one, those that try again included."""
        return self._gateway.tries

    @property
    def total(self) -> Tally:
        """What became of requests since the score began."""
        return self._ledger.total

    @property
    def served_tokens(self) -> tuple[int, int]:
        """Prompt and answer tokens of requests that were served whole since then."""
        return self._meter.served_prompts, self._meter.served_answers

    @property
    def in_flight(self) -> int:
        """Requests whose fate is open."""
        return self._gateway.in_flight

    @property
    def held(self) -> int:
        """Those of them that no replica takes."""
        return self._gateway.queued

    @property
    def waiting(self) -> float:
        """Requests in the queues of all replicas, as their pages say."""
        return sum(page.waiting for page in self._meter.pages())

    def advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        i, at = self.sent, self._at
        while i < len(at) and at[i] < now:
            self._gateway.arrive(
                Request(
                    id=i,
                    arrival=at[i],
                    input_tokens=self._inputs[i],
                    output_tokens=self._outputs[i],
                    prefix=() if self._prefix is None else self._prefix[i],
                )
            )
            i += 1
        self.sent = i
        self._gateway.advance(now)

    def begin_score(self) -> None:
        """Forget what was counted."""
        self._ledger.total = Tally()
        self._meter.served_prompts = self._meter.served_answers = 0

    def open(self, name: str, variant: Variant, kind: Kind, now: float) -> None:
        """Send requests to a new replica."""
        engine = Engine(kind.pace, kind.settings)
        observe = self._meter.add(name, variant, engine)
        self._gateway.add(name, engine, observe, now, weight=kind.rps or LEAST_WEIGHT)

    def leave(self, name: str, now: float) -> None:
        """Send a replica no more of them."""
        self._gateway.accept(name, False, now)

    def close(self, name: str, now: float) -> None:
        """Take a replica away; what it has is lost."""
        self._gateway.remove(name, now)
        self._meter.remove(name, now)

    def busy(self, name: str) -> bool:
        """Tell whether a replica has requests."""
        return self._gateway.outstanding(name) > 0
