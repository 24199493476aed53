"""Replicas whose metrics pages are read over real HTTP, and the operator that reads them."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import bodies
import pages
from trimtab.config import OperatorConfig
from trimtab.models.load import LatencyTargets, ObservedLoad
from trimtab.models.snapshot import Key
from trimtab.observe.gateways import Asked
from trimtab.observe.kinds import Kind
from trimtab.observe.parse import parse
from trimtab.observe.prometheus import MetricsSource
from trimtab.observe.reader import Subject
from trimtab.observe.scrape import Scraper
from trimtab.observe.signals import Either, Source, read
from trimtab.observe.world import PodFacts

CONFIG = OperatorConfig(scrape_interval_s=15.0, rate_window_s=60.0, prometheus_timeout_s=1.0)
KEY = Key(namespace="assistants", name="chat")
Answer = Callable[["Handler"], None]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what its server says."""

    server: "Pods"

    def do_GET(self) -> None:
        """Count and answer."""
        self.server.asked.append(self.path)
        with contextlib.suppress(OSError):  # the other end gave up, as it should
            self.server.answer(self)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def page(self, text: str, *, status: int = 200, **headers: str) -> None:
        """Answer a whole page."""
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class Pods(http.server.ThreadingHTTPServer):
    """All pods of a test: one address, one port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.answer: Answer = lambda handler: handler.page(pages.page("load2"))


@dataclass
class World:
    """Some replicas, and what the operator makes of their pages as time goes by."""

    server: Pods
    now: float = bodies.NOW
    ends: tuple[str, ...] = ("aaaaa",)
    ports: dict[str, int] = field(default_factory=dict)
    """Where a replica listens that is not the server."""
    prometheus: MetricsSource | None = None
    """What is asked first, where there is one."""
    gateway: Asked | None = None

    def __post_init__(self) -> None:
        """Begin with no page."""
        self.restart(CONFIG)

    def restart(self, config: OperatorConfig) -> None:
        """Forget everything, as a restarted operator has."""
        self.config = config
        self.scraper = Scraper(config, lambda: self.now)

    def subject(self) -> Subject:
        """The deployment."""
        return Subject(
            key=KEY,
            targets=LatencyTargets(percentile=0.9, ttft_s=5.0),
            pods=tuple(self._pod(end) for end in self.ends),
            gateway=self.gateway,
        )

    def source(self) -> Source:
        """What tells of it."""
        if self.prometheus is None:
            return self.scraper
        return Either(prometheus=self.prometheus, pods=self.scraper)

    def load(self) -> ObservedLoad:
        """One pass."""
        return read(self.source(), [self.subject()], now=self.now, config=self.config)[KEY]

    def passes(self, count: int, step: float = 15.0) -> ObservedLoad:
        """Several passes, one scrape apart."""
        for _ in range(count - 1):
            self.load()
            self.now += step
        return self.load()

    def _pod(self, end: str) -> PodFacts:
        facts = parse(Kind.POD, bodies.pod(end)).facts
        assert isinstance(facts, PodFacts)
        port = self.ports.get(end, self.server.server_address[1])
        return replace(facts, address="127.0.0.1", port=port)


@contextlib.contextmanager
def serving() -> Iterator[World]:
    """A world whose pods answer."""
    with Pods() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield World(server=server)
        server.shutdown()


def growing(world: World) -> Answer:
    """The pages of replicas under a real load that begins now."""
    began = world.now
    return lambda handler: handler.page(pages.under_load(world.now - began))
