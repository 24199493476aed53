"""The life of one operator process: its threads, its lease, how it ends and with which code."""

import asyncio
import queue
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import kopf
import structlog

from trimtab.actuate.apply import Applier
from trimtab.actuate.attempts import Attempts
from trimtab.actuate.budgets import BudgetWriter
from trimtab.actuate.connection import Connection, connect
from trimtab.actuate.events import Allowance
from trimtab.actuate.kinds import Document
from trimtab.actuate.objects import ObjectWriter
from trimtab.actuate.pools import PoolWriter
from trimtab.actuate.publisher import Publisher
from trimtab.actuate.writer import KubernetesWriter, Pace
from trimtab.config import MetricsFrom, OperatorConfig
from trimtab.controller.beats import ELECTING, LEADING, PLANNING
from trimtab.controller.context import Context
from trimtab.controller.cycle import Clocks, Cycle, Hands
from trimtab.controller.decisionlog import DecisionLog
from trimtab.controller.garbage import KEEP_EVERY_S, keep, sweep
from trimtab.controller.handlers import build_registry
from trimtab.controller.health import serve
from trimtab.controller.lease import Elector, KubernetesLease
from trimtab.controller.loop import list_first, list_for_ever, plan_for_ever
from trimtab.controller.preflight import require_kinds
from trimtab.controller.session import connection_info
from trimtab.controller.settings import build_settings
from trimtab.controller.warm import Recall, fetch
from trimtab.controller.watchdog import limits, overdue, unready, watch_over
from trimtab.errors import LostLeadership, TrimtabError
from trimtab.observe.access import Access
from trimtab.observe.kinds import Kind
from trimtab.observe.pricing import PriceBook
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.refusals import Refusals
from trimtab.observe.scrape import Scraper
from trimtab.observe.signals import Either, Source
from trimtab.version import VERSION

STOP_S = 8.0
"""Longest time from SIGTERM to the end, most of it for the write in hand."""
HISTORY_TIMEOUT_S = 30.0
"""Longest time of one question about the past: a day of a fleet, which no plan waits for."""

_log = structlog.get_logger(__name__)


class Exit(IntEnum):
    """Why the process ended."""

    OK = 0
    """It was asked to."""
    FAILED = 1
    """It could not start, or something broke that nothing else names."""
    LOST_LEASE = 3
    """Another process leads, or none can renew."""
    STUCK = 4
    """The watchdog found a part without a sign of life."""
    DEAD_WATCHER = 5
    """kopf ended although nobody asked it to."""


def run(config: OperatorConfig, kubeconfig: str | None) -> Exit:
    """Run the operator until it is told to stop or has to end.

    Raises:
        InvalidInput: It cannot start: no cluster, no CRDs, a port in use.
    """
    connection = connect(kubeconfig)
    require_kinds(connection)
    return _Process(config=config, connection=connection).run()


