"""The engine stand-in without its process: real pods in, simulated service and pages out.

Every method takes the time; nothing here waits, asks or looks at a clock.
"""

import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from trimtab.errors import InvalidInput
from trimtab.models.performance import Infeasible
from trimtab.performance.fit import kv_tokens
from trimtab.performance.steptime import step_model
from trimtab.simulate.engine import Engine
from trimtab.simulate.events import Request
from trimtab.simulate.gateway import Gateway
from trimtab.simulate.ledger import Ledger
from trimtab.simulate.pace import Pace
from trimtab_e2e.fleet_load import ServiceLoad
from trimtab_e2e.serving_pods import Document, EngineKind, PodState, served_name, state_of
from trimtab_e2e.traces import Row
from trimtab_e2e.vllm_page import EngineFacts, Gauges, Page

MINUTE_S = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Service:
    """The load of one LLMDeployment."""

    rows: Iterator[Row]
    started_at: float
    ledger: Ledger
    gateway: Gateway
    upcoming: Row | None
    number: int = 0
    lately: deque[float] = field(default_factory=deque)
    """When the requests of the last minute came."""

    def run(self, now: float) -> None:
        """Send what is due, and let everything happen that happens until `now`."""
        while self.upcoming is not None and self.started_at + self.upcoming.t_s <= now:
            row = self.upcoming
            request = Request(
                id=self.number,
                arrival=self.started_at + row.t_s,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
            )
            self.gateway.arrive(request)
            self.lately.append(request.arrival)
            self.number += 1
            self.upcoming = next(self.rows, None)
        while self.lately and self.lately[0] <= now - MINUTE_S:
            self.lately.popleft()
        self.gateway.advance(now)


@dataclass(slots=True)
class _Pod:
    """A pod, and the engine that it has run since it was first ready."""

    state: PodState
    document: Document
    engine: Engine | None = None
    page: Page | None = None
    problem: str | None = None
    gone: bool = False
    """Whether the API server has forgotten it, while it still has requests to finish."""
    routed: bool = False
    """Whether a gateway has it."""

    @property
    def service(self) -> str:
        return f"{self.state.namespace}/{self.state.deployment}"

    @property
    def accepting(self) -> bool:
        return self.state.ready and self.state.stop_at is None and not self.gone

    @property
    def busy(self) -> bool:
        return self.engine is not None and self.engine.outstanding > 0

    def killed_by(self, now: float) -> bool:
        return self.state.stop_at is not None and self.state.stop_at <= now


