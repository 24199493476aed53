"""One deployment served as flows of tokens: for weeks of traffic and many models (see `flow`).

Clients, routing and signals are those of exact mode; shared prompts and retries are not known.
"""

from collections import deque
from math import inf

import numpy as np

from trimtab.models.load import LatencyTargets
from trimtab.simulate.events import Request
from trimtab.simulate.flow import Flow, Job
from trimtab.simulate.flowlog import Log
from trimtab.simulate.gateway import GatewaySettings
from trimtab.simulate.kinds import Kind
from trimtab.simulate.ledger import Tally
from trimtab.simulate.meter import Meter
from trimtab.simulate.policy import Variant
from trimtab.simulate.routers import CHOICES, LEAST_WEIGHT, Router, Target
from trimtab.simulate.traffic import Traffic

_ANY = Request(id=0, arrival=0.0, input_tokens=1, output_tokens=1)
"""What routers are told of a request: that its prompt is nobody else's."""


class FluidSite:
    """Requests as a flow. See `sites.Site`."""

    def __init__(self, traffic: Traffic, targets: LatencyTargets, settings: GatewaySettings):
        """Start without a replica."""
        self._traffic, self._targets, self._settings = traffic, targets, settings
        self._choose = CHOICES[settings.router]
        self._log = Log()
        self._meter = Meter(targets)
        self.page = self._meter.page
        self.clients = self._meter.clients
        self.latency = self._meter.latency
        self.load = self._meter.load
        self._tally = Tally()
        self._flows: dict[str, Flow] = {}
        self._routes: dict[str, Target[Flow]] = {}
        """Those that accept requests."""
        self._listed: list[Target[Flow]] = []
        self._held: deque[Job] = deque()
        """Requests that no replica takes."""
        self._patient: deque[Job] = deque()
        """All requests whose clients may still give up, and some that are over."""
        self._routed = 0
        self.sent = 0

    @property
    def tries(self) -> int:
        """How often clients have sent one: nobody tries again."""
        return self.sent

    @property
    def total(self) -> Tally:
        """What became of requests since the score began."""
        self._log.read(self._meter, self._tally, self._targets)
        return self._tally

    @property
    def served_tokens(self) -> tuple[int, int]:
        """Prompt and answer tokens of requests that were served whole since then."""
        self._log.read(self._meter, self._tally, self._targets)
        return self._meter.served_prompts, self._meter.served_answers

    @property
    def in_flight(self) -> int:
        """Requests whose fate is open."""
        return len(self._held) + sum(flow.outstanding for flow in self._flows.values())

    @property
    def held(self) -> int:
        """Those of them that no replica takes."""
        return len(self._held)

    @property
    def waiting(self) -> float:
        """Requests in the queues of all replicas, as their pages say."""
        return sum(page.waiting for page in self._meter.pages())

    def advance(self, now: float) -> None:
        """Send what comes before `now`, and let everything happen until then."""
        traffic = self._traffic
        rows = slice(self.sent, int(np.searchsorted(traffic.at_s, now, side="left")))
        for job in map(
            Job,
            traffic.at_s[rows].tolist(),
            traffic.input_tokens[rows].tolist(),
            traffic.output_tokens[rows].tolist(),
        ):
            self._arrive(job)
        self._tally.arrived += rows.stop - rows.start
        self.sent = rows.stop
        self._give_up(now)
        for flow in self._flows.values():
            flow.advance(now)

    def begin_score(self) -> None:
        """Forget what was counted."""
        self._log.read(self._meter, self._tally, self._targets)
        self._tally = Tally()
        self._meter.served_prompts = self._meter.served_answers = 0

    def open(self, name: str, variant: Variant, kind: Kind, now: float) -> None:
        """Send requests to a new replica."""
        self.advance(now)
        flow = self._flows[name] = Flow(kind.pace, kind.settings, self._log)
        self._meter.add(name, variant, flow)
        target = self._routes[name] = Target(flow, kind.rps or LEAST_WEIGHT)
        target.routed_weight = min((t.routed_weight for t in self._listed), default=0.0)
        self._listed = list(self._routes.values())
        held, self._held = self._held, deque()
        for job in held:
            self._route(job, now)

    def leave(self, name: str, now: float) -> None:
        """Send a replica no more of them."""
        self.advance(now)
        del self._routes[name]
        self._listed = list(self._routes.values())

    def close(self, name: str, now: float) -> None:
        """Take a replica away; what it has is lost."""
        self.advance(now)
        self._routes.pop(name, None)
        self._listed = list(self._routes.values())
        for job in self._flows.pop(name).unfinished():
            job.over = True
            self._tally.lost += 1
        self._meter.remove(name, now)

    def busy(self, name: str) -> bool:
        """Tell whether a replica has requests."""
        return self._flows[name].outstanding > 0

    def scrape(self, now: float) -> None:
        """Read all pages."""
        self.advance(now)
        self._log.read(self._meter, self._tally, self._targets)
        for name, flow in self._flows.items():
            self._meter.count(name, flow.taken())
        self._meter.scrape(now)

    def _arrive(self, job: Job) -> None:
        now = job.sent_at
        patient = self._patient
        if patient and patient[0].sent_at + self._settings.client_timeout_s <= now:
            self._give_up(now)
        patient.append(job)
        if self._listed:
            self._route(job, now)
        elif len(self._held) < self._settings.queue:
            self._held.append(job)
        else:
            self._reject(job)

    def _route(self, job: Job, now: float) -> None:
        # Whoever looks at queues must see them; else it counts only who has left.
        latest = inf if self._settings.router is Router.PREFIX_AWARE else now
        for target in self._listed:
            if target.engine.due <= latest:
                target.engine.advance(now)
        target = self._choose(self._listed, _ANY, now)
        self._routed += 1
        target.last_routed = self._routed
        if not target.engine.submit(job, now):
            self._reject(job)

    def _reject(self, job: Job) -> None:
        job.over = True
        self._tally.rejected += 1

    def _give_up(self, now: float) -> None:
        """Let those go whose patience has ended by `now`."""
        patient, timeout_s = self._patient, self._settings.client_timeout_s
        while patient and patient[0].sent_at + timeout_s <= now:
            job = patient.popleft()
            if job.over:
                continue
            if job.flow is None:
                self._held.remove(job)
            else:
                deadline = job.sent_at + timeout_s
                job.flow.advance(deadline)
                # A first token that comes with the end of the step that runs then is too late.
                if job.over or (job.first_at is not None and job.first_at <= deadline):
                    continue
                job.flow.cancel(job)
            job.over = True
            self._tally.timed_out += 1