@dataclass(slots=True, kw_only=True)
class _Process:
    config: OperatorConfig
    connection: Connection
    context: Context = field(init=False)
    elector: Elector = field(init=False)
    threads: dict[str, threading.Thread] = field(default_factory=dict)
    ends: "queue.SimpleQueue[Exit]" = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        self.context = Context(config=self.config)
        store = KubernetesLease(
            connection=self.connection,
            namespace=self.config.namespace,
            timeout_s=self.config.write_timeout_s,
        )
        self.elector = Elector(store=store, config=self.config)

    def run(self) -> Exit:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.ends.put(Exit.OK))
        _log.info("operator starts", version=VERSION, identity=self.config.identity)
        self._spawn("health", self._serve)
        self._spawn("elector", self._elect)
        self._spawn("watchdog", lambda: watch_over(self.context, self._stuck))
        reason = self.ends.get()
        _log.info("operator ends", reason=reason.name)
        self._stop(reason)
        return reason

    def _stop(self, reason: Exit) -> None:
        """End all threads; give the lease up only when no write can be under way any more."""
        self.context.end()
        if reason in (Exit.LOST_LEASE, Exit.STUCK):
            return
        deadline = time.monotonic() + STOP_S
        for name in ("planner", "elector"):
            thread = self.threads.get(name)
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
                if thread.is_alive():
                    _log.warning("a thread did not end in time", thread=name)
                    return
        self.elector.release()
        for thread in self.threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def _spawn(self, name: str, act: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                act()
            except LostLeadership as error:
                _log.error("leadership lost", why=str(error))
                self.ends.put(Exit.LOST_LEASE)
            except TrimtabError as error:
                _log.error("the process cannot go on", thread=name, why=str(error))
                self.ends.put(Exit.FAILED)
            except BaseException:
                _log.exception("a thread died", thread=name)
                self.ends.put(Exit.DEAD_WATCHER if name == "watchers" else Exit.FAILED)

        thread = threading.Thread(target=guarded, name=f"trimtab-{name}", daemon=True)
        self.threads[name] = thread
        thread.start()

    def _serve(self) -> None:
        asyncio.run(
            serve(
                self.context,
                lambda: overdue(self.context.beats, limits(self.config)),
                lambda: unready(self.context),
            )
        )

    def _elect(self) -> None:
        beats = self.context.beats
        self.elector.run(self.context.stop, self._lead, lambda: beats.beat(ELECTING))

    def _lead(self) -> None:
        self.context.beats.beat(LEADING)
        self.context.metrics.leader.set(1)
        self._spawn("leader", self._begin)

    def _begin(self) -> None:
        """Fill the mirror, then start whatever reads it or keeps it true."""
        list_first(self.context, self.connection)
        if self.context.stop.is_set():
            return
        keep()
        self._spawn("watchers", self._watch)
        self._spawn("lister", lambda: list_for_ever(self.context, self.connection))
        cycle = self._cycle()
        if cycle.recall is not None:
            self._spawn("history", cycle.recall.run)
        self._spawn("planner", lambda: self._plan(cycle))

    def _plan(self, cycle: Cycle) -> None:
        """Run cycles for ever, and look for garbage after each: now and then through all."""
        keep_at = 0.0

        def run() -> bool:
            nonlocal keep_at
            again = cycle.run()
            if time.monotonic() >= keep_at:
                keep()
                keep_at = time.monotonic() + KEEP_EVERY_S
            else:
                sweep()
            return again

        plan_for_ever(self.context, run)

    def _watch(self) -> None:
        namespaces = self.config.watch_namespaces
        asyncio.run(
            kopf.operator(
                registry=build_registry(self.context, lambda: connection_info(self.connection)),
                settings=build_settings(),
                memo=self.context,
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                stop_flag=self.context.stop,
            )
        )
        if not self.context.stop.is_set():
            _log.error("the watchers ended")
            self.ends.put(Exit.DEAD_WATCHER)

    def _cycle(self) -> Cycle:
        context, config = self.context, self.config
        writer = KubernetesWriter(
            connection=self.connection,
            gate=self._gate,
            timeout_s=config.write_timeout_s,
            report=context.metrics.written,
            pace=Pace(sleep=context.stop.wait),  # what waits for its turn ends with the process
        )
        attempts = Attempts(clock=time.monotonic, jitter=random.random)
        applier = Applier(writer=writer, attempts=attempts, seen=self._seen, clock=time.monotonic)
        publisher = Publisher(
            writer=writer,
            attempts=attempts,
            allowance=Allowance(clock=time.monotonic),
            seen=self._seen,
            clock=time.monotonic,
        )
        objects = ObjectWriter(writer=writer, attempts=attempts, seen=self._seen)
        return Cycle(
            context=context,
            source=_source(config),
            refusals=Refusals(client=self.connection.dynamic),
            recall=self._recall(),
            prices=PriceBook(config.prometheus_labels),
            hands=Hands(
                applier=applier,
                pools=PoolWriter(objects=objects),
                budgets=BudgetWriter(objects=objects),
                publisher=publisher,
                log=DecisionLog(config.decision_log),
            ),
            clocks=Clocks(now=time.time, monotonic=time.monotonic),
        )

    def _recall(self) -> Recall | None:
        """Return what asks Prometheus for the past; pods that are scraped directly have none."""
        config, view = self.config, self.context.store.view
        past = _prometheus(config, HISTORY_TIMEOUT_S)
        if past is None:
            return None
        return Recall(lambda: fetch(past, view(), time.time(), config), self.context.stop)

    def _gate(self) -> None:
        if self.context.stop.is_set():
            raise LostLeadership("the process stops")
        self.elector.gate()

    def _seen(self, event: str, body: Document) -> None:
        """Take our own write into the mirror at once; its event comes later and says the same."""
        self.context.beats.beat(PLANNING)
        self.context.store.observe(Kind(body["kind"]), event, body)

    def _stuck(self) -> None:
        self.ends.put(Exit.STUCK)


def _source(config: OperatorConfig) -> Source | None:
    prometheus = _prometheus(config, config.prometheus_timeout_s)
    if config.metrics_source is MetricsFrom.PROMETHEUS:
        return prometheus
    pods = Scraper(config, time.time)
    return pods if prometheus is None else Either(prometheus=prometheus, pods=pods)


def _prometheus(config: OperatorConfig, timeout_s: float) -> PrometheusSource | None:
    if config.metrics_source is MetricsFrom.SCRAPE or not config.prometheus_url:
        return None
    folder = config.prometheus_auth_dir
    access = Access(folder=Path(folder) if folder else None, extra=config.prometheus_headers)
    return PrometheusSource(config.prometheus_url, timeout_s, access)
