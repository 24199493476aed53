"""A real Prometheus is killed and comes back with nothing: the pods' own pages tell meanwhile."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

import bodies
import releases
from releases import RELEASES, Served
from trimtab.config import OperatorConfig
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.signals import Fresh, Missing
from trimtab.models.snapshot import Key
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import PrometheusSource
from trimtab.observe.reader import JUST_SEEN, Subject
from trimtab.observe.scrape import Scraper
from trimtab.observe.signals import MEANWHILE, Either, read
from trimtab.observe.world import PodFacts
from trimtab_e2e import prometheus
from trimtab_e2e.binaries import build
from trimtab_e2e.waiting import eventually

SCRAPE_S = 1.0
CONFIG = OperatorConfig(scrape_interval_s=SCRAPE_S, rate_window_s=8.0, prometheus_timeout_s=5.0)
KEY = Key(namespace="assistants", name="chat")
RPS = 4.0
SETTLED_S = 60.0


@dataclass
class World:
    """One replica at a steady rate, which a Prometheus and the operator can both scrape."""

    folder: Path
    engine: ThreadingHTTPServer
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=lambda: _free_port())
    lives: int = 0

    def __post_init__(self) -> None:
        self.source = Either(
            prometheus=PrometheusSource(f"http://127.0.0.1:{self.port}", 5.0),
            pods=Scraper(CONFIG, time.time),
        )

    def start(self) -> None:
        """Start a Prometheus that remembers nothing."""
        self.lives += 1
        config = self.folder / str(self.lives) / "prometheus.yml"
        config.parent.mkdir()
        config.write_text(yaml.safe_dump(self._config()))
        command = prometheus.command(build(), config, f"127.0.0.1:{self.port}")
        self.process = subprocess.Popen(command)

    def kill(self) -> None:
        """End it as a node that fails would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def load(self) -> ObservedLoad:
        """One pass."""
        return read(self.source, [self._subject()], now=time.time(), config=CONFIG)[KEY]

    def watch(self, seconds: float) -> list[ObservedLoad]:
        """A pass each second."""
        found = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found.append(self.load())
            time.sleep(SCRAPE_S)
        return found

    def _pod(self) -> PodFacts:
        facts = parse(Kind.POD, bodies.pod("aaaaa")).facts
        assert isinstance(facts, PodFacts)
        port = self.engine.server_address[1]
        return replace(facts, address="127.0.0.1", port=port, ready_since=time.time() - 3600)

    def _subject(self) -> Subject:
        targets = LatencyTargets(percentile=0.9, ttft_s=1.0)
        return Subject(key=KEY, targets=targets, pods=(self._pod(),))

    def _config(self) -> dict[str, Any]:
        pod = self._pod()
        labels = {"namespace": pod.namespace, "pod": pod.name}
        target = {"targets": [f"127.0.0.1:{pod.port}"], "labels": labels}
        return {
            "global": {"scrape_interval": f"{SCRAPE_S:g}s"},
            "scrape_configs": [{"job_name": "serving", "static_configs": [target]}],
        }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Engine(BaseHTTPRequestHandler):
    """The newest vLLM: every request is finished at once."""

    began = time.monotonic()

    def do_GET(self) -> None:
        """Answer its page."""
        done = 1000.0 + RPS * (time.monotonic() - self.began)
        page = releases.page(RELEASES[-1], Served(first=done, finished=done)).encode()
        self.send_response(200 if self.path == "/metrics" else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        engine = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), Engine))
        stack.callback(engine.shutdown)
        Thread(target=engine.serve_forever, daemon=True).start()
        found = World(folder=tmp_path, engine=engine)
        stack.callback(found.kill)
        yield found


def knows(load: ObservedLoad) -> bool:
    """Whether the demand is known; what is said of it is then true."""
    if not isinstance(load.arrival_rps, Fresh):
        return False
    assert load.arrival_rps.value == pytest.approx(RPS, rel=0.2)
    return True


def test_the_pods_own_pages_tell_while_prometheus_is_dead(world: World) -> None:
    world.start()
    eventually(lambda: knows(world.load()) and not world.load().note, "Prometheus tells", SETTLED_S)
    alive = world.watch(CONFIG.rate_window_s + SCRAPE_S)  # until no page from its start counts
    assert all(knows(load) and load.note is None for load in alive)
    world.kill()
    first = world.load()
    assert first.note is not None
    assert MEANWHILE in first.note
    assert isinstance(first.running, Fresh)
    assert first.arrival_rps == Missing(why=JUST_SEEN)
    dead = world.watch(12 * SCRAPE_S)
    assert all(knows(load) for load in dead[3:])
    assert all(load.source_error is None and load.note for load in dead)
    world.start()
    found: list[ObservedLoad] = []

    def back() -> bool:
        found.append(world.load())
        return found[-1].note is None and knows(found[-1])

    eventually(back, "Prometheus tells again", SETTLED_S)
    # It has lost its past: what it does not know yet is no zero and no lower rate.
    assert all(knows(load) or isinstance(load.arrival_rps, Missing) for load in found)