class StandIn:
    """All simulated engines of a cluster and their clients."""

    def __init__(self) -> None:
        self._services: dict[str, _Service] = {}
        self._pods: dict[str, _Pod] = {}

    # The cluster's side.

    def pods_listed(self, documents: list[Document], now: float) -> None:
        """Take a whole list of the pods; others are gone."""
        self.advance(now)
        present = {document["metadata"]["uid"] for document in documents}
        for uid in [uid for uid, pod in self._pods.items() if uid not in present]:
            self._forget(self._pods[uid], now)
        for document in documents:
            self.pod_changed(document, now)

    def pod_changed(self, document: Document, now: float) -> None:
        """Take the present state of one pod.

        The first deletion sets the grace period: a node ends it before it is over, with a second
        deletion that allows none, when the pod has ended, and a fake node does that at once.
        """
        self.advance(now)
        state = state_of(document)
        if state is None:
            return
        pod = self._pods.setdefault(state.uid, _Pod(state, document))
        if pod.state.stop_at is not None:
            state = replace(state, stop_at=pod.state.stop_at)
        pod.state, pod.document = state, document
        if state.over:
            self._drop(pod, now)
        else:
            self._route(pod, now)

    def pod_deleted(self, document: Document, now: float) -> None:
        """Take notice that the API server has forgotten a pod.

        The engine goes on until it is idle or the grace period is over.
        """
        self.advance(now)
        pod = self._pods.get(document["metadata"]["uid"])
        if pod is not None:
            self._forget(pod, now)

    def without_engine(self) -> list[Document]:
        """Return the ready pods whose engines must be given with `start_engine`."""
        return [
            pod.document
            for pod in self._pods.values()
            if pod.accepting and pod.engine is None and pod.problem is None
        ]

    def start_engine(self, uid: str, kind: EngineKind | InvalidInput, now: float) -> None:
        """Let a ready pod serve from `now` on; what is wrong with it becomes its problem."""
        self.advance(now)
        pod = self._pods.get(uid)
        if pod is None or pod.engine is not None:
            return
        try:
            if isinstance(kind, InvalidInput):
                raise kind
            self._start(pod, kind, now)
        except InvalidInput as error:
            pod.problem = str(error)
            _log.warning("no engine for pod %s/%s: %s", pod.state.namespace, pod.state.name, error)
        self._route(pod, now)

    # The clients' side.

    def start_load(self, service: str, load: ServiceLoad, now: float) -> None:
        """Let requests come to an LLMDeployment, from `now` on.

        Raises:
            InvalidInput: It has a load already, or the load is unusable.
        """
        if service in self._services:
            raise InvalidInput(service, "it has a load already", "Load each deployment once")
        rows = load.rows(service)
        ledger = Ledger(load.targets)
        gateway = Gateway(load.gateway, ledger)
        self.advance(now)
        self._services[service] = _Service(rows, now, ledger, gateway, next(rows, None))
        for pod in self._pods.values():
            self._route(pod, now)

    def advance(self, now: float) -> None:
        """Let everything happen that happens until `now`."""
        for service in self._services.values():
            service.run(now)
        for pod in list(self._pods.values()):
            if pod.killed_by(now) or (pod.gone and not pod.busy):
                self._drop(pod, now)

    # What is asked.

    def page(self, namespace: str, name: str, now: float) -> str | None:
        """Return a pod's page of metrics, or None when nothing answers there."""
        self.advance(now)
        for pod in self._pods.values():
            state = pod.state
            if (state.namespace, state.name) == (namespace, name) and not pod.gone:
                if pod.engine is None or pod.page is None:
                    return None
                return pod.page.render(
                    Gauges(
                        running=pod.engine.running,
                        waiting=pod.engine.waiting(now),
                        kv_usage=pod.engine.kv_blocks_used / pod.engine.kv_blocks,
                    )
                )
        return None

    def summary(self, now: float) -> dict[str, Any]:
        """Return what became of the requests, by NAMESPACE/NAME, and the pods with a problem."""
        self.advance(now)
        return {
            "deployments": {
                name: {
                    "seconds": now - service.started_at,
                    "replicas": service.gateway.accepting,
                    "in_flight": service.gateway.in_flight,
                    "waiting_at_gateway": service.gateway.queued,
                    **service.ledger.total.summary(),
                    "last_minute": {"arrived": len(service.lately)},
                }
                for name, service in self._services.items()
            },
            "problems": {
                f"{pod.state.namespace}/{pod.state.name}": pod.problem
                for pod in self._pods.values()
                if pod.problem is not None
            },
        }

    def _start(self, pod: _Pod, kind: EngineKind, now: float) -> None:
        pace = pace_of(kind)
        pod.engine = Engine(pace, kind.settings)
        pod.page = Page(
            EngineFacts(
                model_name=served_name(pod.document),
                max_model_len=kind.settings.max_model_len,
                kv_blocks=pod.engine.kv_blocks,
                kv_dtype=kind.settings.kv_dtype,
                memory_utilization=kind.settings.memory_utilization,
                started_at=now,
            )
        )

    def _route(self, pod: _Pod, now: float) -> None:
        """Let the gateway know whether a pod takes requests."""
        service = self._services.get(pod.service)
        if service is None or pod.engine is None or pod.page is None:
            return
        name = pod.state.uid
        if pod.routed:
            service.gateway.accept(name, pod.accepting, now)
        elif pod.accepting:
            service.gateway.add(name, pod.engine, pod.page.record, now)
            pod.routed = True

    def _forget(self, pod: _Pod, now: float) -> None:
        pod.gone = True
        if pod.busy and pod.state.stop_at is not None and not pod.killed_by(now):
            self._route(pod, now)
        else:
            self._drop(pod, now)

    def _drop(self, pod: _Pod, now: float) -> None:
        if pod.routed:
            self._services[pod.service].gateway.remove(pod.state.uid, now)
        del self._pods[pod.state.uid]


@lru_cache(maxsize=256)
def pace_of(kind: EngineKind) -> Pace:
    """Return the step times of an engine.

    Raises:
        InvalidInput: The model does not fit.
    """
    tokens = kv_tokens(kind.geometry, kind.accelerator, kind.parallelism, kind.settings)
    if isinstance(tokens, Infeasible):
        raise InvalidInput("model", tokens.message, "Use more or larger devices")
    times = step_model(kind.geometry, kind.accelerator, kind.parallelism, kind.settings)
    return Pace(times, tokens)
