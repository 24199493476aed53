"""The writer against a real HTTP server: what is sent, what is refused, what is never sent."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml

from trimtab.actuate.connection import connect
from trimtab.actuate.kinds import DEPLOYMENT
from trimtab.actuate.writer import KubernetesWriter, Pace, WriteFailed
from trimtab.errors import InvalidInput, LostLeadership

DOCUMENT: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "chat", "namespace": "assistants"},
    "spec": {"replicas": 2},
}
LIVE = DOCUMENT | {"metadata": DOCUMENT["metadata"] | {"uid": "u", "resourceVersion": "7"}}


class Server:
    """Answers every request alike and keeps what was asked."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.answer: object = LIVE
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length)) if length else None
                outer.requests.append((self.command, self.path, dict(self.headers), body))
                time.sleep(outer.delay_s)
                data = json.dumps(outer.answer).encode()
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(BrokenPipeError):  # the client may be gone
                    self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Keep the test's output clean."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def fails(self, status: int, message: str = "no", **headers: str) -> None:
        """Answer with an error from now on."""
        self.status, self.headers = status, headers
        self.answer = {"kind": "Status", "message": message}

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


class Bench:
    """A writer that talks to the server, and a lease that the test can take away."""

    def __init__(self, server: Server, kubeconfig: str) -> None:
        self.server = server
        self.lost = False
        self.reports: list[tuple[str, str, str]] = []
        self.connection = connect(kubeconfig)
        self.writer = KubernetesWriter(
            connection=self.connection,
            gate=self.gate,
            timeout_s=1.0,
            report=lambda *what: self.reports.append(what),
        )

    def gate(self) -> None:
        if self.lost:
            raise LostLeadership("the lease is gone")


@pytest.fixture
def bench(tmp_path: Any) -> Iterator[Bench]:
    server = Server()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "clusters": [
            {"name": "x", "cluster": {"server": f"http://127.0.0.1:{server.http.server_port}"}}
        ],
        "users": [{"name": "x", "user": {"token": "secret"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    bench = Bench(server, str(path))
    yield bench
    bench.connection.client.close()
    server.close()


def test_apply_is_a_server_side_apply_by_one_manager(bench: Bench) -> None:
    assert bench.writer.apply(DOCUMENT) == LIVE
    ((method, path, headers, body),) = bench.server.requests
    assert method == "PATCH"
    assert path == (
        "/apis/apps/v1/namespaces/assistants/deployments/chat?fieldManager=trimtab&force=true"
    )
    assert headers["Content-Type"] == "application/apply-patch+yaml"
    assert headers["authorization"] == "Bearer secret"
    assert headers["User-Agent"].startswith("trimtab/")
    assert body == DOCUMENT
    assert bench.reports == [("Deployment", "apply", "ok")]


def test_status_and_force_go_into_the_url(bench: Bench) -> None:
    names = {"AcceleratorPool": {"name": "h100"}, "LLMDeployment": DOCUMENT["metadata"]}
    for kind, metadata in names.items():
        document = {"apiVersion": "trimtab.dev/v1alpha1", "kind": kind, "metadata": metadata}
        bench.writer.apply(document, force=False, status=True)
    query = "?fieldManager=trimtab&force=false"
    root = "/apis/trimtab.dev/v1alpha1"
    assert [path for _, path, _, _ in bench.server.requests] == [
        f"{root}/acceleratorpools/h100/status{query}",
        f"{root}/namespaces/assistants/llmdeployments/chat/status{query}",
    ]


def test_delete_carries_what_was_seen(bench: Bench) -> None:
    bench.writer.delete(LIVE)
    ((method, path, _, body),) = bench.server.requests
    assert (method, path) == ("DELETE", "/apis/apps/v1/namespaces/assistants/deployments/chat")
    assert body["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert body["propagationPolicy"] == "Background"


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        *((status, True) for status in (400, 403, 404, 422)),
        *((status, False) for status in (401, 408, 409, 429, 500, 503, 504)),
    ],
)
def test_a_failure_says_whether_a_person_must_help(
    bench: Bench, status: int, refused: bool
) -> None:
    bench.server.fails(status, "quota exceeded: " + "x" * 5000)
    with pytest.raises(WriteFailed, match="quota exceeded") as caught:
        bench.writer.apply(DOCUMENT)
    assert caught.value.refused is refused
    assert caught.value.status == status
    assert len(str(caught.value)) == 1024
    assert len(bench.server.requests) == 1
    assert bench.reports == [("Deployment", "apply", "refused" if refused else "failed")]


@pytest.mark.parametrize("page", ["Service Unavailable", ["no"], None, 503])
def test_an_error_page_that_is_no_object_is_told_by_its_status_line(
    bench: Bench, page: object
) -> None:
    bench.server.status, bench.server.answer = 503, page
    with pytest.raises(WriteFailed, match="Service Unavailable") as caught:
        bench.writer.apply(DOCUMENT)
    assert caught.value.refused is False


def test_what_exists_already_and_what_is_gone_already_are_no_failures(bench: Bench) -> None:
    bench.server.fails(409)
    bench.writer.create(DOCUMENT)
    bench.server.fails(404)
    bench.writer.delete(LIVE)
    assert bench.writer.read(DEPLOYMENT, "assistants", "chat") is None


def test_a_server_that_does_not_answer_is_left_after_the_timeout(bench: Bench) -> None:
    bench.server.delay_s = 5.0
    began = time.monotonic()
    with pytest.raises(WriteFailed, match="no answer") as caught:
        bench.writer.apply(DOCUMENT)
    assert time.monotonic() - began < 2.5
    assert caught.value.refused is False
    assert len(bench.server.requests) == 1


def test_nothing_is_sent_without_the_lease(bench: Bench) -> None:
    bench.lost = True
    with pytest.raises(LostLeadership):
        bench.writer.apply(DOCUMENT)
    with pytest.raises(LostLeadership):
        bench.writer.create(DOCUMENT)
    with pytest.raises(LostLeadership):
        bench.writer.delete(LIVE)
    assert bench.server.requests == []


def test_a_server_that_asks_for_silence_gets_it_within_reason(bench: Bench) -> None:
    slept: list[float] = []
    bench.writer.pace = Pace(clock=lambda: 100.0, sleep=slept.append)
    bench.server.fails(429, **{"Retry-After": "86400"})
    with pytest.raises(WriteFailed):
        bench.writer.apply(DOCUMENT)
    with pytest.raises(WriteFailed):
        bench.writer.apply(DOCUMENT)
    assert slept == [30.0]


def test_pace_lets_a_burst_through_and_then_fifty_a_second() -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    pace = Pace(clock=lambda: now, sleep=sleep)
    for _ in range(100):
        pace.wait()
    assert now == 0.0
    for _ in range(100):
        pace.wait()
    assert now == pytest.approx(2.0)


def test_threads_share_the_pace() -> None:
    waits: list[float] = []
    pace = Pace(rate=50.0, burst=1.0, clock=lambda: 0.0, sleep=waits.append)
    threads = [threading.Thread(target=pace.wait) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.10])


def test_no_cluster_is_a_clear_mistake_of_the_user(tmp_path: Any) -> None:
    with pytest.raises(InvalidInput, match="--kubeconfig") as caught:
        connect(str(tmp_path / "missing"))
    assert "kubectl works with" in caught.value.remedy
