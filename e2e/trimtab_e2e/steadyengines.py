"""Metrics pages of engines that serve a steady flow of requests, for tests that then falsify them.

Serves `/pods/NAMESPACE/POD/metrics`, where the local Prometheus looks for every pod's page. The
pages are those of vLLM (vllm_page.py). No token but the first has a time of its own, so that
nothing is learnt of an engine's speed and what a deployment needs stays the same all along.
"""

import contextlib
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from trimtab.simulate.events import Finished, FinishReason, FirstToken, Request
from trimtab_e2e.vllm_page import EngineFacts, Gauges, Page

Edit = Callable[[str], str | None]
"""What is done to a page before Prometheus sees it; None and the scrape fails."""
Name = tuple[str, str]
"""Namespace and name, of a deployment or of a pod."""

_TTFT_S, _E2E_S = 0.08, 2.0
_FORGET_S = 10.0
"""A pod that was not scraped for so long serves nothing any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """What one deployment is asked for, all of its pods together."""

    rps: float
    input_tokens: int
    output_tokens: int


@dataclass(slots=True, kw_only=True)
class _Pod:
    page: Page
    scraped: float
    """Monotonic seconds."""
    arrived: float = 0.0
    """Requests that are still to be counted."""


@dataclass(kw_only=True)
class SteadyEngines:
    """The engines of all pods; `flows`, `edits` and `restart` may be used at any time."""

    port: int
    flows: Mapping[Name, Flow] = field(default_factory=dict)
    """By deployment, whose name ends where the first dash of a pod's name is."""
    edits: dict[Name, Edit] = field(default_factory=dict)
    """By deployment, or by pod where a test wants only one of them."""
    _pods: dict[Name, _Pod] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), partial(_Handler, self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def restart(self, deployment: Name) -> None:
        """Let every engine of a deployment begin anew, in its pod."""
        now = time.monotonic()
        with self._lock:
            for name in self._pods:
                if _deployment(name) == deployment:
                    self._pods[name] = _Pod(page=_page(), scraped=now)

    def page(self, name: Name) -> str | None:
        """Return the page of a pod as Prometheus sees it now."""
        edit = self.edits.get(name) or self.edits.get(_deployment(name)) or _unchanged
        with self._lock:
            return edit(self._true_page(name))

    def _true_page(self, name: Name) -> str:
        now, flow = time.monotonic(), self.flows.get(_deployment(name))
        pod = self._pods.setdefault(name, _Pod(page=_page(), scraped=now))
        serving = [
            each
            for other, each in self._pods.items()
            if _deployment(other) == _deployment(name) and now - each.scraped < _FORGET_S
        ]
        if flow is not None:
            pod.arrived += flow.rps * (now - pod.scraped) / max(1, len(serving))
            whole = math.floor(pod.arrived)
            pod.arrived -= whole
            for _ in range(whole):
                _serve(pod.page, flow)
        pod.scraped = now
        running = 0 if flow is None else max(1, round(flow.rps * _E2E_S / max(1, len(serving))))
        return pod.page.render(Gauges(running=running, waiting=0, kv_usage=0.2))


def _serve(page: Page, flow: Flow) -> None:
    request = Request(
        id=0, arrival=0.0, input_tokens=flow.input_tokens, output_tokens=flow.output_tokens
    )
    page.record(
        (
            FirstToken(
                at=_TTFT_S, request=request, reached_at=0.0, scheduled_at=0.01, cached_tokens=0
            ),
            Finished(
                at=_E2E_S,
                request=request,
                reason=FinishReason.STOP,
                generated=flow.output_tokens,
                reached_at=0.0,
                scheduled_at=0.01,
                first_token_at=_TTFT_S,
                preemptions=0,
                cached_tokens=0,
            ),
        )
    )


def _page() -> Page:
    return Page(
        EngineFacts(
            model_name="steady",
            max_model_len=8192,
            kv_blocks=10_000,
            kv_dtype="auto",
            memory_utilization=0.9,
            started_at=time.time(),
        )
    )


def _deployment(pod: Name) -> Name:
    return pod[0], pod[1].partition("-")[0]


def _unchanged(page: str) -> str:
    return page


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, engines: SteadyEngines, *args: Any) -> None:
        self._engines = engines
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a scrape."""
        parts = self.path.split("/")
        page = self._engines.page((parts[2], parts[3])) if len(parts) == 5 else None
        with contextlib.suppress(ConnectionError):  # Prometheus has waited for long enough
            self.send_response(500 if page is None else 200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write((page or "").encode())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
